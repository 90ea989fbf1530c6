"""Rows, jobs, keys and migrations: what every other package stands on. Imports nothing of ours."""
