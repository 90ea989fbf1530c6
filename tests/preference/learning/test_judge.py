"""What a wish lifts: on what changed alone, each token clipped, less what unrelated wishes lift."""

import pytest

from preference.learning.judge import CLIP, LikelihoodJudge, WritingJudge, changed_tokens
from store.message import Message
from tests.preference.learning.scripted import Gains, Scales, Writer

ASKED: list[Message] = [{"role": "user", "content": "Write to Sam"}]
DRAFT, EDITED = "hello Sam it is done", "dear Sam it is done"
COHORT = ("Rare one.", "Rare two.", "Rare three.")


def judge(
    gains: Gains, *, cohort: tuple[str, ...] = COHORT, draft: str = DRAFT, edited: str = EDITED
) -> LikelihoodJudge:
    return LikelihoodJudge(Scales(gains), ASKED, (), draft, edited, system_role=True, cohort=cohort)


def test_changed_tokens_are_those_that_differ_and_what_follows_a_gap() -> None:
    assert changed_tokens([1, 2, 3, 4], [1, 3, 4]) == ([1], [1])
    assert changed_tokens([1, 2], [1, 2, 3]) == ([], [2])
    assert changed_tokens([1, 2], [1, 2]) == ([], [])


async def test_only_what_changed_counts() -> None:
    (lift,) = await judge({"Wish.": {"dear": 2.0, "hello": -1.0, "is": 3.0, "done": 3.0}}).lifts(["Wish."])
    assert lift.nats == pytest.approx(3.0)
    assert lift.edited == pytest.approx(2.0)
    assert lift.z == pytest.approx(3.0), "of a cohort without spread"


async def test_each_token_is_clipped() -> None:
    (lift,) = await judge({"Quote dear.": {"dear": 50.0, "hello": -50.0}}).lifts(["Quote dear."])
    assert lift.nats == pytest.approx(2 * CLIP)


async def test_what_unrelated_wishes_lift_is_taken_off() -> None:
    gains = {"Wish.": {"dear": 2.0}, **{text: {"dear": 2.0} for text in COHORT}}
    (lift,) = await judge(gains).lifts(["Wish."])
    assert (lift.nats, lift.z, lift.edited) == pytest.approx((0.0, 0.0, 0.0))


async def test_where_unrelated_wishes_lift_this_and_that_a_lift_says_less() -> None:
    calm = await judge({"Wish.": {"dear": 2.0}}).lifts(["Wish."])
    spread = {text: {"dear": nats} for text, nats in zip(COHORT, (-2.0, 0.0, 2.0), strict=True)}
    wild = await judge({"Wish.": {"dear": 2.0}, **spread}).lifts(["Wish."])
    assert wild[0].nats == pytest.approx(calm[0].nats)
    assert wild[0].z < calm[0].z / 2


async def test_a_deletion_is_judged_by_what_is_gone_and_what_follows() -> None:
    """Nothing was put in; without the token after the gap nothing of the edit would count."""
    gains = {"No greeting.": {"hello": -2.0, "Sam": 1.0}}
    (lift,) = await judge(gains, edited="Sam it is done").lifts(["No greeting."])
    assert lift.nats == pytest.approx(3.0)
    assert lift.edited == pytest.approx(1.0)


async def test_what_is_known_already_lifts_nothing_again() -> None:
    """The scale adds up, as no model does, so that the base shows: the wish beside it is in both prompts."""
    scales = Scales({"Wish.": {"dear": 2.0}, "Known.": {"dear": 2.5}})
    found = LikelihoodJudge(scales, ASKED, (), DRAFT, EDITED, system_role=True, cohort=COHORT)
    (lift,) = await found.lifts(["Wish."], ["Known."])
    assert lift.nats == pytest.approx(2.0)
    assert all("- Known." in prompt for prompt in scales.prompts)


async def test_without_a_cohort_a_wish_counts_that_shows_alone_or_beside_the_others() -> None:
    alone, harmful, idle = await judge(
        {"Alone.": {"dear": 2.0}, "Harmful.": {"dear": -2.0}}, cohort=()
    ).lifts(["Alone.", "Harmful.", "Idle."])  # fmt: skip
    assert alone.nats == pytest.approx(2.0)
    assert harmful.nats == pytest.approx(-2.0)
    assert idle.nats == pytest.approx(0.0)


async def test_supports_say_how_much_less_likely_the_edit_is_without_each() -> None:
    supports = await judge({"For.": {"dear": 2.0, "done": 1.0}, "Against.": {"dear": -9.0}}).supports(
        ["For.", "Against.", "Idle."], ["For.", "Against.", "Idle."]
    )
    assert supports == pytest.approx([3.0, -CLIP, 0.0])


async def test_a_prompt_is_scored_once_and_its_tokens_are_counted() -> None:
    scales = Scales({})
    asked = LikelihoodJudge(scales, ASKED, (), DRAFT, EDITED, system_role=True, cohort=COHORT)
    await asked.lifts(["One.", "Two."])
    assert scales.asked == [2 * (1 + 2 + len(COHORT))]
    assert asked.tokens == scales.asked[0] * 6
    await asked.lifts(["One."])
    await asked.supports(["One."], [])
    assert sum(scales.asked) == 2 * (1 + 2 + len(COHORT)), "everything was known"


async def test_an_engine_that_scores_nothing_writes() -> None:
    def writes(prompt: str) -> str:
        return EDITED if "- Wish." in prompt else "hello Sam it is over" if "- Worse." in prompt else DRAFT

    writer = Writer(writes=writes)
    writing = WritingJudge(writer, ASKED, (), EDITED, system_role=True)
    wish, worse, idle = await writing.lifts(["Wish.", "Worse.", "Idle."])
    assert wish.edited > 0 > worse.edited
    assert idle.nats == 0
    assert len(writer.written) == 4
    assert writing.tokens == 4 * 22
    assert await writing.supports(["Wish."], ["Wish."]) == [wish.nats]
    assert len(writer.written) == 4, "an answer is written once"
