"""Children get what they run with, and no credentials of ours."""

import os
from pathlib import Path

import pytest

from adapters.environment import inherited
from adapters.training.process import run_command
from server.engine import supervisor
from server.settings import Settings

SECRETS = (
    "AWS_SECRET_ACCESS_KEY AWS_REGION PGPASSWORD PGHOST OTEL_EXPORTER_OTLP_HEADERS FSSPEC_S3_KEY OPENAI_API_KEY "
    "GITHUB_TOKEN DATABASE_URL ATTUNE_ENGINE_API_KEY ATTUNE_DATABASE_URL VLLM_API_KEY HF_TOKEN MY_APPS_SETTING"
).split()
NEEDED = (
    "PATH HOME LC_ALL CUDA_VISIBLE_DEVICES HF_HOME OMP_NUM_THREADS TOKENIZERS_PARALLELISM VLLM_LOGGING_LEVEL".split()
)


@pytest.fixture
def names(monkeypatch: pytest.MonkeyPatch) -> set[str]:
    for name in SECRETS + NEEDED:
        monkeypatch.setenv(name, os.environ.get(name, "x"))
    return set(SECRETS) | set(NEEDED)


def test_children_get_what_they_need_and_no_credentials(names: set[str]) -> None:
    assert names & set(inherited()) == set(NEEDED)
    assert names & set(inherited(["AWS_REGION", "NOT_SET"])) == {*NEEDED, "AWS_REGION"}


async def test_the_trainer_sees_no_more(names: set[str], tmp_path: Path) -> None:
    await run_command(["sh", "-c", f"env > {tmp_path}/seen"], tmp_path, 20)
    seen = {line.partition("=")[0] for line in (tmp_path / "seen").read_text().splitlines()}
    assert names & seen == set(NEEDED)


def test_the_engine_sees_what_operators_name_and_the_hub_where_it_downloads(names: set[str], tmp_path: Path) -> None:
    local = supervisor.environment(Settings(model=str(tmp_path), engine_environment="AWS_REGION, NO"), tmp_path)
    assert names & set(local) == {*NEEDED, "AWS_REGION"}
    assert names & set(supervisor.environment(Settings(model="org/name"), tmp_path)) == {*NEEDED, "HF_TOKEN"}
