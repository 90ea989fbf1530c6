"""`python -m bench.judges MODEL`: whether a judge without the user's wishes prefers what the user made of a draft.

Three ways that need no edit to rank two answers, on edits of real and imagined people, each pair in both orders:

- ``follow_up``: how much likelier a content next turn of the user is than a discontent one, FLR, arXiv 2409.13948.
- ``self_reference``: which of the two is nearer to an answer of the model's own, arXiv 2406.11190.
- ``shorter``: the shorter one. No model is asked; a judge that is no better is not worth its time.

MODEL is a folder, as `attune models fetch` makes it. The share of pairs in which the edited text wins is told.
"""

import json
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from statistics import fmean
from typing import Annotated, Any

import typer
from rich.progress import track

from bench import machine, report
from bench.local_model import LocalModel
from lab.edits.cases import DEV, load
from store.message import Message

CONTENT = (
    "Perfect, thank you!",
    "Great, I will use it as it is.",
    "That is exactly what I wanted.",
    "Thanks, that is how I would have written it.",
)
DISCONTENT = (
    "That is not how I would write it.",
    "No, please write it again.",
    "I had to rewrite most of this.",
    "This is not what I wanted.",
)
REFERENCE_TOKENS = 80
_ASKED = (
    "Two people answered a request. Which answer is nearer to the reference in content, tone and form?\n\n"
    "<request>\n{request}\n</request>\n<reference>\n{reference}\n</reference>\n"
    "<A>\n{a}\n</A>\n<B>\n{b}\n</B>\n\nSay A or B, and nothing else."
)


@dataclass(frozen=True)
class Pair:
    """A request, what the model had drafted, and what the user made of it."""

    request: str
    draft: str
    edited: str


def pairs(lamp: Path | None) -> dict[str, list[Pair]]:
    """The dev cases of ``attune lab edits`` that teach something, and LAMP's edits by three writers."""
    found = {
        "cases": [
            Pair(case.request, case.draft, case.edited)
            for case in load(DEV)
            if case.expect and isinstance(case.request, str)
        ]
    }
    if lamp is not None:
        rows = json.loads(lamp.read_text())["rows"]
        found["lamp"] = [
            Pair(row["instruction"], row["draft"], text) for row in rows for text in row["edited"].values()
        ]
    return found


class Judge(LocalModel):
    """A model that is asked about answers."""

    def likelihoods(self, before: Sequence[Message], texts: Sequence[str]) -> list[float]:
        """Mean log probability of the tokens of each last user turn, nats."""
        import torch

        head = self.ids([*before, {"role": "user", "content": ""}], asks=False)
        whole = [self.ids([*before, {"role": "user", "content": text}], asks=False) for text in texts]
        start = next(i for i, pair in enumerate(zip(head, whole[0], strict=False)) if pair[0] != pair[1])
        longest = max(map(len, whole))
        # What they share is read once. After the end of each is padding, at which nothing looks.
        tails = torch.tensor([ids[start - 1 :] + [0] * (longest - len(ids)) for ids in whole])
        with torch.inference_mode():
            read = self.model(torch.tensor([whole[0][: start - 1]]), use_cache=True, logits_to_keep=1).past_key_values
            read.batch_repeat_interleave(len(texts))
            told = torch.log_softmax(self.model(tails, past_key_values=read).logits, -1)
        found = []
        for row, text in enumerate(texts):
            length = len(self.tokenizer(text, add_special_tokens=False)["input_ids"])
            chosen = tails[row, 1 : 1 + length]
            found.append(float(told[row, :length].gather(1, chosen[:, None]).mean()))
        return found

    def leans(self, request: str, reference: str, a: str, b: str) -> float:
        """By how many nats A is likelier than B as the nearer one."""
        import torch

        asked = _ASKED.format(request=request, reference=reference, a=a, b=b)
        ids = torch.tensor([self.ids([{"role": "user", "content": asked}])])
        with torch.inference_mode():
            told = torch.log_softmax(self.model(ids).logits[0, -1], -1)
        first, second = (self.tokenizer(letter, add_special_tokens=False)["input_ids"][0] for letter in "AB")
        return float(told[first] - told[second])


def follow_up(judge: Judge, pair: Pair) -> bool:
    """Whether content turns, more than discontent ones, fit the edited text better."""

    def content(answer: str) -> float:
        before: list[Message] = [
            {"role": "user", "content": pair.request}, {"role": "assistant", "content": answer},
        ]  # fmt: skip
        told = judge.likelihoods(before, CONTENT + DISCONTENT)
        return fmean(told[: len(CONTENT)]) - fmean(told[len(CONTENT) :])

    return content(pair.edited) > content(pair.draft)


def self_reference(judge: Judge, pair: Pair) -> bool:
    """Whether the edited text is said to be nearer to the model's own answer, both orders added up."""
    ((own, _),) = judge.answers([[{"role": "user", "content": pair.request}]], REFERENCE_TOKENS)
    first = judge.leans(pair.request, own, pair.edited, pair.draft)
    second = judge.leans(pair.request, own, pair.draft, pair.edited)
    return first - second > 0


def shorter(_: Judge, pair: Pair) -> bool:
    """Whether the edited text has fewer words."""
    return len(pair.edited.split()) < len(pair.draft.split())


JUDGES: dict[str, Callable[[Judge, Pair], bool]] = {
    "follow_up": follow_up, "self_reference": self_reference, "shorter": shorter,
}  # fmt: skip


def main(
    model: Annotated[Path, typer.Argument(exists=True, file_okay=False, help="Folder of a model.")],
    lamp: Annotated[Path | None, typer.Option(exists=True, dir_okay=False, help="LAMP's edits, as JSON.")] = None,
    limit: Annotated[int | None, typer.Option(min=1, help="So many pairs of each source.")] = None,
    out: Annotated[Path, typer.Option("--json", help="File for the figures.")] = Path("out/bench-judges.json"),
) -> None:
    """Measure how often each judge prefers the edited text."""
    judge = Judge(model, "bfloat16")
    figures: dict[str, Any] = {"model": model.name, **machine.about()}
    for source, asked in ((source, found[:limit]) for source, found in pairs(lamp).items()):
        figures[source] = {"pairs": len(asked)}
        for name, prefers in JUDGES.items():
            won = [prefers(judge, pair) for pair in track(asked, f"{source}, {name}")]
            figures[source][name] = round(fmean(won), 3)
            typer.echo(f"{source}, {name}: the edited text wins in {figures[source][name]:.0%} of {len(won)}")
    report.write(figures, out)


if __name__ == "__main__":
    typer.run(main)
