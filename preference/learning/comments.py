"""What a comment on an answer teaches: wishes in its own words, tried on what the user really sent before.

Nobody was shown a text that a comment asks for, so what it teaches stands as tentative until an edit supports it. What
contradicts the texts that the user sent in like contexts is no more than a hint.
"""

from collections.abc import Sequence
from pathlib import Path

from preference import evidence
from preference.feedback.edit_rows import Edit
from preference.learning import remarks
from preference.learning.findings import Candidate, Finding, Findings
from preference.learning.judge import Judge, Judges
from preference.learning.language import language
from preference.learning.meaning import first_same
from preference.learning.prompt_file import PromptFile
from preference.learning.proposer import Proposer, refusal
from preference.learning.study import Cost
from preference.learning.wish_slots import exclude, wish_of
from preference.ports import Scorer, TextGenerator
from preference.preferences import Preference
from preference.prompt import last_user_text
from store.errors import ScoringUnavailable

PROMPT = Path(__file__).parent / "prompts" / "comment.toml"
PROPOSED = 3
PAST = 3
"""Earlier edits of like contexts that a wish is tried on."""
SURE = 1.0
NOTHING = "the comment says no wish for other texts of this kind"
UNSURE = "what was sent in like contexts is likelier without it: a hint, until an edit shows it"


class Commentary:
    """Studies comments. ``proposing`` may be another model than the served one, ``generator`` and ``scorer``."""

    def __init__(
        self,
        proposing: TextGenerator,
        generator: TextGenerator,
        scorer: Scorer | None,
        prompts: PromptFile,
        *,
        system_role: bool,
        proposing_system_role: bool,
    ) -> None:
        self._asking = Proposer(proposing, PromptFile.load(PROMPT), system_role=proposing_system_role)
        self._judges = Judges(generator, scorer, system_role, prompts.cohort)
        self._prompts = prompts

    async def study(self, edit: Edit, applied: Sequence[Preference], past: Sequence[Edit]) -> tuple[Findings, Cost]:
        """What the comment of ``edit`` teaches; ``past`` are edits of like contexts. Raises what the ports raise."""
        comment = edit.comment or ""
        found = edit.source == "history"
        spoken = language(comment if len(comment) > 40 else f"{last_user_text(edit.turn.request)}\n{comment}")
        candidates: list[Candidate] = []
        cost = Cost()
        if self._prompts.counted:
            texts = remarks.wishes(comment, spoken)
            if not texts and not found:
                texts, candidates, cost = await self._proposed(edit, comment)
        else:
            texts = list(dict.fromkeys(map(self._prompts.as_known, remarks.parts(comment))))
        held = [p.text for p in applied]
        again = [text for text in texts if first_same(text, held) is not None]
        texts = [text for text in texts if text not in again]
        unsure = await self._unsure(texts, past)
        new = []
        for text in texts:
            weight = evidence.HINT if found or text in unsure else evidence.TENTATIVE
            why = UNSURE if text in unsure else "the comment says so: tentative, until an edit shows it"
            candidates.append(Candidate(text, "learned", why, unsure.get(text)))
            new.append(Finding(text, weight))
        sure = again + [finding.text for finding in new if finding.text not in unsure]
        said = {} if found else self._of_applied(applied, sure)
        return Findings(new, said, candidates, None if new else NOTHING), cost

    async def _proposed(self, edit: Edit, comment: str) -> tuple[list[str], list[Candidate], Cost]:
        """What a model says that it asks for, where the draft is less likely with it than with unrelated wishes."""
        request = last_user_text(edit.turn.request)
        asked = await self._asking.propose(request, edit.draft, comment, (), limit=PROPOSED)
        cost = Cost(asked.prompt_tokens, asked.completion_tokens)
        shown = " ".join(example.answer for example in self._asking.prompts.example)
        kept, candidates = [], []
        for text in asked.texts:
            if why := refusal(text, (request, edit.draft), shown):
                candidates.append(Candidate(text, "refused", why))
            else:
                kept.append(text)
        if not kept:
            return kept, candidates, cost
        try:
            # An edit to nothing: what is left of the lift is how much less likely a wish makes the draft.
            judge = self._judges.by_likelihood(edit, "")
            lifts = await judge.lifts(kept)
        except ScoringUnavailable:
            return kept, candidates, cost
        sure = []
        for text, lift in zip(kept, lifts, strict=True):
            if lift.z >= SURE:
                sure.append(text)
            else:
                why = "the draft is hardly less likely with it than with unrelated wishes"
                candidates.append(Candidate(text, "refused", why, round(lift.nats, 2)))
        return sure, candidates, Cost(cost.prompt_tokens + judge.tokens, cost.completion_tokens)

    async def _unsure(self, texts: Sequence[str], past: Sequence[Edit]) -> dict[str, float]:
        """Of ``texts`` those that make what the user sent less likely, with the worst of it in nats."""
        worst: dict[str, float] = dict.fromkeys(texts, 0.0)
        for edit in past if texts else ():
            for text, support in zip(texts, await self._supports(edit, texts), strict=True):
                worst[text] = min(worst[text], round(support, 2))
        return {text: support for text, support in worst.items() if support <= -SURE}

    async def _supports(self, edit: Edit, texts: Sequence[str]) -> list[float]:
        """By how many nats an earlier edit is likelier with each of ``texts`` than without, or words say as much."""
        beside = [str(shown["text"]) for shown in edit.turn.applied_preferences]

        async def each(judge: Judge) -> list[float]:
            return [(await judge.supports([*beside, text], [text]))[0] for text in texts]

        found, _ = await self._judges.ask(edit, each)
        return found

    def _of_applied(self, applied: Sequence[Preference], said: Sequence[str]) -> dict[str, float]:
        """What a comment leaves standing speaks a little for it; what it excludes is spoken against, tentatively."""
        wished = [wish for text in said if (wish := wish_of(text))]
        found = {}
        for p in applied:
            wish, same = wish_of(p.text), first_same(p.text, said) is not None
            excluded = wish is not None and any(exclude(wish, other) for other in wished)
            excluded |= any(self._prompts.exclude(p.text, text) for text in said)
            found[p.id] = -evidence.TENTATIVE if excluded and not same else evidence.ACCEPTED
        return found
