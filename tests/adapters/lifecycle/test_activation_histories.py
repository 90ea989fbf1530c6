"""Any history of what is done by hand and by itself leaves one active version that is there."""

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, precondition, rule, run_state_machine_as_test

from adapters.lifecycle import activation, versions
from adapters.lifecycle.activation import Policy
from store import users
from store.database import Database
from store.errors import AttuneError
from tests.adapters.lifecycle.test_activation import ANN, made, user


class Histories(RuleBasedStateMachine):
    """Everything that may happen to one user's versions."""

    database: Database

    def __init__(self) -> None:
        super().__init__()
        self.write(users.ensure)
        self.numbers: list[int] = []
        self.gone: dict[int, str] = {}
        self.pin: int | None = None

    def write(self, fn: Callable[..., Any], *args: Any, **kwargs: Any) -> Any:
        return self.database.write_now(lambda c: fn(c, ANN, *args, **kwargs))

    def teardown(self) -> None:
        self.write(users.delete)

    def attempt(self, fn: Callable[..., Any], *args: Any, **kwargs: Any) -> bool:
        try:
            self.write(fn, *args, **kwargs)
        except AttuneError:
            return False
        return True

    @rule(share=st.sampled_from([0.0, 0.3]), kept=st.integers(2, 4))
    def train(self, share: float, kept: int) -> None:
        number = self.write(lambda c, _: made(c, Policy(canary_share=share, kept=kept)))
        assert number not in self.numbers, "a number is never used twice"
        self.numbers.append(number)

    @precondition(lambda self: self.numbers)
    @rule(data=st.data(), pinned=st.booleans())
    def choose(self, data: Any, pinned: bool) -> None:
        number = data.draw(st.sampled_from([0, *self.numbers]))
        if self.attempt(activation.choose, number, pinned=pinned):
            assert self.pin in (None, number), "a pinned version is replaced by nobody"
            assert number not in self.gone
            self.pin = number if pinned else self.pin

    @rule()
    def roll_back(self) -> None:
        assert not (self.attempt(activation.roll_back) and self.pin is not None)

    @precondition(lambda self: self.pin is not None)
    @rule()
    def unpin(self) -> None:
        assert self.attempt(activation.unpin, self.pin)
        self.pin = None

    @precondition(lambda self: self.numbers)
    @rule(data=st.data(), what=st.sampled_from(["try", "retire", "delete"]))
    def act(self, data: Any, what: str) -> None:
        number = data.draw(st.sampled_from(self.numbers))
        if what == "try":
            done = self.attempt(activation.try_out, number, 0.5, Policy())
            assert not (done and (self.pin is not None or number in self.gone))
        elif what == "retire" and self.attempt(activation.retire, number):
            assert number != self.pin
        elif what == "delete" and self.attempt(versions.delete, number):
            self.pin = None if self.pin == number else self.pin

    @invariant()
    def holds(self) -> None:
        held = {version.version: version for version in self.write(versions.all_of)}
        found = self.write(lambda c, _: user(c))
        assert sorted(held) == self.numbers
        for number in {found.active_adapter, found.canary_adapter} - {0}:
            assert held[number].state == "ready", "what serves is there"
        assert found.active_adapter != found.canary_adapter or not found.canary_adapter
        assert (found.canary_share > 0) == (found.canary_adapter > 0)
        assert found.pinned == (self.pin is not None)
        if self.pin is not None:
            assert (found.active_adapter, found.canary_adapter) == (self.pin, 0)
        for number, state in self.gone.items():
            assert held[number].state in (state, "deleted"), "nobody comes back"
        self.gone = {n: v.state for n, v in held.items() if v.state in ("retired", "deleted")}


@pytest.fixture
def rows(tmp_path: Path) -> Iterator[Database]:
    database = Database(f"sqlite:///{tmp_path}/attune.db")
    database.migrate()
    yield database
    database.close()


def test_any_history_leaves_one_active_version_that_is_there(rows: Database) -> None:
    class OnRows(Histories):
        database = rows

    quick = settings(max_examples=40, stateful_step_count=25, deadline=None, suppress_health_check=list(HealthCheck))
    run_state_machine_as_test(OnRows, settings=quick)
