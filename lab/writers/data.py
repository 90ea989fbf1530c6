"""Drafts that several writers edited, each in their own way: the file, and its split into learning and testing."""

import json
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Self

from pydantic import BaseModel, ConfigDict, Field, ValidationError, model_validator

LEAST_TESTED = 4
"""Drafts below which an interval says nothing."""


class BadWriters(ValueError):
    """A file is no file of writers, or has too little for what was asked; the message says what and why."""


class Row(BaseModel):
    """A request, its draft, and what each writer made of it."""

    model_config = ConfigDict(extra="ignore", frozen=True)

    id: str = Field(min_length=1, pattern=r"^[\w.-]+$")
    instruction: str = Field(min_length=1)
    draft: str = Field(min_length=1)
    edited: dict[str, str]


class Writers(BaseModel):
    """The rows in their order, of ``writers``."""

    model_config = ConfigDict(extra="ignore", frozen=True)

    writers: tuple[str, ...] = Field(min_length=2)
    rows: tuple[Row, ...] = Field(min_length=1)

    @model_validator(mode="after")
    def _whole(self) -> Self:
        if len(set(self.writers)) < len(self.writers):
            raise ValueError("a writer is named twice")
        if len({row.id for row in self.rows}) < len(self.rows):
            raise ValueError("two rows have the same id")
        for row in self.rows:
            for writer in self.writers:
                if not row.edited.get(writer, "").strip():
                    raise ValueError(f"row {row.id} has no text by the writer {writer}")
        return self


@dataclass(frozen=True)
class Split:
    """What is learned from, and what is tested on, of which writers."""

    writers: Sequence[str]
    learned: Sequence[Row]
    tested: Sequence[Row]


def load(path: Path) -> Writers:
    """The file's content. Raises ``BadWriters``."""
    try:
        return Writers.model_validate(json.loads(path.read_text(encoding="utf-8")))
    except (OSError, UnicodeDecodeError) as error:
        reason = error.strerror if isinstance(error, OSError) else "it is not UTF-8"
        raise BadWriters(f"{path} cannot be read: {reason}.") from error
    except json.JSONDecodeError as error:
        raise BadWriters(f"{path} is no JSON: {error}.") from error
    except ValidationError as error:
        first = error.errors()[0]
        field = ".".join(str(part) for part in first["loc"])
        said = first["msg"].removeprefix("Value error, ")
        raise BadWriters(f"{path}: {f'{field}: ' if field else ''}{said}.") from error


def split(held: Writers, learn: int, test: int, only: Sequence[str] = ()) -> Split:
    """The first ``learn`` rows and the ``test`` after them, of all writers or ``only`` some. Raises ``BadWriters``."""
    if missing := [writer for writer in only if writer not in held.writers]:
        raise BadWriters(f"There is no writer {missing[0]!r} in the file: {', '.join(held.writers)}.")
    writers = [writer for writer in held.writers if not only or writer in only]
    if len(writers) < 2:
        raise BadWriters("At least two writers are compared with each other.")
    if test < LEAST_TESTED:
        raise BadWriters(f"At least {LEAST_TESTED} edits are needed to test on, not {test}.")
    if len(held.rows) < learn + test:
        raise BadWriters(
            f"The file has {len(held.rows)} edits of each writer; to learn from {learn} and test on {test} takes "
            f"{learn + test}."
        )
    return Split(writers, held.rows[:learn], held.rows[learn : learn + test])
