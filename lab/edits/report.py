"""What `attune lab edits` says: a row for each case, and the figures beside those of who learns without looking."""

from collections.abc import Mapping, Sequence
from typing import Any

from lab.edits.cases import Case
from lab.edits.play import Mode
from lab.edits.score import CONSTANT_LIST, WHOLE, Outcome, as_if_learned, outcome, summary
from lab.report import Report, Table
from lab.work import Work

MODES: dict[Mode, str] = {"own": "each edit by a user of its own", "one": "all edits by one user"}
_SHARES = {
    "found": "found of expected",
    "right": "right of learned",
    "nothing_learned": "nothing learned where there is nothing",
    "same_recalled": "comes with the same kind of request",
    "other_recalled": "comes with another kind of request",
}
_PLAIN = {
    "false_learning": "edits that teach nothing, learned from",
    "matches_elsewhere": "learned texts that fit another case",
    "failed": "failed",
    "seconds_per_edit": "seconds an edit",
}
_YES = {None: "", True: "yes", False: "no"}


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


def report(told: Mapping[str, Any]) -> Report:
    """A table for each mode, then the figures."""
    functional = told.get("functional")
    match = (
        [
            f"Functional match: {functional['functional_found']} of {functional['functional_possible']} checks "
            f"that the reference wording passes; {functional['other_changed']} of {functional['other_asked']} other "
            "requests changed though nothing came with them."
        ]
        if functional
        else []
    )
    cases = [_cases(figures["per_case"], MODES[mode]) for mode, figures in told["modes"].items()]
    return [*cases, _figures(told), *match]


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


def _cases(cases: Sequence[Mapping[str, Any]], title: str) -> Table:
    rows = []
    for case in cases:
        texts = [f"{'+' if told['right'] else '-'} {told['text']}" for told in case["learned"]]
        if case["status"] not in ("learned", "nothing_learned"):
            texts = [f"{case['status']}: {case['reason']}"]
        rows.append(
            (
                case["id"],
                f"{case['found']}/{case['expected']}" if case["expected"] else "none",
                "\n".join(texts),
                _YES[case["same_recalled"]],
                _YES[case["other_recalled"]],
                "" if case["seconds"] is None else f"{case['seconds']:.1f}",
            )
        )
    return Table(("case", "found", "learned (+ right)", "same", "other", "s"), rows, f"Cases, {title}", texts=5)


def _figures(told: Mapping[str, Any]) -> Table:
    arms = {f"{mode} user" if mode == "one" else "own users": told["modes"][mode] for mode in told["modes"]}
    arms |= {"constant list": told["constant_list"]}
    arms |= {"reference wordings": told["reference"]} if "reference" in told else {}
    rows = [(what, *(_share(figures, part) for figures in arms.values())) for part, what in _SHARES.items()]
    rows += [(what, *(_plain(figures.get(name)) for figures in arms.values())) for name, what in _PLAIN.items()]
    tokens = [figures.get("learner_tokens_per_edit") for figures in arms.values()]
    rows.append(("learner's tokens an edit", *map(_tokens, tokens)))
    return Table(("", *arms), rows, f"{told['file']}, {told['model']}, {told['cases']} cases")


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
