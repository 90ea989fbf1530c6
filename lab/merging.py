"""Merging several preferences into one list: CIPHER's second learner call (arXiv 2404.15269), for its arms alone."""

from collections.abc import Sequence

from preference.text import as_data
from store.message import Message


def merge_messages(preferences: Sequence[str]) -> list[Message]:
    """The prompt that asks for one consistent list out of ``preferences``, which are ordered oldest first."""
    lines = "\n".join(f"- {as_data(p)}" for p in preferences)
    return [
        {
            "role": "user",
            "content": (
                f"<preferences>\n{lines}\n</preferences>\n\nThese preferences of a user are listed oldest first. Merge "
                "them into one list: keep each matter once, and where two contradict each other keep the later one. "
                'Answer with one short instruction per line, each after "- ".'
            ),
        }
    ]
