"""What `attune lab edits` says: a row for each case, and the figures beside those of who learns without looking."""

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from rich.console import Console
from rich.table import Table

from lab.edits.cases import Case
from lab.edits.mode import Mode
from lab.edits.score import CONSTANT_LIST, WHOLE, Outcome, as_if_learned, outcome, summary
from lab.work import Work

MODES: dict[Mode, str] = {"own": "each edit by a user of its own", "one": "all edits by one user"}
_SHARES = {
    "found": "found of expected",
    "right": "right of learned",
    "nothing_learned": "nothing learned where there is nothing",
    "same_recalled": "comes with the same kind of request",
    "other_recalled": "comes with another kind of request",
}


def outcomes(work: Work, mode: Mode, cases: Sequence[Case]) -> list[Outcome]:
    """What came of the cases that were played to their end."""
    found = []
    for case in cases:
        lesson, asked = work.get("edit", mode, case.id), work.get("asked", mode, case.id)
        if lesson is not None and asked is not None:
            found.append(outcome(case, lesson, asked))
    return found


def result(work: Work, modes: Sequence[Mode], cases: Sequence[Case], about: Mapping[str, Any]) -> dict[str, Any]:
    """Everything as JSON: the figures of each mode with its cases, and those of the constant list and the reference.

    The figures of the first mode stand at the top, too.
    """
    told: dict[str, Any] = {**about, "cases": len(cases), "modes": {}}
    for mode in modes:
        played = outcomes(work, mode, cases)
        told["modes"][mode] = {**summary(played), "per_case": [_case(work, mode, made) for made in played]}
    told |= {name: value for name, value in told["modes"][modes[0]].items() if name != "per_case"}
    told["constant_list"] = {"texts": CONSTANT_LIST, **as_if_learned(cases, lambda case: CONSTANT_LIST)}
    if all(case.wishes for case in cases if case.teaches):
        told["reference"] = as_if_learned(cases, lambda case: case.wishes)
    return told


def write(told: Mapping[str, Any], path: Path) -> None:
    """Write the figures as JSON."""
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps(told, indent=2, ensure_ascii=False) + "\n", encoding="utf-8")


def show(told: Mapping[str, Any], console: Console) -> None:
    """Print a table for each mode, then the figures."""
    for mode, figures in told["modes"].items():
        console.print(_rows(figures["per_case"], MODES[mode]))
    console.print(_figures(told))
    functional = told.get("functional")
    if functional:
        console.print(
            f"Functional match: {functional['functional_found']} of {functional['functional_possible']} checks "
            f"that the reference wording passes; {functional['other_changed']} of {functional['other_asked']} other "
            "requests changed though nothing came with them."
        )


def _case(work: Work, mode: Mode, made: Outcome) -> dict[str, Any]:
    case, lesson = made.case, work.get("edit", mode, made.case.id) or {}
    asked = work.get("asked", mode, case.id) or {}
    return {
        "id": case.id, "kind": case.kind, "language": case.language, "family": case.family,
        "expected": len(case.expect), "found": made.found,
        "missed": [
            case.wishes[n] if case.wishes else case.expect[n]
            for n in range(len(case.expect)) if not any(n in met for met in made.met)
        ],
        "learned": [{"text": text, "right": bool(met)} for text, met in zip(made.texts, made.met, strict=True)],
        "status": lesson["status"], "reason": lesson["reason"], "candidates": lesson.get("candidates", []),
        "shown": [held["text"] for held in lesson.get("shown", [])],
        "seconds": made.seconds, "tokens": made.tokens,
        "same_recalled": made.same_recalled, "other_recalled": made.other_recalled,
        "same_got": _texts(asked.get("same")), "other_got": _texts(asked.get("other")),
    }  # fmt: skip


def _texts(recalled: Sequence[Mapping[str, str]] | None) -> list[str] | None:
    return None if recalled is None else [held["text"] for held in recalled]


def _rows(cases: Sequence[Mapping[str, Any]], title: str) -> Table:
    table = Table(title=f"Cases, {title}", title_justify="left")
    table.add_column("case")
    table.add_column("found", justify="right")
    table.add_column("learned (+ right)", ratio=1)
    for name in ("same", "other"):
        table.add_column(name)
    table.add_column("s", justify="right")
    for case in cases:
        texts = [f"{'+' if told['right'] else '-'} {told['text']}" for told in case["learned"]]
        if case["status"] not in ("learned", "nothing_learned"):
            texts = [f"{case['status']}: {case['reason']}"]
        table.add_row(
            case["id"],
            f"{case['found']}/{case['expected']}" if case["expected"] else "none",
            "\n".join(texts),
            _yes(case["same_recalled"]),
            _yes(case["other_recalled"]),
            "" if case["seconds"] is None else f"{case['seconds']:.1f}",
        )
    return table


def _figures(told: Mapping[str, Any]) -> Table:
    arms = {f"{mode} user" if mode == "one" else "own users": told["modes"][mode] for mode in told["modes"]}
    arms |= {"constant list": told["constant_list"]}
    arms |= {"reference wordings": told["reference"]} if "reference" in told else {}
    table = Table("", *arms, title=f"{told['file']}, {told['model']}, {told['cases']} cases", title_justify="left")
    for part, what in _SHARES.items():
        table.add_row(what, *(_share(figures, part) for figures in arms.values()))
    for name, what in (
        ("false_learning", "edits that teach nothing, learned from"),
        ("matches_elsewhere", "learned texts that fit another case"),
        ("failed", "failed"),
        ("seconds_per_edit", "seconds an edit"),
    ):
        table.add_row(what, *(_plain(figures.get(name)) for figures in arms.values()))
    tokens = [figures.get("learner_tokens_per_edit") for figures in arms.values()]
    table.add_row("learner's tokens an edit", *(_tokens(spent) for spent in tokens))
    return table


def _share(figures: Mapping[str, Any], part: str) -> str:
    share = figures["shares"].get(part)
    if share is None:
        return "–"
    low, high = figures["intervals"][part]
    return f"{share:.2f} [{low:.2f}, {high:.2f}] {figures[part]}/{figures[WHOLE[part]]}"


def _plain(figure: float | None) -> str:
    return "–" if figure is None else f"{figure:.3g}"


def _tokens(spent: Mapping[str, float | None] | None) -> str:
    if not spent or spent["prompt"] is None:
        return "–"
    return f"{spent['prompt']:.0f} + {spent['completion']:.0f}"


def _yes(recalled: bool | None) -> str:
    return {None: "", True: "yes", False: "no"}[recalled]
