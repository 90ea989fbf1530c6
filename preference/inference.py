"""Inferring preferences from one edit: the prompt and the strict, tolerant parse of its answer.

CIPHER's learner call (arXiv 2404.15269), asked for as plain lines so that small local models can answer.
"""

import re

from preference.prompt import Message
from preference.text import as_data, as_quote, canonical

MAX_PREFERENCES = 16
_MARK = re.compile(r"^\s*(?:[-*•]|\d{1,2}[.)])\s+")


def inference_messages(draft: str, edited: str) -> list[Message]:
    """The prompt that asks which preferences turn ``draft`` into ``edited``."""
    return [
        {
            "role": "user",
            "content": (
                f"<draft>\n{as_quote(draft)}\n</draft>\n\n<edited>\n{as_quote(edited)}\n</edited>\n\n"
                "An assistant wrote the draft; the user edited it. Which general preferences of the user explain the "
                'changes? Answer with one short instruction per line, each after "- ", or with "none".'
            ),
        }
    ]


def parse_preferences(answer: str, limit: int = 200) -> list[str]:
    """The preferences in a learner's answer: marked lines, de-duplicated, at most ``MAX_PREFERENCES``.

    Tolerant of a preamble and of ``*`` or ``1.`` marks; strict in that an unmarked line counts only when the
    whole answer is that one line. ``none``, an empty answer and over-long lines give nothing.
    """
    lines = [line for line in answer.splitlines() if line.strip()]
    marked = [_MARK.sub("", line) for line in lines if _MARK.match(line)]
    candidates = marked or (lines if len(lines) == 1 else [])
    found: dict[str, str] = {}
    for line in candidates:
        text = as_data(line, limit=limit + 1)
        if text and len(text) <= limit and canonical(text) not in ("none", "no preference", "nothing", "n/a"):
            found.setdefault(canonical(text), text)
    return list(found.values())[:MAX_PREFERENCES]
