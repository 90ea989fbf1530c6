"""The study of one edit: see what differs, propose what it may show, judge it. Nothing is stored here."""

from collections.abc import Sequence
from dataclasses import dataclass

from preference import evidence
from preference.feedback.edit_rows import Edit
from preference.learning import screen
from preference.learning.common_wishes import Observation, text_of
from preference.learning.difference import changed, hunks, is_code
from preference.learning.findings import Candidate, Finding, Findings, Verdict
from preference.learning.judge import Judge, Judges, Lift, room_for
from preference.learning.language import language
from preference.learning.meaning import first_same
from preference.learning.measures import observations
from preference.learning.proposer import Proposals, Proposer
from preference.learning.wish_slots import exclude, wish_of
from preference.ports import Scorer, TextGenerator
from preference.preferences import Preference
from preference.prompt import compose, last_user_text
from preference.text import canonical

DETAIL = 8
"""Words taken out and put in; as small an edit, in which nothing was counted, is one of what the text says."""
PROPOSED = 4
"""Lines of a model that instructs freely, at most; of one that knows all preferences by heart, four times as many."""
JUDGED = 4
"""Applied preferences that are judged by a large model, the newest; a small one judges six times as many."""
SURE = 1.0
"""Spreads of the cohort that a proposal has to lift, and nats by which an applied preference has to show."""


@dataclass(frozen=True)
class Cost:
    """What a study cost, in tokens: read, or scored, and written."""

    prompt_tokens: int = 0
    completion_tokens: int = 0


class Study:
    """Studies edits. ``proposer`` may ask another model than the one whose answers are to change, which judges."""

    def __init__(
        self, proposer: Proposer, generator: TextGenerator, scorer: Scorer | None, *, system_role: bool
    ) -> None:
        self._proposer = proposer
        self._generator = generator
        self._judges = Judges(generator, scorer, system_role, proposer.prompts.cohort)
        self._system_role = system_role

    async def study(self, edit: Edit, applied: Sequence[Preference]) -> tuple[Findings, Cost]:
        """What ``edit`` teaches, whose draft was made by ``applied``, in that order. Raises what the ports raise."""
        prompts = self._proposer.prompts
        request = last_user_text(edit.turn.request)
        why = screen.nothing(
            request, edit.draft, edit.edited_text, cut=edit.turn.partial or edit.turn.cut, counted=prompts.counted
        )
        if why is not None:
            return Findings(evidence=_left(applied) if why in screen.ACCEPTED else {}, reason=why), Cost()
        spoken = language(edit.edited_text if len(edit.edited_text) > 40 else f"{request}\n{edit.edited_text}")
        counted = observations(edit.draft, edit.edited_text, spoken) if prompts.counted else []
        detail = prompts.counted and sum(changed(edit.draft, edit.edited_text)) <= DETAIL
        if detail and not counted:
            return Findings(evidence=_left(applied), reason=screen.DETAIL), Cost()
        findings = _of_counts(counted, applied, spoken)
        if detail or (prompts.counted and len(counted) >= prompts.enough and not _unread(applied)):
            return findings, Cost()
        return await self._ask(edit, request, applied, findings, ask=len(counted) < max(prompts.enough, 1))

    async def _ask(
        self, edit: Edit, request: str, applied: Sequence[Preference], findings: Findings, *, ask: bool
    ) -> tuple[Findings, Cost]:
        """The findings with what a model proposes, and what it judges of the applied ones that cannot be counted."""
        prompts = self._proposer.prompts
        candidates = list(findings.candidates)
        proposed: list[str] = []
        tokens = written = 0
        if ask:
            differing = hunks(edit.draft, edit.edited_text, code=is_code(edit.edited_text))
            limit = PROPOSED if prompts.filtered else 4 * PROPOSED
            asked = await self._proposer.propose(request, edit.draft, edit.edited_text, differing, limit=limit)
            if applied and not prompts.filtered:
                asked += await self._beside_plain(edit, request, limit)
            tokens, written = asked.prompt_tokens, asked.completion_tokens
            candidates += [Candidate(text, "refused", why) for text, why in asked.dropped.items()]
            for text in asked.texts:
                if other := self._said(text, [*(f.text for f in findings.new), *proposed, *(p.text for p in applied)]):
                    if canonical(other) != canonical(text):
                        candidates.append(Candidate(text, "refused", f"“{other}” says the same"))
                else:
                    proposed.append(text)
        (accepted, evidences, judged), scored = await self._judges.ask(
            edit, lambda judge: self._verdicts(judge, applied, findings, proposed)
        )
        candidates += judged
        new = [*findings.new, *accepted]
        reason = None if new else findings.reason or _nothing(candidates)
        return Findings(new, {**findings.evidence, **evidences}, candidates, reason), Cost(tokens + scored, written)

    async def _beside_plain(self, edit: Edit, request: str, limit: int) -> Proposals:
        """What is proposed beside an answer without preferences: there the edit shows all that the user prefers."""
        turn = edit.turn
        prompt = compose(turn.request, turn.applied_values, system_role=self._system_role)
        plain = await self._generator.generate(prompt, max_tokens=room_for(edit.edited_text))
        proposed = await self._proposer.propose(request, plain.text, edit.edited_text, (), limit=limit)
        return proposed + Proposals([], {}, plain.prompt_tokens, plain.completion_tokens)

    async def _verdicts(
        self, judge: Judge, applied: Sequence[Preference], findings: Findings, proposed: list[str]
    ) -> tuple[list[Finding], dict[str, float], list[Candidate]]:
        """What of ``proposed`` the edit bears out, and what it says of those applied that cannot be counted."""
        # What adds nothing to what is known, or was counted, is another name for it.
        beside = [*(p.text for p in applied), *(finding.text for finding in findings.new)]
        lifts = await judge.lifts(proposed, beside) if proposed else []
        accepted: list[Finding] = []
        candidates: list[Candidate] = []
        for text, lift in zip(proposed, lifts, strict=True):
            if refused := _refused(lift):
                candidates.append(Candidate(text, "refused", refused, round(lift.nats, 2)))
            else:
                accepted.append(Finding(text, evidence.of_lift(lift.z)))
                candidates.append(Candidate(text, "learned", "it makes the edit likelier", round(lift.nats, 2)))
        filtered = self._proposer.prompts.filtered
        open_ones = [p for p in applied if not filtered or (p.id not in findings.evidence and not _fixed(p))]
        open_ones = [p for p in open_ones if not _fixed(p)][-(JUDGED if filtered else 6 * JUDGED) :]
        evidences: dict[str, float] = {p.id: evidence.ACCEPTED for p in applied if _fixed(p)}
        wanted = [*beside, *(finding.text for finding in accepted)]
        for preference, support in await _supports(judge, wanted, open_ones):
            if abs(support) >= SURE:
                evidences[preference.id] = evidence.of_lift(support)
                verdict: Verdict = "confirmed" if support > 0 else "contradicted"
                why = f"the edit is likelier {'with' if support > 0 else 'without'} it"
                candidates.append(Candidate(preference.text, verdict, why, round(support, 2)))
        return accepted, evidences, candidates

    def _said(self, text: str, others: Sequence[str]) -> str | None:
        """Which of ``others`` says the same."""
        if self._proposer.prompts.filtered:
            return first_same(text, others)
        return next((other for other in others if canonical(other) == canonical(text)), None)


async def _supports(
    judge: Judge, wanted: Sequence[str], applied: Sequence[Preference]
) -> list[tuple[Preference, float]]:
    """What the edit says of each of ``applied``, which are of ``wanted``: the worst first, then without it of the rest.

    Two that contradict each other make both look wrong.
    """
    found: list[tuple[Preference, float]] = []
    left, texts = list(applied), list(wanted)
    while left:
        supports = await judge.supports(texts, [p.text for p in left])
        worst = min(range(len(left)), key=lambda at: supports[at])
        if supports[worst] > -SURE:
            return [*found, *zip(left, supports, strict=True)]
        preference = left.pop(worst)
        found.append((preference, supports[worst]))
        texts.remove(preference.text)
    return found


def _of_counts(counted: Sequence[Observation], applied: Sequence[Preference], spoken: str) -> Findings:
    """What counts alone say: of new wishes, and of those applied ones that say a common wish."""
    new, said, candidates = [], dict[str, float](), []
    known = {p.id: wish for p in applied if (wish := wish_of(p.text))}
    by_text = {canonical(p.text): p for p in applied}
    for one in counted:
        text = text_of(one, spoken)
        shown = f"counted: {one.before} → {one.after}"
        if (same := by_text.get(canonical(text))) is not None:
            said[same.id] = evidence.COUNTED
            candidates.append(Candidate(same.text, "confirmed", shown))
        else:
            new.append(Finding(text, evidence.COUNTED))
            candidates.append(Candidate(text, "learned", shown))
        for p in applied:
            if p is not same and p.id in known and not _fixed(p) and exclude(known[p.id], one.wish):
                said[p.id] = -evidence.COUNTED
                candidates.append(Candidate(p.text, "contradicted", f"the edit shows “{text}”"))
    for id in known:
        said.setdefault(id, evidence.ACCEPTED)
    return Findings(new, said, candidates)


def _unread(applied: Sequence[Preference]) -> bool:
    """Whether there are applied preferences of which counts say nothing, and which an edit may speak against."""
    return any(not _fixed(p) and wish_of(p.text) is None for p in applied)


def _left(applied: Sequence[Preference]) -> dict[str, float]:
    """What a draft says that was left as it was: a little for each preference that it was written by."""
    return {p.id: evidence.ACCEPTED for p in applied}


def _fixed(preference: Preference) -> bool:
    return preference.locked or preference.source == "stated"


def _refused(lift: Lift) -> str | None:
    if lift.edited <= 0:
        return "it makes the edit no likelier"
    if lift.z < SURE:
        return "it makes the edit hardly likelier than unrelated wishes do"
    return None


def _nothing(candidates: Sequence[Candidate]) -> str:
    if not candidates:
        return "the edit shows no general preference"
    return "nothing that the edit may show was borne out; the candidates say why"
