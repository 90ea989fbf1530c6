"""Values: wishes stated by the app or the user, conditioned on in the system message (Janus, arXiv 2405.17977)."""

from typing import Literal

from pydantic import BaseModel, ConfigDict, Field

from preference.text import as_data

Dimension = Literal["style", "background_knowledge", "informativeness", "harmlessness"]


class Value(BaseModel):
    """One stated wish. ``preference`` is the wish in a few words, ``description`` spells it out."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    dimension: Dimension = "style"
    subdimension: str = Field(default="", max_length=100, examples=["length"])
    preference: str = Field(min_length=1, max_length=400, examples=["Be brief"])
    description: str = Field(default="", max_length=2000, examples=["Two sentences are enough."])

    def line(self) -> str:
        """The value as one line of the values block."""
        wish = as_data(self.preference)
        # Together, because a wish that ends in "User" would make a speaker of the colon.
        return as_data(f"{wish}: {self.description}", limit=len(wish) + 2002) if self.description else wish


def merge_values(standing: list[Value], requested: list[Value]) -> list[Value]:
    """Standing values first; a requested one replaces the standing one of the same named subdimension."""
    named = {(v.dimension, v.subdimension) for v in requested if v.subdimension}
    kept = [v for v in standing if (v.dimension, v.subdimension) not in named]
    return list(dict.fromkeys([*kept, *requested]))
