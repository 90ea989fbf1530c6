"""What a conversation that comes back says of the answers in it: edited, accepted, asked for again.

Chat clients let people edit an answer and go on, and tell no hook. The next request has the edited answer in its
history. A turn is found again by the hash of what was said before its answer, among its user's own of the last days:
whatever is truncated, summarised, reordered or somebody else's matches none, or is mostly another text.
"""

import hashlib
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any, Self

import regex
from sqlalchemy import ColumnElement, Connection, and_, bindparam, or_, select

from preference.distance import word_distance, words
from preference.feedback import given
from preference.feedback.given import Given
from preference.learning import remarks
from preference.normal import nfc
from store import turns
from store.feedback_kinds import DONE, JUDGING, Type
from store.loop_connection import LoopConnection
from store.message import Message
from store.owner import Owner
from store.rows import key, scope
from store.tables import feedback
from store.tables import turns as turns_table
from store.turns import Turn

LOOKED_AT = 4
"""So many of the last answers in a history are looked for."""
ANSWERS = 8
"""So many turns of one request."""
OTHERS = 200
"""So many of the user's newest answers are known from one that was edited."""
AGAIN_SECONDS = 3600.0
"""The same request within this time asks for another answer; after it, it is the same request."""
KEPT = 0.4
"""The least share of words that an edited answer has in common with the draft, and of its length."""
REMARK = 30
"""Words of a message that may be about the answer before it."""
_MARKER = regex.compile(
    r"(?i)…|\.\.\.|(?:[\[(<{]|--)[^\n\])>}]{0,40}\b(?:cut|truncated|omitted|snip\w*|elided|abridged|gekürzt)\b[^\n\])>}]{0,20}"
)
_DECORATION = regex.compile(
    r"(?is)<think>.*?</think>|<br\s*/?>|\A\s*(?:assistant|ai|bot|model)\s*:\s|"
    r"\n\s*(?:\*\*)?(?:sources|references|citations|quellen)(?:\*\*)?\s*:.*\Z"
)
"""What clients put around an answer when they show it."""
_PRAISE = regex.compile(
    r"(?i)^\W*(?:thanks?|thank you|thx|great|perfect|excellent|awesome|nice|good|love it|exactly|danke|super|prima|"
    r"perfekt|merci|parfait|gracias|perfecto|grazie|perfetto|obrigad[oa])\b"
)
_BUT = regex.compile(r"(?i)\b(?:but|except|only|aber|nur|mais|sauf|pero|salvo)\b")
"""Behind praise: what follows is a wish."""
_BLAME = regex.compile(
    r"(?i)^\W*(?:no\b(?! (?:problem|worries)|\.\s*\d)|nope|wrong|that['’]s (?:wrong|not)|not what i|bad|terrible|"
    r"useless|nein|falsch|non|faux|incorrect)\b"
)


_ANSWERED_BEFORE = (
    select(turns_table.c.answers)
    .where(
        turns_table.c.tenant_id == bindparam("tenant_id"),
        turns_table.c.user_id == bindparam("user_id"),
        turns_table.c.request_sha256 == bindparam("request_sha256"),
        turns_table.c.created_at >= bindparam("since"),
        turns_table.c.created_at < bindparam("before"),
        turns_table.c.partial.is_(False),
    )
    .order_by(turns_table.c.created_at.desc())
    .limit(1)
)


@dataclass(frozen=True)
class Found:
    """What a history says, with the key under which it counts once.

    ``reply`` is what the user said next where that decides: an acceptance is none if it only goes on with the answer.
    """

    given: Given
    key: str
    reply: str = ""


def digest(messages: Sequence[Message]) -> str:
    """What a conversation is found again by: who said what, white space and the system's messages aside."""
    said = hashlib.sha256()
    for message in messages:
        if message.get("role") not in ("system", "developer"):
            said.update(f"{message.get('role')}\0{_plain(_text(message))}\0\0".encode(errors="surrogatepass"))
    return said.hexdigest()


@dataclass(frozen=True)
class Stored:
    """What of a stored turn says whether it has to be read: hashes instead of texts."""

    completion_id: str
    created_at: float
    request: str
    answers: str
    looks_back: bool

    @classmethod
    def of(cls, turn: Turn) -> Self:
        """A turn that was just stored. It looks back if its request has answers in it."""
        asked = turn.request_sha256 or digest(turn.request)
        looks_back = any(message.get("role") == "assistant" for message in turn.request)
        return cls(turn.completion_id, turn.created_at, asked, _sha256(turn.answers), looks_back)


def says_something(c: Connection | LoopConnection, owner: Owner, turn: Stored) -> bool:
    """Whether a turn may say something of earlier ones: it looks back, or the same was just answered otherwise."""
    if turn.looks_back:
        return True
    values = {**key(owner), "request_sha256": turn.request, "before": turn.created_at}
    newest = c.execute(_ANSWERED_BEFORE, {**values, "since": turn.created_at - AGAIN_SECONDS}).first()
    return newest is not None and _sha256(newest[0]) != turn.answers


def read(c: Connection, owner: Owner, completion_id: str, *, since: float) -> list[Found]:
    """What the request of a turn says of earlier turns, those from ``since`` on. Raises ``NotFound``."""
    turn = turns.get(c, owner, completion_id)
    found = _asked_again(c, owner, turn)
    places = [place for place, message in enumerate(turn.request) if message.get("role") == "assistant"]
    for place in places[-LOOKED_AT:][::-1]:
        text = _text(turn.request[place])
        before = _turns(c, owner, turn, digest(turn.request[:place]), since) if text.strip() else []
        if before:
            found += _said_of(c, owner, turn, before, place, since)
    return found


def edited(draft: str, text: str) -> bool:
    """Whether ``text`` is ``draft`` as somebody edited it: mostly the same, and no piece that was cut out of it."""
    text = _DECORATION.sub(lambda found: found[0] if found[0] in draft else "\n", text)
    a, b = words(draft), words(text)
    if not a or not b or _plain(draft) == _plain(text):
        return False
    if not KEPT <= len(b) / len(a) <= 1 / KEPT or word_distance(a, b) > (1 - KEPT) * max(len(a), len(b)):
        return False
    return not _is_cut(draft, text)


def _is_cut(draft: str, text: str) -> bool:
    """Whether ``text`` is a piece of ``draft``, some of its lines, in whichever order, or marks what is left out."""
    whole, first, *rest = _plain(draft), *(_plain(part) for part in _MARKER.split(text))
    if rest and not _MARKER.search(draft):
        return first.strip("[]()<>-.… ") in whole
    if len(_plain(text)) < len(whole) and _plain(text).strip("…. ") in whole:
        return True
    lines = Counter(filter(None, map(_plain, draft.splitlines())))
    return Counter(filter(None, map(_plain, text.splitlines()))) <= lines


def _asked_again(c: Connection, owner: Owner, turn: Turn) -> list[Found]:
    """Another answer was asked for: a weak sign against the one before."""
    if turn.request_sha256 is None:
        return []
    earlier = _turns(c, owner, turn, turn.request_sha256, turn.created_at - AGAIN_SECONDS, limit=1)
    if not earlier or list(earlier[0].request) != list(turn.request):  # another document, or another picture
        return []
    same = _sha256(earlier[0].answers) == _sha256(turn.answers)
    if same or _judged(c, owner, [(earlier[0].completion_id, 0)], JUDGING):
        return []
    said = given.signal("regenerated", completion_id=earlier[0].completion_id, source="history")
    return [_found(said, turn.completion_id)]


def _said_of(c: Connection, owner: Owner, turn: Turn, before: Sequence[Turn], place: int, since: float) -> list[Found]:
    text = _text(turn.request[place])
    answers = [(one.completion_id, number, answer) for one in before for number, answer in enumerate(one.answers)]
    kept = [(id, number) for id, number, answer in answers if _plain(answer) == _plain(text)]
    if kept:
        ranked = _judged(c, owner, [(id, number) for id, number, _ in answers], ("ranking",))
        return [*_gone_on_with(c, owner, turn, kept[0], place), *([] if ranked else _chosen(kept[0], text, answers))]
    id, number, draft = min(answers, key=lambda one: word_distance(one[2], text))
    if _judged(c, owner, [(id, number)], DONE) or not edited(draft, text) or _is_another(c, owner, text, since):
        return []
    return [_found(Given("edit", id, number, edited_text=text, source="history"), text)]


def _gone_on_with(c: Connection, owner: Owner, turn: Turn, kept: tuple[str, int], place: int) -> list[Found]:
    """What is said after an answer that was left as it was: something about it, or it was right."""
    if _judged(c, owner, [kept], DONE):
        return []
    after = turn.request[place + 1 :]
    reply = next((_text(message) for message in after if message.get("role") == "user"), "")
    about: dict[str, Any] = {"completion_id": kept[0], "choice": kept[1], "source": "history"}
    remark = len(words(reply)) <= REMARK and not (_PRAISE.match(reply) and not _BUT.search(reply))
    if remark and remarks.wishes(reply, "en"):
        return [_found(given.comment(reply, **about), reply)]
    if not reply.strip() or _judged(c, owner, [kept], JUDGING):
        return []
    if remark and _BLAME.match(reply):
        return [_found(given.signal("discarded", weight=0.5, **about), reply)]
    accepted = _found(given.signal("accepted", **about), reply)
    return [replace(accepted, reply=reply) if remark else accepted]


def _chosen(kept: tuple[str, int], text: str, answers: Sequence[tuple[str, int, str]]) -> list[Found]:
    """Of several answers to one request the one that the conversation goes on with is the best."""
    others: dict[str, tuple[str, int]] = {}
    for id, number, answer in answers:
        if _plain(answer) != _plain(text) and answer.strip():
            others.setdefault(_plain(answer), (id, number))
    if not others:
        return []
    ranked = [kept, *others.values()][: given.MAX_RANKED]
    # Of the others none is better than another, so each is a pair of its own.
    pairs = [given.ranking([kept, other], "completion_ids", source="history") for other in ranked[1:]]
    return [_found(pair, str(pair.content)) for pair in pairs]


def _turns(
    c: Connection, owner: Owner, turn: Turn, request_sha256: str, since: float, *, limit: int = ANSWERS
) -> list[Turn]:
    """The user's turns of one request before ``turn``, the newest first; answers that were cut short are none."""
    column = turns_table.c.created_at
    query = select(turns_table).where(scope(turns_table, owner), turns_table.c.request_sha256 == request_sha256)
    query = query.where(column >= since, column < turn.created_at, turns_table.c.partial.is_(False))
    return [turns.of_row(row) for row in c.execute(query.order_by(column.desc()).limit(limit)).mappings()]


def _judged(c: Connection, owner: Owner, answers: Sequence[tuple[str, int]], types: Sequence[Type]) -> bool:
    """Whether the user or the app said of some of these answers what is of these types: nothing is guessed then."""
    about = or_(*(_about(id, choice) for id, choice in answers))
    query = select(feedback.c.id).where(scope(feedback, owner), about, feedback.c.type.in_(types))
    query = query.where(feedback.c.source != "history", feedback.c.status != "replaced")
    return c.execute(query.limit(1)).first() is not None


def _about(completion_id: str, choice: int) -> ColumnElement[bool]:
    return and_(feedback.c.completion_id == completion_id, feedback.c.choice == choice)


def _is_another(c: Connection, owner: Owner, text: str, since: float) -> bool:
    """Whether ``text`` is what the model answered elsewhere: then it was moved, not edited."""
    query = select(turns_table.c.answers).where(scope(turns_table, owner), turns_table.c.created_at >= since)
    newest = c.execute(query.order_by(turns_table.c.created_at.desc()).limit(OTHERS)).scalars()
    plain = _plain(text)
    return any(_plain(answer) == plain for answers in newest for answer in answers)


def _sha256(answers: Sequence[str]) -> str:
    return hashlib.sha256("\0".join(map(_plain, answers)).encode(errors="surrogatepass")).hexdigest()


def _found(said: Given, what: str) -> Found:
    return Found(said, given.history_key(said.type, said.completion_id, said.choice, said.slot, what))


def _plain(text: str) -> str:
    return " ".join(nfc(text).split())


def _text(message: Message) -> str:
    content = message.get("content")
    if isinstance(content, str):
        return content
    texts = [part.get("text") for part in content or () if isinstance(part, dict)]
    return "\n".join(text for text in texts if isinstance(text, str))
