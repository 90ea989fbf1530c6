"""A memory of another assistant, taken apart: which of its sentences say how the user wants things written.

Most memories are facts ("works in Berlin"), which belong in no prompt about how to write. Words tell the two apart, and
in doubt a sentence is a fact: nothing is lost, as it is named among what was skipped.
"""

import re

from preference.learning.layout import sentences
from preference.text import as_data

LONGEST = 400
"""Characters of a preference."""
_LEAD = re.compile(
    r"""^\s*(?:[-*•·–]\s+|\d+[.)]\s+)?            # a bullet
        (?:\[?\(?\d{4}-\d{2}-\d{2}(?:[T ][\d:.]+Z?)?\)?\]?\s*[-–—:]\s*)?  # a date""",
    re.VERBOSE,
)
_HEADING = re.compile(r"^\s*(?:#{1,6}\s|```|---\s*$|<|\w[\w ]{0,30}:\s*$)")
_WANTS = (
    r"prefers?|likes?|loves?|wants?|hates?|dislikes?|appreciates?|asks?|asked|expects?|would like|favou?rs?|values?|"
    r"bevorzugt|mag|möchte|will|wünscht|préfère|aime|veut|souhaite|prefiere|quiere|le gusta"
)
_WRITING = (
    r"answers?|repl(?:y|ies)|respon(?:se|ses|d|ds)|emails?|e-mails?|mails?|messages?|texts?|writ(?:e|es|ing|ten)|tone|"
    r"style|language|summar(?:y|ies|ise|ize)|explanations?|explain(?:s|ed)?|concise|brief|short|detailed|"
    r"formal|informal|casual|friendly|direct|polite|bullets?|bullet points|lists?|tables?|paragraphs?|headings?|"
    r"markdown|emojis?|emoticons?|greetings?|sign-offs?|signature|jargon|examples?|code|comments?|docstrings?|"
    r"type hints|headlines?|titles?|drafts?|sentences?|words|formatting|format|spelling|abbreviations|"
    r"units|metric|citations?|sources|step[- ]by[- ]step|"
    r"Antworten?|kurz|knapp|förmlich|Ton|Stil|réponses?|concis|ton|respuestas?|breve|tono"
)
_ORDERS = (
    r"always|never|avoid|do not|don['’]t|use|write|sign|greet|start|end|keep|include|omit|leave out|be|answer|reply|"
    r"respond|summari[sz]e|explain|format|address|call|prefer|please|no|immer|nie|niemals|bitte|vermeide|schreibe?|"
    r"toujours|jamais|évite|écris|siempre|nunca|evita|escribe"
)
_A_WISH = re.compile(rf"(?i)\b(?:{_WANTS})\b.{{0,120}}\b(?:{_WRITING})\b")
_AN_ORDER = re.compile(rf"(?i)^(?:{_ORDERS})\b")
_ABOUT_WRITING = re.compile(rf"(?i)\b(?:{_WRITING}|always|never|immer|nie|toujours|jamais|siempre|nunca)\b")
_MOST_PARTS = 200


def parts(memory: str) -> list[str]:
    """The statements of a memory, one a line or a sentence, without bullets, dates and headings."""
    found: list[str] = []
    for line in memory.splitlines():
        if not line.strip() or _HEADING.match(line):
            continue
        found += sentences(_LEAD.sub("", line, count=1))
    texts = (as_data(text, LONGEST + 1) for text in found[:_MOST_PARTS])
    return [text for text in texts if text]


def is_wish(statement: str) -> bool:
    """Whether a statement says how things are to be written, in English, German, French or Spanish."""
    if len(statement) > LONGEST:
        return False
    ordered = _AN_ORDER.search(statement) is not None and _ABOUT_WRITING.search(statement) is not None
    return ordered or _A_WISH.search(statement) is not None
