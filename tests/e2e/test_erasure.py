"""A real adapter: plain peft says what the engine says with it; erased, the engine has it nowhere."""

import io
import json
import os
import re
import subprocess
import sys
import tarfile
from pathlib import Path

import httpx
import psutil
import pytest

from server.settings import BUNDLED_MODEL
from tests.e2e.conftest import People

PEFT = """
import json, os, sys
os.environ["HF_HUB_OFFLINE"] = "1"
import torch
from peft import PeftModel
from transformers import AutoModelForCausalLM, AutoTokenizer

model, folder = sys.argv[1:]
torch.set_num_threads(1)
tokenizer = AutoTokenizer.from_pretrained(model)
adapted = PeftModel.from_pretrained(AutoModelForCausalLM.from_pretrained(model), folder).eval()
for messages in json.load(sys.stdin):
    prompt = tokenizer.apply_chat_template(messages, add_generation_prompt=True, return_tensors="pt", return_dict=True)
    ids = adapted.generate(**prompt, max_new_tokens=250, do_sample=False)[0, prompt["input_ids"].shape[1] :]
    print(json.dumps(tokenizer.decode(ids, skip_special_tokens=True)))
"""


def in_workers(server: str) -> set[int]:
    """The adapters whose weights some worker of the engine holds, by vLLM's own list."""
    port = server.rpartition(":")[2]
    ours = next(p for p in psutil.process_iter() if _port_of(p) == port and "serve" in p.cmdline())
    lines = [child.cmdline() for child in ours.children(recursive=True)]
    sockets = {line[line.index("--uds") + 1] for line in lines if "--uds" in line}
    assert len(sockets) == 1
    with httpx.Client(transport=httpx.HTTPTransport(uds=sockets.pop()), base_url="http://engine") as client:
        told = client.post("/collective_rpc", json={"method": "list_loras"})
    assert told.status_code == 200, told.text
    return {int(number) for worker in told.json()["results"] for number in re.findall(r"\d+", str(worker))}


def _port_of(process: psutil.Process) -> str | None:
    try:
        return process.environ().get("ATTUNE_PORT") if process.ppid() == os.getpid() else None
    except psutil.Error:
        return None


@pytest.mark.timeout(900)
def test_an_adapter_goes_with_its_user_and_leaves_no_trace(people: People, server: str, tmp_path: Path) -> None:
    ann = people("client", seed=21)
    others = in_workers(server)
    version = ann.train("client")
    assert version["state"] == "ready", version["report"]
    texts = [ann.request("client").text for _ in range(4)]
    asked = [ann.ask(text, personalize="adapter") for text in texts]
    assert {answer.attune["adapter_version"] for answer in asked} == {version["version"]}
    base = [ann.ask(text, personalize="off").choices[0].message.content for text in texts]
    said = [answer.choices[0].message.content for answer in asked]
    assert all(with_it != without for with_it, without in zip(said, base, strict=True))

    exported = ann.http.get(f"/v1/users/{ann.id}/export", params={"format": "adapter"})
    assert exported.status_code == 200
    with tarfile.open(fileobj=io.BytesIO(exported.content)) as tar:
        tar.extractall(tmp_path, filter="data")
    prompts = [ann.http.get(f"/v1/turns/{answer.id}").json()["prompt"] for answer in asked]
    folder = tmp_path / f"adapter-v{version['version']}"
    assert json.loads((folder / "adapter_config.json").read_text())["base_model_name_or_path"] == "attune-tiny"
    peft = subprocess.run(
        [sys.executable, "-c", PEFT, str(BUNDLED_MODEL), str(folder)],
        input=json.dumps(prompts), capture_output=True, text=True, check=False,
    )  # fmt: skip
    assert peft.returncode == 0, peft.stderr[-3000:]
    assert [json.loads(line) for line in peft.stdout.splitlines()] == said

    held = in_workers(server) - others
    assert held, "the engine has the adapter that answers"
    erased = ann.http.delete(f"/v1/users/{ann.id}")
    assert (erased.status_code, erased.json()["deleted"]) == (200, True)
    assert not in_workers(server) & held
    again = [ann.ask(text) for text in texts]
    assert [answer.choices[0].message.content for answer in again] == base
    assert {answer.attune["personalized"] for answer in again} == {"none"}
    assert ann.http.get(f"/v1/users/{ann.id}/export", params={"format": "adapter"}).status_code == 404
