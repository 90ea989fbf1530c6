"""What a conversation that comes back says: edits and acceptances; nothing where it was cut, moved or is foreign."""

import random
from collections.abc import Sequence
from dataclasses import replace

import pytest
from hypothesis import HealthCheck, settings
from hypothesis import given as drawn
from hypothesis import strategies as st
from sqlalchemy import Connection

from lab.edits.cases import DEV, load
from preference.feedback import submission
from preference.feedback.given import Given, comment, ranking, rating, signal
from preference.learning import history
from preference.learning.history import Found, digest, edited
from store import turns, users
from store.database import Database
from store.message import Message
from store.owner import Owner
from tests.preference.helpers import ANN, BOB, submit, turn

DRAFT = "Dear Sam,\nthe meeting is at nine on Friday, in the large room.\nPlease bring the report.\nKind regards, Ann"
EDIT = "Hi Sam,\nthe meeting is at nine on Friday, in the large room.\nPlease bring the report!\nAnn"
ASKED: list[Message] = [{"role": "user", "content": "Write to Sam"}]
REAL = [(case.draft, case.edited) for case in load(DEV)]
NEXT: Message = {"role": "user", "content": "Thanks, and now one to Bo."}


def said(text: str) -> Message:
    return {"role": "assistant", "content": text}


def record(c: Connection, id: str, request: Sequence[Message], at: float, *answers: str, owner: Owner = ANN) -> None:
    users.ensure(c, owner)
    made = replace(turn(id, at, *answers), request=list(request), request_sha256=digest(request))
    turns.record(c, owner, made)


def read(database: Database, request: Sequence[Message], owner: Owner = ANN, at: float = 1000.0) -> list[Found]:
    """What a turn of this request says; the turn is gone again."""

    def read(c: Connection) -> list[Found]:
        nested = c.begin_nested()
        record(c, "now", request, at, "Dear Bo", owner=owner)
        found = history.read(c, owner, "now", since=0.0)
        nested.rollback()
        return found

    return database.write_now(read)


def told(found: Sequence[Found]) -> list[tuple[str, str, str | None]]:
    return [(one.given.type, one.given.completion_id, one.given.edited_text) for one in found]


@pytest.fixture
def store(database: Database) -> Database:
    database.write_now(lambda c: record(c, "c-1", ASKED, 1.0, DRAFT))
    return database


def test_an_edited_answer_in_the_history_is_an_edit(store: Database) -> None:
    (found,) = read(store, [*ASKED, said(EDIT), NEXT])
    assert told([found]) == [("edit", "c-1", EDIT)]
    assert (found.given.source, found.given.choice) == ("history", 0)
    parts = [{"role": "user", "content": [{"type": "text", "text": " Write  to Sam"}]}, said(EDIT), NEXT]
    (again,) = read(store, [{"role": "system", "content": "It is Monday."}, *parts])
    assert again.key == found.key, "however it is put, it counts once"
    assert read(store, [*ASKED, said(EDIT), NEXT], owner=BOB) == []


def test_an_answer_that_the_user_goes_on_with_is_accepted(store: Database) -> None:
    (found,) = read(store, [*ASKED, said(DRAFT), NEXT])
    assert found.given.content == {"signal": "accepted"}
    assert read(store, [*ASKED, said(DRAFT)]) == [], "nobody went on"


@pytest.mark.parametrize(
    ("reply", "type", "content"),
    [
        ("no, shorter", "comment", {"comment": "no, shorter"}),
        ("That's wrong.", "signal", {"signal": "discarded"}),
        ("Great, thanks! Make the next one shorter.", "signal", {"signal": "accepted"}),
        ("When does the train leave?", "signal", {"signal": "accepted"}),
    ],
)
def test_what_is_said_after_an_answer(store: Database, reply: str, type: str, content: dict[str, str]) -> None:
    (found,) = read(store, [*ASKED, said(DRAFT), {"role": "user", "content": reply}])
    assert (found.given.type, found.given.content) == (type, content)


def test_another_answer_was_asked_for_and_one_was_kept(store: Database) -> None:
    (found,) = read(store, ASKED)
    assert (found.given.content, found.given.completion_id) == ({"signal": "regenerated"}, "c-1")
    assert read(store, ASKED, at=2.0 + history.AGAIN_SECONDS) == [], "a day later it is the same request"
    store.write_now(lambda c: record(c, "c-2", ASKED, 2.0, "Hello Sam, see you."))
    accepted, ranking = read(store, [*ASKED, said("Hello Sam, see you."), NEXT])
    assert (accepted.given.type, ranking.given.type) == ("signal", "ranking")
    given = store.write_now(lambda c: submission.give(c, ANN, ranking.given, body_sha256="x"))
    assert given.content is not None
    assert [one["completion_id"] for one in given.content["ranking"]] == ["c-2", "c-1"]


def test_what_the_user_said_themselves_is_not_guessed_over(store: Database) -> None:
    store.write_now(lambda c: submit(c, ANN, completion_id="c-1", edited_text="Mine", body_sha256="x"))
    assert read(store, [*ASKED, said(EDIT), NEXT]) == []
    assert read(store, [*ASKED, said(DRAFT), NEXT]) == []


def test_a_signal_of_the_apps_is_not_guessed_over(store: Database) -> None:
    given = signal("discarded", completion_id="c-1", source="app")
    store.write_now(lambda c: submission.give(c, ANN, given, body_sha256="x"))
    assert read(store, [*ASKED, said(DRAFT), NEXT]) == []


def test_old_answers_and_those_cut_short_are_not_looked_for(store: Database) -> None:
    def later(c: Connection) -> list[Found]:
        record(c, "now", [*ASKED, said(EDIT), NEXT], 9.0, "x")
        return history.read(c, ANN, "now", since=5.0)

    assert store.write_now(later) == []


@pytest.mark.parametrize("said_of_it", [rating(1), Given("thumbs", thumb="down"), comment("I never wrote that.")])
def test_what_was_judged_otherwise_is_not_accepted(store: Database, said_of_it: Given) -> None:
    store.write_now(lambda c: submission.give(c, ANN, replace(said_of_it, completion_id="c-1"), body_sha256="x"))
    assert read(store, [*ASKED, said(DRAFT), NEXT]) == []
    (edit,) = read(store, [*ASKED, said(EDIT), NEXT])
    assert edit.given.type == "edit", "a rating does not say what would be right"


def test_a_ranking_of_the_users_own_is_not_guessed_over(store: Database) -> None:
    store.write_now(lambda c: record(c, "c-2", ASKED, 2.0, "Hello Sam, see you."))
    own = ranking([("c-1", 0), ("c-2", 0)], "completion_ids")
    store.write_now(lambda c: submission.give(c, ANN, own, body_sha256="x"))
    assert [one.given.type for one in read(store, [*ASKED, said("Hello Sam, see you."), NEXT])] == ["signal"]
    assert read(store, [*ASKED, said(DRAFT), NEXT]) == [], "it was ranked first"


def test_of_what_is_remarked_it_is_told_what_was_said(store: Database) -> None:
    """Whether it only goes on with the answer, its reader finds out: then the answer was not accepted."""
    for reply, kept in (("I don't like it", True), ("perfect, thanks", False), ("A question " * 40, False)):
        (found,) = read(store, [*ASKED, said(DRAFT), {"role": "user", "content": reply}])
        assert (found.given.content, found.reply) == ({"signal": "accepted"}, reply if kept else "")


@pytest.mark.parametrize(
    "text",
    [
        DRAFT.replace("Please bring the report.\n", ""),
        DRAFT.replace("Please bring the report.", "-- snip --"),
        DRAFT.replace("Please bring the report.", "(4 words omitted)"),
        f"{DRAFT[:60]}<truncated>",
        "\n".join(reversed(DRAFT.splitlines())),
        f"{DRAFT}\n\nSources: [1] a page",
        f"Assistant: {DRAFT}",
        f"<think>Whom does it concern?</think>\n{DRAFT}",
        DRAFT.replace("\n", "<br>\n"),
        DRAFT[:60],
        DRAFT[30:],
        f"{DRAFT[:50]}… [truncated]",
        f"{DRAFT[:50]} ... {DRAFT[-20:]}",
        "Sam is told about the meeting on Friday.",
        "No.",
        "",
        DRAFT.replace("\n", "  "),
        f"{DRAFT}\n{'Another subject altogether, at great length. ' * 10}",
    ],
)
def test_texts_that_are_no_edits(text: str) -> None:
    assert not edited(DRAFT, text)


def test_of_real_texts_no_piece_is_an_edit() -> None:
    """Cut after characters and after lines, as clients cut; and what people made of the same texts is found."""
    for draft, _ in REAL:
        for share in (0.2, 0.4, 0.6, 0.8, 0.9):
            assert not edited(draft, draft[: int(len(draft) * share)])
        lines = draft.splitlines(keepends=True)
        for count in range(1, len(lines)):
            assert not edited(draft, "".join(lines[:count]))
            assert not edited(draft, "".join(lines[count:]))
            assert not edited(draft, "".join(lines[: count - 1] + lines[count:]))
        assert not any(edited(draft, other) for of, other in REAL if of != draft)
    assert sum(edited(draft, text) for draft, text in REAL) >= 0.35 * len(REAL)


WORDS = st.sampled_from("the a report meeting friday room bring send please morning note and with for of to at".split())
TEXTS = st.lists(WORDS, min_size=12, max_size=60).map(" ".join)
TEACHES = ("edit", "comment", "ranking")


@settings(max_examples=60, suppress_health_check=[HealthCheck.function_scoped_fixture])
@drawn(asked=st.lists(TEXTS, min_size=2, max_size=4, unique=True), data=st.data())
def test_truncated_summarised_reordered_and_foreign_history_teaches_nothing(
    database: Database, asked: list[str], data: st.DataObject
) -> None:
    """A conversation as it was, and what clients make of it on the way back."""
    answers = data.draw(st.lists(TEXTS, min_size=len(asked), max_size=len(asked), unique=True))
    talk: list[Message] = []
    places: list[list[Message]] = []
    for question, answer in zip(asked, answers, strict=True):
        talk.append({"role": "user", "content": question})
        places.append(list(talk))
        talk.append(said(answer))
    rng = random.Random(data.draw(st.integers(0, 2**32)))
    way = data.draw(
        st.sampled_from(["truncated", "short", "summarised", "windowed", "swapped", "shuffled", "foreign", "marked"])
    )
    back = [dict(message) for message in talk]
    last = next(place for place in range(len(back) - 1, -1, -1) if back[place]["role"] == "assistant")
    text = str(back[last]["content"])
    if way == "truncated":
        back[last]["content"] = text[: rng.randint(1, len(text) - 1)]
    elif way == "short":
        back[last]["content"] = f"{text[: rng.randint(1, len(text) // 2)]}… [truncated]"
    elif way == "marked":
        said_words = text.split()
        start = rng.randint(1, len(said_words) - 2)
        said_words[start : start + 2] = [rng.choice(["[2 words omitted]", "-- snip --", "<truncated>", "…"])]
        back[last]["content"] = " ".join(said_words)
    elif way == "summarised":
        back[last]["content"] = " ".join(text.split()[:: rng.randint(4, 6)])
    elif way == "windowed":
        back = back[2 * rng.randint(1, len(asked) - 1) :]
    elif way == "swapped":
        answered = [place for place, message in enumerate(back) if message["role"] == "assistant"]
        moved = [back[place]["content"] for place in answered]
        for place, content in zip(answered, [*moved[1:], moved[0]], strict=True):
            back[place]["content"] = content
    elif way == "shuffled":
        rng.shuffle(back)
    back.append(dict(NEXT))

    def play(c: Connection) -> list[Found]:
        nested = c.begin_nested()
        for number, (request, answer) in enumerate(zip(places, answers, strict=True)):
            record(c, f"c-{number}", request, float(number), answer, owner=BOB if way == "foreign" else ANN)
        record(c, "now", back, 100.0, "Dear Bo")
        found = history.read(c, ANN, "now", since=0.0)
        nested.rollback()
        return found

    assert [one for one in database.write_now(play) if one.given.type in TEACHES] == [], (way, back)


def test_the_same_question_about_another_document_is_another_request(store: Database) -> None:
    system = {"role": "system", "content": "Document B"}
    assert read(store, [system, *ASKED]) == []


@pytest.mark.parametrize("reply", ["No. 3 sounds best", "Badges: how do I order them?", "Mal eine andere Frage"])
def test_what_only_begins_like_blame(store: Database, reply: str) -> None:
    (found,) = read(store, [*ASKED, said(DRAFT), {"role": "user", "content": reply}])
    assert found.given.content == {"signal": "accepted"}


def test_what_the_app_said_goes_before_a_comment_that_is_found(store: Database) -> None:
    given = signal("sent", completion_id="c-1", source="app")
    store.write_now(lambda c: submission.give(c, ANN, given, body_sha256="x"))
    assert read(store, [*ASKED, said(DRAFT), {"role": "user", "content": "no, shorter"}]) == []


def test_whether_a_turn_says_something_is_known_without_reading_it(store: Database) -> None:
    """``store`` has an answer to ``ASKED`` at 1.0."""

    def says(request: Sequence[Message], at: float, answer: str = "Another", owner: Owner = ANN) -> bool:
        made = replace(turn("now", at, answer), request=list(request))
        return store.read_now(history.says_something, owner, history.Stored.of(made))

    assert says(ASKED, 2.0)
    assert says(ASKED, 1.0 + history.AGAIN_SECONDS)
    assert not says(ASKED, 1.1 + history.AGAIN_SECONDS)
    assert not says(ASKED, 1.0)
    assert not says(ASKED, 2.0, f" {DRAFT}\n"), "the same answer again says nothing"
    assert not says(ASKED, 2.0, owner=Owner(ANN.tenant, "bob"))
    assert not says([NEXT], 2.0)
    assert says([*ASKED, said(DRAFT), NEXT], 2.0), "there is an answer to look at"
