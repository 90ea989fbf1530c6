"""Benchmarks: programs that measure running servers over HTTP."""
