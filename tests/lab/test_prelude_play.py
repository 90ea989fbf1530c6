"""A run plays every chain to its end, writes each round down, goes on where it stopped, and says what failed."""

import stat
import subprocess
import sys
from collections.abc import Iterator, Sequence
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

import pytest
from aiohttp import web
from aiohttp.test_utils import TestServer
from rich.console import Console
from typer.testing import CliRunner

from lab.cli import app
from lab.client import Client, since
from lab.prelude import log
from lab.prelude.ablation import PARTS
from lab.prelude.bench import SERVER, WORK, Options, bench
from lab.prelude.catalog import DEFAULT_ARMS, HARD_ARMS, SLOW_ARM, chosen, plan
from lab.prelude.environment import make
from lab.prelude.log import Chain, Line
from lab.prelude.memory import Vectors
from lab.prelude.ports import Arm, Draft, Environment
from lab.prelude.run import Run
from lab.prelude.server import make_keys
from lab.prelude.trial import Trial
from lab.progress import progress
from lab.work import NotThisRun, Work, clear, only_run
from server.settings import Settings
from tests.lab.world_engine import WorldEngine
from tests.server.conftest import Running, WordEmbedder, serving
from tests.server.fake_engine import MODEL, Script

ROUNDS = 6
QUIET = Console(quiet=True)


def environment(chain: Chain) -> Environment:
    return make(chain.environment, seed=chain.seed, rounds=ROUNDS, variant=chain.variant)


@pytest.fixture
def data(tmp_path: Path, sqlite_template: Path) -> Path:
    folder = tmp_path / "data"
    folder.mkdir(mode=0o700)
    (folder / "attune.db").write_bytes(sqlite_template.read_bytes())
    return folder


@pytest.fixture
def running(data: Path) -> Iterator[Running]:
    with WorldEngine(*(make("email", seed=seed, rounds=ROUNDS) for seed in (1, 2))) as engine:
        settings = Settings(engine_url=engine.url, data_dir=data, adapter_min_edits=10**6)
        with serving(settings, engine) as running:
            yield running


def options(running: Running, out: Path, **more: Any) -> Options:
    given: dict[str, Any] = {"environments": ["email"], "variants": ["plain"], "rounds": ROUNDS, "seeds": 1, **more}
    return Options(arms=given.pop("arms", ["none", "oracle"]), out=out, url=running.url, **given)


def engine_of(running: Running) -> WorldEngine:
    assert isinstance(running.engine, WorldEngine)
    return running.engine


def what_was_played(lines: Sequence[Line]) -> list[dict[str, Any]]:
    """Lines without what differs from run to run."""
    told = [{k: v for k, v in asdict(line).items() if not k.endswith("seconds")} for line in lines]
    return [{**line, "lesson": {k: v for k, v in line["lesson"].items() if k != "feedback"}} for line in told]


async def test_every_chain_is_played_and_every_round_written(running: Running, tmp_path: Path) -> None:
    arms = ["none", "oracle", "cipher-5", "attune", "attune+adapter"]
    outcome = await bench(options(running, tmp_path / "out", arms=arms, seeds=2), QUIET, WordEmbedder())
    lines = outcome.lines
    assert (outcome.failures, outcome.stopped, outcome.model) == ({}, False, MODEL)
    assert {(line.arm, line.seed, line.number) for line in lines} == {
        (arm, seed, number) for arm in arms for seed in (1, 2) for number in range(ROUNDS)
    }
    by_arm = {arm: [line for line in lines if line.arm == arm and line.seed == 1] for arm in arms}
    assert {line.cost for line in by_arm["oracle"]} == {0}
    assert all(line.zero == (line.cost == 0) for line in lines)
    assert sum(line.cost for line in by_arm["none"]) > 0
    there = make("email", seed=1, rounds=ROUNDS)
    for line, at in zip(by_arm["cipher-5"], there.rounds, strict=True):
        assert (line.kind, line.careless, list(line.wants)) == (at.kind, at.careless, list(there.wants(at)))
        assert line.words > 0
    spent = [line.expense.answer_in for line in by_arm["none"]]
    assert spent == [7 * (number + 1) for number in range(ROUNDS)]  # so far: the engine counts seven a prompt
    assert by_arm["none"][-1].expense.learner_in == 0
    assert by_arm["cipher-5"][-1].expense.learner_in
    assert [line.number for line in by_arm["attune+adapter"] if line.adapter] == [1, 3]  # 30% and 60% of six rounds
    assert not any(line.adapter for line in by_arm["attune"])


async def test_a_run_that_was_stopped_goes_on_as_if_it_was_not(running: Running, tmp_path: Path) -> None:
    arms = ["none", "explore-then-exploit", "continual", "icl-edit-5", "cot-edit", "cipher-5", "attune"]
    whole = await bench(options(running, tmp_path / "whole", arms=arms), QUIET, WordEmbedder())
    chains = plan(["email"], ["plain"], arms, 1)
    for _ in range(ROUNDS):

        class Stopping(Work):
            """Stops the run after each round of any chain."""

            def add(self, step: str, mode: str, id: str, **fields: Any) -> dict[str, Any]:
                run.stop()  # noqa: B023 # of this turn
                return super().add(step, mode, id, **fields)

        run = Run(
            chains, Stopping(tmp_path / "parts.jsonl"), id="parts", rounds=ROUNDS, concurrency=24, base=running.url,
            keys={}, environment=environment, vectors=Vectors(WordEmbedder()),
        )  # fmt: skip
        with progress(QUIET) as bars:
            await run.play(bars)
    again = log.read(Work(tmp_path / "parts.jsonl"))
    assert len(again) > len(chains)
    expected: dict[str, list[dict[str, Any]]] = {line["arm"]: [] for line in what_was_played(again)}
    for line in what_was_played(whole.lines):
        expected[line["arm"]].append(line)
    for line in what_was_played(again):
        assert line == expected[line["arm"]][line["number"]]


async def test_what_is_whole_is_not_played_again(running: Running, tmp_path: Path) -> None:
    chosen = options(running, tmp_path / "out")
    await bench(chosen, QUIET, WordEmbedder())
    asked = len(engine_of(running).requests)
    outcome = await bench(chosen, QUIET, WordEmbedder())
    assert len(engine_of(running).requests) == asked
    assert len(outcome.lines) == 2 * ROUNDS


async def test_a_chain_that_fails_says_so_and_the_others_go_on(running: Running, tmp_path: Path) -> None:
    engine_of(running).refuses = "<preferences>"
    outcome = await bench(options(running, tmp_path / "out"), QUIET, WordEmbedder())
    (chain,) = outcome.failures
    assert chain == Chain("email", "plain", "oracle", 1)
    assert "longer than the context" in outcome.failures[chain]
    assert [line.arm for line in outcome.lines] == ["none"] * ROUNDS
    engine_of(running).refuses = None
    outcome = await bench(options(running, tmp_path / "out"), QUIET, WordEmbedder())
    assert outcome.failures == {}
    assert len(outcome.lines) == 2 * ROUNDS


async def test_a_busy_server_is_asked_again(running: Running, tmp_path: Path) -> None:
    engine_of(running).enqueue(Script(status=503, error="loading"))
    outcome = await bench(options(running, tmp_path / "out", arms=["none"]), QUIET, WordEmbedder())
    assert outcome.failures == {}
    assert len(outcome.lines) == ROUNDS
    assert len(engine_of(running).requests) == ROUNDS + 1


async def test_another_run_does_not_go_on_in_the_same_folder(running: Running, tmp_path: Path) -> None:
    await bench(options(running, tmp_path / "out", arms=["none"]), QUIET, WordEmbedder())
    other = options(running, tmp_path / "out", arms=["none"], seeds=2)
    with pytest.raises(NotThisRun, match=r"seeds 1 \(now 2\).*--fresh"):
        await bench(other, QUIET, WordEmbedder())
    outcome = await bench(replace(other, fresh=True), QUIET, WordEmbedder())
    assert len(outcome.lines) == 2 * ROUNDS


def test_a_folder_is_one_runs_at_a_time_and_fresh_clears_its_own_files_alone(tmp_path: Path) -> None:
    with only_run(tmp_path):
        (tmp_path / "mine.txt").write_text("keep")
        make_keys(tmp_path / SERVER, ["baselines"])
        first = Work(tmp_path / WORK).begin(rounds=1)
        with pytest.raises(NotThisRun, match="Another run"), only_run(tmp_path):
            pass
    with only_run(tmp_path):
        assert Work(tmp_path / WORK).begin(rounds=1) == first
        assert stat.S_IMODE((tmp_path / SERVER).stat().st_mode) == 0o700
        clear(tmp_path, WORK, SERVER)
        assert not (tmp_path / SERVER).exists()
        assert Work(tmp_path / WORK).begin(rounds=2) != first
    assert (tmp_path / "mine.txt").read_text() == "keep"


class Witness(Arm):
    """Learns nothing, and keeps everything that it was given."""

    def __init__(self) -> None:
        super().__init__()
        self.given: list[tuple[Any, ...]] = []

    async def complete(self, request: str) -> Draft:
        self.given.append((request,))
        self.draft = Draft("a draft")
        return self.draft

    async def learn(self, request: str, draft: Draft, edited: str) -> dict[str, Any]:
        self.given.append((request, draft, edited))
        return {}


async def test_an_arm_is_given_texts_and_its_own_draft_and_nothing_else() -> None:
    there = make("email", seed=1, rounds=2)
    arm, client = Witness(), Client("http://127.0.0.1:1", "ann")
    trial = Trial(there, client, Vectors(WordEmbedder()))
    lines = [await trial.turn(Chain("email", "plain", "witness", 1), arm, at) for at in there.rounds]
    await client.close()
    assert len(lines) == 2
    for at, (asked, told) in zip(there.rounds, (arm.given[:2], arm.given[2:]), strict=True):
        assert asked == (at.text,)
        assert told == (at.text, Draft("a draft"), await there.edit(at, "a draft"))
        assert {type(thing) for thing in told} == {str, Draft}


def test_all_arms_play_plain_and_few_the_harder_variants() -> None:
    chains = plan(["email", "summary"], ["plain", *HARD_ARMS], None, 3)
    assert len(chains) == len(set(chains)) == 2 * 3 * (len(DEFAULT_ARMS) + sum(map(len, HARD_ARMS.values())))
    assert {c.arm for c in chains if c.variant == "noise"} == {"oracle", "cipher-5", "attune"}
    assert {c.arm for c in chains if c.variant == "plain"} == set(DEFAULT_ARMS)
    assert chains[0].arm.startswith("attune")
    assert {c.arm for c in plan(["email"], ["drift"], ["none"], 1)} == {"none"}


@pytest.mark.parametrize(
    ("changed", "says"),
    [
        ({"arms": ["none", "cipher-9"]}, "no arm 'cipher-9'"),
        ({"environments": ["documents"]}, "--documents"),
        ({"documents": Path("texts")}, "--documents"),
        ({"environments": ["documents"], "documents": Path("texts")}, "--user-url"),
        ({"model": "other", "url": "http://127.0.0.1:1"}, "--model"),
        ({"without": "likeness", "url": "http://127.0.0.1:1"}, "--without"),
        ({"without": "luck"}, "no part 'luck'"),
        (
            {
                "environments": ["documents"], "documents": Path("texts"), "user_url": "http://127.0.0.1:1",
                "user_model": "x", "variants": ["drift"],
            },
            "plain variant only",
        ),
    ],
)  # fmt: skip
def test_what_cannot_be_played_is_said(changed: dict[str, Any], says: str, tmp_path: Path) -> None:
    given: dict[str, Any] = {"environments": ["email"], "variants": ["plain"], "arms": None, "rounds": 1, "seeds": 1}
    with pytest.raises(ValueError, match=says):
        Options(**{**given, "out": tmp_path, **changed}).check()


@pytest.mark.parametrize("part", PARTS)
def test_each_part_of_the_learner_can_be_left_out(part: str) -> None:
    """In a process of its own, as it changes the code."""
    code = f"from lab.prelude.ablation import leave_out; leave_out({part!r})"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr


def test_the_command_says_what_is_wrong_in_one_line(tmp_path: Path) -> None:
    result = CliRunner().invoke(app, ["bench", "--arms", "none,nobody", "--out", str(tmp_path / "out")])
    assert result.exit_code == 1
    assert result.stderr.startswith("There is no arm 'nobody': none, oracle,")
    assert not (tmp_path / "out").exists()
    result = CliRunner().invoke(app, ["bench", "--url", "http://127.0.0.1:1", "--api-key-env", "NO_SUCH_VARIABLE_HERE"])
    assert (result.exit_code, result.stderr.strip()) == (1, "The environment variable NO_SUCH_VARIABLE_HERE is empty.")


@pytest.mark.parametrize(
    ("named", "feedback", "everyday", "quick", "plays"),
    [
        ([], None, False, False, None),
        ([], ["comment", "edit"], False, True, ["none", "attune", "attune:comment"]),
        ([], ["import"], False, False, ["none", "attune", "attune:import"]),
        (["attune", "oracle"], ["history"], False, True, ["attune", "oracle", "none", "attune:history"]),
        ([], None, True, True, ["none", "oracle", "constant", "icl-edit-5", "cipher-5", "attune"]),
        (["attune+adapter"], None, True, True, ["attune+adapter"]),
    ],
)
def test_a_quick_look_plays_the_kinds_of_feedback_and_what_is_named(
    named: list[str], feedback: list[str] | None, everyday: bool, quick: bool, plays: list[str] | None
) -> None:
    assert chosen(named, feedback, everyday=everyday, quick=quick) == plays
    assert SLOW_ARM not in (chosen([], None, everyday=False, quick=True) or [])


async def test_each_user_that_the_server_learns_for_has_a_tenant(data: Path) -> None:
    chains = plan(["email"], ["plain"], ["none", "oracle", "attune"], 2)
    make_keys(data, {chain.tenant for chain in chains})
    keys = make_keys(data, {chain.tenant for chain in chains})
    assert sorted(keys) == ["baselines", "email-plain-attune-1", "email-plain-attune-2"]
    with WorldEngine(make("email", seed=1, rounds=ROUNDS)) as engine:
        settings = Settings(engine_url=engine.url, data_dir=data)
        with serving(settings, engine) as running:
            for key in {keys[chain.tenant] for chain in chains}:
                headers = {"Authorization": f"Bearer {key}"}
                assert running.http(headers=headers).get("/v1/models").status_code == 200
            assert running.http().get("/v1/models").status_code == 401


METRICS = """\
# HELP attune_learning_tokens_total Tokens of the learner's calls.
# TYPE attune_learning_tokens_total counter
attune_learning_tokens_total{direction="prompt",tenant="a"} 120.0
attune_learning_tokens_total{direction="completion",tenant="a"} 30.0
attune_learning_tokens_total{direction="prompt",tenant="b"} 7.0
# TYPE attune_http_requests_in_flight gauge
attune_http_requests_in_flight 1.0
"""


async def test_learning_tokens_are_those_of_one_tenant_since_they_were_last_read() -> None:
    shown = [METRICS, METRICS.replace("120.0", "150.0"), "attune_http_requests_in_flight 1.0\n"]

    async def metrics(request: web.Request) -> web.Response:
        return web.Response(text=shown[0])

    served = web.Application()
    served.router.add_get("/metrics", metrics)
    async with TestServer(served) as server:
        client = Client(f"http://{server.host}:{server.port}", "ann")
        tenants = ("a", "nobody", None)
        before = [await client.learning_tokens(tenant) for tenant in tenants]
        shown.pop(0)
        now = [await client.learning_tokens(tenant) for tenant in tenants]
        assert list(map(since, before, now)) == [(30, 0), (0, 0), None]
        shown.pop(0)
        assert await client.learning_tokens("a") is None
        await client.close()
