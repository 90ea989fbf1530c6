"""Adapters that come from elsewhere, and go there: by plain peft, by another server, or by somebody with bad intent."""

import io
import json
import tarfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx
import pytest

from adapters.artifacts.validation import base_sha256
from server.settings import BUNDLED_MODEL
from tests.server.conftest import Running, Start, ask
from tests.server.data.test_export import run_peft
from tests.server.test_adapters import AS_ANN, PATH, ann, answered_by

CONFIG, WEIGHTS = "adapter_config.json", "adapter_model.safetensors"


def tar(files: dict[str, bytes]) -> bytes:
    made = io.BytesIO()
    with tarfile.open(fileobj=made, mode="w") as archive:
        for name, content in files.items():
            info = tarfile.TarInfo(name)
            info.size = len(content)
            archive.addfile(info, io.BytesIO(content))
    return made.getvalue()


@pytest.fixture(scope="module")
def made_by_peft(tmp_path_factory: pytest.TempPathFactory) -> tuple[dict[str, bytes], str]:
    """An adapter of the bundled model that plain peft made, rank 8 on two kinds of layers, and what it says."""
    folder = tmp_path_factory.mktemp("peft")
    said = run_peft("make", folder)
    return {path.name: path.read_bytes() for path in folder.iterdir()}, said


@pytest.fixture
def serving(start: Start) -> Running:
    return start(model=str(BUNDLED_MODEL), served_model_name="fake-model", import_limit=8 << 20)


def send(running: Running, content: Any, user: str = "ann", **params: str) -> httpx.Response:
    headers = {"Content-Type": "application/x-tar"}
    return running.http().post(f"/v1/users/{user}/adapters/import", content=content, headers=headers, params=params)


@pytest.mark.timeout(400)
def test_what_peft_made_is_taken_in_and_goes_out_again(
    serving: Running, made_by_peft: tuple[dict[str, bytes], str], tmp_path: Path
) -> None:
    files, said = made_by_peft
    taken = send(serving, tar(files))
    assert taken.status_code == 201, taken.text
    told = taken.json()
    assert (told["version"], told["state"], told["active"], told["report"]["verdict"]) == (
        1,
        "ready",
        False,
        "imported",
    )
    assert answered_by(serving) == 0, "nobody measured it: it serves when somebody says so"
    jobs = serving.http(headers={"X-User-Id": "ann"}).get("/v1/fine_tuning/jobs")
    assert jobs.json()["data"] == [], "nothing was trained"
    manifest = serving.http().get(f"{PATH}/1").json()["manifest"]
    assert (manifest["base_sha256"], manifest["learned_from"], manifest["recipe"]["rank"]) == ("", [], 8)
    assert manifest["commit"]
    assert manifest["code"]
    assert serving.http().post(f"{PATH}/1/activate").status_code == 200
    assert answered_by(serving) == 1
    sent = serving.http().get("/v1/users/ann/export", params={"format": "adapter"}).content
    with tarfile.open(fileobj=io.BytesIO(sent)) as archive:
        archive.extractall(tmp_path, filter="data")
    assert (tmp_path / "adapter-v1" / WEIGHTS).read_bytes() == files[WEIGHTS]
    assert run_peft("load", tmp_path / "adapter-v1") == said
    again = send(serving, sent, user="bob")
    assert again.status_code == 201, again.text
    origin = serving.http().get("/v1/users/bob/adapters/1").json()["manifest"]["figures"]["origin"]
    assert (origin["version"], origin["report"]["verdict"]) == (1, "imported")
    assert not list((serving.services.directories.root / ".staging").iterdir())


def test_the_base_model_is_checked_where_it_is_known(
    serving: Running, made_by_peft: tuple[dict[str, bytes], str]
) -> None:
    files, _ = made_by_peft
    known = base_sha256(BUNDLED_MODEL)
    assert send(serving, tar(files), base_sha256=known).status_code == 201
    assert serving.http().get(f"{PATH}/1").json()["manifest"]["base_sha256"] == known
    for refused in (
        send(serving, tar(files), base_sha256="0" * 64),
        send(serving, tar({**files, "manifest.json": json.dumps({"base_sha256": "0" * 64}).encode()})),
    ):
        assert (refused.status_code, refused.json()["error"]["param"]) == (400, "base_sha256")


def test_bad_adapters_are_refused_and_leave_nothing(
    serving: Running, made_by_peft: tuple[dict[str, bytes], str]
) -> None:
    files, _ = made_by_peft
    config = json.loads(files[CONFIG])

    def changed(**changes: Any) -> bytes:
        return tar({**files, CONFIG: json.dumps(config | changes).encode()})

    bad: list[bytes] = [
        b"", b"hello" * 200, tar({CONFIG: files[CONFIG]}), tar({**files, "adapter_model.bin": b"x"}), tar(files)[:9000],
        changed(r=16), changed(r=True), changed(lora_alpha=10**6), changed(use_dora=True),
        changed(auto_mapping={"a": 1}), changed(init_lora_weights="pissa"),
        changed(target_modules=["lm_head"]), changed(target_modules="all-linear"), changed(peft_type="IA3"),
        changed(r=4), changed(target_modules=["q_proj"]), changed(lora_dropout=1.0), changed(lora_dropout="0.1"),
        tar({**files, WEIGHTS: files[WEIGHTS][:-10]}), tar({**files, WEIGHTS: files[WEIGHTS] + bytes(10_000_000)}),
        tar({**files, "manifest.json": b"["}), tar({**files, "manifest.json": b'{"learned_from": [1]}'}),
    ]  # fmt: skip
    for content in bad:
        refused = send(serving, content)
        assert refused.status_code in (400, 413), refused.text
        assert refused.json()["error"]["type"] == "invalid_request_error"
    assert serving.http().get(PATH).json()["data"] == []
    assert not list((serving.services.directories.root / ".staging").iterdir())


def test_how_it_was_trained_does_not_matter(serving: Running, made_by_peft: tuple[dict[str, bytes], str]) -> None:
    files, _ = made_by_peft
    config = {**json.loads(files[CONFIG]), "lora_dropout": 0.05, "init_lora_weights": "gaussian"}
    assert send(serving, tar({**files, CONFIG: json.dumps(config).encode()})).status_code == 201
    kept = serving.services.directories.path(ann(serving).opaque_id, 1) / CONFIG
    assert json.loads(kept.read_text()) == {**config, "lora_dropout": 0.0, "init_lora_weights": True}


def test_a_body_without_a_length_is_bounded_too(serving: Running) -> None:
    def endless() -> Iterator[bytes]:
        for _ in range(20):
            yield bytes(1 << 20)

    assert send(serving, endless()).status_code in (400, 413)
    assert not list((serving.services.directories.root / ".staging").iterdir())


def test_versions_beyond_those_kept_make_room(start: Start, made_by_peft: tuple[dict[str, bytes], str]) -> None:
    running = start(model=str(BUNDLED_MODEL), served_model_name="fake-model", adapter_versions_kept=2)
    files, _ = made_by_peft
    for number in (1, 2, 3, 4):
        assert send(running, tar(files)).json()["version"] == number
        if number == 1:
            assert running.http().post(f"{PATH}/1/activate").status_code == 200
    states = [held["state"] for held in running.http().get(PATH).json()["data"]]
    assert states == ["ready", "retired", "retired", "ready"]
    assert running.services.directories.published(ann(running).opaque_id) == {1, 4}
    assert running.http(headers=AS_ANN).post("/v1/chat/completions", json=ask()).status_code == 200


@pytest.mark.parametrize("content_type", ["", "text/plain", "application/x-www-form-urlencoded", "multipart/form-data"])
def test_what_a_page_of_another_site_may_send_is_no_adapter(serving: Running, content_type: str) -> None:
    path = "/v1/users/ann/adapters/import"
    answer = serving.http().post(path, content=b"x", headers={"Content-Type": content_type})
    assert (answer.status_code, answer.json()["error"]["param"]) == (400, "Content-Type")
    assert serving.http().get("/v1/users/ann/values").status_code == 404, "nobody was made"


def test_what_is_larger_than_any_adapter_of_the_model_is_refused_before_it_is_taken_in(start: Start) -> None:
    serving = start(model=str(BUNDLED_MODEL), served_model_name="fake-model", import_limit=1 << 30)
    info = tarfile.TarInfo(WEIGHTS)
    info.size = 100 << 20  # announced, and never sent
    answer = send(serving, info.tobuf())
    assert answer.status_code == 400
    assert "is larger than" in answer.json()["error"]["message"]
    assert not list((serving.services.directories.root / ".staging").iterdir())
