"""The export: all of it, nobody else's, in forms that trainers and peft read, as slowly as it is taken."""

import base64
import io
import json
import subprocess
import sys
import tarfile
import tracemalloc
from dataclasses import replace
from pathlib import Path
from typing import Any

import httpx
import numpy as np
import pytest
from typer.testing import CliRunner

from adapters import dataset
from adapters.artifacts.manifest import Manifest
from adapters.lifecycle import cohorts, versions
from preference import preferences
from preference.feedback import edit_rows, feedback
from server.cli import app
from server.data import export
from server.settings import BUNDLED_MODEL
from store import tables, turns, users
from store.owner import Owner
from tests.preference.helpers import turn
from tests.server.conftest import Running, Start, ask, until

ANN, BOB = Owner("local", "ann"), Owner("local", "bob")
PATH = "/v1/users/ann/export"
EDITS = export.PAGE + 4


def lines(answer: httpx.Response) -> list[dict[str, Any]]:
    assert answer.status_code == 200, answer.text
    assert answer.headers["content-type"] == "application/jsonl"
    return [json.loads(line) for line in answer.text.split("\n")[:-1]]


def learn(running: Running, owner: Owner, number: int) -> str:
    """A chat and its edit, over HTTP; the completion id."""
    http = running.http(headers={"X-User-Id": owner.user})
    answer = http.post("/v1/chat/completions", json=ask(f"{owner.user} asks {number}, in two lines\nof text")).json()
    text = f"{owner.user} wants {number}" if number else "Hello world!"
    edit = {"type": "edit", "completion_id": answer["id"], "edited_text": text}
    assert http.post("/v1/feedback", json=edit).status_code == 202
    return str(answer["id"])


@pytest.fixture
def known(start: Start) -> Running:
    """Ann and Bob, with pages of turns and edits (the first one of no cost), values and preferences."""
    running = start(adapter_min_edits=1000)
    for owner in (ANN, BOB):
        http, path = running.http(), f"/v1/users/{owner.user}"
        values = [{"preference": f"{owner.user} is brief"}, {"preference": "No emoji", "description": "None."}]
        assert http.put(f"{path}/values", json={"values": values}).status_code == 200
        stated = {"text": f"Call me {owner.user}", "context": f"{owner.user} asks in two lines of text"}
        assert http.post(f"{path}/preferences", json=stated).status_code == 201
        for number in range(EDITS):
            learn(running, owner, number)
    return running


def test_everything_is_exported_and_nothing_of_others(known: Running) -> None:
    queued = known.http().post("/v1/users/ann/adapters").json()
    known.services.database.write_now(cohorts.found, [ANN], "c-1")
    made = known.http().post("/v1/users/ann/tokens", json={}).json()
    http = known.http(headers={"X-User-Id": "ann"})
    id = http.post("/v1/chat/completions", json=ask()).json()["id"]
    thumb = {"type": "thumbs", "completion_id": id, "thumb": "up"}
    spent = http.post("/v1/feedback", json=thumb, headers={"Idempotency-Key": "once"}).json()["id"]
    assert http.delete(f"/v1/feedback/{spent}").status_code == 200
    # What was used is added up in the background.
    until(lambda: any(line["object"] == "day" for line in lines(known.http().get(PATH))))
    held = lines(known.http().get(PATH))
    assert "bob" not in json.dumps(held)
    kinds: dict[str, list[dict[str, Any]]] = {}
    for line in held:
        kinds.setdefault(line.pop("object"), []).append(line)
    assert " ".join(kinds) == "user value turn feedback preference adapter cohort job token day spent_key"
    of_users = {table.name for table in tables.metadata.tables.values() if "user_id" in table.c}
    told_in = {"contexts": "preference", "cohort_members": "cohort", "user_tokens": "token", "user_days": "day"}
    assert {told_in.get(name, name.rstrip("s")) for name in of_users} == set(kinds) - {"value"}
    assert kinds["user"][0]["id"] == "ann"
    assert [one["id"] for one in kinds["token"]] == [made["id"]]
    assert made["token"] not in json.dumps(held)
    assert "sha256" not in {*kinds["token"][0], *kinds["spent_key"][0]}
    assert [one["answer"]["id"] for one in kinds["spent_key"]] == [spent]
    assert [kinds["user"][0][name] for name in ("active_adapter", "pinned", "canary_adapter")] == [0, False, 0]
    assert [(one["cohort_id"], one["version"]) for one in kinds["cohort"]] == [("c-1", 0)]
    assert kinds["user"][0]["created_at"] > 0
    learned_from = [job["subject"] for job in kinds["job"] if job["kind"] == "learn"]
    assert learned_from == [one["id"] for one in kinds["feedback"]]
    assert [value["preference"] for value in kinds["value"]] == ["ann is brief", "No emoji"]
    with_vectors = [context for preference in kinds["preference"] for context in preference["contexts"]]
    vector = np.frombuffer(base64.b64decode(with_vectors[0]["vector"]), "<f4")
    assert np.array_equal(vector, known.services.embedder.embed(["ann asks in two lines of text"])[0])

    def stored(c: Any) -> dict[str, list[Any]]:
        return {
            "turn": [one.completion_id for one in turns.page(c, ANN)],
            "feedback": [one.id for one in feedback.page(c, ANN)],
            "preference": [one.id for one in preferences.all_of(c, ANN)],
        }

    names = {"turn": "completion_id", "feedback": "id", "preference": "id"}
    assert {k: [one[name] for one in kinds[k]] for k, name in names.items()} == known.services.database.read_now(stored)
    first = kinds["turn"][0]
    assert first["request"] == ask("ann asks 0, in two lines\nof text")["messages"]
    assert "Call me ann" in json.dumps(first["prompt"])
    assert first["answers"] == ["Hello world!"]
    assert [one["preference"] for one in first["applied_values"]] == ["ann is brief", "No emoji"]
    assert [one["edited_text"] for one in kinds["feedback"]][1] == "ann wants 1"
    assert [(one["version"], one["state"], one["manifest"]) for one in kinds["adapter"]] == [
        (queued["version"], "queued", None)
    ]


def test_training_rows_are_those_that_training_reads(known: Running) -> None:
    edits = known.services.database.read_now(edit_rows.edits, ANN)
    rows = lines(known.http().get(PATH, params={"format": "sft"}))
    built = dataset.build(edits)
    trained = [{"messages": row["prompt"] + row["completion"]} for row in built.rows]
    assert all(row in rows for row in trained)
    assert len(rows) == 2 * len(edits) == 2 * EDITS, "one with the preferences, one without"
    pairs = lines(known.http().get(PATH, params={"format": "preferences"}))
    assert len(pairs) == len(edits) - 1, "a draft that was right is no pair"
    for pair, edit in zip(pairs, edits[1:], strict=True):
        assert pair == {
            "prompt": edit.turn.prompt,
            "chosen": [{"role": "assistant", "content": edit.edited_text}],
            "rejected": [{"role": "assistant", "content": edit.draft}],
        }


def thumb(running: Running, number: int, up: bool) -> str:
    """A thumb for the answer to Ann's turn of that number; the completion id."""
    turn = running.services.database.read_now(turns.page, ANN)[number]
    sent = {"type": "thumbs", "completion_id": turn.completion_id, "thumb": "up" if up else "down"}
    answer = running.http(headers={"X-User-Id": "ann"}).post("/v1/feedback", json=sent)
    assert answer.status_code == 202, answer.text
    return turn.completion_id


def test_thumbs_are_exported_as_unpaired_preferences_and_with_everything(known: Running) -> None:
    assert lines(known.http().get(PATH, params={"format": "thumbs"})) == []
    pairs = known.http().get(PATH, params={"format": "preferences"}).content
    thumb(known, 0, up=True)
    given = [(thumb(known, number, up=number % 2 == 0), number % 2 == 0) for number in range(EDITS)]
    rows = lines(known.http().get(PATH, params={"format": "thumbs"}))
    by_id = {one.completion_id: one for one in known.services.database.read_now(turns.page, ANN)}
    assert rows == [
        {
            "prompt": by_id[completion_id].prompt,
            "completion": [{"role": "assistant", "content": by_id[completion_id].answers[0]}],
            "label": up,
        }
        for completion_id, up in given
    ]
    assert known.http().get(PATH, params={"format": "preferences"}).content == pairs
    held = [one for one in lines(known.http().get(PATH)) if one["object"] == "feedback" and one["type"] == "thumbs"]
    assert [one["thumb"] for one in held] == ["up", *("up" if up else "down" for _, up in given)]
    assert [one["status"] for one in held] == ["replaced", *["nothing_learned"] * EDITS]
    assert lines(known.http().get("/v1/users/bob/export", params={"format": "thumbs"})) == []


TRAINERS = """
import os, sys
os.environ |= {"HF_HUB_OFFLINE": "1", "HF_DATASETS_CACHE": sys.argv[3] + "/cache", "TOKENIZERS_PARALLELISM": "false"}
import torch
from datasets import load_dataset
from transformers import AutoModelForCausalLM, AutoTokenizer
from trl import DPOConfig, DPOTrainer, KTOConfig, KTOTrainer, SFTConfig, SFTTrainer
from trl.data_utils import is_conversational

model, folder = sys.argv[1:3]
torch.set_num_threads(1)
tokenizer = AutoTokenizer.from_pretrained(model)
for name, trainer, config, columns in (
    ("sft", SFTTrainer, SFTConfig, ["messages"]),
    ("preferences", DPOTrainer, DPOConfig, ["chosen", "prompt", "rejected"]),
    ("thumbs", KTOTrainer, KTOConfig, ["completion", "label", "prompt"]),
):
    rows = load_dataset("json", data_files=f"{folder}/{name}.jsonl", split="train")
    assert sorted(rows.column_names) == columns, rows.column_names
    assert all(is_conversational(row) for row in rows)
    done = trainer(
        model=AutoModelForCausalLM.from_pretrained(model),
        processing_class=tokenizer,
        train_dataset=rows,
        args=config(
            output_dir=sys.argv[3], max_steps=1, per_device_train_batch_size=2, use_cpu=True, report_to=[],
            save_strategy="no", disable_tqdm=True,
        ),
    ).train()
    assert done.training_loss > 0
    print(name, len(rows))
"""


@pytest.mark.timeout(400)
def test_trainers_of_others_read_the_files(known: Running, tmp_path: Path) -> None:
    folder = tmp_path / "files"
    folder.mkdir()
    for number in range(4):
        thumb(known, number, up=number % 2 == 0)
    for name in ("sft", "preferences", "thumbs"):
        (folder / f"{name}.jsonl").write_bytes(known.http().get(PATH, params={"format": name}).content)
    command = [sys.executable, "-c", TRAINERS, str(BUNDLED_MODEL), str(folder), str(tmp_path / "out")]
    done = subprocess.run(command, capture_output=True, text=True, check=False, cwd=tmp_path)
    assert done.returncode == 0, done.stderr[-3000:]
    assert [line for line in done.stdout.splitlines() if line[:1] in "spt" and line[-1:].isdigit()] == [
        f"sft {2 * EDITS}",
        f"preferences {EDITS - 1}",
        "thumbs 4",
    ]


PEFT = """
import os, sys
os.environ["HF_HUB_OFFLINE"] = "1"
import torch
from peft import LoraConfig, PeftModel, get_peft_model
from transformers import AutoModelForCausalLM, AutoTokenizer

what, model, folder = sys.argv[1:]
torch.manual_seed(1)
torch.set_num_threads(1)
tokenizer = AutoTokenizer.from_pretrained(model)
base = AutoModelForCausalLM.from_pretrained(model)
if what == "make":
    config = LoraConfig(r=8, target_modules=["q_proj", "v_proj"], init_lora_weights=False, task_type="CAUSAL_LM")
    adapted = get_peft_model(base, config)
    adapted.save_pretrained(folder)
else:
    adapted = PeftModel.from_pretrained(base, folder)
chat = [{"role": "user", "content": "Write an email to Anna"}]
prompt = tokenizer.apply_chat_template(chat, add_generation_prompt=True, return_tensors="pt", return_dict=True)
print(adapted.eval().generate(**prompt, max_new_tokens=40, do_sample=False).tolist())
"""


def run_peft(what: str, folder: Path) -> str:
    command = [sys.executable, "-c", PEFT, what, str(BUNDLED_MODEL), str(folder)]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr[-3000:]
    return done.stdout.splitlines()[-1]


def publish(running: Running, adapter: Path) -> Manifest:
    """What is in ``adapter`` as Ann's first version, active."""
    manifest = Manifest(1, ["fb-1"], "0" * 64, {"rank": 8}, {}, {"verdict": "admitted"}, 1.5)

    def made(c: Any) -> str:
        user = users.ensure(c, ANN)
        versions.queue(c, ANN)
        versions.set_state(c, ANN, 1, "ready", mode="adapter", learned_through=1.0, report={"ok": True})
        users.set_active_adapter(c, ANN, 1)
        return user.opaque_id

    running.services.directories.publish(adapter, running.services.database.write_now(made), manifest)
    return manifest


@pytest.mark.timeout(400)
def test_plain_peft_loads_the_adapter(start: Start, tmp_path: Path) -> None:
    running = start(model=str(BUNDLED_MODEL), served_model_name="fake-model")
    stage = running.services.directories.stage("made", 1)
    said = run_peft("make", stage)
    (stage / "README.md").unlink()
    config = json.loads((stage / "adapter_config.json").read_text())
    weights = (stage / "adapter_model.safetensors").read_bytes()
    manifest = publish(running, stage)
    answer = running.http().get(PATH, params={"format": "adapter"})
    assert (answer.status_code, answer.headers["content-type"]) == (200, "application/x-tar")
    assert answer.content == running.http().get(PATH, params={"format": "adapter", "version": 1}).content
    with tarfile.open(fileobj=io.BytesIO(answer.content)) as tar:
        tar.extractall(tmp_path / "elsewhere", filter="data")
    folder = tmp_path / "elsewhere" / "adapter-v1"
    assert (folder / "adapter_model.safetensors").read_bytes() == weights
    assert json.loads((folder / "manifest.json").read_text())["learned_from"] == manifest.learned_from
    there = json.loads((folder / "adapter_config.json").read_text())
    assert there == config | {"base_model_name_or_path": "fake-model"}, "no path of this machine"
    assert run_peft("load", folder) == said
    exported = [line for line in lines(running.http().get(PATH)) if line["object"] == "adapter"]
    assert exported[0]["manifest"]["base_sha256"] == manifest.base_sha256


@pytest.mark.parametrize(
    ("path", "asked", "status", "param"),
    [
        ("/v1/users/nobody/export", {}, 404, "user"),
        (PATH, {"format": "csv"}, 400, "format"),
        (PATH, {"version": 1}, 400, "version"),
        (PATH, {"format": "sft", "version": 1}, 400, "version"),
        (PATH, {"format": "adapter"}, 404, "version"),
        (PATH, {"format": "adapter", "version": 7}, 404, "version"),
        (PATH, {"format": "adapter", "version": 0}, 400, "version"),
    ],
)
def test_what_cannot_be_exported_says_why(
    running: Running, path: str, asked: dict[str, Any], status: int, param: str
) -> None:
    running.services.database.write_now(users.ensure, ANN)
    answer = running.http().get(path, params=asked)
    assert (answer.status_code, answer.json()["error"]["param"]) == (status, param)


TURN = 200_000  # characters of a turn


def fill(running: Running, number: int) -> None:
    def rows(c: Any) -> None:
        users.ensure(c, ANN)
        for i in range(number):
            text = f"{i} ".ljust(TURN, "x")
            made = replace(turn(f"c-{i}", float(i), "a draft"), request=[{"role": "user", "content": text}])
            turns.record(c, ANN, made)

    running.services.database.write_now(rows)


async def test_only_a_few_rows_are_in_memory(running: Running) -> None:
    fill(running, 150)
    user = running.services.database.read_now(users.get, ANN)
    assert user is not None
    stream = export.everything(running.services.database, running.services.directories, user)
    tracemalloc.start()
    size = 0
    async for piece in stream:
        size += len(piece)
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert size > 150 * TURN
    assert peak < 0.7 * size, "a page, as rows and as lines"


def test_a_client_that_leaves_ends_the_export(start: Start) -> None:
    running = start(in_flight_total=1)
    fill(running, 300)
    other = running.http()
    with running.http().stream("GET", PATH) as answer:
        pieces = answer.iter_raw(1000)
        next(pieces)
        assert other.get("/v1/models").status_code == 503, "nobody takes the rest, so it waits"
    until(lambda: other.get("/v1/models").status_code == 200)


def test_an_export_of_a_user_who_is_erased_is_cut(running: Running) -> None:
    fill(running, 300)
    with running.http().stream("GET", PATH) as answer:
        pieces = answer.iter_raw(1000)
        next(pieces)
        assert running.http().delete("/v1/users/ann").status_code in (200, 202)
        with pytest.raises(httpx.TransportError):
            list(pieces)


def test_the_command_writes_every_form(known: Running, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    stage = known.services.directories.stage("made", 1)
    (stage / "adapter_config.json").write_text("{}")
    (stage / "adapter_model.safetensors").write_bytes(b"weights")
    publish(known, stage)
    monkeypatch.setenv("ATTUNE_DATA_DIR", str(known.services.settings.data_dir))
    done = CliRunner().invoke(app, ["export", "local", "ann", str(tmp_path / "out")])
    assert done.exit_code == 0, done.output
    names = {"all": "all.jsonl", "sft": "sft.jsonl", "preferences": "preferences.jsonl"}
    for form, name in names.items():
        assert (tmp_path / "out" / name).read_bytes() == known.http().get(PATH, params={"format": form}).content
    with tarfile.open(tmp_path / "out" / "adapter-v1.tar") as tar:
        assert len(tar.getnames()) == 3
    assert {path.stat().st_mode & 0o777 for path in (tmp_path / "out").iterdir()} == {0o600}
    missing = CliRunner().invoke(app, ["export", "local", "nobody", str(tmp_path / "none")])
    assert (missing.exit_code, "Nothing is held" in missing.output) == (1, True)
    assert not (tmp_path / "none").exists()
