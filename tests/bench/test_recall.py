"""The benchmark of recall end to end, small and without timing anything: real rows, real `Recall`, real FAISS."""

from pathlib import Path

import numpy as np
import pytest
from rich.console import Console

from bench import recall_report, shared_index
from bench.population import PREFERENCES, REQUESTS, Population, PopulationEmbedder
from bench.recall import CountingDatabase, Plan, measure
from lab import report
from preference import context_rows

SMALL = Plan(blocks=2, recalls=60, misses=20, searches=60, capacity=5 * 63)  # five users' rows and requests
POPULATION = Population(users=25, rows=60, dimension=64)


async def test_a_small_run_finds_what_was_stored(tmp_path: Path) -> None:
    result = await measure(POPULATION, SMALL, tmp_path, Console(quiet=True))

    assert set(result["arms"]) == set(recall_report.ARMS)
    assert all(len(arm["blocks"]) == SMALL.blocks for arm in result["arms"].values())
    assert all(0 < arm["median"]["p50_us"] <= arm["median"]["max_us"] for arm in result["arms"].values())
    assert result["rows"] == 1500
    # Votes were held, and won: the rows are near enough to their own kind, and to no other.
    assert result["found"]["recall"] == 1.0
    assert result["found"]["flat, range"] == result["found"]["flat, batch"] == 1.0
    assert 0 < result["default_capacity"]["share_of_misses"] < 1
    assert set(result["default_capacity"]["miss"]) == set(result["default_capacity"]["hit"]) == {*recall_report.COLUMNS}
    assert result["goal_met"] is (result["recall_p99_us"] <= recall_report.GOAL_US)

    written = report.markdown(recall_report.parts(result))
    assert all(label in written for label in recall_report.ARMS.values())


def test_a_crowd_is_what_its_seed_says_and_stands_in_the_rows(tmp_path: Path) -> None:
    assert np.array_equal(POPULATION.vectors(3)[0], Population(users=25, rows=60, dimension=64).vectors(3)[0])
    assert not np.array_equal(POPULATION.vectors(3)[0], POPULATION.vectors(4)[0])
    database = CountingDatabase(f"sqlite:///{tmp_path / 'population.db'}")
    database.migrate()
    stored: list[int] = []
    POPULATION.fill(database, stored.append)
    assert sum(stored) == POPULATION.users
    embedder, owner = PopulationEmbedder(POPULATION), POPULATION.user(24).owner
    held = database.read_now(context_rows.by_embedder, owner, embedder.name)
    assert np.array_equal(np.stack([context.vector for context in held]), POPULATION.vectors(24)[0])
    assert len({context.preference_id for context in held}) == PREFERENCES
    asked = embedder.embed([POPULATION.text(24, request) for request in range(REQUESTS)])
    assert np.array_equal(asked, POPULATION.vectors(24)[1])
    assert database.reads == 1
    database.close()


@pytest.mark.parametrize("name", ["flat, range", "flat, batch", "ivf, range", "ivf, batch"])
def test_a_filtered_search_brings_rows_of_one_user(name: str) -> None:
    built: list[int] = []
    exact = shared_index.flat(POPULATION, built.append)
    search = shared_index.searches(exact, shared_index.inverted(POPULATION, built.append))[name]
    search.prepare(7, POPULATION.rows)
    rows = search.rows(7, POPULATION.vectors(7)[1][:1], 5)
    assert all(7 * POPULATION.rows <= row < 8 * POPULATION.rows for row in rows)
    assert sum(built) == 2 * POPULATION.users
