"""An adapter that plain peft made, in real vLLM: imported, exported, imported again, tried, pinned, retired."""

import io
import tarfile
from pathlib import Path

from safetensors.numpy import load_file, save_file

from adapters.artifacts.validation import WEIGHTS
from tests.e2e.conftest import People
from tests.server.data.test_export import run_peft


def test_what_peft_made_serves_and_survives_export_and_import(people: People, tmp_path: Path) -> None:
    ann = people("client", seed=21)
    path, tar = f"/v1/users/{ann.id}/adapters", {"Content-Type": "application/x-tar"}
    run_peft("make", tmp_path / "made")
    weights = tmp_path / "made" / WEIGHTS
    tensors = load_file(weights)  # random ones are too small to be heard
    save_file({name: 30 * tensor if "lora_B" in name else tensor for name, tensor in tensors.items()}, weights)
    packed = io.BytesIO()
    with tarfile.open(fileobj=packed, mode="w") as archive:
        archive.add(tmp_path / "made", "made")
    assert ann.http.post(f"{path}/import", content=packed.getvalue(), headers=tar).status_code == 201
    exported = ann.http.get(f"/v1/users/{ann.id}/export", params={"format": "adapter", "version": 1})
    taken = ann.http.post(f"{path}/import", content=exported.content, headers=tar)
    assert taken.status_code == 201, taken.text
    assert (taken.json()["version"], taken.json()["state"], taken.json()["active"]) == (2, "ready", False)
    text = ann.request("client").text
    base, first, second = (
        ann.ask(text, store=False, adapter_version=number).choices[0].message.content for number in (0, 1, 2)
    )
    assert first == second != base
    tried = ann.http.post(f"{path}/2/canary", json={"share": 0.5})
    assert (tried.status_code, tried.json()["active"], tried.json()["canary"]) == (200, 0, 2), tried.text
    asked = [ann.ask(f"{text} {number}", store=False) for number in range(30)]
    assert {answer.attune["adapter_version"] for answer in asked} == {0, 2}
    pinned = ann.http.post(f"{path}/2/pin").json()
    assert (pinned["active"], pinned["pinned"], pinned["canary"]) == (2, True, 0)
    assert ann.http.post(f"{path}/rollback").status_code == 409
    assert ann.http.post(f"{path}/2/unpin").status_code == 200
    assert ann.http.post(f"{path}/1/activate").json()["active"] == 1
    assert ann.http.post(f"{path}/2/retire").json()["state"] == "retired"
    assert ann.ask(text, store=False).attune["adapter_version"] == 1
