"""`python -m bench.strength MODEL`: whether a value's strength shows in the answers (AlignDiff, arXiv 2310.02054).

MODEL is a folder, as `attune models fetch` makes it. Each request is answered greedily, by transformers in this
process, without the value and with each strength of "Be brief"; the mean number of words of the answers is compared.
"""

from pathlib import Path
from statistics import fmean
from typing import Annotated, Any

import typer

from bench import machine, report
from bench.local_model import LocalModel
from preference.prompt import compose
from store.message import Message
from store.values import Value

REQUESTS = (
    "Why is the sky blue?",
    "Write an email to Ann: the meeting is on Tuesday instead of Monday.",
    "What is a binary search tree?",
    "Explain what inflation is.",
    "How do I make pancakes?",
    "Describe the water cycle.",
    "What did the Romans build?",
    "Write a short note to my landlord: the tap drips.",
)
STRENGTHS = (None, 0.3, 0.6, 0.9)
"""None is the plain wish."""
GOAL = 0.25
"""By how much fewer words the strongest of these has than the weakest."""


def prompts(wish: str) -> dict[str, list[list[Message]]]:
    """The personalised requests by what is asked for: ``without`` the value, ``plain``, or a strength."""
    values = {"without": ()} | {
        "plain" if strength is None else str(strength): (Value(preference=wish, strength=strength),)
        for strength in STRENGTHS
    }
    return {name: [compose(_asked(text), stated) for text in REQUESTS] for name, stated in values.items()}


def shortened(words: dict[str, float]) -> float:
    """The share of words by which 0.9 is shorter than 0.3."""
    return 1 - words["0.9"] / words["0.3"]


def measure(model: Path, wish: str, room: int) -> dict[str, Any]:
    """Mean words of the answers by strength, cut at ``room`` tokens, and how many were cut."""
    loaded = LocalModel(model, "bfloat16")
    words: dict[str, float] = {}
    cut: dict[str, int] = {}
    for name, asked in prompts(wish).items():
        answers = loaded.answers(asked, room)
        words[name] = round(fmean(len(text.split()) for text, _ in answers), 1)
        cut[name] = sum(not ended for _, ended in answers)
        typer.echo(f"{name}: {words[name]} words, {cut[name]} of {len(answers)} cut")
    found = round(shortened(words), 3)
    return {"model": model.name, "wish": wish, "words": words, "cut": cut, "shortened": found, "goal": found >= GOAL}


def main(
    model: Annotated[Path, typer.Argument(exists=True, file_okay=False, help="Folder of a model.")],
    wish: Annotated[str, typer.Option(help="The value's preference.")] = "Be brief",
    room: Annotated[int, typer.Option(min=16, help="Tokens of an answer.")] = 256,
    out: Annotated[Path, typer.Option("--json", help="File for the figures.")] = Path("out/bench-strength.json"),
) -> None:
    """Measure how far a value's strength is followed."""
    figures = {**measure(model, wish, room), **machine.about()}
    typer.echo(f"{figures['shortened']:.0%} fewer words at 0.9 than at 0.3.")
    report.write(figures, out)


def _asked(text: str) -> list[Message]:
    return [{"role": "user", "content": text}]


if __name__ == "__main__":
    typer.run(main)
