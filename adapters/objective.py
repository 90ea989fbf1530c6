"""What the training of an adapter optimises: one choice for all tenants, or one of each tenant's own."""

from dataclasses import dataclass
from typing import ClassVar, Literal

Name = Literal["sft", "dpo", "kto", "ensemble"]
Divergence = Literal["reverse_kl", "forward_kl", "js_divergence", "alpha_divergence"]
MAX_SPA_ROUNDS = 2
_PAIRS: tuple[Name, ...] = ("dpo", "ensemble")


@dataclass(frozen=True)
class Objective:
    """A recipe by name with its options; each is explained where ``adapters/training/recipes/`` uses it.

    ``beta`` keeps the adapter near its reference. ``flipped`` is the share of pairs believed to be the wrong way
    round, in [0, 0.5): above 0 the loss is the robust one. ``sft_weight`` weighs the ensemble's SFT term.
    ``continued`` trains on from the version that serves, whose weights are the reference then.
    Raises ``ValueError`` for what does not go together.
    """

    __pydantic_config__: ClassVar = {"extra": "forbid"}

    name: Name = "sft"
    beta: float = 0.1
    divergence: Divergence = "reverse_kl"
    flipped: float = 0.0
    sft_weight: float = 1.0
    gap_weights: bool = False
    contrast: bool = False
    corrupted: bool = False
    spa_rounds: int = 0
    continued: bool = False

    @property
    def learns_from_thumbs(self) -> bool:
        """Whether the recipe takes single texts that are right or wrong; the others learn from edits alone."""
        return self.name == "kto"

    @property
    def learns_from_rankings(self) -> bool:
        """Whether the recipe takes pairs of which one is better and neither has to be right."""
        return self.name == "dpo"

    def __post_init__(self) -> None:
        if not (self.beta > 0 and self.sft_weight > 0 and 0 <= self.flipped < 0.5):
            raise ValueError("beta and sft_weight have to be above 0, flipped in [0, 0.5)")
        if not 0 <= self.spa_rounds <= MAX_SPA_ROUNDS:
            raise ValueError(f"spa_rounds has to be between 0 and {MAX_SPA_ROUNDS}")
        of_pairs = {
            "divergence": self.divergence != "reverse_kl",
            "flipped": self.flipped > 0,
            "gap_weights": self.gap_weights,
            "contrast": self.contrast,
            "corrupted": self.corrupted,
            "spa_rounds": self.spa_rounds > 0,
        }
        asked = [option for option, given in of_pairs.items() if given]
        if asked and self.name not in _PAIRS:
            raise ValueError(f"{', '.join(asked)}: only for {' and '.join(_PAIRS)}, which learn from pairs")
