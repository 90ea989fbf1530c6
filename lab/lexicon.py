"""The words of the synthetic world: closed lists, so that a model of a few million parameters can copy them all."""

import tomllib
from dataclasses import dataclass
from pathlib import Path
from typing import Any


@dataclass(frozen=True)
class Kind:
    """One kind of context: who an email goes to, or what document is summarised, with its own vocabulary."""

    name: str
    task: str
    nouns: tuple[str, ...]
    topics: tuple[str, ...]
    places: tuple[str, ...]
    objects: tuple[str, ...]
    fillers: tuple[str, ...] = ()


def _kind(held: dict[str, Any]) -> Kind:
    lists: dict[str, Any] = {name: tuple(words) for name, words in held.items() if isinstance(words, list)}
    return Kind(held["name"], held["task"], **lists)


_HELD: dict[str, Any] = tomllib.loads(Path(__file__).with_suffix(".toml").read_text(encoding="utf-8"))
NAMES, DAYS, PREDICATES, VERBS = (tuple(map(str, _HELD[name])) for name in ("names", "days", "predicates", "verbs"))
HOURS = tuple(range(7, 21))
KINDS = tuple(_kind(held) for held in _HELD["kinds"])
KIND_BY_NAME = {kind.name: kind for kind in KINDS}
