"""An environment made of one's own documents: a folder for each kind, and a user who reads and rewrites."""

import itertools
import random
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

from lab.prelude.environment import shuffled
from lab.prelude.ports import Environment, Round
from lab.reading import text_of
from preference.distance import word_distance

MAX_KINDS = 20
MAX_FILES = 2000
MAX_BYTES = 64_000
STYLE_FILE, TASK_FILE = "style.txt", "task.txt"
SUFFIXES = (".txt", ".md")
TASK = "Summarise this document."

STYLES: tuple[tuple[str, ...], ...] = (
    ("Use bullet points.", "Keep every point under fifteen words.", "Give dates and numbers exactly."),
    ("Write one flowing paragraph.", "Use a formal tone.", "Avoid contractions."),
    ("Explain it to a ten-year-old.", "Use short sentences.", "End with a question that invites a reply."),
    ("Start with the most important fact.", "Name who did what.", "Leave out opinions."),
    ("Write in the first person.", "Sound warm and personal.", "Close with a word of thanks."),
    ("Number the steps.", "Begin each step with a verb.", "Say at the end what is still open."),
    ("Write it as a telegram, without filler words.", "Use the present tense.", "Stay under forty words."),
    ("Give it a witty title.", "Use a casual tone.", "Add one fitting emoji at the end."),
)
"""What a user may want of a kind that has no style of its own."""


class Editor(Protocol):
    """A user with wishes. See ``lab.prelude.llm_user``."""

    async def edit(self, wishes: Sequence[str], request: str, draft: str) -> str:
        """``draft`` itself when it satisfies ``wishes``, else its smallest rewriting that does."""


@dataclass
class DocumentEnvironment(Environment):
    """Requests about documents; each kind has one style throughout."""

    rounds: Sequence[Round]
    styles: Mapping[str, Sequence[str]]
    user: Editor

    def wants(self, round: Round) -> Sequence[str]:
        """The style of the round's kind, a wish a line."""
        return self.styles[round.kind]

    async def edit(self, round: Round, draft: str) -> str:
        """What the user makes of the draft."""
        edited = await self.user.edit(self.wants(round), round.text, draft)
        return draft if word_distance(draft, edited) == 0 else edited


def make(folder: Path, *, seed: int, rounds: int, user: Editor) -> DocumentEnvironment:
    """The environment of ``folder``, whose subfolders are kinds with ``.txt`` and ``.md`` files of UTF-8 text.

    ``KIND/style.txt`` says what the user wants there, a wish a line; without it a style of ``STYLES`` is drawn.
    ``task.txt`` beside the kinds says what is asked of each document. Documents come again, in the same random order,
    once all of their kind were asked about. Raises ``ValueError`` with what is wrong.
    """
    if rounds < 1:
        raise ValueError("An environment has at least one round.")
    if not folder.is_dir():
        raise ValueError(f"There is no folder {folder}.")
    kinds = sorted(path for path in folder.iterdir() if path.is_dir() and not path.name.startswith("."))
    if not 1 <= len(kinds) <= MAX_KINDS:
        raise ValueError(f"{folder} needs 1 to {MAX_KINDS} subfolders, one for each kind; it has {len(kinds)}.")
    rng = random.Random(f"documents {seed}")
    drawn = rng.sample(STYLES, len(STYLES))
    styles = {kind.name: _style(kind) or drawn[i % len(drawn)] for i, kind in enumerate(kinds)}
    documents = {kind.name: itertools.cycle(rng.sample(found := _documents(kind), len(found))) for kind in kinds}
    task = _read(folder / TASK_FILE) if (folder / TASK_FILE).exists() else TASK
    order = shuffled(list(styles), rounds, rng)
    made = tuple(Round(number, f"{task}\n\n{next(documents[kind])}", kind) for number, kind in enumerate(order))
    return DocumentEnvironment(made, styles, user)


def _documents(kind: Path) -> list[str]:
    files = sorted(p for p in kind.iterdir() if p.suffix in SUFFIXES and p.name != STYLE_FILE)
    if not 1 <= len(files) <= MAX_FILES:
        raise ValueError(f"{kind} needs 1 to {MAX_FILES} files ({', '.join(SUFFIXES)}); it has {len(files)}.")
    return [_read(file) for file in files]


def _style(kind: Path) -> tuple[str, ...]:
    file = kind / STYLE_FILE
    return tuple(line.strip() for line in _read(file).splitlines() if line.strip()) if file.exists() else ()


def _read(file: Path) -> str:
    if (size := file.stat().st_size) > MAX_BYTES:
        raise ValueError(f"{file} has {size} bytes; {MAX_BYTES} is the most.")
    if not (text := text_of(file, ValueError).strip()):
        raise ValueError(f"{file} is empty.")
    return text
