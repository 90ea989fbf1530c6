"""Canaries: which conversations they get, what their edits say, and how a trial ends whoever is killed."""

import time
from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from adapters.evaluation import canary
from adapters.evaluation.canary import Canaries, costs, dealt, decide, permutation_p
from adapters.lifecycle import activation, versions
from adapters.lifecycle.activation import DAY, Policy
from preference.feedback.edit_rows import Edit
from store import jobs, turns, users
from store.database import Database
from store.errors import NotFound
from store.jobs import Job, LostLease
from store.message import Message
from store.owner import Owner
from store.users import User
from tests.adapters.fakes import make_turn
from tests.preference.helpers import submit

ANN = Owner("acme", "ann")
USER = User(ANN, "f" * 32, (), 1, 1, canary_adapter=2, canary_share=0.25)
POLICY = Policy(canary_share=0.5, canary_edits=20)


def said(*texts: str) -> list[Message]:
    roles = ("user", "assistant")
    return [{"role": roles[number % 2], "content": text} for number, text in enumerate(texts)]


def test_a_canary_gets_its_share_of_the_conversations() -> None:
    got = [dealt(USER, said(f"request {number}"), 0.0) for number in range(4000)]
    assert set(got) == {1, 2}
    assert got.count(2) / 4000 == pytest.approx(0.25, abs=0.03)
    assert {dealt(replace(USER, canary_share=1.0), said(str(n)), 0.0) for n in range(50)} == {2}
    assert {dealt(replace(USER, canary_adapter=0, canary_share=0.0), said(str(n)), 0.0) for n in range(50)} == {1}


@given(st.text(), st.text(), st.text(), st.floats(0, 1e10))
def test_a_conversation_stays_with_what_it_was_dealt(system: str, asked: str, then: str, at: float) -> None:
    opening = [{"role": "system", "content": system}, *said(asked)]
    first = dealt(USER, opening, at)
    assert dealt(USER, [*opening, *said("", then)[::-1]], at) == first
    assert dealt(USER, [dict(reversed(m.items())) for m in opening], at // DAY * DAY) == first


def test_who_always_begins_alike_gets_both() -> None:
    assert {dealt(USER, said("Hi"), day * DAY) for day in range(60)} == {1, 2}


def test_two_trials_deal_differently() -> None:
    other = replace(USER, canary_adapter=3)
    same = [(dealt(USER, said(str(n)), 0.0) == 2) == (dealt(other, said(str(n)), 0.0) == 3) for n in range(500)]
    assert 0.4 < np.mean(same) < 0.85


def edit(text: str, cost: float, answered: int | None = None, at: float = 0.0, *, user: User = USER) -> Edit:
    version = dealt(user, said(text), at) if answered is None else answered
    turn = replace(make_turn(1, request=said(text), adapter_version=version), created_at=at)
    return Edit("fb", turn, "draft", "text", cost, at)


def test_costs_are_counted_by_conversation_and_as_dealt() -> None:
    texts = {version: [t for t in map(str, range(200)) if dealt(USER, said(t), 0.0) == version] for version in (1, 2)}
    mine, other = texts[2], texts[1]
    counted = [edit(mine[0], 0.2), edit(mine[0], 0.4), edit(mine[1], 0.0), edit(other[0], 0.9)]
    stray = [edit(mine[2], 1.0, answered=1), edit(other[1], 1.0, answered=2), edit(other[2], 1.0, answered=7)]
    tried, served = costs(USER, 1, [*counted, *stray])
    assert (sorted(tried), served) == ([0.0, pytest.approx(0.3)], [0.9])


def test_the_permutation_test_is_exact_for_few_values() -> None:
    """Of the ten ways to draw two of five values, two are as far apart as these."""
    assert permutation_p([0.0, 0.1], [0.7, 0.8, 0.9]) == pytest.approx(0.1, abs=0.02)
    assert permutation_p([0.5], [0.5, 0.5]) == 1.0
    assert permutation_p([], [0.5]) == 1.0


@given(st.lists(st.floats(0, 1), min_size=1, max_size=3), st.lists(st.floats(0, 1), min_size=1, max_size=3))
def test_three_against_three_are_never_told_apart(first: list[float], second: list[float]) -> None:
    assert permutation_p(first, second) > canary.ERROR / len(canary.EARLY_LOOKS)


def ends(
    rng: np.random.Generator, tried: float, served: float, conversations: int = 40, share: float = 0.5
) -> tuple[Any, int]:
    """A trial of versions with these mean costs; its outcome, and after how many conversations."""
    first: list[float] = []
    second: list[float] = []
    looks = 0
    for number in range(1, conversations + 1):
        arm, mean = (first, tried) if rng.random() < share else (second, served)
        arm.append(float(np.clip(rng.normal(mean, 0.15), 0, 1)))
        outcome, looks, _ = decide(first, second, looks=looks, conversations=conversations, over=False)
        if outcome is not None:
            return outcome, number
    raise AssertionError("a trial has an end")


def test_versions_that_are_alike_are_seldom_told_apart_early() -> None:
    rng = np.random.default_rng(1)
    early = [ends(rng, 0.5, 0.5)[1] < 40 for _ in range(300)]
    assert np.mean(early) <= canary.ERROR + 0.03


def test_a_much_worse_canary_is_gone_early_and_a_much_better_one_stays() -> None:
    rng = np.random.default_rng(2)
    worse = [ends(rng, 0.7, 0.3) for _ in range(60)]
    better = [ends(rng, 0.3, 0.7) for _ in range(60)]
    assert {outcome for outcome, _ in worse} == {"rolled_back"}
    assert {outcome for outcome, _ in better} == {"promoted"}
    assert np.mean([number for _, number in worse + better]) < 20


@pytest.mark.parametrize(
    ("tried", "served", "over", "outcome"),
    [
        ([0.4] * 10, [0.5] * 10, False, "promoted"),
        ([0.5] * 10, [0.5] * 10, False, "promoted"),
        ([0.51] * 10, [0.5] * 10, False, "rolled_back"),
        ([0.9] * 4, [0.1] * 9, True, "promoted"),
        ([0.9] * 5, [0.1] * 5, True, "rolled_back"),
        ([], [], True, "promoted"),
        ([0.9] * 4, [0.1] * 9, False, None),
    ],
)
def test_the_end_is_decided_by_the_mean(
    tried: Sequence[float], served: Sequence[float], over: bool, outcome: str | None
) -> None:
    """The early looks are over."""
    assert decide(tried, served, looks=2, conversations=20, over=over)[0] == outcome


class World:
    """One user's trial on rows: version 2 beside version 1."""

    def __init__(self, database: Database) -> None:
        self.database = database
        self.told: list[User] = []
        self.handler = Canaries(database, POLICY, self.on_decided)
        database.write_now(self.begin)

    def begin(self, c: Any) -> None:
        users.ensure(c, ANN)
        for policy in (Policy(), POLICY):
            number = versions.queue(c, ANN)
            jobs.cancel(c, ANN, "train", str(number))
            versions.set_state(c, ANN, number, "ready", report={"verdict": "admitted"})
            activation.admit(c, ANN, number, policy)

    async def on_decided(self, user: User) -> None:
        self.told.append(user)

    @property
    def user(self) -> User:
        return self.database.write_now(versions.lock_user, ANN)

    @property
    def noted(self) -> dict[str, Any]:
        report: dict[str, Any] = self.database.read_now(versions.get, ANN, 2).report["canary"]
        return report

    def edit(self, number: int, better: int = 2) -> None:
        """An answer as dealt, and its edit: of no cost where ``better`` answered, else all new."""
        at = time.time()
        request = said(f"request {number}")
        version = dealt(self.user, request, at)
        turn = replace(make_turn(number, request=request, answer="a draft", adapter_version=version), created_at=at)
        text = "a draft" if version == better else "wholly different words"

        def rows(c: Any) -> None:
            turns.record(c, ANN, turn)
            submit(c, ANN, completion_id=f"c-{number}", edited_text=text, body_sha256="x")
            canary.notice(c, ANN)

        self.database.write_now(rows)

    def lease(self) -> Job | None:
        return self.database.write_now(jobs.lease, ["canary"], 60)


@pytest.fixture
def world(database: Database) -> World:
    return World(database)


async def look(world: World) -> None:
    job = world.lease()
    assert job is not None
    await world.handler(job)


@pytest.mark.parametrize(("better", "serves"), [(2, 2), (1, 1)])
async def test_edits_decide_before_the_end(world: World, better: int, serves: int) -> None:
    assert world.lease() is None, "nothing to look at yet"
    for number in range(POLICY.canary_edits):
        world.edit(number, better)
        await look(world)
        if world.told:
            break
    assert 5 <= number < POLICY.canary_edits
    assert (world.user.active_adapter, world.user.canary_adapter) == (serves, 0)
    assert world.told == [world.user]
    outcome = {2: "promoted", 1: "rolled_back"}[better]
    assert world.noted["verdict"] == outcome
    assert world.noted["sentence"].startswith(outcome.replace("_", " "))
    assert world.noted["p"] <= 0.025
    assert sum(world.noted["conversations"].values()) == number + 1
    assert world.database.read_now(versions.get, ANN, 2).state == "ready"
    assert world.lease() is None, "nothing is left to decide"
    world.edit(99)
    assert world.lease() is None


async def test_it_ends_by_time_as_well(world: World) -> None:
    def late(c: Any) -> None:
        held = versions.get(c, ANN, 2)
        noted = {**held.report["canary"], "until": time.time() - 1}
        versions.set_state(c, ANN, 2, "ready", report={**held.report, "canary": noted})
        jobs.hasten(c, ANN, "canary", "2")

    world.database.write_now(late)
    await look(world)
    assert (world.user.active_adapter, world.noted["verdict"]) == (2, "promoted")
    assert world.noted["sentence"] == (
        "promoted: no edited conversation against no edited conversation of version 1, p = 1.000"
    )


async def test_a_look_that_decides_nothing_waits_for_the_end(world: World) -> None:
    world.edit(0)
    await look(world)
    assert world.noted["looks"] == 0
    assert sum(world.noted["conversations"].values()) == 1
    assert world.database.read_now(jobs.under_way, ANN, "canary") == {"2"}
    assert world.lease() is None
    assert not world.told


async def test_a_killed_look_is_made_again_and_counts_once(world: World) -> None:
    """A worker that dies after its transaction leaves nothing to do; one that dies before, everything."""
    for number in range(6):
        world.edit(number)
    job = world.lease()
    assert job is not None
    world.database.write_now(jobs.release, job)
    again = world.lease()
    assert again is not None
    with pytest.raises(LostLease):
        await world.handler(job)
    await world.handler(again)
    decided = world.user
    with pytest.raises(LostLease):
        await world.handler(again)
    assert world.user == decided
    assert world.noted["looks"] <= 1


async def test_what_was_ended_by_hand_is_not_judged(world: World) -> None:
    world.database.write_now(activation.roll_back, ANN)
    world.database.write_now(jobs.hasten, ANN, "canary", "2")
    await look(world)
    assert (world.user.active_adapter, world.told) == (1, [])
    assert "verdict" not in world.noted
    world.database.write_now(activation.try_out, ANN, 2, 0.5, POLICY)
    assert len(world.database.read_now(jobs.under_way, ANN, "canary")) == 1


async def test_a_trial_does_not_wait_for_the_end_of_another(world: World) -> None:
    world.database.write_now(lambda c: versions.take_in(c, ANN, []))
    world.database.write_now(activation.try_out, ANN, 3, 0.5, POLICY)
    assert world.database.read_now(jobs.under_way, ANN, "canary") == {"3"}
    world.edit(0)
    job = world.lease()
    assert job is not None
    assert job.subject == "3"
    assert world.database.write_now(versions.queue_if_due, ANN, 1) is None, "edits wait while one is tried"
    await world.handler(job)
    world.database.write_now(activation.roll_back, ANN)
    assert world.database.write_now(versions.queue_if_due, ANN, 1) == 4, "an import counts for no training"


async def test_when_the_active_version_is_deleted_the_trial_goes_on_against_what_serves_then(world: World) -> None:
    for number in range(3):
        world.edit(number, better=1)
    world.database.write_now(versions.delete, ANN, 1)
    world.database.write_now(jobs.hasten, ANN, "canary", "2")
    await look(world)
    assert (world.noted["against"], world.noted["looks"]) == (0, 0)
    assert sum(world.noted["conversations"].values()) == 0
    for number in range(3, 3 + 2 * POLICY.canary_edits):
        world.edit(number, better=0)
        await look(world)
        if world.told:
            break
    assert (world.user.active_adapter, world.user.canary_adapter) == (0, 0)
    assert world.noted["sentence"].startswith("rolled back")
    assert "of the base model" in world.noted["sentence"]


async def test_a_trial_that_cannot_be_judged_is_rolled_back(world: World) -> None:
    world.edit(0)
    job = world.lease()
    assert job is not None
    await world.handler.on_failed(job, None)
    assert (world.user.active_adapter, world.user.canary_adapter) == (1, 0)
    assert world.noted["verdict"] == "rolled_back"
    assert world.told == [world.user]
    await world.handler.on_failed(job, None)
    assert len(world.told) == 1


async def test_an_erased_user_has_no_trial(world: World) -> None:
    world.edit(0)
    job = world.lease()
    assert job is not None
    world.database.write_now(users.delete, ANN)
    with pytest.raises(LostLease):
        await world.handler(job)
    with pytest.raises(NotFound):
        world.database.read_now(versions.get, ANN, 2)
