"""One script of operations that many owners play at once, with the same ids everywhere.

Nobody's answers may depend on who else is there: each owner's log must be the one that the script leaves when it is
played by one owner alone. Between two steps of one owner all others make steps of their own.
"""

import dataclasses
import hashlib
import json
import re
import secrets
import time
from collections import Counter
from collections.abc import Callable, Sequence
from functools import partial
from types import SimpleNamespace
from typing import Any

import numpy as np
from sqlalchemy import Connection, Table, delete, func, insert, or_, select, update

from adapters.evaluation import canary
from adapters.lifecycle import activation, cohorts, versions
from adapters.lifecycle.activation import Policy
from preference import context_rows, curve, preferences, prior
from preference.context_rows import MAX_CONTEXTS
from preference.feedback import edit_rows, feedback, given, opinions, outcomes, signals, submission
from preference.learning import history
from preference.recall import embedding
from store import (
    bytes_held,
    erasures,
    idempotency,
    job_list,
    jobs,
    keys,
    limits,
    shared_secret,
    tokens,
    turns,
    usage,
    users,
)
from store.database import Database
from store.errors import AttuneError
from store.owner import Owner
from store.tables import adapters as adapters_table
from store.tables import api_keys, metadata
from store.tables import cohort_members as members_table
from store.tables import contexts as contexts_table
from store.tables import erasures as erasures_table
from store.tables import feedback as feedback_table
from store.tables import jobs as jobs_table
from store.tables import key_days as key_days_table
from store.tables import preferences as preferences_table
from store.tables import spent_keys as spent_table
from store.tables import turns as turns_table
from store.tables import user_tokens as tokens_table
from store.tables import users as users_table
from store.values import Value
from tests.preference.helpers import submit, turn, unit

# The same user under two tenants; a tenant and a user whose names run together alike; names equal but for case;
# wildcards of LIKE; a letter in two forms of Unicode.
ALIKE = [
    Owner("t", "u"),
    Owner("t", "2u"),
    Owner("t2", "u"),
    Owner("T", "u"),
    Owner("t", "U"),
    Owner("%", "_"),
    Owner("_", "%"),
    Owner("é", "u"),
    Owner("e\u0301", "u"),
]
MANY = [
    *ALIKE,
    *(Owner(f"tenant {i}", "u") for i in range(25)),
    *(Owner("x" * (1 + i), "x" * (20 - i)) for i in range(20)),
    *(Owner("tenant 0", f"user {i}") for i in range(6)),
]
ONLOOKER = Owner("z", "u")
"""Has more and newer of everything, and does nothing: neither may it matter to others nor lose a row."""

APART = 2  # steps
PARKED = 4e9  # a time that does not come: of jobs that are not due, and of the onlooker's rows
_RANDOM = re.compile(r"(?:pref|fb|ctx|job)-[0-9a-f]{32}|tok-[0-9a-f]{24}|\b[0-9a-f]{32}\b")
_TIMES = {"created_at", "updated_at", "activated_at", "run_after", "lease_until", "learned_through", "finished_at"}
_TIMES |= {"since", "until"}

Step = Callable[["Player", Connection], Any]


class Player:
    """One owner on the way through the script, and what it keeps from step to step."""

    def __init__(self, owner: Owner) -> None:
        self.owner = owner
        self.mark = "m" + hashlib.sha256(repr(owner).encode()).hexdigest()[:12]
        self.kept: dict[str, Any] = {}
        self._names: dict[str, str] = {}

    def text(self, text: str) -> str:
        """A text that nobody else has."""
        return f"{text} {self.mark}"

    def plain(self, value: Any) -> Any:
        """What every owner must get alike: random ids are numbered, times left out, the own mark is ``<me>``."""
        if dataclasses.is_dataclass(value) and not isinstance(value, type | Owner):
            held = {field.name: getattr(value, field.name) for field in dataclasses.fields(value)}
            return {name: self.plain(one) for name, one in held.items() if name not in _TIMES}
        if isinstance(value, Owner):
            return "<me>" if value == self.owner else value
        if isinstance(value, dict):
            return {self.plain(name): self.plain(one) for name, one in value.items() if name not in _TIMES}
        if isinstance(value, list | tuple):
            return [self.plain(one) for one in value]
        if isinstance(value, set | frozenset):
            return sorted(self.plain(one) for one in value)
        if isinstance(value, np.ndarray):
            return [round(one, 4) for one in value.tolist()]
        if isinstance(value, Value):
            return self.plain(value.model_dump())
        if isinstance(value, str):
            return _RANDOM.sub(self._named, value.replace(self.mark, "<me>"))
        return value

    def _named(self, found: re.Match[str]) -> str:
        return self._names.setdefault(found[0], f"<{len(self._names)}>")


def prepare(database: Database, owners: Sequence[Owner]) -> list[Player]:
    """Players of the script, with rows of their own, and after them the onlooker."""
    players = [Player(owner) for owner in owners]
    onlooker = Player(ONLOOKER)

    def begin(c: Connection) -> None:
        for player in players:
            _seed(c, player, 1.0, more=False)
        _seed(c, onlooker, PARKED, more=True)

    database.write_now(begin)
    return [*players, onlooker]


def play(database: Database, players: Sequence[Player], expected: Sequence[Any] | None = None) -> list[list[Any]]:
    """Every player's log, but for the onlooker, who is the last one; each begins ``APART`` steps after the one before.

    With ``expected``, an ``AssertionError`` says who was first to learn of somebody else.
    """
    *players, onlooker = players
    before = database.read_now(everything, onlooker), database.read_now(raw, ONLOOKER)
    logs: list[list[Any]] = [[] for _ in players]
    for number in range(len(SCRIPT) + APART * len(players)):
        for place, (player, log) in enumerate(zip(players, logs, strict=True)):
            at = number - place * APART
            if 0 <= at < len(SCRIPT):
                log.append(_answer(database, player, SCRIPT[at]))
                if expected is not None:
                    assert log[at] == expected[at], f"{player.owner} is not alone in {SCRIPT[at].__name__}, step {at}"
    after = database.read_now(everything, onlooker), database.read_now(raw, ONLOOKER)
    assert after == before, "the rows of somebody who did nothing have changed"
    return logs


def _answer(database: Database, player: Player, step: Step) -> Any:
    try:
        return player.plain(database.write_now(lambda c: step(player, c)))
    except AttuneError as error:
        return type(error).__name__, error.param


def _seed(c: Connection, player: Player, times: float, more: bool) -> None:
    """Rows with the same ids for everybody, in the place of what the owner has."""
    c.execute(delete(users_table).where(_mine(users_table, player.owner)))

    def add(table: Table, **values: Any) -> None:
        owner = {"tenant_id": player.owner.tenant, "user_id": player.owner.user}
        c.execute(insert(table).values(**owner, **values, created_at=times + len(player.kept)))
        player.kept[f"row {len(player.kept)}"] = True

    opaque_id = player.kept["opaque"] = secrets.token_hex(16)
    add(users_table, opaque_id=opaque_id, standing_values=[], active_adapter=1, revision=100)
    for id in ("c-1", "c-2", "c-3"):
        made = turn(id, times, player.text("Dear Sam, done."), player.text("Sam: done"), partial=id == "c-3")
        made = dataclasses.replace(made, created_at=times + int(id[2:]), client_id="mine", request_sha256="0" * 64)
        turns.record(c, player.owner, made)
    for number, status in enumerate(("pending", "learned", "pending", *(("learned",) if more else ()))):
        add(
            feedback_table, id=f"fb-{number}", completion_id=f"c-{number + 1}", choice=0, type="edit",
            edited_text=player.text("Hi"), cost=0.5, status=status, reason=None, learned=["pref-0"],
            idempotency_key=f"k-{number}", body_sha256=f"{number}",
        )  # fmt: skip
    turns.record(c, player.owner, dataclasses.replace(turn("o-0", 500.0, player.text("x"))))
    for number, text in enumerate(("Dear all, the meeting is at eight on Friday in the large room. Kind regards", "x")):
        # somebody else's answers to what all ask in `look_at_history`, and what that says of them
        asked = [{"role": "user", "content": "Write to all"}]
        made = dataclasses.replace(turn(f"h-{number + 1}", 11.0, text), request=asked)
        if more:
            turns.record(c, player.owner, dataclasses.replace(made, request_sha256=history.digest(asked)))
            add(
                feedback_table, id=f"fb-of-h-{number}", completion_id=f"h-{number + 1}", choice=0, type="signal",
                learned=[], status="nothing_learned", body_sha256="", content={"signal": "copied"}, slot="copied",
            )  # fmt: skip
    for number, kind in enumerate(_others() if more else ()):
        add(
            feedback_table, id=f"fb-of-{number}", completion_id=kind.completion_id, choice=0, type=kind.type,
            learned=[], status="nothing_learned", body_sha256="", content=dict(kind.content or {}), slot=kind.slot,
        )  # fmt: skip
    for number in range(6 if more else 4):
        add(
            preferences_table, id=f"pref-{number}", text=player.text(f"Prefer {number}"), source="learned",
            status="superseded" if number == 3 else "active", superseded_by="pref-0" if number == 3 else None,
            locked=number == 2, updated_at=times,
        )  # fmt: skip
        for context in range(MAX_CONTEXTS + 1 if more and number == 0 else 2):
            add(
                contexts_table, preference_id=f"pref-{number}", id=f"ctx-{context}", feedback_id=f"fb-{context}",
                text=player.text("A letter"), embedder="e", vector=unit(1, number, context).astype("<f4").tobytes(),
            )  # fmt: skip
    for number, job in enumerate(("learn", "train", "learn")):
        add(
            jobs_table, id=f"job-{number}", kind=job, subject=f"fb-{number}", state="queued", lease_until=None,
            run_after=2.0 if more else PARKED, fence=0, attempt=0, deferrals=0, error=None,
        )  # fmt: skip
    for number, made_state in enumerate(("ready", "refused", *(("training",) if more else ())), start=1):
        add(
            adapters_table, version=number, state=made_state, mode="adapter", learned_through=times,
            report={"of": player.mark}, updated_at=times,
        )  # fmt: skip

    if more:
        owner = {"tenant_id": player.owner.tenant, "user_id": player.owner.user}
        token = {"id": "tok-1", "key_id": "k", "scopes": ["data"], "sha256": "0" * 64}
        add(tokens_table, **token, expires_at=PARKED)
        spent = {"key_sha256": "0" * 64, "body_sha256": "", "answer": {}, "spent_at": PARKED}
        c.execute(insert(spent_table).values(**owner, **spent))
    for cohort in (player.mark, f"of {player.owner.user}"):
        add(members_table, cohort_id=cohort, version=0)


def _others() -> list[given.Given]:
    """Feedback of further kinds, about answers that everybody has."""
    pair = {"ranking": [{"completion_id": id, "choice": 0, "text": id} for id in ("c-1", "c-2")]}
    slot = given.slot_of([("c-1", 0), ("c-2", 0)])
    return [
        *(given.comment(f"Comment {number}", completion_id="c-2") for number in range(given.MAX_STANDING)),
        given.rating(7, completion_id="c-1"),
        given.rating(7, completion_id="c-2"),
        given.rating(7, completion_id="o-0"),
        given.Given("ranking", "c-2", content=pair, slot=slot),
        given.signal("discarded", completion_id="c-2"),
        given.signal("copied", completion_id="c-2"),
        given.signal("copied", completion_id="c-4"),
        given.outcome("replied", 9.0, completion_id="c-2"),
        given.outcome("weighed", 7.0, completion_id="o-0"),
    ]


def _mine(table: Table, owner: Owner) -> Any:
    return (table.c.tenant_id == owner.tenant) & (table.c.user_id == owner.user)


def raw(c: Connection, owner: Owner) -> dict[str, list[Any]]:
    """The owner's rows of every table, read past the row functions."""
    owned = [table for table in metadata.sorted_tables if "user_id" in table.c]
    rows = {
        table.name: c.execute(select(table).where(_mine(table, owner)).order_by(*table.primary_key)).all()
        for table in owned
    }
    return {name: [tuple(row) for row in found] for name, found in rows.items()}


def everything(c: Connection, player: Player) -> Any:
    """What every function that reads gives about the owner; jobs, which none reads, by their rows."""
    owner = player.owner
    queued = select(jobs_table).where(_mine(jobs_table, owner)).order_by(jobs_table.c.created_at)
    found = {
        "user": users.get(c, owner),
        "named": users.named(c, player.kept["opaque"]),
        "turn": _or_error(turns.get, c, owner, "c-1"),
        "turns": turns.page(c, owner),
        "feedback": _or_error(feedback.get, c, owner, "fb-0"),
        "all feedback": feedback.page(c, owner),
        "all jobs": job_list.page(c, owner),
        "newest turns": turns.newest(c, owner, after=(PARKED + 100, ""), equal={"adapter_version": 3}),
        "newest feedback": feedback.newest(c, owner, limit=100, equal={"type": "edit"}),
        "tokens": [(one.key_id, one.scopes) for one in tokens.all_of(c, owner)],
        "days": usage.of_user(c, owner, 0, 10),
        "spent today": limits.spent_today(c, owner.tenant, limits.of_user(owner.user)),
        "spent answers": [one.answer for one in idempotency.page(c, owner)],
        "spent": _or_error(idempotency.answer_of, c, owner, "k-spent", "new"),
        "alike": preferences.alike(c, owner, player.text("prefer 0.")),
        "jobs under way": {kind: jobs.under_way(c, owner, kind) for kind in ("learn", "train")},
        "edits": edit_rows.edits(c, owner),
        "edit page": edit_rows.edit_page(c, owner),
        "thumbs": edit_rows.thumbs(c, owner),
        "thumb page": edit_rows.thumb_page(c, owner),
        "by any name": [_or_error(turns.named, c, owner, id) for id in ("c-1", "mine", "theirs")],
        "edits of": edit_rows.named(c, owner, ["fb-0", "fb-1", "fb-2"]),
        "rankings": [opinions.rankings(c, owner), opinions.ranking_page(c, owner)],
        "ratings": [opinions.rated(c, owner), opinions.rating_page(c, owner, border=opinions.border(c, owner))],
        "opinions": [opinions.counts(c, owner), opinions.consistency(c, owner)],
        "pending": [edit_rows.pending(c, owner, f"fb-{number}") for number in range(3)],
        "count": edit_rows.count_since(c, owner, 0.0),
        "preference": _or_error(preferences.get, c, owner, "pref-0"),
        "active": preferences.active(c, owner),
        "preferences": preferences.all_of(c, owner),
        "contexts": sorted(
            context_rows.by_embedder(c, owner, "e"), key=lambda one: (one.preference_id, one.created_at)
        ),
        "evidence": context_rows.evidence_of(c, owner),
        "evidence of some": context_rows.evidence_of(c, owner, ["pref-0", "pref-1"]),
        "contexts of one": _or_error(context_rows.of, c, owner, "pref-0"),
        "newest contexts": context_rows.newest(c, owner),
        "last turn": turns.last_at(c, owner),
        "last with": [turns.last_with(c, owner, f"pref-{number}") for number in range(2)],
        "curve": curve.of_user(c, owner),
        "versions": versions.all_of(c, owner),
        "version": _or_error(versions.get, c, owner, 1),
        "serving": _or_error(versions.active, c, owner),
        "learned through": versions.learned_through(c, owner) > 0,
        "learned from": versions.learned_from(c, owner),
        "both serving": _or_error(versions.served, c, owner),
        "next": versions.next_number(c, owner),
        "jobs": [{k: v for k, v in row.items() if k[-3:] != "_id"} for row in c.execute(queued).mappings()],
        "leased": [row.lease_until is not None for row in c.execute(queued)],
    }
    return player.plain(found)


def _or_error(fn: Callable[..., Any], *args: Any, **kwargs: Any) -> Any:
    try:
        return fn(*args, **kwargs)
    except AttuneError as error:
        return type(error).__name__, error.param


def _attempts(player: Player, c: Connection, *calls: Callable[[], Any]) -> list[Any]:
    """What each call gives, or its error; the calls that fail leave nothing."""
    answers = []
    for call in calls:
        nested = c.begin_nested()
        try:
            answers.append(player.plain(call()))
            nested.commit()
        except AttuneError as error:
            nested.rollback()
            answers.append((type(error).__name__, error.param))
    return answers


def read(player: Player, c: Connection) -> Any:
    return everything(c, player)


def settle(player: Player, c: Connection) -> Any:
    users.set_standing_values(c, player.owner, [Value(preference=player.text("Be brief"))])
    users.set_active_adapter(c, player.owner, 2)
    users.touch(c, player.owner)
    return users.ensure(c, player.owner), users.lock(c, player.owner)


def pause(player: Player, c: Connection) -> Any:
    users.set_paused(c, player.owner, True)
    return _attempts(
        player, c,
        lambda: users.check_learning(c, player.owner),
        lambda: submit(c, player.owner, completion_id="c-1", edited_text="x", body_sha256="x"),
        lambda: turns.record(c, player.owner, turn("c-8")),
    )  # fmt: skip


def go_on(player: Player, c: Connection) -> Any:
    users.set_paused(c, player.owner, False)
    return users.check_learning(c, player.owner)


def serve_first(player: Player, c: Connection) -> Any:
    users.set_active_adapter(c, player.owner, 1)
    return versions.active(c, player.owner)


def record(player: Player, c: Connection) -> Any:
    made = turn("c-4", 5.0, player.text("A new one"))
    call = partial(turns.record, c, player.owner, made)
    return _attempts(player, c, lambda: call("another"), call, lambda: call(player.kept["opaque"]))


def accept(completion_id: str, key: str | None, body: str) -> Step:
    def accept(player: Player, c: Connection) -> Any:
        made = submit(
            c, player.owner, completion_id=completion_id, edited_text=player.text(body), idempotency_key=key,
            body_sha256=body,
        )  # fmt: skip
        player.kept["edit"] = made.id
        return made, abs(made.created_at - time.time()) < 1000

    return accept


def thumbs_up(player: Player, c: Connection) -> Any:
    made = [submit(c, player.owner, completion_id="c-2", thumb="up", body_sha256=str(number)) for number in range(2)]
    return made, feedback.replaced_by(c, player.owner, made[1].id)


def give_others(player: Player, c: Connection) -> Any:
    """Each further kind once more than somebody else has it, and what a signal says of a preference."""
    shown = [{"id": "pref-1", "text": player.text("Prefer 1"), "score": 1.0}]
    mine = _mine(turns_table, player.owner) & (turns_table.c.completion_id == "c-2")
    c.execute(update(turns_table).where(mine).values(applied_preferences=shown))
    one = [
        given.comment("Too long", completion_id="c-2"),
        given.rating(5, completion_id="mine"), given.rating(5, completion_id="c-1"),
        given.rating(6, completion_id="c-2"), given.rating(2, completion_id="c-2", choice=1),
        given.ranking([("c-1", 0), ("c-2", 0)], "completion_ids"), given.ranking([("c-2", 0), ("c-1", 0)], "choices"),
        given.ranking([("c-2", 0), ("o-0", 0)], "completion_ids"),  # one of which nobody but somebody else has rated
        given.signal("copied", completion_id="c-2"), given.signal("copied", completion_id="c-2"),
        given.outcome("replied", 1.0, completion_id="c-2"), given.outcome("replied", 2.0, completion_id="c-2"),
        given.signal("sent", completion_id="c-9"), given.ranking([("c-1", 0), ("c-9", 0)], "completion_ids"),
    ]  # fmt: skip
    made = _attempts(player, c, *(partial(submission.give, c, player.owner, kind, body_sha256="x") for kind in one))
    player.kept["signal"] = feedback.newest(c, player.owner, equal={"type": "signal"})[0].id
    favour = [preferences.get(c, player.owner, "pref-1").favour]
    signals.set_favour(c, player.owner, ["pref-1", "pref-of-nobody"])
    with_thumbs = feedback.newest(c, player.owner, limit=100)
    feedback.drafted(c, player.owner, "fb-0", player.text("Dear Sam"))
    return made, favour, [(held.type, held.status) for held in with_thumbs], park(player, c)


def weigh_outcomes(player: Player, c: Connection) -> Any:
    """By those of the tenant, which has others: what is said of one's own alone is stored."""
    nested = c.begin_nested()
    before = {name: rows for name, rows in raw(c, ONLOOKER).items() if name != "users"}
    for number in range(outcomes.LEAST):
        if number:  # everybody has the first
            made = dataclasses.replace(turn(f"o-{number}", 30.0 + number, player.text("x" * number)))
            turns.record(c, player.owner, made)
        said = given.outcome("weighed", float(number % 3), completion_id=f"o-{number}")
        submission.give(c, player.owner, said, body_sha256="x")
    of_name = [len(outcomes.of_tenant(c, player.owner.tenant, name)) for name in ("weighed", "nobody's")]
    weighed = outcomes.weigh(c, player.owner, "weighed"), outcomes.weigh(c, player.owner, "nobody's")
    found = [held.content for held in feedback.newest(c, player.owner, limit=3, equal={"type": "outcome"})]
    assert {name: rows for name, rows in raw(c, ONLOOKER).items() if name != "users"} == before
    nested.rollback()
    return of_name, weighed, found


def share(player: Player, c: Connection) -> Any:
    """What those of a tenant share is of its users alone, each with their own preferences."""
    tenant, user = player.owner.tenant, player.owner.user
    held = [one for one in prior.of_tenant(c, tenant, "e") if one.user == user]
    of_tenant = select(func.count()).select_from(users_table).where(users_table.c.tenant_id == tenant)
    have_it = prior.holders(c, tenant, prior.Shared(player.text("Prefer 0"), ["pref-0"]))
    few = 0 < have_it <= c.execute(of_tenant).scalar_one()
    return sorted((one.preference_id, one.text) for one in held), few


def erase_others(player: Player, c: Connection) -> Any:
    comment = feedback.newest(c, player.owner, equal={"type": "comment"})[0].id
    erased = _attempts(
        player, c,
        lambda: feedback.erase(c, player.owner, player.kept["signal"]), lambda: feedback.erase(c, player.owner, comment)
    )  # fmt: skip
    return erased, preferences.get(c, player.owner, "pref-1").favour


def demonstrate(player: Player, c: Connection) -> Any:
    """A request that nobody asked, its draft, and the end of both; the turns of everybody else have the same id."""
    said = given.demonstration([{"role": "user", "content": player.text("Write")}], player.text("Hi"))
    made = submission.give(c, player.owner, said, body_sha256="x")
    park(player, c)
    mine = _mine(turns_table, player.owner) & (turns_table.c.completion_id == made.completion_id)
    c.execute(update(turns_table).where(mine).values(completion_id="demo-1", created_at=9.0))
    mine = _mine(feedback_table, player.owner) & (feedback_table.c.id == made.id)
    c.execute(update(feedback_table).where(mine).values(completion_id="demo-1"))
    waits = edit_rows.pending(c, player.owner, made.id)
    turns.answer(c, player.owner, "demo-1", [{"role": "user", "content": "Write"}], player.text("Dear"))
    for id in (made.id, "fb-1"):
        feedback.drafted(c, player.owner, id, player.text("Dear"))
    held = feedback.get(c, player.owner, made.id), turns.get(c, player.owner, "demo-1")
    feedback.resolve(c, player.owner, made.id, "nothing_learned")
    player.kept["demonstration"] = made.id
    return waits, held, edit_rows.named(c, player.owner, [made.id])


def erase_demonstration(player: Player, c: Connection) -> Any:
    return _attempts(
        player, c,
        lambda: feedback.erase(c, player.owner, player.kept["demonstration"]),
        lambda: turns.get(c, player.owner, "demo-1"),
        lambda: turns.delete_one(c, player.owner, "c-9"),
    )  # fmt: skip


def _asks_anew(player: Player, c: Connection) -> bool:
    """Whether the user has asked before what all ask once; the turn stays, for the others to miss."""
    asked = [{"role": "user", "content": "Write to all anew"}]
    made = dataclasses.replace(turn("anew", 11.0, player.text("Dear all")), request=asked)
    before = _answered_otherwise(c, player, asked)
    turns.record(c, player.owner, dataclasses.replace(made, request_sha256=history.digest(asked)))
    return before


def _answered_otherwise(c: Connection, player: Player, asked: list[dict[str, Any]]) -> bool:
    made = dataclasses.replace(turn("later", 11.5, "otherwise"), request=asked)
    return history.says_something(c, player.owner, history.Stored.of(made))


def look_at_history(player: Player, c: Connection) -> Any:
    """Everybody asked the same, and had the same answers; what they made of them is in what they ask next."""
    asked = [{"role": "user", "content": "Write to all"}]
    answer = "Dear all, the meeting is at nine on Friday in the large room. Kind regards"
    other = "Dear all, the meeting is at ten on Monday in the small room. Kind regards"
    said: list[Any] = [_asks_anew(player, c)]
    nested = c.begin_nested()
    mine = player.owner
    said.append(_answered_otherwise(c, player, asked))
    for number, (id, text) in enumerate((("h-1", answer), ("h-2", other))):
        made = dataclasses.replace(turn(id, 10.0 + number, text), request=asked, request_sha256=history.digest(asked))
        turns.record(c, mine, made)
    judged = given.signal("copied", completion_id="h-2")
    for number, back in enumerate((answer, answer.replace("nine", "eight"), other, "")):
        after = [{"role": "assistant", "content": back}, {"role": "user", "content": "And one to Bo"}] if back else []
        request = [*asked, *after]
        made = dataclasses.replace(turn(f"h-{number + 3}", 12.0 + number, player.text("Dear Bo")), request=request)
        turns.record(c, mine, dataclasses.replace(made, request_sha256=history.digest(request)))
        if number == 2:
            submission.give(c, mine, judged, body_sha256="x")
        said.append(history.read(c, mine, f"h-{number + 3}", since=0.0))
    said.append(_answered_otherwise(c, player, asked))
    later = history.read(c, mine, "h-3", since=11.5)
    nested.rollback()
    return said, later


def erase_thumb(player: Player, c: Connection) -> Any:
    held = edit_rows.thumbs(c, player.owner)
    erased = _attempts(player, c, *[lambda: feedback.erase(c, player.owner, held[0].feedback_id)] * 2)
    return erased, [one.type for one in feedback.page(c, player.owner)]


def withdraw(player: Player, c: Connection) -> Any:
    replaced = feedback.replaced_by(c, player.owner, player.kept["edit"])
    context_rows.withdraw(c, player.owner, replaced)
    return replaced


def resolve(player: Player, c: Connection) -> Any:
    return feedback.resolve(c, player.owner, "fb-2", "learned", player.text("it was clear"), ["pref-1"])


def prune(player: Player, c: Connection) -> Any:
    return turns.prune(c, player.owner, 100.0, 10)


def create(player: Player, c: Connection) -> Any:
    made = preferences.create(c, player.owner, player.text("New"), "stated", limit=4)  # there are three
    player.kept["preference"] = made.id
    return made, abs(made.created_at - time.time()) < 1000


def create_too_many(player: Player, c: Connection) -> Any:
    return preferences.create(c, player.owner, player.text("One more"), "stated", limit=4)


def add_context(player: Player, c: Connection) -> Any:
    made = context_rows.add(
        c, player.owner, "pref-0", feedback_id="fb-0", text=player.text("Another"), embedder="e", vector=unit(1, 2)
    )
    context_rows.add(  # by an edit, whose id is that of somebody else's comment
        c, player.owner, "pref-1", feedback_id="fb-of-0", text=player.text("A note"), embedder="e", vector=unit(2, 1)
    )
    context_rows.bound(c, player.owner)
    return made


def reembed(player: Player, c: Connection) -> Any:
    embedder: Any = SimpleNamespace(name="e", dimension=3)
    for look in (embedding.stranger, embedding.count, embedding.some):  # at everybody's
        look(c, embedder)
    place = embedding.StaleContext(player.owner, "pref-1", "ctx-0", "")
    embedding.some(c, embedder, place)
    embedding.bring_over(c, [place], embedder, np.array([unit(3, 4)]))
    return users.get(c, player.owner)


def correct(player: Player, c: Connection) -> Any:
    preferences.change(c, player.owner, "pref-0", text=player.text("Corrected"))
    return preferences.change(c, player.owner, "pref-1", locked=True)


def unlock(player: Player, c: Connection) -> Any:
    calls = [lambda: preferences.supersede(c, player.owner, "pref-1", "pref-0")]
    return _attempts(player, c, *calls, lambda: preferences.change(c, player.owner, "pref-1", locked=False), *calls)


def delete_preference(player: Player, c: Connection) -> Any:
    return preferences.delete(c, player.owner, "pref-0")


def lease(player: Player, c: Connection) -> Any:
    """Take the owner's first job when it is the tenant's turn; others are parked, or due after it."""
    c.execute(update(jobs_table).where(_mine(jobs_table, player.owner)).values(run_after=1.0))
    due = jobs.is_due(c, jobs.due(["learn", "train"]))
    tenant = player.owner.tenant
    player.kept["job"] = jobs.lease(c, ["learn"], 1000, f"{tenant[:-1]}{chr(ord(tenant[-1]) - 1)}~")
    park(player, c)
    return due, player.kept["job"]


def lease_left_behind(player: Player, c: Connection) -> Any:
    held = _mine(jobs_table, player.owner) & (jobs_table.c.state == "running")
    c.execute(update(jobs_table).where(held).values(lease_until=1.0))
    lost, player.kept["job"] = player.kept["job"], jobs.lease(c, ["learn"], 1000)
    return player.kept["job"], _attempts(player, c, lambda: jobs.hold(c, lost), lambda: jobs.renew(c, lost, 1000))


def park(player: Player, c: Connection) -> Any:
    c.execute(update(jobs_table).where(_mine(jobs_table, player.owner)).values(run_after=PARKED))


def hold(player: Player, c: Connection) -> Any:
    jobs.hold(c, player.kept["job"])
    return jobs.renew(c, player.kept["job"], 1000)


def finish(player: Player, c: Connection) -> Any:
    return jobs.finish(c, player.kept["job"])


def fail(player: Player, c: Connection) -> Any:
    jobs.fail(c, player.kept["job"], player.text("it failed"), 1000)
    park(player, c)


def give_up(player: Player, c: Connection) -> Any:
    return jobs.fail(c, player.kept["job"], player.text("it failed again"), None)


def defer(player: Player, c: Connection) -> Any:
    jobs.defer(c, player.kept["job"], player.text("no engine"), 1000)
    park(player, c)


def release(player: Player, c: Connection) -> Any:
    return jobs.release(c, player.kept["job"])


def prune_jobs(player: Player, c: Connection) -> Any:
    """Two have ended."""
    ended = _mine(jobs_table, player.owner) & jobs_table.c.state.in_(("done", "failed"))
    c.execute(update(jobs_table).where(ended).values(run_after=0.5))
    return [jobs.prune(c, 1.0, limit) for limit in (1, 10, 10)]


def enqueue(player: Player, c: Connection) -> Any:
    id = jobs.enqueue(c, player.owner, "learn", "fb-0", PARKED)
    made = c.execute(select(jobs_table).where(_mine(jobs_table, player.owner), jobs_table.c.id == id)).one()
    return id, abs(made.created_at - time.time()) < 1000


def queue(player: Player, c: Connection) -> Any:
    answers = _attempts(
        player, c,
        lambda: versions.queue_if_due(c, player.owner, edit_rows.count_since(c, player.owner, 0.0) + 1),
        lambda: versions.queue_if_due(c, player.owner, 2),
        lambda: versions.queue(c, player.owner),
        lambda: versions.queue_if_due(c, player.owner, 1),
    )  # fmt: skip
    return answers, park(player, c)


def cancel(player: Player, c: Connection) -> Any:
    """Every job of the owner, with the ids that all have; one of a version that has ended stays as it is."""
    answers = _attempts(player, c, *(partial(versions.cancel, c, player.owner, version) for version in (1, 3, 3, 9)))
    others = [("learn", "fb-0"), ("learn", "fb-2"), ("train", "fb-1"), ("train", "fb-1")]
    return answers, [jobs.cancel(c, player.owner, *job) for job in others]


def train(player: Player, c: Connection) -> Any:
    report = {"of": player.mark}
    versions.set_state(c, player.owner, 3, "ready", mode="adapter", learned_through=3.0, report=report)
    return versions.learned_through(c, player.owner) == 3.0, versions.lock_user(c, player.owner)


def erase_edit(player: Player, c: Connection) -> Any:
    """What was applied to the owner's turns goes with it; who learned from it serves no more."""
    shown = [{"id": "pref-1", "text": player.text("Prefer 1"), "score": 1.0}]
    prompt = [{"role": "user", "content": f"Hi\n- {shown[0]['text']}"}]
    mine = _mine(turns_table, player.owner) & (turns_table.c.completion_id == "c-2")
    c.execute(update(turns_table).where(mine).values(applied_preferences=shown, prompt=prompt))
    unlocked = _mine(preferences_table, player.owner) & (preferences_table.c.id == "pref-1")
    again = {"source": "learned", "status": "active", "locked": False, "updated_at": preferences_table.c.created_at}
    c.execute(update(preferences_table).where(unlocked).values(**again))
    theirs = _mine(contexts_table, player.owner) & (contexts_table.c.preference_id == "pref-1")
    c.execute(update(contexts_table).where(theirs).values(feedback_id="fb-2"))
    context_rows.add(  # also where its situations have ended
        c, player.owner, "pref-1", feedback_id="fb-2", text=player.text("A letter"), embedder="e", vector=unit(1, 1)
    )
    jobs.enqueue(c, player.owner, "learn", "fb-2", PARKED)
    versions.set_state(c, player.owner, 1, "ready", learned_from=["fb-2"])
    erased = _attempts(player, c, *[lambda: activation.erase_feedback(c, player.owner, "fb-2", Policy())] * 2)
    return erased, turns.get(c, player.owner, "c-2"), versions.learned_from(c, player.owner), park(player, c)


def serve(player: Player, c: Connection) -> Any:
    """Of the owner's own versions alone, and at no time of somebody else's."""
    began = time.time()
    versions.set_state(c, player.owner, 3, "ready", learned_from=["fb-0", "fb-2"])
    answers = _attempts(
        player, c,
        lambda: activation.choose(c, player.owner, 2),
        lambda: activation.choose(c, player.owner, 3, pinned=True),
        lambda: activation.unpin(c, player.owner, 3),
        lambda: activation.roll_back(c, player.owner),
        lambda: activation.choose(c, player.owner, 1),
        lambda: activation.try_out(c, player.owner, 3, 0.5, Policy()),
        lambda: jobs.hasten(c, player.owner, "canary", "3"),
        lambda: canary.notice(c, player.owner),
    )  # fmt: skip
    times = {version.version: version.activated_at for version in versions.all_of(c, player.owner)}
    due = select(jobs_table.c.run_after <= time.time()).where(_mine(jobs_table, player.owner))
    hastened = c.execute(due.where(jobs_table.c.kind == "canary")).scalar()
    return answers, park(player, c), [number for number, at in times.items() if at and at >= began], hastened


def retire(player: Player, c: Connection) -> Any:
    return _attempts(
        player, c,
        lambda: activation.roll_back(c, player.owner),
        lambda: activation.prune(c, player.owner, Policy(kept=1)),
        lambda: activation.retire(c, player.owner, 1),
    )  # fmt: skip


def delete_version(player: Player, c: Connection) -> Any:
    return _attempts(player, c, *[lambda: versions.delete(c, player.owner, 1)] * 2)


def make_key(player: Player, c: Connection) -> Any:
    player.kept["key"] = keys.create(c, player.owner.tenant, "test")


def make_token(player: Player, c: Connection) -> Any:
    c.execute(delete(tokens_table).where(_mine(tokens_table, player.owner)))
    made, player.kept["token"] = tokens.create(c, player.owner, player.kept["key"][0], ["data", "chat"], 1000)
    player.kept["token id"] = made.id
    c.execute(update(tokens_table).where(_mine(tokens_table, player.owner)).values(id="tok-1"))
    expired = insert(tokens_table).values(
        **{"tenant_id": player.owner.tenant, "user_id": player.owner.user, "id": "tok-2", "key_id": "k", "scopes": []},
        sha256=hashlib.sha256(f"old {player.mark}".encode()).hexdigest(),
        created_at=0.0,
        expires_at=2.0,
    )
    c.execute(expired)
    return made.scopes, [len(one.scopes) for one in tokens.all_of(c, player.owner)]


def use_token(player: Player, c: Connection) -> Any:
    """Nobody else's opens anything, and one of a key that is revoked is none."""
    found = tokens.find(c, player.kept["token"], open=False)
    digest = tokens.digest(c, player.owner, "tok-1")
    assert digest in (hashlib.sha256(player.kept["token"].encode()).hexdigest(), None), "somebody else's token"
    return found is not None and (found.owner == player.owner, found.scopes), tokens.find(c, "attu-x", open=True)


def make_another_token(player: Player, c: Connection) -> Any:
    """What has expired goes, of one's own alone; so many as one may have are one's own."""
    users_of = (users_table.c.tenant_id, users_table.c.user_id)
    theirs = c.execute(select(*users_of).where(~_mine(users_table, player.owner)).limit(1)).first()
    other = {"tenant_id": theirs[0], "user_id": theirs[1]} if theirs else None
    own = {"tenant_id": player.owner.tenant, "user_id": player.owner.user}

    def rows(of: dict[str, Any], name: str, number: int, until: float) -> list[dict[str, Any]]:
        told = {"key_id": "k", "scopes": [], "created_at": 0.0, "expires_at": until}
        return [{**of, **told, "id": f"{name}-{n}", "sha256": f"{name} {n} {player.mark}"[:64]} for n in range(number)]

    if other:
        c.execute(insert(tokens_table), [*rows(other, "gone", 1, 2.0), *rows(other, "alive", 1, 9e9)])
    tokens.create(c, player.owner, "local", ["feedback"], 1000)
    left = select(func.count()).select_from(tokens_table).where(tokens_table.c.id == "gone-0")
    assert c.execute(left).scalar_one() == bool(other), "somebody else's token went"
    count = len(raw(c, player.owner)["user_tokens"])
    c.execute(insert(tokens_table), rows(own, "full", tokens.MAX_TOKENS - count - 1, 9e9))
    tokens.create(c, player.owner, "local", ["chat"], 1000)
    made = or_(*(tokens_table.c.id.like(f"{name}-%") for name in ("gone", "alive", "full")))
    c.execute(delete(tokens_table).where(made))
    return count


def revoke_token(player: Player, c: Connection) -> Any:
    return _attempts(player, c, *[lambda: tokens.revoke(c, player.owner, "tok-1")] * 2)


def spend(player: Player, c: Connection) -> Any:
    answer = {"of": player.mark}
    idempotency.spend(c, player.owner, "k-spent", "new", answer)
    call = partial(idempotency.answer_of, c, player.owner, "k-spent")
    return _attempts(player, c, lambda: call("new"), lambda: call("other"))


def widen(player: Player, c: Connection) -> Any:
    found = preferences.alike(c, player.owner, player.text("PREFER 2"))
    return found, preferences.widen(c, player.owner, "pref-2"), context_rows.of(c, player.owner, "pref-2")


def narrow(player: Player, c: Connection) -> Any:
    text = player.text("Another letter")
    made = context_rows.narrow(c, player.owner, "pref-2", text=text, embedder="e", vector=unit(1, 7, 7))
    return made, [(one.text, one.feedback_id) for one in context_rows.of(c, player.owner, "pref-2")]


def prune_tokens(player: Player, c: Connection) -> Any:
    """And spent keys; all owners', if they are old."""
    for table, column in ((tokens_table, "expires_at"), (spent_table, "spent_at")):
        c.execute(update(table).where(_mine(table, player.owner)).values({column: 0.5}))
    tokens.prune(c, 1.0)
    idempotency.prune(c, 1.0)
    left = raw(c, player.owner)
    return left["user_tokens"], left["spent_keys"]


def use_key(player: Player, c: Connection) -> Any:
    id, plain = player.kept["key"]
    found = keys.find(c, plain)
    assert keys.digest(c, id) == (hashlib.sha256(plain.encode()).hexdigest() if found else None), "another key's"
    held = keys.get(c, id)
    assert (held and held.id) == (id if found else None), "another key"
    return found is not None and (found.id, found.tenant) == (id, player.owner.tenant)


def revoke_key(player: Player, c: Connection) -> Any:
    keys.revoke(c, player.kept["key"][0])


def spend_limits(player: Player, c: Connection) -> Any:
    """Of a limit that a namesake in another tenant has as well."""
    tenant, subject = player.owner.tenant, limits.of_user(player.owner.user)
    limit = limits.Limit(tokens_per_day=1000, in_flight=2)
    taken = limits.take(c, [limits.Demand(tenant, subject, limit, tokens=30, in_flight=1)], "server")
    limits.give(c, tenant, {subject: limits.Debt(limit, int(taken.now // limits.DAY), -10, 1)}, "server")
    limits.renew(c, tenant, [subject], "server")
    limits.prune(c)
    return limits.spent_today(c, tenant, subject)


def forget_limits(player: Player, c: Connection) -> Any:
    limits.forget(c, player.owner)
    demand = limits.Demand(player.owner.tenant, f"x {player.owner.user}", limits.Limit(tokens_per_day=9), tokens=1)
    limits.take(c, [demand], "server")
    return player.kept.setdefault("demand", demand) == demand


def drop_limit(player: Player, c: Connection) -> Any:
    demand = player.kept["demand"]
    spent = limits.spent_today(c, demand.tenant, demand.subject)
    limits.drop(c, demand)
    return spent, limits.spent_today(c, demand.tenant, demand.subject)


def spend_days(player: Player, c: Connection) -> Any:
    """A key by the name of its user, which another tenant has as well; nobody else's days, nor another user's."""
    owner, spent = player.owner, usage.Spent(1, 20, 3)
    usage.add_to_user(c, owner, player.kept["opaque"], 5, spent)
    for other in ("0" * 32, *c.execute(select(users_table.c.opaque_id).where(~_mine(users_table, owner))).scalars()):
        usage.add_to_user(c, owner, other, 5, usage.Spent(100, 100, 100))
    usage.add_to_key(c, owner.tenant, owner.user, 5, spent)
    usage.prune(c, 5)
    of_tenant = [row for row in c.execute(select(key_days_table)) if row.tenant_id == owner.tenant]
    (whole,) = usage.of_keys(c, owner.tenant, 0, 10)
    assert whole.spent.requests == sum(row.requests for row in of_tenant), "another tenant's days"
    return usage.of_user(c, owner, 0, 10), usage.of_keys(c, owner.tenant, 5, 5, owner.user)


def count(player: Player, c: Connection) -> Any:
    """The figures about everybody, which tell of nobody; none is counted twice."""
    found = [c.execute(select(table)).mappings().all() for table in (adapters_table, jobs_table, users_table, api_keys)]
    made, queued, all_users, all_keys = found
    ready = {(row["tenant_id"], row["user_id"], row["version"]) for row in made if row["state"] == "ready"}
    opaque = {(row["tenant_id"], row["user_id"]): row["opaque_id"] for row in all_users}
    everybodys = sorted((opaque[tenant, user], version) for tenant, user, version in ready)
    assert versions.everybodys_ready(c) == everybodys, "somebody else's, or not all"
    serving = [row for row in all_users if (row["tenant_id"], row["user_id"], row["active_adapter"]) in ready]
    assert versions.census(c, 10_000) == (Counter(row["state"] for row in made), len(serving)), "miscounted"
    assert shared_secret.agree(c, player.mark.encode()) == shared_secret.held(c)
    waiting = Counter((row["kind"], row["state"]) for row in queued if row["state"] != "done")
    assert job_list.backlog(c, 10_000).counts == waiting, "miscounted"
    assert {key.id for key in keys.list_all(c)} == {row["id"] for row in all_keys}
    assert keys.any_ever(c)
    at_work = {row["tenant_id"] for row in all_keys if row["revoked_at"] is None}
    assert keys.several_tenants(c) == (len(at_work) > 1)
    mine = {row["user_id"] for row in all_users if row["tenant_id"] == player.owner.tenant}
    assert {user.owner.user for user in users.of_tenant(c, player.owner.tenant, limit=1000)} == mine, (
        "other tenants' users"
    )
    of_tenant = [row for row in queued if row["tenant_id"] == player.owner.tenant]
    shown = job_list.of_tenant(c, player.owner.tenant, after=(2 * PARKED, ""), limit=10_000)
    assert Counter((user, job.id) for user, job in shown) == Counter((row["user_id"], row["id"]) for row in of_tenant)
    waits = job_list.of_tenant(c, player.owner.tenant, limit=10_000, state="queued")
    assert {(user, job.id) for user, job in waits} == {
        (row["user_id"], row["id"]) for row in of_tenant if row["state"] == "queued"
    }, "other tenants' jobs"
    assert len(job_list.failures(c, 10_000)) == sum(row["state"] == "failed" for row in queued)
    each = [curve.of_user(c, Owner(player.owner.tenant, user)) for user in mine]
    together = Counter(one for rounds in each for one in rounds)
    assert Counter(curve.of_tenant(c, player.owner.tenant)) == together, "other tenants' edits"
    c.execute(update(adapters_table).where(_mine(adapters_table, player.owner)).values(bytes=1000))
    assert bytes_held.held(c, player.owner.tenant) == _held(c, player.owner.tenant), "miscounted"
    some = users.page(c, limit=2)
    assert {*some, *users.page(c, after=some[-1])} == {Owner(row["tenant_id"], row["user_id"]) for row in all_users}


def _held(c: Connection, tenant: str) -> int:
    """What a tenant keeps, added up row by row."""
    of_tenant = {
        table.name: [row for row in c.execute(select(table)).mappings() if row["tenant_id"] == tenant]
        for table in (turns_table, feedback_table, adapters_table, contexts_table, preferences_table, users_table)
    }
    counted: int = sum(row["bytes"] for name in ("turns", "feedback") for row in of_tenant[name])
    counted += sum(row["bytes"] for row in of_tenant["adapters"] if row["state"] == "ready")
    values = sum(bytes_held.ROW + len(json.dumps(row["standing_values"])) for row in of_tenant["users"])
    return counted + 4096 * len(of_tenant["contexts"]) + 1024 * len(of_tenant["preferences"]) + values


def ask_as_a_stranger(player: Player, c: Connection) -> Any:
    """Somebody of whom nothing is known, with everybody's ids."""
    owner = Owner(player.owner.tenant, f"{player.owner.user}~")
    return _attempts(
        player, c,
        lambda: users.get(c, owner),
        lambda: users.lock(c, owner),
        lambda: users.touch(c, owner),
        lambda: users.set_paused(c, owner, True),
        lambda: users.delete(c, owner),
        lambda: turns.record(c, owner, turn("c-9")),
        lambda: turns.get(c, owner, "c-1"),
        lambda: submit(c, owner, completion_id="c-1", edited_text="x", body_sha256="x"),
        lambda: feedback.resolve(c, owner, "fb-0", "failed"),
        lambda: preferences.create(c, owner, "x", "stated"),
        lambda: preferences.delete(c, owner, "pref-0"),
        lambda: jobs.enqueue(c, owner, "learn", "fb-0"),
        lambda: versions.queue(c, owner),
        lambda: versions.cancel(c, owner, 3),
        lambda: jobs.cancel(c, owner, "train", "fb-1"),
        lambda: versions.set_state(c, owner, 1, "failed"),
        lambda: versions.next_number(c, owner),
    )  # fmt: skip


def teach(player: Player, c: Connection) -> Any:
    """Cohorts are a tenant's: each has one named after its user, as other tenants have, and nobody sees theirs."""
    tenant, shared, founded = player.owner.tenant, f"of {player.owner.user}", f"new {player.mark}"
    theirs = {row.cohort_id for row in c.execute(select(members_table)) if row.tenant_id == tenant}
    assert set(cohorts.of_tenant(c, tenant)) == theirs, "cohorts of another tenant"
    assert cohorts.taught_by(c, player.owner) == sorted((player.mark, shared)), "cohorts of somebody else"
    pupil, other = (Owner(tenant, f"{player.owner.user} {number}") for number in (1, 2))
    for owner in (pupil, other):
        users.ensure(c, owner)
    cohorts.found(c, [other], founded)
    foreign = Player(ONLOOKER).mark
    followed = [cohorts.follow(c, pupil, cohort, 1) for cohort in (shared, shared, "nobody's", foreign)]
    assert cohorts.dissolve(c, tenant, shared) == [pupil], "somebody else's pupils"
    assert cohorts.leave(c, other) == [founded]
    assert cohorts.taught_by(c, player.owner) == [player.mark]
    waiting = [made.state for made in versions.all_of(c, pupil)]
    for owner in (pupil, other):
        users.delete(c, owner)
    c.execute(delete(erasures_table).where(erasures_table.c.opaque_id.in_((shared, founded))))
    return followed, waiting


def erase(player: Player, c: Connection) -> Any:
    assert cohorts.leave(c, player.owner) == []  # with the edit
    erased = users.delete(c, player.owner)
    opaque_id = player.kept["opaque"]
    return erased, erasures.among(c, [opaque_id, "0" * 32]), opaque_id in erasures.since(c, 0.0)


def begin_anew(player: Player, c: Connection) -> Any:
    made = users.ensure(c, player.owner)
    c.execute(update(users_table).where(_mine(users_table, player.owner)).values(revision=100))
    return made.opaque_id != player.kept["opaque"]


SCRIPT: Sequence[Step] = [
    settle, make_key, spend_limits, spend_days, pause, read, go_on, serve_first, record, read, use_key,
    make_token, use_token, make_another_token, read, spend, spend_limits, spend_days, read,
    widen, read, revoke_token, read,
    accept("c-1", "k-0", "0"), accept("c-1", "k-0", "other"), accept("c-1", "k-9", "new"),
    accept("c-1", "k-9", "new"), withdraw, narrow, read,
    accept("c-2", None, "second"), accept("c-9", None, "none"), thumbs_up, resolve, prune, read,
    spend_limits, spend_days, look_at_history, forget_limits, spend_limits,
    give_others, read, weigh_outcomes, read, share,
    demonstrate, read, erase_others, read, erase_demonstration, read, drop_limit,
    create, create_too_many, add_context, reembed, correct, read, unlock, read, delete_preference, read,
    lease, hold, read, finish, lease, fail, lease, defer, read, lease, release, park,
    lease, hold, lease_left_behind, read, give_up, prune_jobs, enqueue, ask_as_a_stranger, teach, read,
    queue, read, cancel, read, train, read, count, serve, read, retire, read, erase_edit, read, erase_thumb, read,
    make_token, delete_version, use_key, revoke_key, read, use_key, use_token, prune_tokens,
    erase, read, begin_anew, read,
]  # fmt: skip
