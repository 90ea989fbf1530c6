"""Names of adapters in the engine: they say whose, and which version."""

import re
from dataclasses import dataclass
from typing import Literal

_NAME = re.compile(r"([0-9a-f]{32})\.v([1-9][0-9]{0,8})(?:-serving|-candidate-([0-9a-f]{32}))?")


@dataclass(frozen=True)
class Named:
    """What a name stands for: a published version or, with ``content``, a candidate whose files have those digests."""

    opaque_id: str
    version: int
    content: str | None


def engine_name(opaque_id: str, version: int) -> str:
    """The name an adapter version carries in the engine."""
    return f"{opaque_id}.v{version}"


def gate_name(opaque_id: str, version: int, role: Literal["candidate", "serving"], content: str = "") -> str:
    """The name under which the gate has a version in the engine, beside the one that requests use.

    A candidate's has its ``content``: trained anew it has other weights, and no engine may take them for these.
    """
    return "-".join(filter(None, (engine_name(opaque_id, version), role, content)))


def named(name: str) -> Named | None:
    """What a name stands for; None for what is no adapter's name."""
    found = _NAME.fullmatch(name)
    return Named(found[1], int(found[2]), found[3]) if found else None


def served_name(name: str) -> str:
    """The name that requests use, of that one or of the gate's."""
    return name.partition("-")[0]


def user_of(name: str) -> str:
    """The opaque id in the name of an adapter in the engine, or of a folder in staging."""
    return name.partition(".")[0]
