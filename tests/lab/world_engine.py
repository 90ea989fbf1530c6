"""An engine that is never wrong about the world: it obeys every preference, and infers and merges them by rule."""

import re
from typing import Any

from aiohttp import web

from lab.prelude.arms.imported import SAMPLES
from lab.prelude.environment import SyntheticEnvironment
from lab.render import detect, render
from lab.style import DEFAULT, MEANING, TASK_ATTRIBUTES, canonical_phrase
from lab.world import Facts
from tests.server.fake_engine import FakeEngine, Script

_PREFERENCES = re.compile(r"<preferences>\n(.*?)</preferences>", re.DOTALL)


class WorldEngine(FakeEngine):
    """Knows the facts of the environments that it is told of. ``refuses`` is a text that no prompt may hold.

    It scores no text, so the learner has it write.
    """

    def __init__(self, *environments: SyntheticEnvironment) -> None:
        super().__init__()
        self.refuses: str | None = None
        self.scores = "no"
        self._facts = {r.text: r.secret.request.facts for e in environments for r in e.rounds}
        self._facts |= {request.text: request.facts for e in environments for request in e.earlier(SAMPLES)}

    def prompts(self) -> list[str]:
        """The last message of each request so far."""
        return [str(body["messages"][-1]["content"]) for body in self.requests]

    def _whole(self, request: web.Request, body: dict[str, Any], script: Script) -> web.Response:
        told = "\n".join(message["content"] for message in body["messages"])
        if self.refuses is not None and self.refuses in told:
            error = {"message": "longer than the context", "type": "BadRequestError", "param": None, "code": 400}
            return web.json_response({"error": error}, status=400)
        return super()._whole(request, body, Script(tokens=[self._write(body["messages"][-1]["content"])]))

    def _write(self, prompt: str) -> str:
        if prompt.startswith("<draft>"):
            return self._infer(prompt)
        wanted = _wanted(prompt)
        if prompt.startswith("<preferences>"):
            return _listed(wanted)
        facts = self._facts.get(prompt.partition("\n\n<preferences>")[0])
        if facts is None:  # no request of an environment's, but what somebody says in between
            return "You are welcome."
        return render(facts, {a: v for a, v in wanted.items() if a in TASK_ATTRIBUTES[facts.task]})

    def _infer(self, prompt: str) -> str:
        draft, edited = (prompt.partition(f"<{tag}>\n")[2].partition(f"\n</{tag}>")[0] for tag in ("draft", "edited"))
        facts = max(self._facts.values(), key=lambda f: _told(draft + edited, f))
        before, after = detect(draft, facts), detect(edited, facts)
        return _listed({a: v for a, v in after.items() if v not in (DEFAULT, before[a])}) or "none"


def _wanted(prompt: str) -> dict[str, str]:
    """The latest value of each attribute that a prompt's preferences name."""
    found = _PREFERENCES.search(prompt)
    lines = [line.removeprefix("- ") for line in found[1].splitlines()] if found else []
    return dict(MEANING[line] for line in lines if line in MEANING)


def _listed(style: dict[str, str]) -> str:
    return "\n".join(f"- {canonical_phrase(a, v)}" for a, v in style.items())


def _told(text: str, facts: Facts) -> int:
    """How many of the facts a text has; a short one leaves some out."""
    slots = (facts.name, facts.topic, facts.what, facts.when, facts.where, facts.action)
    return sum(slot.lower() in text.lower() for slot in slots)
