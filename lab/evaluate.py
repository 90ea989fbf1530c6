"""Measures the bundled model on facts, styles and phrasings that training never saw.

attune lab eval --model lab/model --json lab/model/report.json
"""

import random
from collections.abc import Callable, Sequence
from hashlib import sha256
from itertools import islice
from pathlib import Path
from typing import Any

import torch
from rich.progress import track
from transformers import AutoModelForCausalLM, AutoTokenizer

from lab.examples import Example, infer_example, merge_example, write_example
from lab.lexicon import KIND_BY_NAME
from lab.render import detect, render, slots
from lab.report import Report, Table
from lab.style import DEFAULT, TASK_ATTRIBUTES
from lab.world import Facts, Request, request_text
from preference.distance import normalised_distance
from preference.learning.proposer import parse
from preference.prompt import compose
from store.message import Message

TARGETS = {
    "attributes": 0.99,
    "attributes_held_out_phrasings": 0.95,
    "slots": 0.98,
    "inference_precision": 0.95,
    "inference_recall": 0.95,
    "distance": 0.02,
}
"""What a released model has to reach; all but ``distance`` are lower bounds."""

_UNKNOWN_WORDS = (
    "Siobhan Krzysztof Nguyen marmalade trombone xylophone quokka zeppelin bamboo lighthouse glockenspiel walrus "
    "saxophone porcupine rhubarb kaleidoscope avocado tambourine hedgehog cinnamon"
).split()


def evaluate(model: Path, examples: int = 400, seed: int = 20_000) -> dict[str, Any]:
    """All figures for a model directory; ``examples`` is the number per measurement."""
    generate = _generator(model)
    rng = random.Random(seed)
    seen = [write_example(rng, held_out=True) for _ in range(examples)]
    unseen = [write_example(rng, held_out=True, unseen_phrases=True) for _ in range(examples)]
    inferred = [infer_example(rng, held_out=True) for _ in range(examples)]
    merged = [merge_example(rng, held_out=True) for _ in range(examples)]
    unknown = [_unknown_words_example(rng) for _ in range(examples // 4)]
    answers = iter(generate([*seen, *unseen, *inferred, *merged, *unknown]))
    writing, phrasing = (_writing(group, list(islice(answers, len(group)))) for group in (seen, unseen))
    inference, merging = (_lists(group, list(islice(answers, len(group)))) for group in (inferred, merged))
    oov = _writing(unknown, list(answers))
    figures: dict[str, Any] = {
        "attributes": writing["attributes"],
        "attributes_held_out_phrasings": phrasing["attributes"],
        "slots": writing["slots"],
        "distance": writing["distance"],
        "exact_text": writing["exact"],
        "inference_precision": inference[0],
        "inference_recall": inference[1],
        "merge_precision": merging[0],
        "merge_recall": merging[1],
        "unknown_words_slots": oov["slots"],
        "unknown_words_attributes": oov["attributes"],
        "per_attribute": writing["per_attribute"],
        "per_attribute_held_out_phrasings": phrasing["per_attribute"],
        "examples": examples,
        "seed": seed,
        "sha256": sha256((model / "model.safetensors").read_bytes()).hexdigest(),
    }
    figures["targets_met"] = {
        name: (figures[name] <= bound if name == "distance" else figures[name] >= bound)
        for name, bound in TARGETS.items()
    }
    return figures


def told_of(figures: dict[str, Any]) -> Report:
    """The figures as two tables."""
    met = {True: "yes", False: "NO"}
    rows = [
        (name, f"{value:.4f}", str(TARGETS.get(name, "")), met.get(figures["targets_met"].get(name), ""))
        for name, value in figures.items()
        if isinstance(value, float)
    ]
    head = ("measure", "value", "target", "")
    seen, held_out = figures["per_attribute"], figures["per_attribute_held_out_phrasings"]
    attributes = [(name, f"{value:.4f}", f"{held_out[name]:.4f}") for name, value in seen.items()]
    return [
        Table(head, rows, "Bundled model on unseen facts, styles and phrasings"),
        Table(("attribute", "phrasings seen", "phrasings held out"), attributes),
    ]


def _generator(path: Path, batch: int = 40) -> Callable[[Sequence[Example]], list[str]]:
    tokenizer = AutoTokenizer.from_pretrained(path, padding_side="left")
    model = AutoModelForCausalLM.from_pretrained(path, dtype=torch.float32).eval()

    @torch.inference_mode()
    def generate(examples: Sequence[Example]) -> list[str]:
        prompts = [
            tokenizer.apply_chat_template(e.messages, tokenize=False, add_generation_prompt=True) for e in examples
        ]
        order = sorted(range(len(prompts)), key=lambda i: len(prompts[i]))
        answers = [""] * len(prompts)
        for start in track(range(0, len(order), batch), description="generating"):
            rows = order[start : start + batch]
            encoded = tokenizer([prompts[i] for i in rows], return_tensors="pt", padding=True, add_special_tokens=False)
            out = model.generate(
                input_ids=encoded["input_ids"],
                attention_mask=encoded["attention_mask"],
                do_sample=False,
                max_new_tokens=200,
            )
            texts = tokenizer.batch_decode(out[:, encoded["input_ids"].shape[1] :], skip_special_tokens=True)
            for i, text in zip(rows, texts, strict=True):
                answers[i] = text.strip()
        return answers

    return generate


def _writing(examples: Sequence[Example], answers: Sequence[str]) -> dict[str, Any]:
    hits: dict[str, list[bool]] = {}
    kept: list[bool] = []
    for example, answer in zip(examples, answers, strict=True):
        facts = example.facts
        assert facts is not None
        shown = detect(answer, facts)
        for attribute in TASK_ATTRIBUTES[facts.task]:
            hits.setdefault(attribute, []).append(shown[attribute] == example.style.get(attribute, DEFAULT))
        kept += [slot.lower() in answer.lower() for slot in slots(facts, example.style)]
    return {
        "attributes": _mean([hit for group in hits.values() for hit in group]),
        "per_attribute": {attribute: _mean(group) for attribute, group in hits.items()},
        "slots": _mean(kept),
        "distance": _mean([normalised_distance(a, e.answer) for e, a in zip(examples, answers, strict=True)]),
        "exact": _mean([a == e.answer for e, a in zip(examples, answers, strict=True)]),
    }


def _lists(examples: Sequence[Example], answers: Sequence[str]) -> tuple[float, float]:
    found = right = wanted = 0
    for example, answer in zip(examples, answers, strict=True):
        truth, given = set(parse(example.answer)), set(parse(answer))
        found, right, wanted = found + len(given), right + len(truth & given), wanted + len(truth)
    return right / max(found, 1), right / max(wanted, 1)


def _unknown_words_example(rng: random.Random) -> Example:
    kind = rng.choice(list(KIND_BY_NAME.values()))
    name, topic, what, where, action = (rng.choice(_UNKNOWN_WORDS) for _ in range(5))
    facts = Facts(
        kind.name, name, f"the {topic}", f"the {what} is late", "Monday at 9", f"the {where}", f"send the {action}"
    )
    request = Request(facts, request_text(facts, rng))
    messages: list[Message] = [{"role": "user", "content": request.text}]
    return Example("write", compose(messages), render(facts, {}), facts, {})


def _mean(values: Sequence[float]) -> float:
    return round(sum(values) / max(len(values), 1), 5)
