"""Learned and stated text is data: this file makes it one safe line before it enters a prompt."""

import re
import unicodedata

# Brackets, pipes and braces carry every role tag, chat-template token and block delimiter in use
# (`<|im_end|>`, `[INST]`, `<<SYS>>`, `</preferences>`, `{{...}}`); their look-alikes carry none.
_LOOKALIKES = str.maketrans({"<": "‹", ">": "›", "[": "(", "]": ")", "{": "(", "}": ")", "|": "¦", "`": "'"})
_SPACE = re.compile(r"\s+")


def as_data(text: str, limit: int = 400) -> str:
    """One printable line of at most ``limit`` characters that cannot open or close any prompt structure."""
    printable = "".join(
        " " if unicodedata.category(c) in ("Cc", "Zl", "Zp") else c
        for c in unicodedata.normalize("NFC", text)
        if unicodedata.category(c) not in ("Cf", "Co", "Cs", "Cn") or c == "\u200d"
    )
    return _SPACE.sub(" ", printable.translate(_LOOKALIKES)).strip()[:limit].rstrip()


def canonical(text: str) -> str:
    """The form under which two preference texts count as equal: case, spacing and end punctuation ignored."""
    return as_data(text).casefold().lstrip("-*• ").rstrip(".!; ")
