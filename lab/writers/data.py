"""Drafts that several writers edited, each in their own way: the file, and its split into learning and testing."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Self

from pydantic import BaseModel, ConfigDict, Field, model_validator

from lab.reading import parsed, text_of
from lab.refusal import Refused

LEAST_TESTED = 4
"""Drafts below which an interval says nothing."""


class BadWriters(Refused):
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
    return parsed(Writers, text_of(path, BadWriters), str(path), BadWriters)


def split(held: Writers, learn: int, test: int) -> Split:
    """The first ``learn`` rows and the ``test`` after them, of all writers. Raises ``BadWriters``."""
    if test < LEAST_TESTED:
        raise BadWriters(f"At least {LEAST_TESTED} edits are needed to test on, not {test}.")
    if len(held.rows) < learn + test:
        raise BadWriters(
            f"The file has {len(held.rows)} edits of each writer; to learn from {learn} and test on {test} takes "
            f"{learn + test}."
        )
    return Split(held.writers, held.rows[:learn], held.rows[learn : learn + test])
