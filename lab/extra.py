"""The lab's commands as `attune` finds them: by name, with one sentence where `attune[lab]` is not installed."""

from importlib import import_module
from importlib.util import find_spec

import typer

NEEDS = ("matplotlib", "openai")
"""What the extra brings, and the server does without."""
COMMANDS = {"lab": "lab.cli", "demo": "lab.demo"}


def __getattr__(name: str) -> typer.Typer:
    """The command of that name. Raises ``ImportError`` where the extra is not installed."""
    if name not in COMMANDS:
        raise AttributeError(name)
    if missing := [package for package in NEEDS if find_spec(package) is None]:
        raise ImportError(f"the extra lab, which brings {' and '.join(missing)}, is missing: pip install 'attune[lab]'")
    command: typer.Typer = import_module(COMMANDS[name]).app
    return command
