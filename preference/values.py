"""Values: wishes stated by the app or the user, conditioned on in the system message (Janus, arXiv 2405.17977).

A value may have a strength, and may be masked, which says that it does not matter (AlignDiff, arXiv 2310.02054).
"""

from collections.abc import Iterable
from functools import lru_cache
from typing import Literal

from pydantic import BaseModel, ConfigDict, Field

from preference.errors import Invalid
from preference.text import as_data

MAX_CHARACTERS = 16_000
"""Of a user's standing values together, and of those of a request: all of them stand in the prompt."""

Dimension = Literal["style", "background_knowledge", "informativeness", "harmlessness"]

_DEGREES = (
    (0.2, "This matters very little."), (0.4, "This matters a little."), (0.6, "This matters."),
    (0.8, "This matters a lot."), (1.0, "This matters more than anything else."),
)  # fmt: skip
"""Up to which strength a wish is followed by which sentence.

A model of 1.5B follows no degree, and took one before the wish ("To the extreme: Be brief") for how long to write
(docs/methods.md).
"""


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

    def line(self) -> str:
        """The value as one line of the values block."""
        line = _line(self.preference, self.description)
        return line if self.strength is None else f"{line.rstrip('.')}. {degree(self.strength)}"


def degree(strength: float) -> str:
    """A strength in [0, 1] in words."""
    return next(said for most, said in _DEGREES if strength <= most)


def check_values(values: Iterable[Value], param: str) -> None:
    """Raise ``Invalid`` where ``values`` are longer together than a prompt shall bear."""
    if sum(len(value.preference) + len(value.description) for value in values) > MAX_CHARACTERS:
        raise Invalid(f"{param} may have {MAX_CHARACTERS} characters together at most", param=param)


def merge_values(standing: list[Value], requested: list[Value]) -> list[Value]:
    """Standing values first; a requested one replaces the standing one of the same named subdimension.

    Masked ones are left out.
    """
    named = {(v.dimension, v.subdimension) for v in requested if v.subdimension}
    kept = [v for v in standing if (v.dimension, v.subdimension) not in named]
    return [value for value in dict.fromkeys([*kept, *requested]) if not value.masked]


@lru_cache(maxsize=1024)  # of some megabytes at most; a user's standing values are the same at each request
def _line(preference: str, description: str) -> str:
    wish = as_data(preference)
    # Together, because a wish that ends in "User" would make a speaker of the colon.
    return as_data(f"{wish}: {description}", limit=len(wish) + 2002) if description else wish
