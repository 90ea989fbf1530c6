import random
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from typer.testing import CliRunner

from lab.cli import app
from lab.everyday import report
from lab.everyday.environment import EverydayEnvironment, requests
from lab.everyday.wishes import BY_NAME, KINDS, WISHES, About, Wanted, mend
from lab.prelude import plots
from lab.prelude.asking import general
from lab.prelude.log import Line
from lab.prelude.ports import Expense
from lab.report import markdown
from preference.distance import word_distance

ABOUT = About("Anna", "printer back", "Mara")
DRAFT = """Dear Anna,

I hope this email finds you well. I wanted to let you know that I will bring the color printer on March 14 at 3 pm! It \
is repaired. Please do not hesitate to call. 😀

Best regards,
[Your Name]"""


def granted(name: str, text: str, value: Any = "") -> str:
    return BY_NAME[name].grant(text, value, ABOUT)


@pytest.mark.parametrize(
    ("name", "value", "text", "wanted"),
    [
        ("greeting", "Hi", "Dear Anna,\n\nIt is done.", "Hi Anna,\n\nIt is done."),
        ("greeting", "Hello", "It is done.", "Hello Anna,\n\nIt is done."),
        ("sign-off", "Cheers", "It is done.\n\nBest regards,\n[Your Name]", "It is done.\n\nCheers,\nMara"),
        ("sign-off", "Cheers", "It is done.", "It is done.\n\nCheers,\nMara"),
        ("at-most", 2, "Hi Anna,\n\nOne. Two! Three.\n\nBest,\nMara", "Hi Anna,\n\nOne. Two!\n\nBest,\nMara"),
        ("bullets", "", "One thing. Another one.", "- One thing.\n- Another one."),
        ("bullets", "", "1. One\n2. Two", "- One\n- Two"),
        ("in-short", "", "It rains.", "In short: It rains."),
        ("title", "", "It rains.", "PRINTER BACK\nIt rains."),
        ("last-line", "oldtown", "Come! #fun #us", "Come!\n#oldtown"),
        ("no-filler", "", "Certainly! I hope you are well. It rains.", "It rains."),
        ("verb-first", "", "# This function returns the mean.", "# Returns the mean."),
        ("hashes", "", "// Sum\n// of all", "# Sum\n# of all"),
        ("no-markup", "", "## News\n**Big** sale", "News\nBig sale"),
        ("no-exclamation", "", "Come!! Now!", "Come. Now."),
        ("no-emoji", "", "Come 🎉🎉 to room 3 #1", "Come to room 3 #1"),
        ("british", "", "Color the Theater gray.", "Colour the Theatre grey."),
        ("numerals", "", "Two of twelve, and one.", "2 of 12, and one."),
        ("contractions", "", "I am here and do not go.", "I'm here and don't go."),
        ("day-first", "", "On March 14th, and May 3.", "On 14 March, and 3 May."),
        ("whole-day", "", "At 3 pm. Or 7:30 p.m., or 12 am", "At 15:00. Or 19:30, or 00:00"),
    ],
)
def test_each_wish_is_granted_by_a_small_edit_and_then_left_alone(
    name: str, value: Any, text: str, wanted: str
) -> None:
    assert granted(name, text, value) == wanted
    assert granted(name, wanted, value) == wanted


def test_every_wish_has_several_wordings_and_is_of_some_kind() -> None:
    assert all(len(set(wish.phrasings)) >= 2 and set(wish.kinds) <= set(KINDS) for wish in WISHES)
    assert {wish.name for wish in WISHES if wish.test_only} == {
        "contractions", "day-first", "whole-day", "title", "last-line",
    }  # fmt: skip
    assert {one.kind for one in requests()} == set(KINDS)


_text = st.lists(
    st.sampled_from(
        [*DRAFT.split(), "\n", "\n\n", "- a", "1. b", "**c**", "# d", "#e", "!", "two", "I am", "HELLO", "In short: f."]
    ),
    min_size=1,
    max_size=40,
).map(" ".join)


@settings(max_examples=60, deadline=None)
@given(_text, st.integers(1, 200))
async def test_an_edit_grants_all_wishes_and_the_edited_text_is_accepted(text: str, seed: int) -> None:
    played = EverydayEnvironment(seed=seed, rounds=5, families=random.Random(seed).choice(("dev", "all")))
    for round in played.rounds:
        edited = await played.edit(round, text)
        assert not any(played.broken(round, edited).values())
        assert await played.edit(round, edited) == edited
        assert (edited == text) is (not any(played.broken(round, text).values()))


async def test_only_what_breaks_a_wish_is_edited() -> None:
    wanted = [Wanted(BY_NAME[name], value, "") for name, value in (("greeting", "Hi"), ("no-exclamation", ""))]
    edited = mend(DRAFT, wanted, ABOUT)
    assert word_distance(DRAFT, edited) == 2
    assert edited == DRAFT.replace("Dear", "Hi").replace("!", ".")


def test_users_differ_and_families_for_testing_stay_out_of_development() -> None:
    def wants(families: str) -> list[set[str]]:
        played = [EverydayEnvironment(seed=seed, rounds=5, families=families) for seed in range(12)]
        return [{name for r in p.rounds for name in p.broken(r, DRAFT)} for p in played]

    assert len({frozenset(one) for one in wants("all")}) > 6
    assert all(not BY_NAME[name].test_only for one in wants("dev") for name in one)
    assert all(any(BY_NAME[name].test_only for name in one) for one in wants("all"))
    assert EverydayEnvironment(seed=3, rounds=20).rounds == EverydayEnvironment(seed=3, rounds=20).rounds


def test_a_model_without_a_system_role_is_asked_without_one() -> None:
    asked = [general(system_role).study("Write.", "A draft.", "A text.") for system_role in (True, False)]
    assert [any(message["role"] == "system" for message in prompt) for prompt in asked] == [True, False]
    assert "habits of writing" in asked[1][0]["content"]


def lines(arm: str, costs: Sequence[int], seed: int, **more: Any) -> list[Line]:
    return [
        Line(
            environment="everyday", variant="plain", arm=arm, seed=seed, rounds=4, number=number,
            kind=KINDS[number % 2], careless=False, cost=cost,
            words=40, wants=["Be."], preferences=[], zero=cost == 0, answer_seconds=1.0,
            learn_seconds=2.0,
            expense=Expense(100, 40, 10, 5), broken={"title": cost > 0, "british": False}, **more,
        )
        for number, cost in enumerate(costs)
    ]  # fmt: skip


def test_the_report_has_goals_in_both_halves_and_intervals_over_users(tmp_path: Path) -> None:
    log = [
        *lines("attune", [8, 8, 2, 0], 1), *lines("attune", [6, 8, 0, 0], 2),
        *lines("cipher-5", [8, 8, 8, 8], 1), *lines("cipher-5", [8, 8, 8, 8], 2),
        *lines("oracle", [2, 2, 2, 2], 1), *lines("oracle", [2, 2, 2, 2], 2), *lines("none", [9, 9], 1),
    ]  # fmt: skip
    told = report.summarise(log)
    ours = told["arms"]["attune"]
    assert (ours["cost"], ours["halves"], ours["after_first"]) == (4.0, [7.5, 0.5], 0.5)
    assert ours["interval"][0] <= 3.5 <= 4.5 <= ours["interval"][1]
    assert (ours["kept"], ours["kept_test_only"]) == (0.6875, 0.375)
    goals = {goal["what"]: (goal["figure"], goal["met"]) for goal in told["goals"]}
    assert goals["attune / cipher-5, first half"] == (0.9375, True)
    assert goals["attune / oracle, after first encounters"] == (0.25, True)
    assert goals["attune+adapter / attune"] == (None, None)
    assert told["partial"]
    assert "none (unfinished)" in markdown(report.report(told))
    assert plots.write(log, tmp_path / "everyday-cumulative.png")


def test_what_the_everyday_world_has_not_is_refused_before_anything_starts(tmp_path: Path) -> None:
    result = CliRunner().invoke(app, ["bench", "--world", "everyday", "--variant", "drift", "--out", str(tmp_path)])
    assert result.exit_code == 1
    assert "no environments, variants" in " ".join(result.output.split())
