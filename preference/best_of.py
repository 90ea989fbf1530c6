"""Best of n: of several answers the one that keeps all of the user's wishes, not most of them on average.

    u(y) = sum over wishes w of log σ((r_w(y) - ref_w) / spread_w)

A sum of log σ is the AND of the wishes: what an answer lacks in one is not made up for by another that it overdoes
("Transforming and Combining Rewards", arXiv 2402.00742). r_w is the likelihood judge's lift, nats a token: how much
likelier the answer is with the wish in the prompt than without any (FLR, arXiv 2409.13948). ref_w is what is good
enough: the 85th percentile of the wish's rewards, of these answers and of the user's earlier ones; their spread is the
unit. Of a value with a strength s the s-quantile is the aim, from both sides (AlignDiff, arXiv 2310.02054).
"""

from collections import OrderedDict, deque
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from preference.learning.judge import CLIP, TEXT
from preference.ports import Scorer, TokenScores
from preference.prompt import Message, compose
from preference.values import Value

GOOD_ENOUGH = 0.85
"""The quantile of a wish's rewards that is good enough."""
SPREAD = 0.01
"""Nats a token; what rewards of one wish are taken to differ by at least."""
WISHES = 8
"""So many wishes are looked at, in the order of the prompt; where there are both, half of them are preferences."""
REMEMBERED, EACH = 10_000, 64
"""Wishes whose earlier rewards are remembered, in this process alone, and how many of each."""


@dataclass(frozen=True)
class Choice:
    """Which of the answers, and what each is worth: u, at most 0."""

    index: int
    worth: list[float]


class BestOf:
    """Chooses answers. Remembers nothing but the rewards of wishes that were looked at last, as numbers."""

    def __init__(self, *, system_role: bool, remembered: int = REMEMBERED) -> None:
        self._system_role = system_role
        self._remembered = remembered
        self._earlier: OrderedDict[tuple[str, int], deque[float]] = OrderedDict()

    async def choose(
        self,
        scorer: Scorer,
        user: str | None,
        request: Sequence[Message],
        values: Sequence[Value],
        preferences: Sequence[str],
        answers: Sequence[str],
    ) -> Choice:
        """The best of ``answers`` to ``request``; the first of equal ones. ``user`` is opaque, None remembers nothing.

        Raises ``EngineUnavailable`` or ``ScoringUnavailable``.
        """
        wishes: list[tuple[str, Sequence[Value], Sequence[str], float | None]]
        stated_most = WISHES - min(len(preferences), WISHES // 2)
        # How far a wish shall go is aimed at, so what is scored is the wish alone.
        stated = [(value.model_copy(update={"strength": None}), value.strength) for value in values[:stated_most]]
        wishes = [(value.line(), [value], (), strength) for value, strength in stated]
        wishes += [(text, (), [text], None) for text in preferences[: WISHES - len(wishes)]]
        ways: list[tuple[Sequence[Value], Sequence[str]]] = [((), ())]
        ways += [(of_values, learned) for _, of_values, learned, _ in wishes]
        prompts = [compose(request, *way, self._system_role) for way in ways]
        texts = [answer[:TEXT] for answer in answers]
        scores = await scorer.score([(prompt, text) for prompt in prompts for text in texts])
        by_way = [scores[at : at + len(texts)] for at in range(0, len(scores), len(texts))]
        worth = np.zeros(len(texts))
        for (text, _, _, strength), found in zip(wishes, by_way[1:], strict=True):
            rewards = [_lift(with_it, without) for with_it, without in zip(found, by_way[0], strict=True)]
            worth += _worth(rewards, self._known(user, text, rewards), strength)
        return Choice(int(np.argmax(worth)), [round(float(one), 3) for one in worth])

    def _known(self, user: str | None, wish: str, rewards: Sequence[float]) -> Sequence[float]:
        """The rewards of a wish of this user so far, ``rewards`` with them."""
        if user is None:
            return rewards
        known = self._earlier.setdefault((user, hash(wish)), deque(maxlen=EACH))
        known.extend(rewards)
        self._earlier.move_to_end((user, hash(wish)))
        while len(self._earlier) > self._remembered:
            self._earlier.popitem(last=False)
        return known


def _lift(with_it: TokenScores, without: TokenScores) -> float:
    """Nats a token that an answer gains by a wish in its prompt; one that quotes the wish gains ``CLIP`` at most."""
    gains = np.subtract(with_it.logprobs, without.logprobs)
    return float(np.clip(gains, -CLIP, CLIP).mean()) if len(gains) else 0.0


def _worth(rewards: Sequence[float], known: Sequence[float], strength: float | None) -> NDArray[np.float64]:
    """log σ of the rewards, centred and scaled by those that are known."""
    aim = np.quantile(known, GOOD_ENOUGH if strength is None else strength)
    away = (np.asarray(rewards) - aim) / max(SPREAD, float(np.std(known)))
    return np.asarray(-np.logaddexp(0, -away if strength is None else np.abs(away)), np.float64)
