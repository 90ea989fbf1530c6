"""The edits that teach (ARTE, arXiv 2406.19227): those whose example makes the user's other texts likelier.

The base model is shown one edit as an earlier exchange, and asked how likely the user's texts for some other requests
are, a token, beside the same without it. ARTE fits a teacher to what its student learns from; here nobody is fitted,
and the student's own in-context gain says what to learn from.
"""

import math
from collections.abc import Sequence
from statistics import median
from typing import Any

from adapters.recipes.sampling import log_probabilities
from adapters.recipes.setup import Row

PROBES = 8
"""Other requests that each edit is tried on."""
MOST = 64
"""Rows that are judged, the first of them; further ones are kept."""


def teaching(model: Any, tokenizer: Any, rows: Sequence[Row], share: float, max_tokens: int) -> list[Row]:
    """``rows`` less those of edits that show least of the others, in their order; ``share`` of these is kept.

    Thumbs and rankings are kept, and so is whatever is too long to be shown.
    """
    edits = [place for place, row in enumerate(rows) if "label" not in row and "ranked" not in row][:MOST]
    gains = {}
    for place in edits:
        others = [rows[other] for other in edits if other != place][:: max(1, len(edits) // PROBES)][:PROBES]
        found = [_gain(model, tokenizer, rows[place], other, max_tokens) for other in others]
        known = [gain for gain in found if gain is not None]
        gains[place] = median(known) if known else math.inf  # one strange text moves no median
    best = sorted(edits, key=lambda place: -gains[place])[: math.ceil(share * len(edits))]
    dropped = set(edits) - set(best)
    return [row for place, row in enumerate(rows) if place not in dropped]


def _gain(model: Any, tokenizer: Any, shown: Row, asked: Row, max_tokens: int) -> float | None:
    """By how many nats a token the text of ``asked`` is likelier after ``shown``; None where that is too long."""
    example = [message for message in shown["prompt"] if message["role"] != "system"]
    system = [message for message in asked["prompt"] if message["role"] == "system"]
    rest = [message for message in asked["prompt"] if message["role"] != "system"]
    text = asked["completion"][0]["content"]
    length = len(tokenizer(text, add_special_tokens=False)["input_ids"])
    told = [*system, *example, *shown["completion"], *rest]
    whole = tokenizer.apply_chat_template([*told, *asked["completion"]], tokenize=False)
    if len(tokenizer(whole, add_special_tokens=False)["input_ids"]) > max_tokens:
        return None
    with_it, without = (log_probabilities(model, tokenizer, p, [text])[0] for p in (told, asked["prompt"]))
    return (with_it - without) / max(1, length)
