"""Rows of versions, and their transitions: made, admitted, active, tried, retired, erased."""
