"""The folder that a trainer takes: a job, and the rows that it learns from."""

import json
import shutil
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

from adapters.training.trainer import FIGURES, TrainingJob


def write(directory: Path, job: TrainingJob, rows: Iterable[Mapping[str, Any]]) -> bool:
    """Lay it out anew, unless it has been trained in already; whether there is something to train."""
    if (directory / FIGURES).exists():
        return False
    shutil.rmtree(directory, ignore_errors=True)  # whoever was killed left half an adapter
    directory.mkdir(parents=True)
    job.write(directory)
    lines = (json.dumps(row, ensure_ascii=False) for row in rows)
    (directory / "train.jsonl").write_text("".join(f"{line}\n" for line in lines), encoding="utf-8")
    return True
