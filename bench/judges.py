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

from bench import machine
from lab.edits.cases import DEV, load

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


class Judge:
    """A model in this process."""

    def __init__(self, folder: Path) -> None:
        import torch
        from transformers import AutoModelForCausalLM, AutoTokenizer

        self._torch = torch
        self._tokenizer: Any = AutoTokenizer.from_pretrained(folder)
        self._model: Any = AutoModelForCausalLM.from_pretrained(folder, dtype=torch.bfloat16).eval()

    def _ids(self, messages: Sequence[dict[str, str]], *, asks: bool) -> list[int]:
        text = self._tokenizer.apply_chat_template(list(messages), tokenize=False, add_generation_prompt=asks)
        ids: list[int] = self._tokenizer(text, add_special_tokens=False)["input_ids"]
        return ids

    def likelihoods(self, before: Sequence[dict[str, str]], texts: Sequence[str]) -> list[float]:
        """Mean log probability of the tokens of each last user turn, nats."""
        torch = self._torch
        head = self._ids([*before, {"role": "user", "content": ""}], asks=False)
        whole = [self._ids([*before, {"role": "user", "content": text}], asks=False) for text in texts]
        start = next(i for i, pair in enumerate(zip(head, whole[0], strict=False)) if pair[0] != pair[1])
        longest = max(map(len, whole))
        # What they share is read once. After the end of each is padding, at which nothing looks.
        tails = torch.tensor([ids[start - 1 :] + [0] * (longest - len(ids)) for ids in whole])
        with torch.inference_mode():
            read = self._model(torch.tensor([whole[0][: start - 1]]), use_cache=True, logits_to_keep=1).past_key_values
            read.batch_repeat_interleave(len(texts))
            told = torch.log_softmax(self._model(tails, past_key_values=read).logits, -1)
        found = []
        for row, text in enumerate(texts):
            length = len(self._tokenizer(text, add_special_tokens=False)["input_ids"])
            chosen = tails[row, 1 : 1 + length]
            found.append(float(told[row, :length].gather(1, chosen[:, None]).mean()))
        return found

    def follow_up(self, request: str, answer: str) -> float:
        """How much likelier content turns are than discontent ones after an answer, nats a token."""
        before = [{"role": "user", "content": request}, {"role": "assistant", "content": answer}]
        told = self.likelihoods(before, CONTENT + DISCONTENT)
        return fmean(told[: len(CONTENT)]) - fmean(told[len(CONTENT) :])

    def answer(self, request: str) -> str:
        """The model's own greedy answer."""
        ids = self._torch.tensor([self._ids([{"role": "user", "content": request}], asks=True)])
        with self._torch.inference_mode():
            made = self._model.generate(
                ids, attention_mask=self._torch.ones_like(ids), max_new_tokens=REFERENCE_TOKENS, do_sample=False
            )
        text: str = self._tokenizer.decode(made[0, ids.shape[1] :], skip_special_tokens=True)
        return text

    def leans(self, request: str, reference: str, a: str, b: str) -> float:
        """By how many nats A is likelier than B as the nearer one."""
        asked = _ASKED.format(request=request, reference=reference, a=a, b=b)
        ids = self._ids([{"role": "user", "content": asked}], asks=True)
        with self._torch.inference_mode():
            told = self._torch.log_softmax(self._model(self._torch.tensor([ids])).logits[0, -1], -1)
        first, second = (self._tokenizer(letter, add_special_tokens=False)["input_ids"][0] for letter in "AB")
        return float(told[first] - told[second])


def follow_up(judge: Judge, pair: Pair) -> bool:
    """Whether content turns fit the edited text better."""
    return judge.follow_up(pair.request, pair.edited) > judge.follow_up(pair.request, pair.draft)


def self_reference(judge: Judge, pair: Pair) -> bool:
    """Whether the edited text is said to be nearer to the model's own answer, both orders added up."""
    own = judge.answer(pair.request)
    first = judge.leans(pair.request, own, pair.edited, pair.draft)
    second = judge.leans(pair.request, own, pair.draft, pair.edited)
    return first - second > 0


def shorter(_: Judge, pair: Pair) -> bool:
    """Whether the edited text has fewer words."""
    return len(pair.edited.split()) < len(pair.draft.split())


JUDGES: dict[str, Callable[[Judge, Pair], bool]] = {
    "follow_up": follow_up,
    "self_reference": self_reference,
    "shorter": shorter,
}


def main(
    model: Annotated[Path, typer.Argument(exists=True, file_okay=False, help="Folder of a model.")],
    lamp: Annotated[Path | None, typer.Option(exists=True, dir_okay=False, help="LAMP's edits, as JSON.")] = None,
    limit: Annotated[int | None, typer.Option(min=1, help="So many pairs of each source.")] = None,
    out: Annotated[Path, typer.Option("--json", help="File for the figures.")] = Path("out/bench-judges.json"),
) -> None:
    """Measure how often each judge prefers the edited text."""
    judge = Judge(model)
    figures: dict[str, Any] = {"model": model.name, **machine.about()}
    for source, asked in ((source, found[:limit]) for source, found in pairs(lamp).items()):
        figures[source] = {"pairs": len(asked)}
        for name, prefers in JUDGES.items():
            won = [prefers(judge, pair) for pair in track(asked, f"{source}, {name}")]
            figures[source][name] = round(fmean(won), 3)
            typer.echo(f"{source}, {name}: the edited text wins in {figures[source][name]:.0%} of {len(won)}")
    out.parent.mkdir(parents=True, exist_ok=True)
    out.write_text(json.dumps(figures, indent=2) + "\n")
    typer.echo(f"Figures in {out}.")


if __name__ == "__main__":
    typer.run(main)
