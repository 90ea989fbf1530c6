"""The common wishes of common_wishes.toml, which expressions count, and their texts in common_wishes_texts.toml."""

import tomllib
from collections.abc import Mapping
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import Any

import regex

_HERE = Path(__file__).parent


@dataclass(frozen=True)
class Observation:
    """A common wish that an edit shows: its id, words of the edit that belong to it, the counts before and after."""

    wish: str
    before: int
    after: int
    phrase: str = ""


@dataclass(frozen=True)
class Counted:
    """A wish of common_wishes.toml. Expressions are by language."""

    id: str
    where: str
    gone: Mapping[str, Any]
    comes: Mapping[str, Any]
    more: Mapping[str, Any]
    least: int
    left: int

    def shown(self, draft: str, edited: str, language: str) -> Observation | None:
        """What an edit shows of the wish, or None."""
        gone, comes, more = (_of(table, language) for table in (self.gone, self.comes, self.more))
        if (self.gone and gone is None) or (self.comes and comes is None):
            return None
        before = after = 0
        if gone is not None:
            before = _count(gone, draft)
            if before < self.least:
                return None
            after = _count(gone, edited)
            if after > self.left or after >= before:
                return None
        if comes is not None:
            now = _count(comes, edited)
            if now < (1 if gone is not None else self.least):
                return None
            was = _count(comes, draft)
            if now <= was or (gone is None and was > self.left):
                return None
            if gone is None:
                before, after = was, now
        if more is not None and _count(more, edited) <= _count(more, draft):
            return None
        return Observation(self.id, before, after)


def text_of(observation: Observation, language: str) -> str:
    """The wish as its user reads it, in their language or else in English."""
    by_language = texts()[observation.wish]
    return str(by_language.get(language, by_language["en"])).replace("{phrase}", observation.phrase)


def ids() -> set[str]:
    """All common wishes."""
    return set(texts())


def vocabulary() -> list[str]:
    """The texts of all common wishes: words of style."""
    return [text for by_language in texts().values() for text in by_language.values()]


def _count(pattern: Any, text: str) -> int:
    return sum(1 for _ in pattern.finditer(text))


def _of(table: Mapping[str, Any], language: str) -> Any:
    return table.get("any") or table.get(language)


@lru_cache(maxsize=1)
def texts() -> dict[str, dict[str, str]]:
    """The texts of the common wishes, by wish and language."""
    return dict(tomllib.loads((_HERE / "common_wishes_texts.toml").read_text()))


@lru_cache(maxsize=1)
def wishes() -> list[Counted]:
    """The wishes of common_wishes.toml."""

    def table(value: Any) -> dict[str, Any]:
        by_language = {"any": value} if isinstance(value, str) else value or {}
        return {name: regex.compile(whole(expression)) for name, expression in by_language.items()}

    def whole(expression: str) -> str:
        """The expression with its pieces put in, which may have pieces themselves."""
        return str(regex.sub(r"\{([a-z][a-z-]+)\}", lambda name: whole(pieces[name[1]]), expression))

    wishes = tomllib.loads((_HERE / "common_wishes.toml").read_text())
    rows, pieces = wishes["wish"], wishes["piece"]
    return [
        Counted(
            row["id"], row.get("in", ""), table(row.get("gone")), table(row.get("comes")), table(row.get("more")),
            row.get("least", 1), row.get("left", 0),
        )
        for row in rows
    ]  # fmt: skip
