"""What kind of task a request is: the text that tells it, and a vector space in which requests of one kind are near.

A sentence encoder's last layer says what a text is about. Its middle layers still know the form (who asks whom for
what). ``requests.jsonl`` has requests of many kinds about many things, in many languages. What differs within its
kinds is shrunk and what differs between them is kept, by linear discriminant analysis with a prior, as speakers are
told apart whatever they say (Ioffe, Probabilistic Linear Discriminant Analysis, ECCV 2006).
"""

import hashlib
import json
import re
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from preference.ports import Kinds, Sentences, Vectors
from preference.recall import encoder
from preference.recall.similarity import units
from store.message import Message

REQUESTS = Path(__file__).resolve().parent / "requests.jsonl"
FOLLOW_UP = "follow-up"
"""The kind, among those of ``requests.jsonl``, of what only goes on with a conversation."""
TURNS = 8
"""So many of the user's messages are looked at for what a conversation is about."""
CHARACTERS = 4000
"""How much of a request is kept."""

HEAD = TAIL = 200
"""Characters of the instruction that are embedded."""
PASTED = 60
"""Words from which a paragraph, a line or a quotation is material, and no instruction."""

_FENCE = re.compile(r"```.*?(?:```|\Z)|~~~.*?(?:~~~|\Z)", re.DOTALL)
_QUOTE = re.compile(r"^\s*>.*$", re.MULTILINE)
_QUOTATION = re.compile(r"""(["“„«])(.+?)(["”“»])""", re.DOTALL)


def instruction(text: str) -> str:
    """What ``text`` asks for, without code, quotations and long pasted paragraphs; of the rest its head and tail.

    All of ``text`` where nothing else is left.
    """
    bare = _QUOTE.sub("", _FENCE.sub("", text))
    bare = _QUOTATION.sub(lambda found: "" if _pasted(found[2]) else found[0], bare)
    paragraphs = [part for part in re.split(r"\n\s*\n", bare) if part.strip()]
    first, rest = paragraphs[:1], [part for part in paragraphs[1:] if not _pasted(part)]
    lines = [line.strip() for part in first + rest for line in part.splitlines() if line.strip()]
    kept = "\n".join([line for line in lines if not _pasted(line)] or lines) or text.strip()
    return kept if len(kept) <= HEAD + TAIL + 3 else f"{kept[:HEAD]}\n…\n{kept[-TAIL:]}"


def asked(messages: Sequence[Message]) -> list[str]:
    """The user's texts in a conversation, the last one first; of a long one its head and tail."""
    texts = (_text(message).strip() for message in reversed(messages) if message.get("role") == "user")
    half = CHARACTERS // 2 - 1
    return [t if len(t) <= CHARACTERS else f"{t[:half]}\n…{t[-half:]}" for t in texts if t][:TURNS]


def context_of(embedder: Kinds, messages: Sequence[Message]) -> tuple[str, Vectors]:
    """The text that says what a conversation is about, and its vector, [dimension]; blocking.

    It is the user's last message that does not only go on with what was asked before; "" where there is none.
    """
    texts = asked(messages)
    for text in texts[:-1]:
        vector = embedder.embed([text])[0]
        if not embedder.goes_on(vector):
            return text, vector
    first = texts[-1] if texts else ""
    return first, embedder.embed([first])[0]


@dataclass(frozen=True)
class Recipe:
    """What a space of kinds is made with; `attune lab kinds` tries others.

    ``prior`` is the variance within kinds that is assumed beside the one seen, in means of it. ``mistaken`` is the
    share of pairs of two kinds in ``requests.jsonl`` that count as of one, and says where the cut-off is. ``about`` is
    the weight of what a request is about, among requests of one kind.
    """

    prior: float = 1.0
    mistaken: float = 0.0025
    about: float = 0.3


class KindEmbedder:
    """``Kinds`` on a sentence encoder.

    A dimension of the kind that all vectors share puts the cosine at which two requests count as one kind at the
    same place for each encoder, ``ALIKE``.
    """

    ALIKE = 0.7

    def __init__(self, sentences: Sentences, recipe: Recipe = Recipe()) -> None:
        """Embeds the requests of ``requests.jsonl``: some seconds, with a large encoder up to a minute."""
        self._sentences = sentences
        self._about = recipe.about
        content = REQUESTS.read_bytes()
        made_with = f"{recipe} {HEAD} {TAIL} {PASTED} {encoder.HEAD} {encoder.HEAD_WEIGHT}".encode()
        self.name = f"{sentences.name}, kinds {hashlib.sha256(content + made_with).hexdigest()[:8]}"
        lines = [json.loads(line) for line in content.decode().splitlines()]
        texts = [text for line in lines for text in line["requests"]]
        kinds = np.repeat(np.arange(len(lines)), [len(line["requests"]) for line in lines])
        features = sentences.read([instruction(text) for text in texts])[0]
        self._mean = features.mean(axis=0)
        self._map = _discriminant(features - self._mean, kinds, recipe.prior)
        self._offset = 0.0
        self.kinds = features.shape[1] + 1
        self._offset = self._offset_of(self._mapped(features), kinds, recipe.mistaken)
        vectors = self._mapped(features)
        goes_on = kinds == [line["kind"] for line in lines].index(FOLLOW_UP)
        middle = vectors[goes_on].mean(axis=0)
        self._middle = middle / np.linalg.norm(middle)
        self.dimension = self.kinds + sentences.read([""])[1].shape[1]
        self._near = float(np.quantile(vectors[~goes_on] @ self._middle, 0.975))

    def embed(self, texts: Sequence[str]) -> Vectors:
        """Unit vectors of ``texts``, float32 [texts, dimension]; thread-safe, blocking."""
        if not texts:
            return np.zeros((0, self.dimension), np.float32)
        forms, abouts = self._sentences.read([instruction(text) for text in texts])
        kinds = np.sqrt(1 - self._about) * self._mapped(forms)
        return np.asarray(np.concatenate([kinds, np.sqrt(self._about) * abouts], axis=1), np.float32)

    def goes_on(self, vector: Vectors) -> bool:
        """Whether a text with this vector only goes on with what was asked before: "shorter, please"."""
        return bool(self._middle @ vector[: self.kinds] >= np.sqrt(1 - self._about) * self._near)

    def _offset_of(self, vectors: Vectors, kinds: NDArray[np.int64], mistaken: float) -> float:
        """The cosine of two vectors without what they share that puts the cut-off at ``ALIKE``."""
        different = (vectors @ vectors.T)[kinds[:, None] != kinds[None, :]]
        cut = float(np.quantile(different, 1 - mistaken))
        return max(0.0, (self.ALIKE - cut) / (1 - cut))

    def _mapped(self, features: Vectors) -> Vectors:
        mapped = units((features - self._mean) @ self._map)
        shared = np.full((len(mapped), 1), np.sqrt(self._offset), np.float32)
        return np.asarray(np.concatenate([np.sqrt(1 - self._offset) * mapped, shared], axis=1), np.float32)


def _text(message: Message) -> str:
    content = message.get("content")
    if not isinstance(content, str):
        content = "\n".join(part["text"] for part in content or () if part.get("type") in ("text", "input_text"))
    return content.replace("\0", "\ufffd")  # PostgreSQL keeps no NUL, and what is kept is what is recalled by


def _discriminant(features: Vectors, kinds: NDArray[np.int64], prior: float) -> Vectors:
    """A symmetric map, so that it is the same on each machine, [dimension, dimension], for centred ``features``.

    Within kinds it makes the variance one in each direction, a prior added; a direction counts as far as kinds differ.
    """
    means = np.stack([features[kinds == kind].mean(axis=0) for kind in range(kinds.max() + 1)]).astype(np.float64)
    residuals = features - means[kinds]
    within = residuals.T @ residuals / len(features)
    size = len(within)
    variances, directions = np.linalg.eigh(within + prior * np.trace(within) / size * np.eye(size))
    whitening = (directions / np.sqrt(variances)) @ directions.T
    between = whitening @ (means.T @ means / len(means)) @ whitening
    signals, directions = np.linalg.eigh(between)
    signals = np.maximum(signals, 0)
    gains = np.sqrt(signals / (signals + 1))
    return np.asarray(whitening @ (directions * gains) @ directions.T, np.float32)


def _pasted(text: str) -> bool:
    return len(text.split()) > PASTED
