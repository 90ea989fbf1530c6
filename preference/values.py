"""Values: wishes stated by the app or the user, conditioned on in the system message (Janus, arXiv 2405.17977).

A value may have a strength, and may be masked, which says that it does not matter (AlignDiff, arXiv 2310.02054).
"""

from functools import lru_cache

from preference.text import as_data
from store.values import Value

_DEGREES = (
    (0.2, "This matters very little."), (0.4, "This matters a little."), (0.6, "This matters."),
    (0.8, "This matters a lot."), (1.0, "This matters more than anything else."),
)  # fmt: skip
"""Up to which strength a wish is followed by which sentence.

A model of 1.5B follows no degree, and took one before the wish ("To the extreme: Be brief") for how long to write
(docs/methods.md).
"""


def as_line(value: Value) -> str:
    """The value as one line of the values block."""
    line = _line(value.preference, value.description)
    return line if value.strength is None else f"{line.rstrip('.')}. {degree(value.strength)}"


def degree(strength: float) -> str:
    """A strength in [0, 1] in words."""
    return next(said for most, said in _DEGREES if strength <= most)


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
