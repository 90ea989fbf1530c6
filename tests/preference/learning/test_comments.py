"""What a comment says of the preferences that its answer was written by, with no engine to ask."""

from dataclasses import replace

import pytest

from preference import evidence
from preference.feedback.edit_rows import Edit
from preference.learning.comments import Commentary
from preference.learning.findings import Findings
from preference.learning.prompt_file import GENERAL, NAME, PromptFile
from preference.preferences import Preference
from server.settings import BUNDLED_MODEL
from tests.preference.helpers import turn
from tests.preference.learning.scripted import Writer
from tests.preference.learning.test_study import known, text

BUNDLED = BUNDLED_MODEL / NAME
DEAR, MORNING, SHORT = (known(one) for one in ("Greet with Dear.", "Greet with Good morning.", "Keep it short."))


async def study(comment: str, *applied: Preference, prompts: PromptFile) -> Findings:
    said = replace(turn("c", 1.0, "A draft."), request=[{"role": "user", "content": "Write to Sam"}])
    writer = Writer()
    commentary = Commentary(writer, writer, None, prompts, system_role=True, proposing_system_role=True)
    edit = Edit("fb", said, "A draft.", "A draft.", 0.0, 2.0, comment)
    findings, _ = await commentary.study(edit, applied, ())
    return findings


@pytest.mark.parametrize("comment", ["Good morning should be the greeting.", "Greet with Good morning. Be brief."])
async def test_of_two_that_exclude_each_other_the_one_that_is_said_holds(comment: str) -> None:
    """Also where it was known and the draft had both of them."""
    prompts = PromptFile.load(BUNDLED)
    findings = await study(comment, DEAR, SHORT, prompts=prompts)
    assert "Greet with Good morning." in [finding.text for finding in findings.new]
    assert findings.evidence == {DEAR.id: -evidence.TENTATIVE, SHORT.id: evidence.ACCEPTED}
    again = await study(comment, DEAR, MORNING, SHORT, prompts=prompts)
    assert "Greet with Good morning." not in [finding.text for finding in again.new]
    assert again.evidence[DEAR.id] == -evidence.TENTATIVE
    assert again.evidence[MORNING.id] == again.evidence[SHORT.id] == evidence.ACCEPTED


async def test_common_wishes_exclude_each_other_for_any_model() -> None:
    short, long = known(text("short")), known(text("long"))
    findings = await study("Shorter, please.", short, long, prompts=PromptFile.load(GENERAL))
    assert (findings.new, findings.evidence) == ([], {short.id: evidence.ACCEPTED, long.id: -evidence.TENTATIVE})
