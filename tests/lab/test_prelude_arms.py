"""The arms learn as their papers say, from nothing but texts, and go on after an interruption as if there was none."""

import ast
import re
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from openai import NotFoundError

import lab
from lab.client import Client
from lab.prelude.arms.attune import Attune
from lab.prelude.arms.cipher import Cipher
from lab.prelude.arms.edits import InContext
from lab.prelude.arms.feedback import MISLED
from lab.prelude.arms.single import Continual, ExploreThenExploit
from lab.prelude.catalog import ARMS, DEFAULT_ARMS
from lab.prelude.environment import KINDS, SyntheticEnvironment, make
from lab.prelude.memory import Memory
from lab.prelude.memory import Vectors as RequestVectors
from lab.prelude.ports import Arm, Draft, Round
from lab.prelude.trial import Trial
from preference.ports import Vectors
from server.settings import Settings
from tests.lab.world_engine import WorldEngine
from tests.server.conftest import Running, WordEmbedder, serving

ROOT = Path(lab.__file__).parent.parent
HIDDEN = {
    "lab.world", "lab.style", "lab.render", "lab.lexicon", "lab.simulated_user", "lab.prelude.environment",
    "lab.prelude.careless", "lab.prelude.documents", "lab.prelude.llm_user", "lab.prelude.trial", "lab.prelude.log",
    "lab.prelude.run", "lab.prelude.catalog", "lab.prelude.voice",
}  # fmt: skip
"""What knows the user, or could ask for what they want."""


def imported(module: str) -> set[str]:
    """What a module of the lab imports, itself or through others of the lab."""
    seen: set[str] = set()
    left = [module]
    while left:
        file = ROOT / f"{left.pop().replace('.', '/')}.py"
        for node in ast.walk(ast.parse(file.read_text())):
            names = [a.name for a in node.names] if isinstance(node, ast.Import) else []
            if isinstance(node, ast.ImportFrom):
                assert node.level == 0
                assert node.module
                names = [node.module, *(f"{node.module}.{a.name}" for a in node.names)]
            for name in set(names) - seen:
                seen.add(name)
                if name.startswith("lab.") and (ROOT / f"{name.replace('.', '/')}.py").is_file():
                    left.append(name)
    return seen


@pytest.mark.parametrize("file", sorted((ROOT / "lab/prelude/arms").glob("[a-z]*.py")), ids=lambda file: file.stem)
def test_no_arm_can_reach_what_knows_the_user(file: Path) -> None:
    found = imported(f"lab.prelude.arms.{file.stem}")
    assert "lab.prelude.ports" in found
    assert not found & HIDDEN
    assert {"importlib", "sys", "inspect", "gc"}.isdisjoint(found)


def test_the_check_of_imports_sees_what_it_should() -> None:
    assert {"lab.prelude.environment", "lab.world", "lab.lexicon"} <= imported("lab.prelude.bench")


@contextmanager
def world(environment: SyntheticEnvironment, data: Path, template: Path, **settings: Any) -> Iterator[Running]:
    data.mkdir(mode=0o700, exist_ok=True)
    if not (data / "attune.db").exists():
        (data / "attune.db").write_bytes(template.read_bytes())
    with WorldEngine(environment) as engine:
        given: dict[str, Any] = {"engine_url": engine.url, "data_dir": data, "adapter_min_edits": 10**6, **settings}
        with serving(Settings(**given), engine) as running:
            yield running


@pytest.fixture
def environment() -> SyntheticEnvironment:
    return make("email", seed=1, rounds=12)


@pytest.fixture
def running(environment: SyntheticEnvironment, tmp_path: Path, sqlite_template: Path) -> Iterator[Running]:
    with world(environment, tmp_path / "data", sqlite_template) as running:
        yield running


def engine_of(running: Running) -> WorldEngine:
    assert isinstance(running.engine, WorldEngine)
    return running.engine


def client_of(running: Running, user: str = "ann") -> Client:
    return Client(running.url, user)


class Blind(Trial):
    """Says nothing of what the user wants."""

    def at(self) -> Round:
        raise AssertionError("this arm asked what the user says beside edits")

    def truth(self) -> Sequence[str]:
        raise AssertionError("this arm asked what the user wants")


async def played(
    arm: Arm, environment: SyntheticEnvironment, rounds: slice
) -> tuple[list[Draft], list[dict[str, Any]]]:
    """The drafts and lessons of some rounds."""
    drafts, lessons = [], []
    for at in environment.rounds[rounds]:
        drafts.append(await arm.complete(at.text))
        edited = await environment.edit(at, drafts[-1].text)
        lessons.append(await arm.learn(at.text, drafts[-1], edited))
    return drafts, lessons


def costs(environment: SyntheticEnvironment, drafts: Sequence[Draft], start: int = 0) -> list[int]:
    return [environment.cost(environment.rounds[start + i], d.text, "") for i, d in enumerate(drafts)]


def made(name: str, client: Client, environment: SyntheticEnvironment, of: type[Trial] = Blind) -> Arm:
    return ARMS[name](of(environment, client, RequestVectors(WordEmbedder()), training={100}))


@pytest.mark.parametrize("name", [name for name in DEFAULT_ARMS if name != "oracle"])
async def test_an_arm_goes_on_after_an_interruption_and_never_asks_for_the_truth(
    name: str, running: Running, environment: SyntheticEnvironment
) -> None:
    async with client_of(running) as client:
        arm = made(name, client, environment)
        _, lessons = await played(arm, environment, slice(0, 8))
        restored = made(name, client, environment)
        await restored.restore(lessons)
        request = environment.rounds[8].text
        expected, found = await arm.complete(request), await restored.complete(request)
    assert (found.text, list(found.preferences)) == (expected.text, list(expected.preferences))
    assert arm.expense.answer_in > 0
    learns = name not in ("none", "icl-edit-5") and not name.startswith("attune")
    assert arm.expense.learner_in == (None if name.startswith("attune") else pytest.approx(arm.expense.learner_in))
    assert bool(arm.expense.learner_in) == learns


async def test_the_oracle_is_told_and_nobody_edits_it(running: Running, environment: SyntheticEnvironment) -> None:
    at = iter(environment.rounds)

    class Telling(Trial):
        def truth(self) -> Sequence[str]:
            return environment.wants(next(at))

    async with client_of(running) as client:
        arm = made("oracle", client, environment, Telling)
        drafts, lessons = await played(arm, environment, slice(0, 6))
    assert costs(environment, drafts) == [0] * 6
    assert lessons == [{}] * 6


def reachable(thing: Any, seen: set[int]) -> bool:
    """Whether an arm's own attributes, and theirs, lead to what tells the truth."""
    if getattr(thing, "__func__", None) is Blind.truth:
        return True
    if id(thing) in seen or not type(thing).__module__.startswith(("lab.", "tests.", "collections")):
        return False
    seen.add(id(thing))
    return any(reachable(value, seen) for value in vars(thing).values()) if hasattr(thing, "__dict__") else False


@pytest.mark.parametrize("name", list(ARMS))
async def test_no_arm_but_the_oracle_holds_the_truth(name: str, environment: SyntheticEnvironment) -> None:
    client = Client("http://127.0.0.1:1", "ann")
    assert reachable(made(name, client, environment), set()) == (name == "oracle")
    await client.close()


async def test_a_round_that_was_not_written_down_is_forgotten_before_it_is_played_again(
    running: Running, environment: SyntheticEnvironment
) -> None:
    async def played(arm: Attune, at: Round) -> dict[str, Any]:
        draft = await arm.complete(at.text)
        return await arm.learn(at.text, draft, await environment.edit(at, draft.text))

    first, second = environment.rounds[:2]
    async with client_of(running) as client:
        killed = Attune(client)
        await killed.restore([])
        lesson = await played(killed, first)
        lost = (await played(killed, second))["feedback"]
        again = Attune(client)
        await again.restore([lesson])
        with pytest.raises(NotFoundError):
            await client.learned(lost)
        assert (await client.learned(lesson["feedback"]))["status"] != "pending"


@pytest.mark.parametrize("name", [name for name in ARMS if name.startswith("attune:")])
async def test_users_of_one_kind_of_feedback_give_that_and_nothing_else(
    name: str, running: Running, environment: SyntheticEnvironment
) -> None:
    kind = name.removeprefix("attune:")
    async with client_of(running) as client:
        trial = Trial(environment, client, RequestVectors(WordEmbedder()), training={100})
        arm = ARMS[name](trial)
        for at in environment.rounds[:4]:
            trial.round = at
            draft = await arm.complete(at.text)
            lesson = await arm.learn(at.text, draft, await environment.edit(at, draft.text))
            assert "status" in lesson
    given = running.http(headers={"X-User-Id": "ann"}).get("/v1/feedback", params={"limit": 100}).json()["data"]
    types = {row["type"] for row in given}
    if kind in MISLED:
        assert "edit" in types
    elif kind == "import":
        assert types == {"demonstration", "edit"}
    elif kind == "history":
        assert {row["source"] for row in given} == {"history"}
    else:
        assert types <= {kind, "signal"}
    assert given


class KindWords(WordEmbedder):
    """Sees of a request what kind of email it asks for."""

    def embed(self, texts: Sequence[str]) -> Vectors:
        return super().embed([" ".join(re.findall("|".join(KINDS["email"]), text)) for text in texts])


async def test_learning_by_context_beats_one_list_for_all(running: Running, environment: SyntheticEnvironment) -> None:
    spent = {}
    async with client_of(running) as client:
        for name in ("none", "explore-then-exploit", "continual", "cot-edit", "cipher-1", "cipher-5"):
            trial = Blind(environment, client, RequestVectors(KindWords()), training={100})
            arm = Cipher(client, trial.vectors, 1) if name == "cipher-1" else ARMS[name](trial)
            drafts, _ = await played(arm, environment, slice(0, 12))
            spent[name] = sum(costs(environment, drafts)[8:])
    assert spent["cipher-1"] < 0.5 * min(spent["none"], spent["explore-then-exploit"], spent["continual"])
    assert max(spent["cipher-5"], spent["cot-edit"]) < spent["none"]


async def test_before_the_first_edit_there_is_nothing_in_the_prompt(
    running: Running, environment: SyntheticEnvironment
) -> None:
    class Nothing(Trial):
        def truth(self) -> Sequence[str]:
            return ()

    request = environment.rounds[0].text
    for name in DEFAULT_ARMS:
        async with client_of(running) as client:
            await made(name, client, environment, Nothing).complete(request)
        assert engine_of(running).prompts()[-1] == request


async def test_preferences_stand_where_attune_puts_them(running: Running, environment: SyntheticEnvironment) -> None:
    request = environment.rounds[0].text
    wants = list(environment.wants(environment.rounds[0]))[:1]

    class Wanting(Trial):
        def truth(self) -> Sequence[str]:
            return wants

    http = running.http(headers={"X-User-Id": "ann"})
    async with client_of(running) as client:
        await client.answer(request)  # makes the user known
        assert http.post("/v1/users/ann/preferences", json={"text": wants[0]}).is_success
        ours = await made("attune", client, environment).complete(request)
        theirs = await made("oracle", client, environment, Wanting).complete(request)
    assert (ours.text, list(ours.preferences)) == (theirs.text, wants)
    first, second = engine_of(running).requests[-2:]
    assert first["messages"] == second["messages"]
    assert "<preferences>" in second["messages"][-1]["content"]
    assert {key: first[key] for key in ("temperature", "max_tokens")} == {"temperature": 0, "max_tokens": 500}
    assert {key: second[key] for key in ("temperature", "max_tokens")} == {"temperature": 0, "max_tokens": 500}


async def test_baselines_leave_nothing_on_the_server(running: Running, environment: SyntheticEnvironment) -> None:
    async with client_of(running, "ann") as client:
        await played(made("cipher-5", client, environment), environment, slice(0, 4))
    assert running.http(headers={"X-User-Id": "ann"}).get("/v1/users/ann/preferences").status_code == 404


A, B, C = "Use bullet points.", "Write in a warm tone.", "Number the facts."


async def test_cipher_keeps_what_was_used_when_it_was_right(
    running: Running, environment: SyntheticEnvironment
) -> None:
    one, two = (at.text for at in environment.rounds[:2])
    async with client_of(running) as client:
        arm = Cipher(client, RequestVectors(WordEmbedder()), 1)
        assert await arm.learn(one, Draft("right", (A,)), "right") == {"request": one, "preferences": [A]}
        assert await arm.learn(one, Draft("right"), "right") == {"request": one, "preferences": []}
        await arm.restore([{"request": two, "preferences": [B]}, {}])
        asked = len(engine_of(running).requests)
        assert list((await arm.complete(two)).preferences) == [B]
    assert len(engine_of(running).requests) == asked + 1  # a single list needs no merging


async def test_cipher_forgets_an_edit_that_teaches_nothing(running: Running, environment: SyntheticEnvironment) -> None:
    request = environment.rounds[0].text
    async with client_of(running) as client:
        arm = Cipher(client, RequestVectors(WordEmbedder()), 1)
        draft = await arm.complete(request)
        facts = environment.rounds[0].secret.request.facts
        assert await arm.learn(request, draft, draft.text.replace(facts.when, "some day")) == {}
        assert list((await arm.complete(request)).preferences) == []


async def test_cipher_merges_the_nearest_oldest_first(running: Running, environment: SyntheticEnvironment) -> None:
    request = environment.rounds[0].text
    async with client_of(running) as client:
        arm = Cipher(client, RequestVectors(WordEmbedder()), 3)
        for number, held in enumerate(([A, B], [], [B, C])):
            await arm.restore([{"request": f"{request} {number}", "preferences": held}])
        await arm.restore([{"request": "something else altogether", "preferences": ["Never seen."]}])
        draft = await arm.complete(request)
    assert engine_of(running).prompts()[-2].startswith(f"<preferences>\n- {A}\n- {B}\n- {C}\n</preferences>")
    assert list(draft.preferences) == [C, B]  # of A and C, which contradict each other, the later one


async def test_equal_texts_are_merged_once_at_their_latest_place(
    running: Running, environment: SyntheticEnvironment
) -> None:
    request = environment.rounds[0].text
    async with client_of(running) as client:
        arm = Cipher(client, RequestVectors(WordEmbedder()), 3)
        for held in ([A, B], [C], ["use bullet points"]):
            await arm.restore([{"request": request, "preferences": held}])
        await arm.complete(request)
    merge = engine_of(running).prompts()[-2]
    assert merge.startswith(f"<preferences>\n- {B}\n- {C}\n- use bullet points\n</preferences>")


async def test_explore_then_exploit_learns_once(running: Running, environment: SyntheticEnvironment) -> None:
    async with client_of(running) as client:
        arm = ExploreThenExploit(client)
        await arm.learn("x", Draft("as it is"), "as it is")
        drafts, _ = await played(arm, environment, slice(0, 4))
        assert not any(draft.preferences for draft in drafts)
        assert not arm.expense.learner_in
        await played(arm, environment, slice(4, 5))
        asked = [prompt for prompt in engine_of(running).prompts() if prompt.startswith(("<draft>", "<preferences>"))]
        assert len(asked) == 6  # five inferences and a merge
        later, _ = await played(arm, environment, slice(5, 8))
        assert len({tuple(draft.preferences) for draft in later}) == 1
        assert later[0].preferences
        assert sum(p.startswith("<draft>") for p in engine_of(running).prompts()) == 5


async def test_continual_learns_from_the_last_five_edits(running: Running, environment: SyntheticEnvironment) -> None:
    async with client_of(running) as client:
        arm = Continual(client)
        await arm.restore([{"inferred": ["Gone."], "learned": ["Gone."]}, {}, *[{"inferred": [A], "learned": [A]}] * 5])
        assert list((await arm.complete(environment.rounds[0].text)).preferences) == [A]
        await played(arm, environment, slice(0, 1))
        assert not any("Gone." in prompt for prompt in engine_of(running).prompts())
        infer, merge = engine_of(running).prompts()[-2:]
        assert infer.startswith("<draft>")
        assert merge.startswith(f"<preferences>\n- {A}\n")


async def test_pairs_are_shown_as_an_exchange_nearest_last(running: Running, environment: SyntheticEnvironment) -> None:
    texts = [at.text for at in environment.rounds[:3]]
    async with client_of(running) as client:
        arm = InContext(client, RequestVectors(WordEmbedder()), 2)
        for text in texts:
            await arm.learn(text, Draft(f"draft of {text[:40]}"), f"edit of {text[:40]}")
        await arm.learn(texts[0], Draft("left as it is"), "left as it is")
        await arm.complete(texts[1])
    messages = engine_of(running).requests[-1]["messages"]
    assert [m["role"] for m in messages] == ["user", "assistant"] * 4 + ["user"]
    assert messages[4]["content"] == messages[8]["content"] == texts[1]
    assert messages[5]["content"] == f"draft of {texts[1][:40]}"
    assert messages[6]["content"].endswith(f"edit of {texts[1][:40]}")
    assert "left as it is" not in str(messages)


async def test_fewer_pairs_are_shown_where_the_context_is_short(
    running: Running, environment: SyntheticEnvironment
) -> None:
    near, far = (at.text for at in environment.rounds[:2])
    async with client_of(running) as client:
        arm = InContext(client, RequestVectors(WordEmbedder()), 5)
        await arm.learn(far, Draft("too long"), "shorter")
        await arm.learn(near, Draft("fits"), "still fits")
        engine_of(running).refuses = "too long"
        await arm.complete(near)
    assert [m["content"] for m in engine_of(running).requests[-1]["messages"]][:2] == [near, "fits"]


async def test_an_adapter_is_trained_after_its_rounds_and_what_came_of_it_is_told(
    running: Running, environment: SyntheticEnvironment
) -> None:
    async with client_of(running) as client:
        arm = Attune(client, training={2})
        _, lessons = await played(arm, environment, slice(0, 3))
    assert {lesson["status"] for lesson in lessons} <= {"learned", "nothing_learned"}
    assert ["adapter" in lesson for lesson in lessons] == [False, True, False]
    assert (lessons[1]["adapter"]["version"], lessons[1]["adapter"]["state"]) == (1, "refused")
    assert "too few" in lessons[1]["adapter"]["report"]["sentence"]


async def test_a_draft_that_was_sent_confirms_what_was_used(
    running: Running, environment: SyntheticEnvironment
) -> None:
    async with client_of(running) as client:
        arm = Attune(client)
        request = environment.rounds[0].text
        await arm.learn(request, await arm.complete(request), await environment.edit(environment.rounds[0], ""))
        draft = await arm.complete(request)
        lesson = await arm.learn(request, draft, draft.text)
    assert draft.preferences
    assert lesson["status"] == "nothing_learned"
    assert "accepted" in lesson["reason"]


async def test_the_nearest_come_first_and_the_newer_of_equals() -> None:
    memory: Memory[str] = Memory(RequestVectors(WordEmbedder()))
    for text in ("write to ann", "sum up the news", "write to ann", "write to bob"):
        await memory.add(text, text)
    assert await memory.nearest("write to ann", 3) == [(3, "write to ann"), (1, "write to ann"), (4, "write to bob")]
    assert await memory.nearest("write to ann", 0) == []


async def test_a_text_is_embedded_once() -> None:
    class Counting(WordEmbedder):
        texts: list[str] = []  # noqa: RUF012 # of this class, made for this test

        def embed(self, texts: Sequence[str]) -> Any:
            self.texts.extend(texts)
            return super().embed(texts)

    vectors = RequestVectors(Counting())
    first, again = await vectors.of("a"), await vectors.of("a")
    assert np.array_equal(first, again)
    await vectors.of("b")
    assert Counting.texts == ["a", "b"]
