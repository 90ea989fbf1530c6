"""The cases: what was asked, drafted and edited, what the edit should teach, and where that applies."""

import re
from pathlib import Path
from typing import Literal, Self

from pydantic import BaseModel, ConfigDict, Field, field_validator, model_validator

from lab.edits import rules
from lab.reading import parsed, text_of
from lab.refusal import Refused
from store.message import Message

FOLDER = Path(__file__).resolve().parent
DEV, TEST = FOLDER / "cases_dev.jsonl", FOLDER / "cases_test.jsonl"


class BadCases(Refused):
    """A file is no file of cases; the message says where and why."""


class Turn(BaseModel):
    """One message of a conversation."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    role: Literal["system", "user", "assistant"]
    content: str


Request = str | tuple[Turn, ...]
"""A text is a conversation of one message."""


class Check(BaseModel):
    """A wish that a rule can see in an answer. ``wish`` is a reference wording, ``unseen`` are requests of the kind."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    wish: str = Field(min_length=1)
    rule: str
    unseen: tuple[str, ...] = Field(min_length=1)

    @field_validator("rule")
    @classmethod
    def _known(cls, name: str) -> str:
        rules.of(name)
        return name


class Case(BaseModel):
    """One edit. ``expect`` has a regular expression for each wish that it shows; none: it teaches nothing.

    ``same`` is a later request that the wishes apply to, ``other`` one that they do not apply to; empty: not asked.
    ``wishes`` are reference wordings, one for each of ``expect``.
    """

    model_config = ConfigDict(extra="ignore", frozen=True)

    id: str = Field(min_length=1, pattern=r"^[\w.-]+$")
    request: Request
    draft: str
    edited: str
    expect: tuple[str, ...]
    same: Request = ""
    other: Request = ""
    finish_reason: Literal["stop", "length"] = "stop"
    kind: str = ""
    language: str = ""
    family: tuple[str, ...] = ()
    wishes: tuple[str, ...] = ()
    check: tuple[Check, ...] = ()

    @field_validator("expect")
    @classmethod
    def _compiled(cls, expect: tuple[str, ...]) -> tuple[str, ...]:
        for expression in expect:
            try:
                re.compile(expression)
            except re.error as error:
                raise ValueError(f"{expression!r} is no regular expression: {error}") from error
        return expect

    @model_validator(mode="after")
    def _whole(self) -> Self:
        if not messages(self.request):
            raise ValueError("request is empty")
        if self.wishes and len(self.wishes) != len(self.expect):
            raise ValueError("wishes must have one wording for each of expect")
        if strange := [check.wish for check in self.check if check.wish not in self.wishes]:
            raise ValueError(f"check has the wish {strange[0]!r}, which is none of wishes")
        return self

    @property
    def teaches(self) -> bool:
        """True when something is to be learned."""
        return bool(self.expect)

    def met(self, text: str) -> set[int]:
        """Which expectations ``text`` matches."""
        return {n for n, expression in enumerate(self.expect) if re.search(expression, text, re.IGNORECASE)}


def load(path: Path) -> list[Case]:
    """The cases of a file, a line of JSON for each. Raises ``BadCases``."""
    lines = text_of(path, BadCases).splitlines()
    cases: dict[str, Case] = {}
    for number, line in enumerate(lines, 1):
        if not line.strip():
            continue
        case = parsed(Case, line, f"{path}, line {number}", BadCases)
        if case.id in cases:
            raise BadCases(f"{path}, line {number}: there is a case {case.id!r} above.")
        cases[case.id] = case
    if not cases:
        raise BadCases(f"{path} has no cases.")
    return list(cases.values())


def messages(request: Request) -> list[Message]:
    """A request as chat messages; none for an empty one."""
    if isinstance(request, str):
        return [{"role": "user", "content": request}] if request else []
    return [turn.model_dump() for turn in request]
