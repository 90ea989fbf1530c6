"""How much a user's rows are trained on where the recipe leaves it open: by the base model's size and their number."""

from dataclasses import dataclass

SMALL_MODEL = 20_000_000
"""Parameters below which a model needs, and stands, a high learning rate and many epochs: the bundled one."""
FEW_ROWS, MANY_ROWS = 24, 96


@dataclass(frozen=True)
class Amount:
    """Epochs over the rows, the least number of steps, and rows a step."""

    epochs: float
    min_steps: int
    batch_size: int


SMALL = Amount(epochs=12.0, min_steps=32, batch_size=8)
"""Fitted to the bundled model: docs/adapters.md has the figures."""


def amount(size: int, rows: int) -> Amount:
    """For a base model of ``size`` parameters and so many rows, of which an edit makes one or two.

    A real model knows how to write: a few rows are read more often, many only twice, in small batches, so that there
    are steps enough.
    """
    if size < SMALL_MODEL:
        return SMALL
    epochs = 6.0 if rows <= FEW_ROWS else 3.0 if rows <= MANY_ROWS else 2.0
    return Amount(epochs=epochs, min_steps=12, batch_size=4)
