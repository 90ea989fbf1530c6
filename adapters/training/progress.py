"""How far a training has come: what its trainer prints, of which a few steps are kept."""

import json
import math
from pathlib import Path
from typing import Any

FILE = "progress.jsonl"
"""In a training's directory: what the trainer prints, one JSON object a line."""
KEPT = 10
_FIELDS = {"step": int, "steps": int, "loss": float, "at": float}


def read(directory: Path) -> list[dict[str, Any]]:
    """The first step and ``KEPT`` more, evenly apart, up to the last: ``step``, ``steps``, ``loss`` and ``at``.

    Lines that are something else, or not yet whole, are passed over.
    """
    try:
        lines = (directory / FILE).read_text(errors="replace").splitlines()
    except FileNotFoundError:
        return []
    kept: dict[int, dict[str, Any]] = {}
    for line in lines:
        step = _step(line)
        if step is not None:
            kept.setdefault(step["step"] * KEPT // step["steps"], step)
    return list(kept.values())


def _step(line: str) -> dict[str, Any] | None:
    try:
        said = json.loads(line)
        step = {name: kind(said[name]) for name, kind in _FIELDS.items()}
    except (ValueError, TypeError, KeyError, OverflowError):
        return None
    right = 0 < step["step"] <= step["steps"] and math.isfinite(step["loss"])
    return step if right else None
