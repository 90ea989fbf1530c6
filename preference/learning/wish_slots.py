"""Which common wishes exclude each other: those of one slot."""

from functools import lru_cache

import regex

from preference.learning.common_wishes import texts

SLOTS: tuple[frozenset[str], ...] = tuple(
    frozenset(slot.split())
    for slot in (
        "bullets no-bullets", "numbered no-numbered", "bullets numbered", "table no-table", "emoji no-emoji",
        "headings no-headings", "bold no-bold", "hashtags no-hashtags", "oxford-comma no-oxford-comma",
        "formal informal", "formal-address informal-address", "formal informal-address",
        "contractions no-contractions", "comments no-comments", "docstrings no-docstrings",
        "british american", "24-hour 12-hour", "single-quotes double-quotes",
        "short long", "first-person-singular first-person-plural", "subject-line no-subject-line",
        "guillemets curly-quotes straight-quotes", "greeting add-greeting no-greeting", "sign-off no-sign-off",
    )
)  # fmt: skip


def wish_of(text: str) -> str | None:
    """The common wish that a preference's text says, word for word in any language; None for any other text."""
    exact, patterns = _index()
    if found := exact.get(text):
        return found
    return next((wish for pattern, wish in patterns if pattern.fullmatch(text)), None)


def exclude(a: str, b: str) -> bool:
    """Whether two common wishes cannot both hold; two of one kind with other words are such."""
    return a == b or any(a in slot and b in slot for slot in SLOTS)


@lru_cache(maxsize=1)
def _index() -> tuple[dict[str, str], list[tuple["regex.Pattern[str]", str]]]:
    exact: dict[str, str] = {}
    patterns = []
    for wish, by_language in texts().items():
        for text in by_language.values():
            if "{phrase}" in text:
                before, after = map(regex.escape, text.split("{phrase}", 1))
                patterns.append((regex.compile(f"{before}.+{after}", regex.DOTALL), wish))
            else:
                exact[text] = wish
    return exact, patterns
