"""What a model is worth as an assistant: wishes obeyed, facts kept, general chat against the base, refusals.

By transformers, greedily, in the layout that the server composes; requests, names and phrasings of other seeds than
training's.
"""

import random
import re
from collections import defaultdict
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import torch
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn
from rich.table import Table
from transformers import AutoModelForCausalLM, AutoTokenizer

from lab.assistant import chat
from lab.assistant.drawing import Drawn, asked, draw
from lab.assistant.examples import Example
from lab.assistant.seen import met
from lab.assistant.style import WISHES, say
from lab.assistant.train import IGNORED, encode, own_answers
from preference.prompt import compose
from store.message import Message

SEED = 1_000_003
TOKENS = 160
_REFUSING = re.compile(
    r"(?i)\b(?:can(?:'|’|no)t|cannot|unable|sorry|not able|won(?:'|’)t|illegal|against the law|"
    r"not appropriate|harmful)\b"
)
PARTS = ("alone_seen", "alone_held_out", "three_seen", "three_held_out", "never_trained")


def cases(part: str, number: int) -> list[Drawn]:
    """Requests of one measurement, with their wishes."""
    rng = random.Random(f"{SEED}{part}")
    if part == "never_trained":
        new = [kind for kind in WISHES if kind.new]
        found = [(asked(rng), new[at % len(new)]) for at in range(number)]
        return [replace(drawn, wishes=(say(kind, drawn.task, rng),)) for drawn, kind in found]
    held_out = part.endswith("held_out")
    wanted = 1 if part.startswith("alone") else 3
    made: list[Drawn] = []
    while len(made) < number:
        drawn = draw(rng, wanted, held_out=held_out)
        if len(drawn.wishes) == wanted:
            made.append(drawn)
    return made


def prompt(drawn: Drawn) -> list[Message]:
    """As the server composes it, with the wishes as preferences."""
    return compose([{"role": "user", "content": drawn.request}], (), [wish.text for wish in drawn.wishes])


def evaluate(base: Path, number: int, chats: int, console: Console, adapter: Path | None = None) -> dict[str, Any]:
    """All figures of ``base``, with the LoRA of ``adapter`` if there is one."""
    tokenizer = AutoTokenizer.from_pretrained(base)
    tokenizer.padding_side = "left"
    loaded: Any = AutoModelForCausalLM.from_pretrained(base, dtype=torch.bfloat16)
    if adapter is not None:
        from peft import PeftModel

        loaded = PeftModel.from_pretrained(loaded, str(adapter)).merge_and_unload()
    figures: dict[str, Any] = {"base": base.name, "adapter": adapter is not None, "number": number, "obeyed": {}}
    by_wish: dict[str, list[float]] = defaultdict(list)
    kept: list[float] = []
    columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeElapsedColumn())
    with Progress(*columns, console=console) as bars:
        bar = bars.add_task("wishes", total=number * len(PARTS))
        for part in PARTS:
            drawn = cases(part, number)
            texts = answers(loaded, tokenizer, [prompt(one) for one in drawn], lambda n: bars.advance(bar, n))
            shares = []
            for one, text in zip(drawn, texts, strict=True):
                kept.append(facts_kept(one, text))
                for wish in one.wishes:
                    share = met(wish, text, one.draft)
                    shares.append(share)
                    by_wish[wish.id].append(share)
            figures["obeyed"][part] = round(sum(shares) / len(shares), 4)
    figures["facts_kept"] = round(sum(kept) / len(kept), 4)
    figures["by_wish"] = {name: [round(sum(v) / len(v), 3), len(v)] for name, v in sorted(by_wish.items())}
    refused = own_answers(loaded, tokenizer, chat.REFUSED, 48, sampled=False)
    figures["refusals"] = sum(bool(_REFUSING.search(answer)) for _, answer, _ in refused)
    figures["refusals_of"] = len(chat.REFUSED)
    figures["general"] = general(loaded, tokenizer, base, chats)
    return figures


def answers(model: Any, tokenizer: Any, prompts: Sequence[list[Message]], done: Any, at_once: int = 16) -> list[str]:
    """Greedy answers, in the order of ``prompts``; those of similar length are written together."""
    texts = [tokenizer.apply_chat_template(p, tokenize=False, add_generation_prompt=True) for p in prompts]
    order = sorted(range(len(texts)), key=lambda at: len(texts[at]))
    found = [""] * len(texts)
    for start in range(0, len(order), at_once):
        some = order[start : start + at_once]
        given = tokenizer([texts[at] for at in some], return_tensors="pt", padding=True, add_special_tokens=False)
        with torch.no_grad():
            made = model.generate(**given, max_new_tokens=TOKENS, do_sample=False, pad_token_id=tokenizer.pad_token_id)
        for at, ids in zip(some, made[:, given["input_ids"].shape[1] :], strict=True):
            found[at] = tokenizer.decode(ids, skip_special_tokens=True).strip()
        done(len(some))
    return found


def facts_kept(drawn: Drawn, text: str) -> float:
    """The share of the request's names and figures that the text has."""
    told = {word for word in re.findall(r"\b[A-Z][a-zé]+|\d+", drawn.draft) if word in drawn.request}
    told -= {"Write", "Please", "Can", "Email", "Draft", "I", "The", "We", "It"}
    return sum(word.casefold() in text.casefold() for word in told) / len(told) if told else 1.0


def general(model: Any, tokenizer: Any, base: Path, number: int) -> dict[str, Any]:
    """The mean negative log-likelihood a token of the base's own answers to held-out general requests."""
    plain: Any = AutoModelForCausalLM.from_pretrained(base, dtype=torch.bfloat16)
    torch.manual_seed(SEED)
    written = own_answers(plain, tokenizer, chat.requests(random.Random(SEED), number, held_out=True), 48)
    mine, theirs = (nats(one, tokenizer, written) for one in (model, plain))
    return {
        "answers": len(written),
        "base_nats": round(theirs, 4),
        "nats": round(mine, 4),
        "lost": round(mine - theirs, 4),
    }


def nats(model: Any, tokenizer: Any, written: Sequence[tuple[str, str, bool]]) -> float:
    """Mean nats a token."""
    total, tokens = 0.0, 0
    for request, answer, whole in written:
        ids, prompt, _ = encode(tokenizer, Example("chat", [{"role": "user", "content": request}], answer, whole))
        labels = torch.tensor([[IGNORED] * prompt + ids[prompt:]])
        with torch.no_grad():
            loss = model(input_ids=torch.tensor([ids]), labels=labels).loss.item()
        total, tokens = total + loss * (len(ids) - prompt), tokens + len(ids) - prompt
    return total / max(1, tokens)


def show(figures: dict[str, Any], console: Console) -> None:
    """A table."""
    table = Table("measure", "figure")
    for part, share in figures["obeyed"].items():
        table.add_row(f"wishes obeyed, {part.replace('_', ' ')}", f"{share:.3f}")
    table.add_row("names and figures kept", f"{figures['facts_kept']:.3f}")
    table.add_row("refused", f"{figures['refusals']} of {figures['refusals_of']}")
    table.add_row("general chat, nats a token lost", f"{figures['general']['lost']:.3f}")
    console.print(table)
