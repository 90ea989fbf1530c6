"""The report's arithmetic on hand-made rounds, and that a reader gets tables and plots of them."""

import io
import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from rich.console import Console

from lab.prelude import plots, report
from lab.prelude.figures import chains, changed_kind, curve, first_encounters, recovery
from lab.prelude.log import Line, add, read
from lab.prelude.ports import Expense
from lab.provenance import about
from lab.report import about_line, markdown, put, show, write
from lab.work import Work
from preference.ports import Vectors


def line(number: int, cost: int, **more: Any) -> Line:
    """Round ``number`` of a chain of 4 that costs ``cost``; kinds take turns."""
    kind = more.get("kind", "ab"[number % 2])
    made: dict[str, Any] = {
        "environment": "email", "variant": "plain", "arm": "attune", "seed": 0, "rounds": 4, "number": number,
        "kind": kind, "careless": False, "cost": cost, "words": 30, "wants": [f"Write {kind}."], "preferences": [],
        "zero": cost == 0, "answer_seconds": 0.5, "learn_seconds": 1.5,
        "expense": Expense(100 * (number + 1), 10 * (number + 1), 1000 * (number + 1), number + 1),
        "lesson": {"n": number},
    }  # fmt: skip
    return Line(**{**made, **more})


def chain(costs: Sequence[int], **more: Any) -> list[Line]:
    """Rounds that cost ``costs``, of a chain that has as many."""
    return [line(n, cost, **{"rounds": len(costs), **more}) for n, cost in enumerate(costs)]


def arm(lines: Sequence[Line], part: str = "environments", name: str = "attune") -> dict[str, Any]:
    found: dict[str, Any] = report.summarise(lines)[part]["email"]["arms"][name]
    return found


class Letters:
    """An embedder that counts letters."""

    name = "letters"
    dimension = 128

    def embed(self, texts: Sequence[str]) -> Vectors:
        vectors = np.array([np.bincount(list(t.encode()), minlength=128) for t in texts], np.float32)
        return np.asarray(vectors / np.linalg.norm(vectors, axis=1, keepdims=True), np.float32)


def test_the_log_keeps_whole_lines_and_the_last_of_equal_rounds(tmp_path: Path) -> None:
    path = tmp_path / "new" / "rounds.jsonl"
    assert read(Work(path)) == []
    rounds = chain([7, 5, 0, 0], adapter={"state": "ready"})
    add(Work(path), rounds[1])
    with path.open("a") as file:
        file.write(json.dumps({"environment": "email"})[:-4])
    for one in (line(0, 99, rounds=4), rounds[0], rounds[3], rounds[2]):
        add(Work(path), one)
    assert read(Work(path)) == rounds


def test_costs_are_means_over_seeds_with_their_sample_deviation() -> None:
    figures = arm([*chain([10, 8, 2, 0]), *chain([12, 6, 0, 0], seed=1), *chain([20, 6, 0, 6], seed=2)])
    assert figures["cumulative_cost_mean"] == pytest.approx((20 + 18 + 32) / 3, abs=1e-3)
    assert figures["cumulative_cost_sd"] == pytest.approx(np.std([20, 18, 32], ddof=1), abs=1e-3)
    assert figures["first_encounters"] == pytest.approx((18 + 18 + 26) / 3, abs=1e-3)
    assert figures["zero_edit"] == pytest.approx(4 / 12, abs=1e-3)
    assert figures["zero_edit_last_quarter"] == pytest.approx(2 / 3, abs=1e-3)
    assert (figures["learner_tokens_in"], figures["learner_tokens_out"]) == (4000, 4)
    assert (figures["answer_tokens_in"], figures["answer_tokens_out"]) == (400, 40)
    assert figures["rounds_per_second"] == 0.5
    assert (figures["seeds"], figures["rounds"], figures["partial"]) == (3, 4, False)


def test_one_seed_has_no_deviation_and_unknown_tokens_stay_unknown() -> None:
    figures = arm([*chain([1, 1, 1, 1])[:3], line(3, 1, expense=Expense(4, 3, None, None))])
    assert figures["cumulative_cost_sd"] == 0
    assert figures["learner_tokens_in"] is None
    assert figures["answer_tokens_in"] == 4


def test_the_curve_is_of_bins_of_twenty() -> None:
    costs = [4] * 20 + [2] * 10 + [0] * 10 + [0] * 5
    points = curve([chain(costs)])
    assert [p["rounds"] for p in points] == [[1, 20], [21, 40], [41, 45]]
    assert [p["cost"] for p in points] == [4, 1, 0]
    assert [p["cumulative_cost"] for p in points] == [80, 100, 100]
    assert [p["zero_edit"] for p in points] == [0, 0.5, 1]
    figures = arm(chain([9] * 150 + [0] * 40 + [9] * 10))
    assert figures["zero_edit_last_50"] == figures["zero_edit_last_quarter"] == 0.8


def test_an_unfinished_run_says_so_and_whole_chains_count() -> None:
    part = chain([50, 50, 0, 0], seed=1)[:2]
    alone = report.summarise(part)
    assert alone["partial"]
    assert alone["rounds_played"] == 2
    assert alone["environments"]["email"]["arms"]["attune"]["cumulative_cost_mean"] == 100
    assert alone["environments"]["email"]["arms"]["attune"]["zero_edit_last_quarter"] is None
    assert "not finished" in markdown(report.report(alone))
    assert "attune (unfinished)" in markdown(report.report(alone))
    both = arm([*part, *chain([10, 0, 0, 0])])
    assert (both["cumulative_cost_mean"], both["seeds"], both["partial"]) == (10, 1, True)
    whole = report.summarise(chain([10, 0, 0, 0]))
    assert not whole["partial"]
    assert "finished" not in markdown(report.report(whole))


def test_an_empty_log_is_a_report_too() -> None:
    summary = report.summarise([])
    assert summary["environments"] == {}
    assert summary["goals"] == []
    assert report.report(summary) == []


def test_accuracy_is_of_rounds_with_preferences_only() -> None:
    wants = {"a": ["zzz", "yyy"], "b": ["qqq"]}

    def shown(number: int, preferences: Sequence[str]) -> Line:
        return line(number, 0, wants=wants["ab"[number % 2]], preferences=preferences)

    lines = [shown(0, ["yyy", "zzz"]), shown(1, ["zzz"]), shown(2, []), shown(3, ["qqqq", "x"])]
    figures = report.summarise(lines, Letters())["environments"]["email"]["arms"]["attune"]
    assert figures["preference_accuracy"] == pytest.approx(2 / 3, abs=1e-3)
    assert figures["rounds_with_preferences"] == 3
    assert arm(lines)["preference_accuracy"] is None


def test_sets_are_compared_phrase_by_phrase() -> None:
    def similarity(wants: Sequence[str], preferences: Sequence[str]) -> float:
        played = [line(0, 0, wants=wants, preferences=preferences)]
        return float(
            report.summarise(played, Letters())["environments"]["email"]["arms"]["attune"]["preference_transport"]
        )

    wants = ["aaa", "bbb", "ccc"]
    assert similarity(wants, ["ccc", "aaa", "bbb"]) == pytest.approx(1, abs=1e-3), "sets have no order"
    missing, strange = similarity(wants, ["aaa", "bbb"]), similarity(wants, [*wants, "qqq"])
    assert similarity(wants, ["qqq"]) < missing < strange < 1
    # By their mean vectors these are the same.
    assert similarity(["aabb"], ["aaaa", "bbbb"]) < similarity(["aaaa", "bbbb"], ["aaaa", "bbbb"])


def test_accuracy_follows_a_style_that_changes() -> None:
    wants = [["aaa"], ["bbb"], ["ccc"], ["bbb"]]
    right = [line(n, 0, wants=w, preferences=w) for n, w in enumerate(wants)]
    stale = [line(n, 0, wants=w, preferences=["aaa"]) for n, w in enumerate(wants)]
    mixed = [*right[:2], line(2, 0, wants=["ccc"], preferences=["ccc", "ccb"]), right[3]]
    accuracy = {
        name: report.summarise(lines, Letters())["environments"]["email"]["arms"]["attune"]["preference_accuracy"]
        for name, lines in (("right", right), ("stale", stale), ("mixed", mixed))
    }
    assert accuracy["right"] == accuracy["mixed"] == 1
    assert accuracy["stale"] == 0.25, "only before 'a' wants another thing"


def test_first_encounters_are_the_first_round_of_each_kind() -> None:
    rounds = [line(n, n, kind=kind) for n, kind in enumerate("aabcab")]
    assert [r.number for r in first_encounters(rounds)] == [0, 2, 3]


@pytest.mark.parametrize(
    ("before", "after", "took"),
    [
        ([0] * 12, [30, 9, 0, 5, 2, 1, 0, 0], 4),
        ([0] * 12, [0, 1, 2, 30], 0),
        ([40] + [6] * 10, [30, 6, 6, 5, 9], 1),  # as before, though never within two words
        ([40] * 9 + [6] * 10, [30, 7, 7, 7, 6], None),  # only the last ten before count
        ([0] * 12, [30, 0, 0], None),  # two rounds are no three
        ([], [30, 0, 0, 0], 1),
        ([0], [], None),
    ],
)
def test_recovery_is_the_first_of_three_rounds_as_before(before: list[int], after: list[int], took: int | None) -> None:
    assert recovery(chain(before), chain(after)) == took


def drifting(costs: Sequence[int], **more: Any) -> list[Line]:
    """A chain whose kind "b" wants other things from its half on."""
    half = len(costs) // 2
    rounds = chain(costs, variant="drift", **more)
    return [
        line(r.number, r.cost, variant="drift", rounds=r.rounds, wants=["New."], **more)
        if r.number >= half and r.kind == "b"
        else r
        for r in rounds
    ]


def test_drift_reports_the_slowest_seed_and_who_never_recovers() -> None:
    quick = drifting([0] * 12 + [0, 9] + [0] * 10)
    slow = drifting([0] * 12 + [0, 9] * 3 + [0] * 6, seed=1)
    before, after = changed_kind(quick) or ([], [])
    assert [r.number for r in before] == [1, 3, 5, 7, 9, 11]
    assert [r.number for r in after] == [13, 15, 17, 19, 21, 23]
    figures = arm([*quick, *slow], "drift")
    assert (figures["recovery_rounds_mean"], figures["recovery_rounds_max"], figures["not_recovered"]) == (2, 3, 0)
    assert figures["cost_after_change"] == (9 + 27) / 2
    never = drifting([0] * 12 + [9] * 12, seed=2)
    figures = arm([*quick, *never], "drift")
    assert (figures["recovery_rounds_max"], figures["not_recovered"]) == (1, 1)
    assert changed_kind(quick[:12]) is None
    assert arm(quick[:12], "drift")["recovery_rounds_max"] is None


def goals(lines: Sequence[Line]) -> dict[str, tuple[float | None, bool | None]]:
    return {g["what"].split(":")[0]: (g["figure"], g["met"]) for g in report.summarise(lines)["goals"]}


def test_goals_that_are_met() -> None:
    lines = [
        *chain([20, 20, 0, 0]),
        *chain([30, 30, 20, 20], arm="cipher-5"),
        *chain([10, 10, 5, 5], arm="oracle"),
        *chain([19, 20, 0, 0], arm="attune+adapter"),
        *drifting([0] * 12 + [0, 9] + [0] * 10),
        *chain([20, 22, 2, 0], variant="noise"),
        *chain([9, 9, 9, 9], variant="habit"),
        *chain([9, 9, 0, 0], variant="habit", arm="attune+adapter"),
    ]
    assert goals(lines) == {
        "attune / cipher-5": (0.4, True),
        "attune / oracle": (1.3333, True),
        "zero-edit rounds in the last quarter": (1, True),
        "attune+adapter / attune": (0.975, True),
        "habit": (0.5, True),
        "drift": (1, True),
        "noise": (10, True),
    }
    assert report.summarise(lines)["noise"]["email"]["arms"]["attune"]["loss_percent"] == 10
    oracle = next(g for g in report.summarise(lines)["goals"] if g["what"] == "attune / oracle")
    assert oracle["without_first_encounters"] == 0


def test_goals_that_are_missed_or_not_measured() -> None:
    missed = [
        *chain([20, 20, 20, 20]),
        *chain([30, 30, 20, 20], arm="cipher-5"),
        *chain([0, 0, 0, 0], arm="oracle"),
        *chain([20, 20, 20, 20], arm="attune+adapter"),
        *drifting([0] * 12 + [0, 9] + [0] * 10),
        *drifting([0] * 12 + [9] * 12, seed=1),
        *chain([20, 22, 30, 30], variant="noise"),
    ]
    assert goals(missed) == {
        "attune / cipher-5": (0.8, False),
        "attune / oracle": (None, None),  # nothing to divide by
        "zero-edit rounds in the last quarter": (0, False),
        "attune+adapter / attune": (1, False),
        "habit": (None, None),
        "drift": (1, False),  # one of two seeds never recovers
        "noise": (27.5, False),
    }
    alone = goals(chain([1, 1, 1, 1], arm="none"))
    assert set(alone.values()) == {(None, None)}


def test_ratios_are_over_rounds_that_both_have_played() -> None:
    lines = [*chain([10, 10, 0, 0]), *chain([99, 99, 99, 99], seed=1), *chain([20, 20, 90, 90], arm="cipher-5")[:2]]
    assert goals(lines)["attune / cipher-5"] == (0.5, True)


def everything() -> list[Line]:
    lines = []
    for environment in ("email", "summary"):
        for seed in range(3):
            for name, cost in (("none", 30), ("cipher-5", 12), ("attune", 3), ("oracle", 1), ("my-own", 8)):
                costs = [cost + (n + seed) % 3 for n in range(40)]
                lines += chain(costs, environment=environment, arm=name, seed=seed)
                lines += drifting(costs, environment=environment, arm=name, seed=seed)
                lines += chain(costs, environment=environment, arm=name, seed=seed, variant="noise")
                lines += chain(costs, environment=environment, arm=name, seed=seed, variant="habit")
    return lines


def test_the_tables_name_every_arm_and_goal(tmp_path: Path) -> None:
    lines = [*everything(), *chain([5] * 40, arm="attune+adapter", adapter={"state": "ready", "mode": "adapter"})[:1]]
    summary = report.summarise(lines, Letters(), about("tiny"))
    assert list(summary["environments"]["email"]["arms"]) == [
        "none", "oracle", "cipher-5", "attune", "attune+adapter", "my-own",
    ]  # fmt: skip
    console = Console(width=200, record=True, file=io.StringIO())
    told = report.report(summary)
    show(told, console)
    shown, written = console.export_text(), markdown([about_line(summary), *told])
    for text in (shown, written):
        for part in (
            "email, 40 rounds, 1 to 3 seeds",
            "summary, 40 rounds, 3 seeds",
            "summary with drift",
            "summary with noise",
            "summary with a habit",
            "a faultless learner pays",
            "times a faultless learner with this model)",
            "of a faultless learner)",
            "my-own",
            "cipher-5",
        ):
            assert part in text
        assert "attune / cipher-5" in text
        assert "attune+adapter (unfinished)" in text
    assert "Adapters trained for email: 1 ready as adapter." in written
    assert "Model tiny on vLLM" in written
    rows = [row for row in written.splitlines() if row.startswith("|")]
    heads = [i for i, row in enumerate(rows) if row.startswith("|---")]
    assert len(heads) == 9
    widths = {rows[i - 1].count("|") == rows[i].count("|") == rows[i + 1].count("|") for i in heads}
    assert widths == {True}
    write(summary, tmp_path / "new" / "figures.json")
    held = json.loads((tmp_path / "new" / "figures.json").read_text())
    assert held == summary
    for key in ("environments", "drift", "noise", "goals", "machine", "commit", "command", "model", "date"):
        assert held[key]


def test_the_document_keeps_all_but_what_is_between_its_markers(tmp_path: Path) -> None:
    document = tmp_path / "benchmark.md"
    summary = report.summarise(chain([10, 0, 0, 0]))
    document.write_text(f"# Before\n<!-- {report.MARK} -->\nold\n<!-- /{report.MARK} -->\nafter\n")
    content = markdown(report.report(summary))
    put(document, report.MARK, content)
    first = document.read_text()
    put(document, report.MARK, content)
    assert document.read_text() == first
    assert first == f"# Before\n<!-- {report.MARK} -->\n{content}\n<!-- /{report.MARK} -->\nafter\n"
    document.write_text("# No markers\n")
    with pytest.raises(ValueError, match="has no <!-- bench-prelude -->"):
        put(document, report.MARK, content)


def test_plots_are_written_also_of_an_unfinished_run(tmp_path: Path) -> None:
    from matplotlib import image

    path = tmp_path / "plots" / "cumulative.png"
    assert plots.write(everything(), path)
    pixels = image.imread(path)
    assert pixels.shape[1] > 1000
    assert len(np.unique(pixels.reshape(-1, pixels.shape[2]), axis=0)) > 50
    started = [*chain([9] * 40)[:3], *chain([9] * 40, seed=1)[:1], *drifting([9] * 40)[:5]]
    assert plots.write(started, path)
    assert not plots.write([], path)


def test_chains_are_in_order_whatever_the_log_is() -> None:
    rounds = [*chain([1, 2, 3, 4], seed=1), *chain([1, 2, 3, 4])]
    (played,) = chains(reversed(rounds)).values()
    assert [[r.number for r in c] for c in played] == [[0, 1, 2, 3]] * 2
    assert [c[0].seed for c in played] == [0, 1]
