"""How likely each writer's text is, and the draft, under what was learned from each of them."""

import json
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from lab.edits.score import CONSTANT_LIST
from lab.work import Work, digest
from lab.writers.data import Row, Split
from preference.learning.judge import changed_tokens
from preference.ports import Scorer, TokenScores
from preference.prompt import compose
from store.message import Message

PREFERENCES, ADAPTERS = "preferences", "adapters"
NONE, CONSTANT = "none", "constant list"


@dataclass(frozen=True)
class Source:
    """What a text is written under: the preferences of somebody, or somebody's adapter, which is named ``model``."""

    kind: str
    name: str
    model: str | None = None
    texts: Mapping[str, Sequence[str]] | None = None

    def prompt(self, row: Row) -> list[Message]:
        """The prompt of a row."""
        told = self.texts.get(row.id, ()) if self.texts else ()
        return compose([{"role": "user", "content": row.instruction}], (), tuple(told))


def of_preferences(work: Work, split: Split) -> list[Source]:
    """Nothing, the constant list, and what each writer's edits taught, as the server would serve it."""
    rows = split.tested
    learned = [
        Source(PREFERENCES, writer, texts={row.id: recalled(work, writer, row) for row in rows})
        for writer in split.writers
    ]
    return [
        Source(PREFERENCES, NONE),
        Source(PREFERENCES, CONSTANT, texts={row.id: CONSTANT_LIST for row in rows}),
        *learned,
    ]


def recalled(work: Work, writer: str, row: Row) -> list[str]:
    """What the server would serve a writer by for a row."""
    return list((work.get("recalled", writer, row.id) or {"texts": []})["texts"])


async def score(
    split: Split, sources: Sequence[Source], scorer: Scorer, name: str, work: Work, done: Callable[[], None]
) -> None:
    """Score each test row's draft and texts under each source, a row and source at a time, by a model named ``name``.

    What the work file has is not scored again.
    """
    for row, source in pairs(split, sources):
        key = key_of(row, source, name)
        if work.get("scored", source.kind, key) is None:
            prompt = source.prompt(row)
            texts = [row.draft, *(row.edited[writer] for writer in split.writers)]
            draft, *edited = await scorer.score([(prompt, text) for text in texts], model=source.model)
            told = {writer: _sums(draft, one) for writer, one in zip(split.writers, edited, strict=True)}
            work.add("scored", source.kind, key, texts=told)
        done()


def pairs(split: Split, sources: Sequence[Source]) -> Iterator[tuple[Row, Source]]:
    """Everything that is scored."""
    return ((row, source) for row in split.tested for source in sources)


def key_of(row: Row, source: Source, scorer: str) -> str:
    """What a score is of: equal prompts of the same model are scored once."""
    return digest(json.dumps([row.id, scorer, source.model, source.prompt(row)], ensure_ascii=False))


def _sums(draft: TokenScores, edited: TokenScores) -> dict[str, Any]:
    """Log-likelihoods in nats and tokens, of all tokens and of those that an edit changed."""
    of_draft, of_edit = changed_tokens(draft.tokens, edited.tokens)
    return {
        "draft": [sum(draft.logprobs), len(draft.tokens)],
        "edited": [sum(edited.logprobs), len(edited.tokens)],
        "draft_changed": [sum(draft.logprobs[at] for at in of_draft), len(of_draft)],
        "edited_changed": [sum(edited.logprobs[at] for at in of_edit), len(of_edit)],
    }
