"""Values as they are stored: wishes stated by the app or the user, and how many may stand."""

from collections.abc import Iterable
from typing import Literal

from pydantic import BaseModel, ConfigDict, Field

from store.errors import Invalid

MAX_CHARACTERS = 16_000
"""Of a user's standing values together, and of those of a request: all of them stand in the prompt."""

Dimension = Literal["style", "background_knowledge", "informativeness", "harmlessness"]


class Value(BaseModel):
    """One stated wish. ``preference`` is the wish in a few words, ``description`` spells it out."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    dimension: Dimension = "style"
    subdimension: str = Field(default="", max_length=100, examples=["length"])
    preference: str = Field(min_length=1, max_length=400, examples=["Be brief"])
    description: str = Field(default="", max_length=2000, examples=["Two sentences are enough."])
    strength: float | None = Field(
        default=None,
        ge=0,
        le=1,
        strict=True,
        allow_inf_nan=False,
        exclude_if=lambda strength: strength is None,
        description="How far it shall go, from 0, hardly, to 1; without one it is a plain wish.",
        examples=[0.3],
    )
    masked: bool = Field(
        default=False,
        strict=True,
        exclude_if=lambda masked: not masked,
        description="True: it does not matter now, nor does the standing one of its subdimension.",
    )


def check_values(values: Iterable[Value], param: str) -> None:
    """Raise ``Invalid`` where ``values`` are longer together than a prompt shall bear."""
    if sum(len(value.preference) + len(value.description) for value in values) > MAX_CHARACTERS:
        raise Invalid(f"{param} may have {MAX_CHARACTERS} characters together at most", param=param)
