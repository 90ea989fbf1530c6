"""Which versions serve: at once, on trial, pinned, rolled back, retired."""

import time
from collections.abc import Callable
from typing import Any

import pytest
from sqlalchemy import Connection, select

from adapters.lifecycle import activation, versions
from adapters.lifecycle.activation import Policy
from store import jobs, users
from store.database import Database
from store.errors import Conflict, NotFound
from store.owner import Owner
from store.tables import jobs as jobs_table
from store.users import User

ANN = Owner("acme", "ann")
TRYING = Policy(canary_share=0.25, canary_days=2)


def made(c: Connection, policy: Policy, owner: Owner = ANN) -> int:
    """A version as training makes one that the gate admits."""
    users.ensure(c, owner)
    number = versions.queue(c, owner)
    jobs.cancel(c, owner, "train", str(number))
    versions.set_state(c, owner, number, "ready", learned_from=[f"fb-{number}"], report={"verdict": "admitted"})
    activation.admit(c, owner, number, policy)
    return number


def user(c: Connection) -> User:
    return versions.lock_user(c, ANN)


def due(c: Connection) -> list[float]:
    """When trials are judged, that nothing hastens."""
    waiting = (jobs_table.c.kind == "canary", jobs_table.c.state == "queued")
    return list(c.execute(select(jobs_table.c.run_after).where(*waiting)).scalars())


Play = Callable[..., Any]


@pytest.fixture
def play(database: Database) -> Play:
    """A function on rows, in a transaction of its own."""
    database.write_now(users.ensure, ANN)
    return database.write_now


def test_an_admitted_version_serves_at_once(play: Play) -> None:
    began = time.time()
    assert play(made, Policy()) == 1
    assert (play(user).active_adapter, play(user).canary_adapter) == (1, 0)
    assert (play(versions.get, ANN, 1).activated_at or 0) >= began


def test_with_a_share_it_is_tried_first(play: Play) -> None:
    play(made, Policy())
    play(made, TRYING)
    found = play(user)
    assert (found.active_adapter, found.canary_adapter, found.canary_share) == (1, 2, 0.25)
    noted = play(versions.get, ANN, 2).report
    assert noted["verdict"] == "admitted"
    assert noted["canary"]["against"] == 1
    assert noted["canary"]["until"] - noted["canary"]["since"] == 2 * activation.DAY
    assert play(jobs.under_way, ANN, "canary") == {"2"}
    assert play(versions.get, ANN, 2).activated_at is None
    active, canary = play(versions.served, ANN)
    assert (active.version, canary.version) == (1, 2)


def test_a_share_may_be_a_tenants_own() -> None:
    policy = Policy(canary_share=0.5, tenant_canary_shares={"acme": 0.0})
    assert (policy.share_of(ANN), policy.share_of(Owner("other", "ann"))) == (0.0, 0.5)


def test_a_pinned_version_is_replaced_by_nobody(play: Play) -> None:
    play(made, Policy())
    play(activation.choose, ANN, 1, pinned=True)
    for policy in (Policy(), TRYING):
        play(made, policy)
    assert (play(user).active_adapter, play(user).canary_adapter, play(user).pinned) == (1, 0, True)
    for refused in (lambda c: activation.choose(c, ANN, 2), lambda c: activation.choose(c, ANN, 0),
                    lambda c: activation.roll_back(c, ANN), lambda c: activation.try_out(c, ANN, 2, 0.5, TRYING),
                    lambda c: activation.retire(c, ANN, 1)):  # fmt: skip
        with pytest.raises(Conflict):
            play(refused)
    play(activation.choose, ANN, 1)
    assert play(user).pinned, "it was active already"
    assert play(versions.queue_if_due, ANN, 0) is None, "edits wait while a version is pinned"
    with pytest.raises(Conflict):
        play(activation.unpin, ANN, 2)
    play(activation.unpin, ANN, 1)
    assert play(activation.choose, ANN, 2)[0].active_adapter == 1
    assert play(user).active_adapter == 2


def test_the_base_model_can_be_pinned(play: Play) -> None:
    play(activation.choose, ANN, 0, pinned=True)
    play(made, Policy())
    assert (play(user).active_adapter, play(user).pinned) == (0, True)


def test_a_deleted_version_is_not_pinned_any_more(play: Play) -> None:
    play(made, Policy())
    play(activation.choose, ANN, 1, pinned=True)
    play(versions.delete, ANN, 1)
    assert (play(user).active_adapter, play(user).pinned) == (0, False)


def test_rolling_back_goes_further_back_each_time(play: Play) -> None:
    for _ in range(3):
        play(made, Policy())
    play(made, TRYING)
    assert [play(activation.roll_back, ANN)[1].version for _ in range(3)] == [3, 2, 1]
    assert play(activation.roll_back, ANN)[1] is None
    with pytest.raises(Conflict, match="nothing to go back to"):
        play(activation.roll_back, ANN)


def test_nobody_goes_back_to_what_was_never_active(play: Play) -> None:
    play(made, Policy())
    play(made, TRYING)
    play(activation.roll_back, ANN)
    play(made, Policy())
    assert play(activation.roll_back, ANN)[1].version == 1


def test_a_change_is_taken_back_unless_there_was_another(play: Play) -> None:
    play(made, Policy())
    play(made, TRYING)
    before, active, canary = play(activation.choose, ANN, 2)
    play(activation.take_back, before, active, canary)
    assert play(user) == User(**{**vars(before), "revision": play(user).revision})
    before, active, canary = play(activation.choose, ANN, 2)
    play(activation.choose, ANN, 1)
    play(activation.take_back, before, active, canary)
    assert (play(user).active_adapter, play(user).canary_adapter) == (1, 0)


def test_what_was_taken_back_was_never_active(play: Play) -> None:
    play(made, Policy())
    play(made, TRYING)
    play(activation.roll_back, ANN)
    play(made, Policy())
    play(activation.take_back, *play(activation.choose, ANN, 2))
    assert play(versions.get, ANN, 2).activated_at is None
    assert play(activation.roll_back, ANN)[1].version == 1


def test_a_trial_that_could_not_begin_leaves_the_one_before_it(play: Play) -> None:
    play(made, Policy())
    play(made, Policy())
    play(made, TRYING)
    before, until = play(versions.all_of, ANN), play(versions.get, ANN, 3).report["canary"]["until"]
    for change in (lambda c: activation.try_out(c, ANN, 1, 0.5, TRYING), lambda c: activation.choose(c, ANN, 1)):
        play(activation.take_back, *play(change))
        assert (play(user).active_adapter, play(user).canary_adapter, play(user).canary_share) == (2, 3, 0.25)
        assert [vars(v) | {"updated_at": 0} for v in play(versions.all_of, ANN)] == [
            vars(v) | {"updated_at": 0} for v in before
        ]
        assert play(jobs.under_way, ANN, "canary") == {"3"}
        assert play(due) == [until]


def test_what_was_deleted_meanwhile_does_not_come_back_with_what_is_taken_back(play: Play) -> None:
    play(made, Policy())
    play(made, TRYING)
    play(made, Policy(canary_share=1e-9))
    play(activation.roll_back, ANN)
    play(lambda c: activation.try_out(c, ANN, 2, 0.25, TRYING))
    changed = play(lambda c: activation.try_out(c, ANN, 3, 0.5, TRYING))
    play(versions.delete, ANN, 2)
    play(activation.take_back, *changed)
    assert (play(user).active_adapter, play(user).canary_adapter, play(user).canary_share) == (1, 0, 0.0)
    changed = play(lambda c: activation.choose(c, ANN, 3))
    play(versions.delete, ANN, 1)
    play(activation.take_back, *changed)
    assert (play(user).active_adapter, play(user).canary_adapter) == (0, 0)


def test_a_retired_version_keeps_its_row_and_serves_never_again(play: Play) -> None:
    for _ in range(2):
        play(made, Policy())
    play(activation.retire, ANN, 1)
    retired = play(versions.get, ANN, 1)
    assert (retired.state, retired.report) == ("retired", {"verdict": "admitted", "retired": "retired by hand"})
    with pytest.raises(Conflict, match="is retired, not ready"):
        play(activation.choose, ANN, 1)
    with pytest.raises(NotFound):
        play(versions.set_state, ANN, 1, "ready")
    with pytest.raises(Conflict, match="serves the user"):
        play(activation.retire, ANN, 2)
    assert play(versions.learned_from, ANN) == {2: frozenset({"fb-2"})}
    play(versions.delete, ANN, 1)


def test_the_oldest_that_do_not_serve_make_room(play: Play) -> None:
    policy = Policy(kept=3)
    for _ in range(2):
        play(made, policy)
    play(activation.choose, ANN, 1, pinned=True)
    for _ in range(3):
        play(made, policy)
    assert [v.state for v in play(versions.all_of, ANN)] == ["ready", "retired", "retired", "ready", "ready"]


def test_another_canary_takes_the_place(play: Play) -> None:
    for _ in range(3):
        play(made, TRYING)
    assert (play(user).active_adapter, play(user).canary_adapter) == (0, 3)
    play(activation.try_out, ANN, 2, 1.0, TRYING)
    assert (play(user).canary_adapter, play(user).canary_share) == (2, 1.0)
    play(versions.delete, ANN, 2)
    assert play(user).canary_adapter == 0
