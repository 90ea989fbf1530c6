"""The study of one edit: what is counted asks no model, what is asked is judged, as is what was applied."""

from dataclasses import replace
from typing import Any

import pytest

from preference import evidence
from preference.feedback.edit_rows import Edit
from preference.learning import screen
from preference.learning.common_wishes import texts
from preference.learning.findings import Findings
from preference.learning.prompt_file import PromptFile
from preference.learning.proposer import Proposer
from preference.learning.study import Cost, Study
from preference.preferences import Preference
from store.errors import EngineUnavailable
from tests.preference.helpers import turn
from tests.preference.learning.scripted import Scales, Writer

PROMPTS = PromptFile.load()
ASKED = "Write to the tenants that the heating is repaired on Monday and the water is off until noon."
DRAFT = (
    "The heating in the cellar is repaired on Monday. The water is off until noon on that day. "
    "We kindly ask all of you to fill a bucket in the evening before, and to close the windows."
)
BULLETS = "- Heating repaired on Monday\n- Water off until noon\n- Fill a bucket before\n- Close the windows"
REWORDED = (
    "The heating in the cellar is being repaired on Monday. The water stays off until noon that day. "
    "Would everybody please fill some bucket on the evening before, and keep the windows closed?"
)


def text(wish: str) -> str:
    return texts()[wish]["en"]


def known(text: str, **more: Any) -> Preference:
    held = Preference(f"pref-{text}", text, "learned", "active", None, False, 1.0, 1.0)
    return replace(held, **more)


def edit(edited: str, draft: str = DRAFT, **more: Any) -> Edit:
    said = replace(turn("c", 1.0, draft), request=[{"role": "user", "content": ASKED}], applied_values=[], **more)
    return Edit("fb", said, draft, edited, 0.5, 2.0)


async def study(
    made: Edit, applied: list[Preference], writer: Writer, scales: Scales | None = None
) -> tuple[Findings, Cost]:
    return await Study(Proposer(writer, PROMPTS, system_role=True), writer, scales, system_role=True).study(
        made, applied
    )


def verdicts(findings: Findings) -> dict[str, str]:
    return {candidate.text: candidate.verdict for candidate in findings.candidates}


async def test_enough_that_is_counted_asks_no_model() -> None:
    writer, scales = Writer(), Scales({})
    findings, cost = await study(edit(BULLETS), [], writer, scales)
    assert text("bullets") in [finding.text for finding in findings.new]
    assert len(findings.new) >= PROMPTS.enough
    assert {finding.weight for finding in findings.new} == {evidence.COUNTED}
    assert findings.reason is None
    assert (cost, writer.asked, writer.written, scales.asked) == (Cost(), [], [], [])


@pytest.mark.parametrize("change", [("Monday", "Tuesday"), ("cellar", "celllar"), ("noon", "11"), ("windows", "doors")])
async def test_a_detail_asks_no_model_and_leaves_what_was_applied_standing(change: tuple[str, str]) -> None:
    writer, applied = Writer("- Be brief."), known("Be warm.")
    findings, cost = await study(edit(DRAFT.replace(*change)), [applied], writer, Scales({}))
    assert (findings.reason, findings.new, findings.evidence) == (screen.DETAIL, [], {applied.id: evidence.ACCEPTED})
    assert (cost, writer.asked) == (Cost(), [])


async def test_a_detail_of_style_is_counted_and_asks_no_model() -> None:
    writer = Writer("- Be brief.")
    findings, _ = await study(edit(DRAFT, DRAFT.replace("Monday.", "Monday!")), [], writer, Scales({}))
    assert [finding.text for finding in findings.new] == [text("no-exclamation")]
    assert writer.asked == []


async def test_an_accepted_draft_speaks_a_little_for_what_made_it_and_another_text_does_not() -> None:
    applied = known("Be warm.")
    findings, _ = await study(edit(DRAFT), [applied], Writer())
    assert (findings.reason, findings.evidence) == (screen.SAME, {applied.id: evidence.ACCEPTED})
    findings, _ = await study(edit("ok"), [applied], Writer())
    assert (findings.reason, findings.evidence) == (screen.STRANGE, {})


@pytest.mark.parametrize("bound", ["cut", "partial"])
async def test_a_draft_that_was_cut_short_and_is_completed_teaches_nothing(bound: str) -> None:
    findings, _ = await study(edit(DRAFT, DRAFT[:120], **{bound: True}), [], Writer("- Be brief."), Scales({}))
    assert (findings.reason, findings.new) == (screen.CUT, [])


async def test_what_a_model_proposes_is_learned_where_it_lifts_the_edit() -> None:
    writer = Writer("- Be inviting.\n- Be idle.\n- The user changed it.")
    scales = Scales({"Be inviting.": {"Would": 2.5, "everybody": 2.5}})
    findings, cost = await study(edit(REWORDED), [], writer, scales)
    assert [finding.text for finding in findings.new if finding.weight != evidence.COUNTED] == ["Be inviting."]
    told = verdicts(findings)
    assert told["Be inviting."] == "learned"
    assert told["Be idle."] == told["The user changed it."] == "refused"
    reasons = {candidate.text: candidate.reason for candidate in findings.candidates}
    assert reasons["Be idle."] == "it makes the edit no likelier"
    assert cost.prompt_tokens > 30
    assert cost.completion_tokens == 3


async def test_what_only_makes_the_draft_less_likely_is_refused() -> None:
    writer, scales = Writer("- Be odd."), Scales({"Be odd.": {"repaired": -2.0, "kindly": -2.0, "ask": -2.0}})
    findings, _ = await study(edit(REWORDED), [], writer, scales)
    assert "Be odd." not in [finding.text for finding in findings.new]
    assert verdicts(findings)["Be odd."] == "refused"


async def test_a_proposal_in_other_words_is_refused_by_name() -> None:
    writer, applied = Writer("- Never use jokes."), known("Do not use jokes.")
    findings, _ = await study(edit(REWORDED), [applied], writer, Scales({}))
    (told,) = [candidate for candidate in findings.candidates if candidate.text == "Never use jokes."]
    assert (told.verdict, told.reason) == ("refused", "“Do not use jokes.” says the same")


async def test_a_common_wish_that_was_applied_is_contradicted_by_its_slot_and_confirmed_by_its_text() -> None:
    prose, brief, emoji = known(text("no-bullets")), known(text("bullets")), known(text("emoji"))
    findings, _ = await study(edit(BULLETS), [prose, brief, emoji], Writer(), Scales({}))
    assert findings.evidence[prose.id] == -evidence.COUNTED
    assert findings.evidence[brief.id] == evidence.COUNTED
    assert findings.evidence[emoji.id] == evidence.ACCEPTED
    assert text("bullets") not in [finding.text for finding in findings.new], "it is known"
    assert verdicts(findings)[prose.text] == "contradicted"
    assert verdicts(findings)[brief.text] == "confirmed"


async def test_of_two_greetings_the_one_that_the_edit_has_speaks_against_the_other() -> None:
    dear, hi = known("Greet with “Dear”."), known("Greet with “Hi”.")
    findings, _ = await study(
        edit(f"Dear Sam,\n\n{DRAFT}", f"Hi Sam,\n\n{DRAFT}"), [dear, hi], Writer(), Scales({})
    )  # fmt: skip
    assert findings.evidence[dear.id] == evidence.COUNTED
    assert findings.evidence[hi.id] == -evidence.COUNTED


@pytest.mark.parametrize("fixed", [{"locked": True}, {"source": "stated"}])
async def test_what_the_user_locked_or_said_is_never_contradicted(fixed: dict[str, Any]) -> None:
    counted, judged = known(text("no-bullets"), **fixed), known("Be warm.", **fixed)
    words = dict.fromkeys(BULLETS.split(), -3.0)
    findings, _ = await study(edit(BULLETS), [counted, judged], Writer(), Scales({"Be warm.": words}))
    assert findings.evidence[counted.id] >= 0
    assert findings.evidence.get(judged.id, 0) >= 0
    assert "contradicted" not in verdicts(findings).values()


async def test_what_was_applied_and_cannot_be_counted_is_judged() -> None:
    good, bad, idle = known("Be good."), known("Be bad."), known("Be idle.")
    scales = Scales({"Be good.": {"Would": 3.0}, "Be bad.": {"Would": -3.0}})
    findings, _ = await study(edit(REWORDED), [good, bad, idle], Writer(), scales)
    assert findings.evidence[good.id] > 0 > findings.evidence[bad.id]
    assert idle.id not in findings.evidence
    assert verdicts(findings)[good.text] == "confirmed"
    assert verdicts(findings)[bad.text] == "contradicted"


async def test_where_nothing_is_found_the_reason_says_so() -> None:
    findings, _ = await study(edit(REWORDED), [], Writer("none"), Scales({}))
    assert (findings.new, findings.reason) == ([], "the edit shows no general preference")
    findings, _ = await study(edit(REWORDED), [], Writer("- Be idle."), Scales({}))
    assert (findings.new, findings.reason) == (
        [],
        "nothing that the edit may show was borne out; the candidates say why",
    )


@pytest.mark.parametrize("scales", [None, Scales({}, away=True)])
async def test_an_engine_that_scores_nothing_writes(scales: Scales | None) -> None:
    writer = Writer("- Be like this.", lambda prompt: REWORDED if "- Be like this." in prompt else DRAFT)
    findings, cost = await study(edit(REWORDED), [], writer, scales)
    assert "Be like this." in [finding.text for finding in findings.new]
    assert len(writer.written) == 2
    assert cost.prompt_tokens == 30 + 2 * 22


async def test_an_engine_that_is_away_is_no_lesson() -> None:
    class Away(Scales):
        async def score(self, *_: object, **__: object) -> Any:
            raise EngineUnavailable("The engine is loading or restarting; try again shortly.")

    with pytest.raises(EngineUnavailable):
        await study(edit(REWORDED), [], Writer("- Be like this."), Away({}))
