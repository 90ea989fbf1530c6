"""Users of the lab's world as the trainers see them: a folder each, with rows made of the edits that the user makes."""

import random
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from adapters import dataset
from adapters.training.trainer import TrainingJob
from lab import training_folder
from lab.lexicon import KIND_BY_NAME, KINDS
from lab.render import render
from lab.simulated_user import SimulatedUser
from lab.style import canonical_phrase
from lab.world import Request
from preference.distance import normalised_distance
from preference.feedback.edit_rows import Edit
from preference.prompt import compose
from store.message import Message
from store.turns import Turn

KINDS_EACH = 3


@dataclass(frozen=True)
class TrainingUser:
    """A user with so many ``edits``: hidden styles, requests and facts come from ``seed``.

    Drafts are in the world's neutral style, which the bundled model writes in when nothing is known of a user; no
    model is asked, so that users by the hundred are made in a moment.
    """

    seed: int
    edits: int

    def rows(self) -> list[dict[str, Any]]:
        """Training rows, by the same code as a server's."""
        rng = random.Random(self.seed)
        self._kinds(rng)
        return dataset.build([self._edit(number, rng) for number in range(self.edits)]).rows

    @property
    def user(self) -> SimulatedUser:
        """Who edits."""
        return SimulatedUser.invent(self._kinds(random.Random(self.seed)), self.seed)

    def request(self, rng: random.Random) -> Request:
        """Something that this user asks for, of one of their kinds."""
        user = self.user
        return user.request(KIND_BY_NAME[rng.choice(list(user.styles))], rng)

    def wants(self, request: Request) -> list[str]:
        """The hidden style for a request, in words."""
        return [canonical_phrase(attribute, value) for attribute, value in self.user.wants(request).items()]

    def _kinds(self, rng: random.Random) -> list[str]:
        return rng.sample([kind.name for kind in KINDS], KINDS_EACH)

    def write(self, directory: Path, job: TrainingJob) -> None:
        """Make ``directory``, as a trainer takes it."""
        training_folder.write(directory, job, self.rows())

    def _edit(self, number: int, rng: random.Random) -> Edit:
        asked = self.request(rng)
        wanted = self.wants(asked)
        messages: list[Message] = [{"role": "user", "content": asked.text}]
        draft = render(asked.facts, {})
        edited = self.user.edit(asked, draft)
        turn = Turn(
            completion_id=f"c-{number}",
            created_at=float(number),
            model="attune-tiny",
            request=messages,
            prompt=compose(messages, (), wanted),
            prompt_sha256="",
            answers=[draft],
            applied_values=[],
            applied_preferences=[{"id": f"p-{i}", "text": text, "score": 1.0} for i, text in enumerate(wanted)],
            adapter_version=0,
            personalized="retrieval",
            prompt_tokens=0,
            completion_tokens=0,
            partial=False,
        )
        return Edit(f"fb-{number}", turn, draft, edited, normalised_distance(draft, edited), float(number))
