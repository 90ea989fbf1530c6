"""Names of adapters in the engine: they say whose, and which version."""

from typing import Literal


def engine_name(opaque_id: str, version: int) -> str:
    """The name an adapter version carries in the engine."""
    return f"{opaque_id}.v{version}"


def gate_name(opaque_id: str, version: int, role: Literal["candidate", "serving"]) -> str:
    """The name under which the gate has a version in the engine, beside the one that requests use."""
    return f"{engine_name(opaque_id, version)}-{role}"


def served_name(name: str) -> str:
    """The name that requests use, of that one or of the gate's."""
    return name.partition("-")[0]


def user_of(name: str) -> str:
    """The opaque id in the name of an adapter in the engine, or of a folder in staging."""
    return name.partition(".")[0]
