"""What each kind of feedback is worth, with a model that obeys each preference: cost by the edits that it saves."""

from collections.abc import Iterator
from pathlib import Path

import pytest

from lab.prelude.catalog import ARMS
from lab.prelude.environment import SyntheticEnvironment, make
from lab.prelude.memory import Vectors
from lab.prelude.trial import Trial
from tests.lab.test_prelude_arms import client_of, world
from tests.server.conftest import Running, WordEmbedder

ROUNDS = 24


@pytest.fixture(scope="module")
def environment() -> SyntheticEnvironment:
    return make("email", seed=1, rounds=ROUNDS)


@pytest.fixture(scope="module")
def running(
    environment: SyntheticEnvironment, tmp_path_factory: pytest.TempPathFactory, sqlite_template: Path
) -> Iterator[Running]:
    data = tmp_path_factory.mktemp("worth")
    with world(environment, data, sqlite_template, recall_min_score=0.4) as running:
        yield running


async def cost(name: str, running: Running, environment: SyntheticEnvironment) -> int:
    """Words of the edits that the user of an arm would have made."""
    total = 0
    async with client_of(running, f"user of {name}") as client:
        trial = Trial(environment, client, Vectors(WordEmbedder()))
        arm = ARMS[name](trial)
        for at in environment.rounds:
            trial.round = at
            draft = await arm.complete(at.text)
            edited = await environment.edit(at, draft.text)
            total += environment.cost(at, draft.text, edited)
            await arm.learn(at.text, draft, edited)
    return total


async def test_kinds_that_teach_preferences_save_edits_and_what_misleads_costs_little(
    running: Running, environment: SyntheticEnvironment
) -> None:
    names = ("none", "attune", "attune:comment", "attune:history", "attune:demonstration", "attune:import",
             "attune:wrong-comments", "attune:copied-signals", "attune:hostile-follow-ups")  # fmt: skip
    costs = {name: await cost(name, running, environment) for name in names}
    print(costs)
    edits = costs["attune"]
    assert edits < 0.7 * costs["none"], costs
    assert costs["attune:history"] <= 0.85 * costs["none"], costs
    assert costs["attune:demonstration"] <= 1.2 * edits, costs
    assert costs["attune:import"] <= 0.85 * edits, costs
    assert costs["attune:comment"] <= 0.85 * costs["none"], costs
    misled = [costs[f"attune:{kind}"] for kind in ("wrong-comments", "copied-signals", "hostile-follow-ups")]
    assert max(misled) <= 1.05 * edits, costs
