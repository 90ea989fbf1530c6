"""Cases are played over the API alone; a draft stands in for one answer and nothing else; a stopped run goes on."""

import asyncio
import contextlib
import json
import shutil
from collections.abc import AsyncIterator, Iterator, Sequence
from pathlib import Path
from typing import Any

import aiohttp
import httpx
import pytest
from aiohttp.test_utils import TestServer

from lab.client import Client
from lab.edits.cases import Case
from lab.edits.functional import Functional
from lab.edits.play import NotDrafted, Player
from lab.edits.report import outcomes
from lab.edits.stand_in import StandIn
from lab.work import NotThisRun, Work
from preference.ports import Generation
from server.settings import Settings
from store.message import Message
from tests.lab.attune_double import COMPLETION_TOKENS, PROMPT_TOKENS, AttuneDouble
from tests.server.conftest import serving
from tests.server.fake_engine import MODEL, FakeEngine, Script


def case(id: str, edited: str, *expect: str, **more: Any) -> Case:
    given = {"request": f"Write {id}.", "draft": f"Draft of {id}.", "same": f"Write {id} again.", "other": "Why?"}
    return Case.model_validate({"id": id, "edited": edited, "expect": expect, **given, **more})


SHORT = case("short", "Be brief.", "brief", "mara")
NOTHING = case("nothing", "Draft of nothing!", other="")
MARA = case("mara", "Sign with Mara.;!Sign with Mara, always.", "mara")
CASES = [SHORT, NOTHING, MARA]


def learn(draft: str, edited: str) -> list[str]:
    """The edit is what it teaches, unless it is the draft with something at its end."""
    return [] if edited.startswith(draft[:-1]) else edited.split(";")


@pytest.fixture
def engine() -> Iterator[FakeEngine]:
    with FakeEngine() as engine:
        yield engine


@pytest.fixture
async def stand_in(engine: FakeEngine) -> AsyncIterator[StandIn]:
    stand_in = StandIn(engine.url)
    async with stand_in.running():
        yield stand_in


@pytest.fixture
def double(stand_in: StandIn) -> AttuneDouble:
    return AttuneDouble(stand_in.url, learn)


@contextlib.asynccontextmanager
async def playing(double: AttuneDouble, stand_in: StandIn, path: Path) -> AsyncIterator[tuple[Player, Work]]:
    async with TestServer(double.app()) as server:
        work = Work(path)
        yield Player(str(server.make_url("")).rstrip("/"), stand_in, work), work


async def post(url: str, body: dict[str, Any], path: str = "/v1/chat/completions") -> httpx.Response:
    async with httpx.AsyncClient(base_url=url) as client:
        return await client.post(path, json=body)


def asking(seed: int | None = None, **more: Any) -> dict[str, Any]:
    return {"model": MODEL, "messages": [{"role": "user", "content": "Hi"}], "seed": seed, **more}


async def test_a_draft_is_the_answer_to_its_seed_once(engine: FakeEngine, stand_in: StandIn) -> None:
    seed = stand_in.draft("A draft\r\nwith é and 中.", "length")
    assert stand_in.draft("Another.") != seed
    drafted = (await post(stand_in.url, asking(seed, max_tokens=250, temperature=0.5))).json()
    assert drafted["choices"][0]["message"]["content"] == "A draft\r\nwith é and 中."
    assert drafted["choices"][0]["finish_reason"] == "length"
    assert drafted["usage"]["prompt_tokens"] == 7  # the engine's own count
    for again in (asking(seed), asking(None), asking(1)):
        assert (await post(stand_in.url, again)).json()["choices"][0]["message"]["content"] == "Hello world!"


async def test_what_the_engine_refuses_stays_refused_and_the_draft_waits(stand_in: StandIn) -> None:
    seed = stand_in.draft("A draft.")
    refused = await post(stand_in.url, asking(seed) | {"model": "nobody"})
    assert (refused.status_code, refused.json()["error"]["param"]) == (404, "model")
    drafted = await post(stand_in.url, asking(seed))
    assert drafted.json()["choices"][0]["message"]["content"] == "A draft."


async def test_all_else_passes_through(engine: FakeEngine, stand_in: StandIn) -> None:
    async with httpx.AsyncClient(base_url=stand_in.url, headers={"Authorization": "Bearer k"}) as client:
        assert (await client.get("/health")).status_code == 200
        assert (await client.get("/v1/models")).json()["data"][0]["id"] == MODEL
        told = (await client.post("/tokenize", json={"model": MODEL, "messages": []})).json()
        assert told["max_model_len"] == 4096
        lora = {"lora_name": "a.v1", "lora_path": "/x"}
        assert (await client.post("/v1/load_lora_adapter", json=lora)).text == "Success"
        assert (await client.post("/v1/load_lora_adapter", json=lora)).status_code == 400
        engine.enqueue(Script(split=3))
        async with client.stream("POST", "/v1/chat/completions", json=asking(stream=True)) as stream:
            streamed = b"".join([chunk async for chunk in stream.aiter_raw()])
            assert stream.headers["content-type"] == "text/event-stream"
    assert streamed == engine.sent[-1]
    assert engine.headers[-1]["Authorization"] == "Bearer k"
    assert engine.adapters == {"a.v1": "/x"}


async def test_an_engine_that_is_away_is_a_bad_gateway(engine: FakeEngine, stand_in: StandIn) -> None:
    engine.away = True
    answer = await post(stand_in.url, asking())
    assert (answer.status_code, answer.json()["error"]["message"]) == (502, "The engine is away.")


async def test_who_leaves_ends_the_generation(engine: FakeEngine, stand_in: StandIn) -> None:
    engine.enqueue(Script(hang=True))
    url = f"{stand_in.url}/v1/chat/completions"
    async with aiohttp.ClientSession() as session, session.post(url, json=asking(stream=True)) as stream:
        await stream.content.readany()
    assert await asyncio.to_thread(engine.aborted.wait, 10)


async def test_each_case_is_a_user_of_its_own(double: AttuneDouble, stand_in: StandIn, tmp_path: Path) -> None:
    async with playing(double, stand_in, tmp_path / "work") as (player, work):
        await player.play("own", CASES)
    short, nothing, mara = outcomes(work, "own", CASES)
    assert [user for user, _ in double.edits] == ["edits-short", "edits-nothing", "edits-mara"]
    assert (short.texts, short.found, short.same_recalled, short.other_recalled) == (("Be brief.",), 1, True, True)
    assert (nothing.texts, nothing.same_recalled, nothing.other_recalled) == ((), None, None)
    assert (mara.right, mara.same_recalled) == (2, True)
    assert short.tokens == (PROMPT_TOKENS, COMPLETION_TOKENS)
    assert short.seconds is not None
    later = [body["messages"][0]["content"] for _, body in double.asked if body["max_tokens"] == 1]
    assert later == ["Write short again.", "Why?", "Write mara again.", "Why?"]  # none where nothing was learned
    assert (await player_model(double, stand_in, tmp_path)) == "double"


async def player_model(double: AttuneDouble, stand_in: StandIn, folder: Path) -> str:
    async with playing(double, stand_in, folder / "work") as (player, _):
        return await player.model()


async def test_one_user_edits_all_before_anything_is_asked_again(
    double: AttuneDouble, stand_in: StandIn, tmp_path: Path
) -> None:
    async with playing(double, stand_in, tmp_path / "work") as (player, work):
        await player.play("one", CASES)
    assert {user for user, _ in double.asked} == {"edits"}
    assert [body["max_tokens"] for _, body in double.asked] == [250, 250, 250, 1, 1, 1, 1]
    lesson = work.get("edit", "one", "mara")
    assert lesson is not None
    assert [held["text"] for held in lesson["shown"]] == ["Be brief."]  # the draft was made with what came before
    short, _, mara = outcomes(work, "one", CASES)
    assert short.same_recalled is True
    assert mara.other_recalled is True  # what took its place came


async def test_a_stopped_run_goes_on_where_it_was(double: AttuneDouble, stand_in: StandIn, tmp_path: Path) -> None:
    path = tmp_path / "work"
    async with playing(double, stand_in, path) as (player, _):
        await player.play("one", CASES[:1])
    whole = path.read_text()
    steps = [json.loads(line)["step"] for line in whole.splitlines() if line]
    assert steps == ["sent", "edit", "asked"]
    cut = whole.index('{"step": "edit"') + 20  # killed while it waited, and half a line written
    path.write_text(whole[:cut])
    async with playing(double, stand_in, path) as (player, work):
        await player.play("one", CASES[:1])
        assert len(double.edits) == 1  # the edit was sent already
        (short,) = outcomes(work, "one", CASES[:1])
        assert (short.texts, short.seconds, short.tokens) == (("Be brief.",), None, None)
        asked = len(double.asked)
        await player.play("one", CASES[:1])
        assert (len(double.edits), len(double.asked)) == (1, asked)


def test_a_run_goes_on_with_the_same_file_and_engine_only(tmp_path: Path) -> None:
    Work(tmp_path / "work").begin(file="1", engine="a")
    Work(tmp_path / "work").begin(file="1", engine="a")
    with pytest.raises(NotThisRun, match=r"is of engine a \(now b\): leave out --resume"):
        Work(tmp_path / "work", "leave out --resume").begin(file="1", engine="b")


async def test_a_case_that_the_server_refuses_is_told_as_such(
    double: AttuneDouble, stand_in: StandIn, tmp_path: Path
) -> None:
    long = case("long", "x", "y", request="refuse this")
    async with playing(double, stand_in, tmp_path / "work") as (player, work):
        await player.play("own", [long, SHORT])
    (first, second) = outcomes(work, "own", [long, SHORT])
    lesson = work.get("edit", "own", "long")
    assert (first.failed, second.failed) == (True, False)
    assert lesson is not None
    assert (lesson["status"], "too long" in lesson["reason"]) == ("refused", True)


async def test_a_server_that_does_not_give_the_draft_is_found_out(
    engine: FakeEngine, double: AttuneDouble, stand_in: StandIn, tmp_path: Path
) -> None:
    double.engine = engine.url  # past the stand-in
    async with playing(double, stand_in, tmp_path / "work") as (player, _):
        with pytest.raises(NotDrafted, match=r"short: the server answered 'Hello world!' in place of the draft"):
            await player.play("own", CASES)


class Obedient:
    """Writes bullets when it is told to, and then only."""

    def __init__(self) -> None:
        self.prompts: list[str] = []

    async def generate(self, messages: Sequence[Message], *, max_tokens: int, model: str | None = None) -> Generation:
        self.prompts.append(str(messages[-1]["content"]))
        told = "bullets" in self.prompts[-1]
        return Generation("- a\n- b" if told else "a, b", 1, 1)


async def test_a_functional_match_gains_what_the_reference_gains(
    double: AttuneDouble, stand_in: StandIn, tmp_path: Path
) -> None:
    unseen = [f"List {n}." for n in range(5)]
    check = [{"wish": "Use bullets.", "rule": "has_bullets", "unseen": unseen}]
    good = case("good", "Write bullets.", "bullet", wishes=["Use bullets."], check=check)
    words = case("words", "No bullet points, or some.", "bullet", wishes=["Use bullets."], check=check)
    never = case("never", "Draft of never!", "table", wishes=["Use tables."], check=[
        {"wish": "Use tables.", "rule": "table", "unseen": unseen}])  # fmt: skip
    cases, obedient = [good, words, never], Obedient()
    async with playing(double, stand_in, tmp_path / "work") as (player, work):
        await player.play("own", cases)
        told = await Functional(obedient, player, work).measure(cases)
        assert len(obedient.prompts) == len(set(obedient.prompts)) == 5 * 5  # none, two wishes, two texts
        assert await Functional(obedient, player, work).measure(cases) == told
        assert len(obedient.prompts) == 25  # each is written once, also by a later run
    assert (told["functional_found"], told["functional_possible"]) == (1, 2)
    by_id = {check["id"]: check for check in told["checks"]}
    assert (by_id["good"]["none"], by_id["good"]["reference"], by_id["good"]["best"]) == (0, 1, 1)
    assert (by_id["words"]["learned"], by_id["words"]["found"]) == (["No bullet points, or some."], False)
    assert (by_id["never"]["possible"], by_id["never"]["best"]) == (False, None)


async def test_a_real_server_keeps_the_draft_as_its_answer(
    engine: FakeEngine, stand_in: StandIn, tmp_path: Path, sqlite_template: Path
) -> None:
    shutil.copy(sqlite_template, tmp_path / "attune.db")
    settings = Settings(engine_url=stand_in.url, data_dir=tmp_path, adapter_min_edits=10**6)
    accepted = case("accepted", "Draft of accepted.", same="")
    with serving(settings, engine) as running:
        work = Work(tmp_path / "work")
        await Player(running.url, stand_in, work).play("own", [accepted])
        client = Client(running.url, "edits-accepted")
        sent = work.get("sent", "own", "accepted")
        assert sent is not None
        held = await client.learned(sent["feedback"])
        await client.close()
        turn = running.http(headers={"X-User-Id": "edits-accepted"}).get(f"/v1/turns/{held['completion_id']}").json()
    assert turn["answers"] == ["Draft of accepted."]
    (outcome,) = outcomes(work, "own", [accepted])
    assert (outcome.texts, outcome.failed, held["cost"]) == ((), False, 0)
