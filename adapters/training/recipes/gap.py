"""Gap-aware pairs (GAPO): a pair's preference loss times 2^r_w - 2^r_l, r being the rewards of its texts in [0, 1].

It is the difference of NDCG's gains, by which RankDPO (arXiv 2410.18013) weighs pairs, too. Here what the user sent has
reward 1 and the draft 1 - cost, the normalised word edit distance: a draft that needed one word counts little.
"""

from collections.abc import Callable

from torch import Tensor
from trl import DPOConfig

from adapters.training.recipes.pairs import PairTrainer


def weight(cost: float) -> float:
    """The weight, in [0, 1], of a pair whose draft had this normalised edit distance."""
    return float(2.0 - 2.0 ** (1.0 - cost))


class GapTrainer(PairTrainer):
    """Weighs the preference loss alone: an SFT term beside it keeps its own weight."""

    column = "weight"
    args: DPOConfig

    def pair_loss(self, loss: Callable[[], Tensor], value: float) -> Tensor:
        """TRL multiplies each of its losses by its own weight; the first is the preference's."""
        self.loss_weights = [value, *(self.args.loss_weights or ())[1:]]
        return loss()
