"""A user who edits, and a learner whose generator makes no mistakes of its own."""

import random
from collections.abc import Callable
from dataclasses import replace
from typing import Any

import pytest

from lab.inferring import PROMPTS
from lab.lexicon import KIND_BY_NAME
from lab.render import render
from lab.style import canonical_phrase
from lab.world import Request, random_request
from preference import preferences
from preference.feedback import feedback
from preference.feedback.feedback import Feedback
from preference.learning.learner import Learner
from preference.preferences import Preference
from preference.recall.index import RecallLimits
from preference.recall.recall import Recall
from store import turns, users
from store.database import Database
from tests.preference.helpers import ANN, submit, turn
from tests.preference.oracle import OracleGenerator, OracleScorer, WordEmbedder

RNG = random.Random(4)
CLIENT = random_request(RNG, KIND_BY_NAME["client"])
CLIENT_AGAIN = Request(CLIENT.facts, CLIENT.text.replace("Notes", "The notes"))
REVIEW = random_request(RNG, KIND_BY_NAME["review"])
BULLETS, NUMBERED = canonical_phrase("format", "bullets"), canonical_phrase("format", "numbered")
FORMAL = canonical_phrase("tone", "formal")
DEAR = canonical_phrase("greeting", "dear")
LIMITS = RecallLimits(alike=0.6)


class World:
    """One user's turns and edits over a real database."""

    def __init__(self, database: Database) -> None:
        self.database = database
        self.generator = OracleGenerator(CLIENT, CLIENT_AGAIN, REVIEW)
        self.scorer = OracleScorer(self.generator)
        self.learner = self.learner_with(scorer=self.scorer)
        self.recall = Recall(database, WordEmbedder(), LIMITS)
        self._turns = 0
        database.write_now(users.ensure, ANN)

    def learner_with(self, **more: Any) -> Learner:
        return Learner(self.database, self.generator, WordEmbedder(), prompts=PROMPTS, limits=LIMITS, **more)

    async def edit(
        self,
        request: Request,
        before: dict[str, str],
        after: dict[str, str],
        shown: list[Preference] | None = None,
        partial: bool = False,
        cut: bool = False,
        learn: bool = True,
        text: Callable[[str], str] = str,
    ) -> Feedback:
        self._turns += 1
        applied = [{"id": p.id, "text": p.text, "score": 0.9} for p in shown or []]
        said = replace(
            turn(f"c{self._turns}", float(self._turns), render(request.facts, before)),
            request=[{"role": "user", "content": request.text}],
            applied_preferences=applied,
            applied_values=[],
            partial=partial,
            cut=cut,
        )
        self.database.write_now(turns.record, ANN, said)
        accepted = self.database.write_now(
            submit,
            ANN,
            completion_id=said.completion_id,
            edited_text=text(render(request.facts, after)),
            body_sha256="0",
        )
        if learn:
            await self.learner.learn(ANN, accepted.id)
        return self.database.read_now(feedback.get, ANN, accepted.id)

    def active(self) -> list[Preference]:
        return self.database.read_now(preferences.active, ANN)

    async def recalled(self, request: Request) -> set[str]:
        user = self.database.read_now(users.get, ANN)
        assert user is not None
        return {r.text for r in await self.recall.recall(user, request.text, k=5)}


@pytest.fixture
def world(database: Database) -> World:
    return World(database)
