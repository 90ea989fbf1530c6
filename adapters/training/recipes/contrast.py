"""Values-contrast pairs: the answer under the values that were stated beats the one under other values.

Janus (arXiv 2405.17977) gets preference pairs for nothing from answers to one prompt under two value sets. Here the
user's own text is the answer under the values of its request, and the base model writes the other, under values that
the user stated elsewhere.

Corrupted contexts (POVID, arXiv 2402.11411, makes pairs of images like that) are alike: the base model writes the other
answer with the preferences of another of the user's edits.
"""

from collections.abc import Sequence
from typing import Any

from adapters.training.recipes.sampling import answers, room_for
from adapters.training.recipes.setup import Row
from preference.distance import normalised_distance

MAX_PAIRS = 64


def expand(model: Any, tokenizer: Any, rows: Sequence[Row], max_tokens: int, other: str = "contrast") -> list[Row]:
    """Further rows: the user's text, and as ``rejected`` the model's answer to the prompt that is called ``other``.

    Of the first ``MAX_PAIRS`` rows with such a prompt of at most ``max_tokens``.
    """
    asked = [row for row in rows if other in row and _length(tokenizer, row[other]) <= max_tokens][:MAX_PAIRS]
    room = room_for(tokenizer, [row["completion"][0]["content"] for row in asked])
    written = answers(model, tokenizer, [row[other] for row in asked], max_tokens=room)
    made: list[Row] = []
    for row, texts in zip(asked, written, strict=True):
        wanted = row["completion"][0]["content"]
        made += [
            {
                "prompt": row["prompt"],
                "completion": row["completion"],
                "rejected": [{"role": "assistant", "content": text}],
                "cost": normalised_distance(text, wanted),
            }
            for text in texts
            if text != wanted
        ]
    return made


def _length(tokenizer: Any, prompt: list[Row]) -> int:
    text = tokenizer.apply_chat_template(prompt, tokenize=False, add_generation_prompt=True)
    return len(tokenizer(text, add_special_tokens=False)["input_ids"])
