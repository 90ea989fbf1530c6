"""Settings refuse what cannot work, each in one sentence; and all of them are described."""

from pathlib import Path
from typing import Any

import pytest
from pydantic import ValidationError

from adapters.objective import Objective
from server.app import create_app
from server.composition import build
from server.data.storage import server_secret
from server.errors import StartRefused
from server.settings import BUNDLED_MODEL, BUNDLED_NAME, Settings


@pytest.mark.parametrize(
    ("changed", "told"),
    [
        ({"model": "/nowhere/model"}, "ATTUNE_MODEL=/nowhere/model does not exist"),
        ({"model": "./nowhere"}, "does not exist"),
        ({"model": "/tmp"}, "has no config.json"),
        ({"engine_url": "vllm:8000"}, "ATTUNE_ENGINE_URL must start with http"),
        ({"engine_url": "http://x, ftp://y"}, "ATTUNE_ENGINE_URL must start with http.*'ftp://y'"),
        ({"engine_url": ","}, "ATTUNE_ENGINE_URL must start with http"),
        ({"learner_url": "http://x"}, "ATTUNE_LEARNER_URL needs ATTUNE_LEARNER_MODEL"),
        ({"learner_url": "http://x", "learner_model": ""}, "ATTUNE_LEARNER_URL needs ATTUNE_LEARNER_MODEL"),
        ({"learner_url": "x:8000", "learner_model": "m"}, "ATTUNE_LEARNER_URL must start with http"),
        ({"max_cpu_loras": 6, "pinned_users": {"a": ["x"], "b": ["y"]}}, "fewer than the places for adapters, 2"),
        ({"engine_url": "http://x", "max_loras": 4, "max_cpu_loras": 2}, "ATTUNE_MAX_CPU_LORAS"),
    ],
)
def test_what_cannot_work_is_refused(changed: dict[str, Any], told: str) -> None:
    with pytest.raises(StartRefused, match=told) as raised:
        Settings(**changed).check()
    assert "\n" not in raised.value.message


def test_engines_are_named_once_each() -> None:
    assert Settings(engine_url=" http://a:1, http://b ,http://a:1,").engine_urls == ("http://a:1", "http://b")
    assert Settings().engine_urls == ()


async def test_a_data_folder_that_cannot_be_made(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    with pytest.raises(StartRefused, match="ATTUNE_DATA_DIR"):
        async with build(Settings(engine_url="http://x", data_dir=tmp_path / "file" / "data")):
            pass


async def test_pending_migrations_are_refused_when_told_so(tmp_path: Path) -> None:
    with pytest.raises(StartRefused, match="ATTUNE_MIGRATE"):
        async with build(Settings(engine_url="http://x", data_dir=tmp_path, migrate=False)):
            pass


async def test_an_open_address_without_a_key_is_refused(tmp_path: Path) -> None:
    from tests.server.conftest import WordEmbedder

    app = create_app(Settings(engine_url="http://x", data_dir=tmp_path, host="0.0.0.0"), embedder=WordEmbedder())
    with pytest.raises(StartRefused, match="No API key exists"):
        async with app.router.lifespan_context(app):
            pass


@pytest.mark.parametrize(
    ("host", "loopback"),
    [
        ("127.0.0.1", True),
        ("127.9.9.9", True),
        ("::1", True),
        ("localhost", True),
        ("0.0.0.0", False),
        ("::", False),
        ("example.org", False),
    ],
)
def test_loopback(host: str, loopback: bool) -> None:
    assert Settings(host=host).loopback is loopback


def test_the_model_and_its_name(tmp_path: Path) -> None:
    assert (Settings().model_source, Settings().model_name) == (str(BUNDLED_MODEL), BUNDLED_NAME)
    assert Settings(model=str(tmp_path)).model_name == tmp_path.name
    assert Settings(model="org/name").model_name == "org/name"
    assert Settings(model="org/name").model_folder is None
    assert Settings(model="org/name", served_model_name="mine").model_name == "mine"
    assert Settings(engine_url="http://x", model="org/name").model_name is None


@pytest.mark.parametrize("given", ["./models/mine", "models/mine", "~/models/mine"])
def test_adapters_are_trained_on_an_absolute_path(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, given: str) -> None:
    folder = tmp_path / "models" / "mine"
    folder.mkdir(parents=True)
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("HOME", str(tmp_path))
    assert Settings(model=given).training_base == str(folder.resolve())
    assert Settings(model=given, engine_url="http://x").training_base == str(folder.resolve())


def test_adapters_are_trained_on_a_hub_name_as_it_is() -> None:
    assert Settings(model="org/name").training_base == "org/name"
    assert Settings().training_base == str(BUNDLED_MODEL)
    assert "ATTUNE_MODEL" in Settings(engine_url="http://x").training_base


def test_every_setting_is_described_and_read_from_the_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    assert all(field.description for field in Settings.model_fields.values())
    monkeypatch.setenv("ATTUNE_PORT", "9000")
    assert Settings().port == 9000


def test_objectives_are_json_and_checked(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("ATTUNE_TENANT_OBJECTIVES", '{"acme": {"name": "dpo", "divergence": "js_divergence"}}')
    assert Settings().tenant_objectives == {"acme": Objective("dpo", divergence="js_divergence")}
    for wrong in ('{"name": "dpo", "divergenc": "js_divergence"}', '{"contrast": true}', '{"name": "ppo"}'):
        monkeypatch.setenv("ATTUNE_ADAPTER_OBJECTIVE", wrong)
        with pytest.raises(ValidationError, match=r"divergenc|contrast: only for|'sft', 'dpo'"):
            Settings()


def test_the_secret_is_made_once_and_private(tmp_path: Path) -> None:
    secret = server_secret(tmp_path)
    assert len(secret) == 32
    assert server_secret(tmp_path) == secret
    assert (tmp_path / "secret").stat().st_mode & 0o777 == 0o600
    assert [path.name for path in tmp_path.iterdir()] == ["secret"]


def test_what_training_may_take_goes_into_the_recipe() -> None:
    assert Settings().recipe.activation_gib is None
    assert Settings(train_activation_gib=12.5).recipe.activation_gib == 12.5
