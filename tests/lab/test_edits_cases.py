"""The cases are what they claim to be, and a file that holds none is refused in a sentence."""

import json
import re
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from statistics import fmean
from typing import Any

import pytest

from lab.edits import rules
from lab.edits.cases import DEV, TEST, BadCases, Case, load, messages

HALVES = {"dev": load(DEV), "test": load(TEST)}
ALL = [case for half in HALVES.values() for case in half]
TEACHING = [case for case in ALL if case.teaches]
ONLY_TESTED = {
    "alphabetical", "currency", "em_dash", "hashtags", "inclusive_language", "links_at_end", "no_apology",
    "quotes_style", "subject_line", "tldr",
}  # fmt: skip


def written(case: Case) -> list[str]:
    """The texts of a case that somebody wrote for it alone."""
    later = [message["content"] for request in (case.same, case.other) for message in messages(request)[-1:]]
    unseen = [request for check in case.check for request in check.unseen]
    return [messages(case.request)[-1]["content"], case.draft, *later, *unseen]


def test_each_half_has_as_many_and_a_third_teaches_nothing() -> None:
    for half in HALVES.values():
        assert len(half) >= 78
        assert 0.28 <= fmean(not case.teaches for case in half) <= 0.38
        languages = Counter(case.language for case in half)
        assert set(languages) == {"en", "de", "fr", "es", "it", "zh"}
        assert 0.5 <= languages["en"] / len(half) <= 0.65
        assert sum(not isinstance(case.request, str) for case in half) >= 2
        assert sum(case.finish_reason == "length" for case in half) >= 1
        assert max(len(messages(case.request)[-1]["content"].split()) for case in half) >= 400


def test_no_case_stands_twice_nor_in_both_halves() -> None:
    assert max(Counter(case.id for case in ALL).values()) == 1
    texts = Counter(text.casefold() for case in ALL for text in written(case))
    assert [text for text, times in texts.items() if times > 1] == []
    dev, test = ({" ".join(text.split()[:6]) for c in half for text in written(c)} for half in HALVES.values())
    assert len(dev & test) < 0.03 * len(test)


def test_some_families_of_wishes_are_for_testing_alone() -> None:
    dev, test = ({name for case in half for name in case.family} for half in HALVES.values())
    assert test - dev >= ONLY_TESTED
    assert len(dev & test) > 25


def test_every_teaching_case_is_whole() -> None:
    for case in TEACHING:
        assert 1 <= len(case.expect) <= 4, case.id
        assert len(case.wishes) == len(case.family) == len(case.expect), case.id
        assert messages(case.same), case.id
        assert messages(case.other), case.id
        assert case.kind, case.id
        assert case.draft != case.edited, case.id
        assert all(len(check.unseen) == 5 for check in case.check), case.id


def test_expectations_match_their_own_wish() -> None:
    missed = [(case.id, wish) for case in TEACHING for n, wish in enumerate(case.wishes) if n not in case.met(wish)]
    assert missed == []


def test_expectations_hardly_match_wishes_of_other_families() -> None:
    """Each of them rarely, all of them together hardly ever."""
    wishes = [(case, name, wish) for case in TEACHING for name, wish in zip(case.family, case.wishes, strict=True)]
    shares = []
    for case in TEACHING:
        for n, family in enumerate(case.family):
            others = [wish for other, name, wish in wishes if other is not case and name != family]
            expected = re.compile(case.expect[n], re.IGNORECASE)
            shares.append(fmean(expected.search(wish) is not None for wish in others))
            assert shares[-1] <= 0.1, (case.id, family)
    assert fmean(shares) <= 0.02


@pytest.mark.parametrize(
    ("family", "opposite"),
    [
        ("no_emoji", "Use emojis."),
        ("emoji", "Use no emojis."),
        ("no_exclamation", "Use exclamation marks."),
        ("formality", "Be informal."),
        ("informality", "Be formal, not casual."),
        ("no_bold", "Put important words in bold."),
        ("no_question_end", "End with a question."),
        ("no_comments", "Comment every line."),
    ],
)
def test_the_opposite_of_a_wish_is_not_the_wish(family: str, opposite: str) -> None:
    at = [(case, n) for case in TEACHING for n, name in enumerate(case.family) if name == family]
    assert at
    assert [case.id for case, n in at if n in case.met(opposite)] == []


def test_each_rule_sees_its_wish_in_the_edit_and_misses_it_in_the_draft() -> None:
    checks = [(case, check) for case in ALL for check in case.check]
    assert len(checks) >= 90
    for case, check in checks:
        rule = rules.of(check.rule)
        assert rule(case.edited) >= 0.8, (case.id, check.rule)
        assert rule(case.draft) < rule(case.edited), (case.id, check.rule)
    assert {check.rule.partition(":")[0] for _, check in checks} == set(rules.names())


def test_facts_and_slips_are_small_changes() -> None:
    """An edit that corrects a fact, a slip or blanks leaves the rest alone, so that nothing else can be learned."""
    for case in ALL:
        if set(case.family) & {"fact", "typo", "whitespace", "bug"}:
            draft, edited = case.draft.split(), case.edited.split()
            changed = sum((Counter(draft) - Counter(edited)).values())
            assert changed <= max(3, 0.2 * len(draft)), case.id


@pytest.fixture
def file(tmp_path: Path) -> Callable[..., Path]:
    def write(*cases: Any) -> Path:
        lines = [case if isinstance(case, str) else json.dumps({**PLAIN, **case}) for case in cases]
        (path := tmp_path / "cases.jsonl").write_text("\n".join(lines) + "\n")
        return path

    return write


PLAIN = {"id": "a", "request": "Write.", "draft": "x", "edited": "y", "expect": ["z"], "same": "Write.", "other": ""}


def test_the_plain_format_and_conversations_are_read(file: Callable[..., Path]) -> None:
    talk = [{"role": "user", "content": "Write."}, {"role": "assistant", "content": "x"}]
    first, second = load(file({"request": [*talk, talk[0]]}, "", {"id": "b", "note": "more than is asked for"}))
    assert messages(first.request) == [*talk, talk[0]]
    assert messages(second.request) == [talk[0]]
    assert (messages(second.other), second.finish_reason) == ([], "stop")


@pytest.mark.parametrize(
    ("lines", "said"),
    [
        ([{}, "{no"], "line 2 is no JSON"),
        (["[]"], "line 1: Input should be"),
        ([{"expect": ["("]}], "line 1: expect: .*no regular expression"),
        ([{"draft": None}], "line 1: draft: "),
        ([{}, {}], "line 2: there is a case 'a' above"),
        ([{"id": "with blanks"}], "line 1: id: "),
        ([{"request": []}], "line 1: .*request is empty"),
        ([{"wishes": ["Be z.", "Be y."]}], "one wording for each of expect"),
        ([{"check": [{"wish": "Be y.", "rule": "table", "unseen": ["Go."]}]}], "which is none of wishes"),
        ([{"wishes": ["z"], "check": [{"wish": "z", "rule": "pretty", "unseen": ["Go."]}]}], "no rule 'pretty'"),
        ([], "has no cases"),
    ],
)
def test_what_is_no_case_is_refused_with_its_line(file: Callable[..., Path], lines: list[Any], said: str) -> None:
    with pytest.raises(BadCases, match=said):
        load(file(*lines))


def test_a_file_that_cannot_be_read_is_refused(tmp_path: Path) -> None:
    with pytest.raises(BadCases, match=r"nowhere\.jsonl cannot be read: No such file"):
        load(tmp_path / "nowhere.jsonl")
    (tmp_path / "latin").write_bytes(b'{"id": "\xe9"}')
    with pytest.raises(BadCases, match="it is not UTF-8"):
        load(tmp_path / "latin")


def test_met_tells_expectations_apart() -> None:
    case = Case.model_validate({**PLAIN, "expect": ["brief|short", "mara"]})
    assert [case.met(text) for text in ("Be SHORT.", "Sign with Mara, be brief.", "Be kind.")] == [{0}, {0, 1}, set()]
