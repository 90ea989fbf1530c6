"""`python -m bench.strength MODEL`: whether a value's strength shows in the answers (AlignDiff, arXiv 2310.02054).

MODEL is a folder, as `attune models fetch` makes it. Each request is answered greedily, by transformers in this
process, without the value and with each strength of "Be brief"; the mean number of words of the answers is compared.
"""

import json
from pathlib import Path
from statistics import fmean
from typing import Annotated, Any

import typer

from bench import machine
from preference.prompt import Message, compose
from preference.values import Value

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
    import torch
    from transformers import AutoModelForCausalLM, AutoTokenizer

    tokenizer = AutoTokenizer.from_pretrained(model)
    tokenizer.pad_token = tokenizer.pad_token or tokenizer.eos_token
    tokenizer.padding_side = "left"
    loaded: Any = AutoModelForCausalLM.from_pretrained(model, dtype=torch.bfloat16).eval()
    words: dict[str, float] = {}
    cut: dict[str, int] = {}
    for name, asked in prompts(wish).items():
        texts = [tokenizer.apply_chat_template(p, tokenize=False, add_generation_prompt=True) for p in asked]
        batch = tokenizer(texts, add_special_tokens=False, padding=True, return_tensors="pt")
        with torch.no_grad():
            made = loaded.generate(
                **batch, max_new_tokens=room, do_sample=False, pad_token_id=tokenizer.pad_token_id,
            )[:, batch["input_ids"].shape[1] :]  # fmt: skip
        answers = tokenizer.batch_decode(made, skip_special_tokens=True)
        words[name] = round(fmean(len(answer.split()) for answer in answers), 1)
        cut[name] = sum(tokenizer.eos_token_id not in ids for ids in made.tolist())
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
    out.parent.mkdir(parents=True, exist_ok=True)
    out.write_text(json.dumps(figures, indent=2) + "\n")
    typer.echo(f"{figures['shortened']:.0%} fewer words at 0.9 than at 0.3. Figures in {out}.")


def _asked(text: str) -> list[Message]:
    return [{"role": "user", "content": text}]


if __name__ == "__main__":
    typer.run(main)
