"""The learner's prompt files: what a bad one is told, and what a good one asks."""

from pathlib import Path

import pytest

from preference.learning.difference import Hunk
from preference.learning.prompt_file import HUNKS, REQUEST, TEXT, PromptFile
from store.errors import Invalid

GOOD = 'user = "{request}|{draft}|{edited}|{hunks}"\n'


def made(folder: Path, text: str) -> PromptFile:
    path = folder / "learner.toml"
    path.write_text(text)
    return PromptFile.load(path)


@pytest.mark.parametrize(
    ("text", "told"),
    [
        ("", "user"),
        ("user = 1", "user"),
        ("user = ", "learner.toml"),
        (GOOD + "counts = true", "counts"),
        (GOOD + 'enough = "many"', "enough"),
        (GOOD + '[[example]]\nrequest = "r"\ndraft = "d"\nedited = "e"', "answer"),
    ],
)
def test_a_bad_file_is_refused_by_its_name_and_what_is_wrong(tmp_path: Path, text: str, told: str) -> None:
    with pytest.raises(Invalid, match=told) as raised:
        made(tmp_path, text)
    assert raised.value.param == "ATTUNE_LEARNER_PROMPT"
    assert "learner.toml" in raised.value.message


def test_a_file_that_is_not_there_or_no_text_is_refused(tmp_path: Path) -> None:
    with pytest.raises(Invalid, match="cannot be used"):
        PromptFile.load(tmp_path / "none.toml")
    (tmp_path / "bytes.toml").write_bytes(b"user = '\xff'")
    with pytest.raises(Invalid, match="cannot be used"):
        PromptFile.load(tmp_path / "bytes.toml")


def test_braces_in_a_text_are_no_place(tmp_path: Path) -> None:
    prompts = made(tmp_path, GOOD)
    (asked,) = prompts.messages("{draft}", "{edited} {0} {x", "}{hunks}", (), system_role=True)
    request, draft, edited, _ = asked["content"].split("|")
    for part, other in ((request, "edited"), (draft, "hunks"), (edited, "request")):
        assert other not in part


def test_hunks_are_shown_as_what_became_what(tmp_path: Path) -> None:
    shown = [Hunk("Hi", "Dear"), Hunk("", "Bo"), Hunk("Thanks", "")]
    (asked,) = made(tmp_path, 'user = "{hunks}"').messages("r", "d", "e", shown, system_role=True)
    assert asked["content"] == "Hi → Dear\nadded: Bo\nremoved: Thanks"
    (asked,) = made(tmp_path, 'user = "{hunks}"').messages("r", "d", "e", shown * HUNKS, system_role=True)
    assert len(asked["content"].splitlines()) == HUNKS


def test_long_texts_are_cut_in_the_middle(tmp_path: Path) -> None:
    long = "begins " + "word " * 10_000 + "ends"
    (asked,) = made(tmp_path, GOOD).messages(long, long, long, [Hunk(long, long)], system_role=True)
    assert len(asked["content"]) < REQUEST + 2 * TEXT + 600
    assert asked["content"].count("(… cut …)") == 5
    assert asked["content"].startswith("begins")


def test_without_a_system_role_what_stands_there_begins_the_first_question() -> None:
    prompts = PromptFile.load()
    by_role = prompts.messages("r", "d", "e", (), system_role=True)
    by_none = prompts.messages("r", "d", "e", (), system_role=False)
    assert [m["role"] for m in by_role] == ["system", *["user", "assistant"] * len(prompts.example), "user"]
    assert [m["role"] for m in by_none] == [m["role"] for m in by_role][1:]
    assert by_none[0]["content"] == f"{by_role[0]['content']}\n\n{by_role[1]['content']}"
    assert by_none[1:] == by_role[2:]
