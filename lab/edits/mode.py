"""Whose the edits of a run are."""

from typing import Literal

Mode = Literal["own", "one"]
"""Each case is a user of its own; or all cases are one user's, in the file's order."""
