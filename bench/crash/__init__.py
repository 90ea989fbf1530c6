"""Kills a real server with SIGKILL at random moments, and counts what that costs. See ``__main__``."""
