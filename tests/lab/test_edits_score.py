"""Figures count what they say, beside who learns the same of every edit; and the command says what is wrong."""

import json
from pathlib import Path
from typing import Any

import pytest
from rich.console import Console
from typer.testing import CliRunner

from lab.cli import app
from lab.edits import report
from lab.edits.cases import DEV, TEST, Case, load
from lab.edits.score import CONSTANT_LIST, Outcome, as_if_learned, matches_elsewhere, outcome, summary
from lab.report import show, write
from lab.work import Work


def case(id: str, *expect: str) -> Case:
    return Case(id=id, request="Write.", draft="x", edited="y", expect=expect, same="Again.", other="Why?")


BRIEF, BULLETS, NOTHING = case("brief", "brief", "mara"), case("bullets", "bullet"), case("nothing")


def lesson(*texts: str, status: str = "learned", **more: Any) -> dict[str, Any]:
    learned = [{"id": f"pref-{n}", "text": text} for n, text in enumerate(texts)]
    return {"status": status, "learned": learned, "reason": None, "seconds": 2.0, "tokens": [100, 10], **more}


def got(*recalled: tuple[str, str], other: tuple[tuple[str, str], ...] | None = None, **successors: str) -> Any:
    same = [{"id": id, "text": text} for id, text in recalled]
    more = None if other is None else [{"id": id, "text": text} for id, text in other]
    return {"same": same, "other": more, "successors": {id.replace("_", "-"): to for id, to in successors.items()}}


def test_texts_are_right_where_they_match_and_expectations_found_once() -> None:
    made = outcome(BRIEF, lesson("Be brief.", "Brief it is.", "Be kind."), got())
    assert (made.found, made.right, made.met) == (1, 2, [{0}, {0}, set()])
    assert made.same_recalled is False


@pytest.mark.parametrize(
    ("asked", "same", "other"),
    [
        (got(("pref-0", "Be brief."), other=()), True, False),
        (got(("pref-9", "Be brief."), other=(("pref-1", "Be kind."),)), True, True),  # by its text
        (got(("pref-0", "Be short, that is brief.")), True, None),  # reworded
        (got(("pref-1", "Be kind.")), False, None),  # came, but is not right
        (got(("pref-7", "Be as brief as can be."), pref_0="pref-7", pref_1="pref-1"), True, None),
        (got(("pref-7", "Be brief and kind."), other=(("pref-8", "Be kind."),)), False, True),  # somebody else's
    ],
)
def test_what_was_learned_comes_by_its_id_its_text_or_its_successor(asked: Any, same: bool, other: bool | None) -> None:
    made = outcome(BRIEF, lesson("Be brief.", "Be kind."), asked)
    assert (made.same_recalled, made.other_recalled) == (same, other)


def test_what_is_not_right_need_not_come() -> None:
    made = outcome(BRIEF, lesson("Be kind."), got(("pref-0", "Be kind."), other=(("pref-0", "Be kind."),)))
    assert (made.same_recalled, made.other_recalled) == (None, True)


def test_a_summary_counts() -> None:
    failed = outcome(case("late"), lesson(status="failed"), {"same": None, "other": None, "successors": {}})
    told = summary(
        [
            outcome(BRIEF, lesson("Be brief.", "Be kind."), got(("pref-0", "Be brief."), other=())),
            outcome(BULLETS, lesson(status="nothing_learned", tokens=[50, 0], seconds=1.0), got()),
            outcome(NOTHING, lesson("Use bullets."), got(other=(("pref-0", "Use bullets."),))),
            outcome(case("none"), lesson(status="nothing_learned", seconds=None, tokens=None), got()),
            failed,
        ]
    )
    counts = {
        "expected": 3, "found": 1, "learned": 3, "right": 1, "nothing_expected": 3, "nothing_learned": 1, "same": 1,
        "same_recalled": 1, "other": 2, "other_recalled": 1, "failed": 1,
    }  # fmt: skip
    assert {name: told[name] for name in counts} == counts
    assert told["shares"]["found"] == 0.3333
    assert told["false_learning"] == 0.3333
    assert told["seconds_per_edit"] == 1.75
    assert told["learner_tokens_per_edit"] == {"prompt": 87.5, "completion": 7.5}
    assert told["intervals"]["same_recalled"] == [1, 1]
    assert told["intervals"]["found"][0] == 0
    assert 0.3333 <= told["intervals"]["found"][1] <= 0.5


def test_intervals_narrow_with_the_number_of_cases() -> None:
    def width(times: int) -> float:
        made = [Outcome(BRIEF, ("Be brief.",)), Outcome(BULLETS, ()), Outcome(BULLETS, ("Use bullets.",))]
        low, high = summary(made * times)["intervals"]["found"]
        return float(high - low)

    assert 0 < width(40) < width(4) < 1


def test_nothing_learned_has_no_shares_of_what_was_learned() -> None:
    told = summary([Outcome(BRIEF, ())])
    assert (told["shares"]["right"], told["intervals"]["right"], told["matches_elsewhere"]) == (None, None, None)
    assert told["learner_tokens_per_edit"] == {"prompt": None, "completion": None}
    assert (told["seconds_per_edit"], told["false_learning"]) == (None, None)


def test_texts_that_fit_elsewhere_are_counted_over_all_other_cases() -> None:
    made = [
        Outcome(BRIEF, ("Brief bullets.", "Be brief.")),
        Outcome(BULLETS, ()),
        Outcome(NOTHING, ("Brief bullets.",)),
    ]
    assert matches_elsewhere(made) == 0.75  # of four pairs, "Be brief." and the bullets do not fit


def test_the_constant_list_finds_much_and_is_rarely_right() -> None:
    """Whoever says the same of every edit learns from all that teach nothing, and is no more right here than there."""
    cases = load(DEV) + load(TEST)
    told = as_if_learned(cases, lambda case: CONSTANT_LIST)
    assert told["learned"] == 4 * len(cases)
    assert told["false_learning"] == 1
    assert 0.2 < told["shares"]["found"] < 0.55
    assert told["shares"]["right"] < 0.3
    reference = as_if_learned(cases, lambda case: case.wishes)
    assert (reference["shares"]["found"], reference["shares"]["right"], reference["false_learning"]) == (1, 1, 0)
    assert reference["matches_elsewhere"] < told["matches_elsewhere"]


def test_a_result_has_every_case_and_can_be_shown(tmp_path: Path) -> None:
    work, cases = Work(tmp_path / "work"), [BRIEF, NOTHING]
    candidates = [{"text": "Be kind.", "refused": "no evidence"}]
    work.add("edit", "own", "brief", **lesson("Be brief.", "Be kind.", candidates=candidates, shown=[]))
    work.add("asked", "own", "brief", **got(("pref-0", "Be brief."), other=(("pref-1", "Be kind."),)))
    work.add("edit", "own", "nothing", status="refused", reason="the prompt is too long", learned=[])
    work.add("asked", "own", "nothing", same=None, other=None, successors={})
    told = report.result(work, ["own"], cases, {"file": "f", "model": "m"})
    first, second = told["modes"]["own"]["per_case"]
    assert (first["missed"], first["candidates"], first["other_got"]) == (["mara"], candidates, ["Be kind."])
    assert [(at["text"], at["right"]) for at in first["learned"]] == [("Be brief.", True), ("Be kind.", False)]
    assert second["status"] == "refused"
    named = ("expected", "found", "learned", "right", "nothing_expected", "nothing_learned", "same", "same_recalled")
    assert {name: told[name] for name in named} == {name: told["modes"]["own"][name] for name in named}
    assert {"other", "other_recalled", "seconds_per_edit", "learner_tokens_per_edit"} <= set(told)
    assert "reference" not in told  # no reference wordings in these
    write(told, tmp_path / "new" / "told.json")
    assert json.loads((tmp_path / "new" / "told.json").read_text())["constant_list"]["learned"] == 8
    functional = {"functional_found": 1, "functional_possible": 2, "other_asked": 3, "other_changed": 0, "checks": []}
    console = Console(record=True, width=160)
    show(report.report({**told, "functional": functional}), console)
    shown = console.export_text()
    assert "+ Be brief." in shown
    assert "- Be kind." in shown
    assert "refused: the prompt is too long" in shown
    assert "0.50 [0.50, 0.50] 1/2" in shown
    assert "Functional match: 1 of 2" in shown


def run(*arguments: str) -> str:
    ended = CliRunner().invoke(app, ["edits", *arguments])
    assert ended.exit_code == 1
    return " ".join(ended.stderr.split())


def test_bad_input_is_told_in_a_sentence(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("ATTUNE_ENGINE_URL", raising=False)
    out = ("--out", str(tmp_path / "out"))
    assert "nowhere.jsonl cannot be read: No such file" in run(str(tmp_path / "nowhere.jsonl"), *out)
    (bad := tmp_path / "bad.jsonl").write_text('{"id": "a"\n')
    assert "bad.jsonl, line 1 is no JSON" in run(str(bad), *out)
    bad.write_text(json.dumps({"id": "a", "request": "W", "draft": "x", "edited": "y", "expect": ["["]}))
    assert "line 1: expect: '[' is no regular expression" in run(str(bad), *out)
    assert "needs --as own or both" in run("--functional", "--as", "one", *out)
    assert not (tmp_path / "out").exists()
    assert "does not exist" in run("--limit", "1", "--model", str(tmp_path / "nowhere"), *out)
    assert "No engine answers at http://127.0.0.1:9" in run("--limit", "1", "--engine-url", "http://127.0.0.1:9", *out)
    assert "leave out --resume" in run("--limit", "1", "--engine-url", "http://127.0.0.1:8", "--resume", *out)


def test_a_new_run_deletes_nothing_but_its_own(tmp_path: Path) -> None:
    (kept := tmp_path / "server" / "app.py").parent.mkdir()
    kept.write_text("1")
    (tmp_path / "edits-server").mkdir()
    (gone := tmp_path / "edits-server" / "attune.db").write_text("2")
    run("--limit", "1", "--engine-url", "http://127.0.0.1:9", "--out", str(tmp_path))
    assert kept.read_text() == "1"
    assert not gone.exists()
