"""The whole loop on a real language model, SmolLM2-135M-Instruct, fetched by name: nothing is asserted of its taste."""

import asyncio
import io
import json
import subprocess
import sys
import tarfile
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx
import pytest
import torch
from openai import AsyncOpenAI
from safetensors.torch import save_file

from adapters.artifacts.validation import CONFIG, WEIGHTS, lora_shapes
from adapters.recipe import Recipe
from server.models.catalog import KNOWN
from tests.e2e.conftest import People, Person, running_server
from tests.e2e.test_erasure import in_workers

MODEL = KNOWN["smollm2-135m"]
CAPITALS = {"France": "Paris", "Italy": "Rome", "Spain": "Madrid", "Japan": "Tokyo"}
ROUNDS = 2
WORDS = 12
"""Tokens of most answers here: a core writes some ten a second."""
STRENGTH = 0.1
"""Of random weights: enough to be heard."""

pytestmark = pytest.mark.timeout(900)


@pytest.fixture(scope="session")
def smollm() -> Path:
    """The model's folder, fetched unless it was before."""
    done = [
        subprocess.run([sys.executable, "-m", "server", "models", *what], capture_output=True, text=True, check=False)
        for what in (["fetch", MODEL.name], ["list", "--json"])
    ]
    assert done[0].returncode == 0, done[0].stderr
    return next(Path(row["folder"]) for row in json.loads(done[1].stdout) if row["name"] == MODEL.name)


@pytest.fixture(scope="module")
def real(smollm: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """A server with that model, in float32: in bfloat16 an answer may hang on what else is in its batch."""
    settings = {
        "ATTUNE_MODEL": MODEL.name,
        "ATTUNE_MODELS_DIR": str(smollm.parent),
        "ATTUNE_DTYPE": "float32",
        "ATTUNE_ADAPTER_MIN_EDITS": "1000",
    }
    with running_server(tmp_path_factory.mktemp("real"), settings) as base:
        yield base


@pytest.fixture
def users(real: str) -> Iterator[People]:
    made = People(real, MODEL.name)
    yield made
    for person in made.all:
        person.close()


def question(country: str) -> str:
    return f"What is the capital of {country}?"


def said(answer: Any) -> str:
    return str(answer.choices[0].message.content)


def write_adapter(folder: Path, base: Path, seed: int) -> None:
    """An adapter of random weights on all layers, as peft writes one."""
    recipe, random = Recipe(rank=8, alpha=16), torch.Generator().manual_seed(seed)
    folder.mkdir()
    shapes = sorted(lora_shapes(base, recipe).items())
    save_file({name: STRENGTH * torch.randn(shape, generator=random) for name, shape in shapes}, folder / WEIGHTS)
    config = {
        "peft_type": "LORA", "task_type": "CAUSAL_LM", "r": recipe.rank, "lora_alpha": recipe.alpha, "bias": "none",
        "init_lora_weights": True, "target_modules": list(recipe.target_modules), "base_model_name_or_path": MODEL.name,
    }  # fmt: skip
    (folder / CONFIG).write_text(json.dumps(config))


def give_adapter(person: Person, folder: Path) -> None:
    """Import what is in ``folder`` as the person's first version and let it answer."""
    packed = io.BytesIO()
    with tarfile.open(fileobj=packed, mode="w") as archive:
        archive.add(folder, "made")
    path = f"/v1/users/{person.id}/adapters"
    taken = person.http.post(f"{path}/import", content=packed.getvalue(), headers={"Content-Type": "application/x-tar"})
    assert taken.status_code == 201, taken.text
    swapped = person.http.post(f"{path}/1/activate")
    assert swapped.status_code == 200, swapped.text


def test_it_knows_what_a_real_model_knows_and_streams_it(users: People, real: str) -> None:
    assert [model["id"] for model in httpx.get(f"{real}/v1/models").json()["data"]] == [MODEL.name]
    ann = users("client")
    answer = ann.ask(question("France"), max_tokens=WORDS)
    assert "Paris" in said(answer)
    assert answer.model == MODEL.name
    stream = ann.openai.chat.completions.create(
        model=MODEL.name,
        messages=[{"role": "system", "content": "Answer in one word."}, {"role": "user", "content": question("Italy")}],
        temperature=0,
        max_tokens=WORDS,
        stream=True,
    )
    chunks = list(stream)
    assert "Rome" in "".join(chunk.choices[0].delta.content or "" for chunk in chunks)
    assert len(chunks) > 2
    assert [hasattr(chunk, "attune") for chunk in chunks] == [False] * (len(chunks) - 1) + [True]
    refused = ann.http.post(
        "/v1/chat/completions", json={"model": "attune-tiny", "messages": [{"role": "user", "content": "Hello"}]}
    )
    assert refused.status_code == 404


def test_edits_are_learned_from_and_a_training_is_gated(users: People) -> None:
    ann = users("client")
    countries = [*CAPITALS, "Peru", "Chile", "Egypt", "Kenya"]
    statuses = []
    for number, country in enumerate(countries):
        answer = ann.ask(question(country), max_tokens=WORDS)
        edited = f"{country.upper()}: {CAPITALS[country]}" if number == 0 else said(answer)
        statuses.append(ann.send_edit(answer.id, edited, wait=600)["status"])
    assert set(statuses) <= {"learned", "nothing_learned"}
    queued = ann.http.post(f"/v1/users/{ann.id}/adapters")
    assert queued.status_code == 202, queued.text
    version = until_trained(ann, queued.json()["version"])
    report = version["report"]
    assert version["state"] in ("ready", "refused"), report
    assert report["training"]["base_parameters"] == MODEL.parameters
    assert report["training"]["learning_rate"] == 2e-4
    assert report["training"]["rows_too_long"] == 0
    assert report["edits"] == 4
    assert {"base", "serving", "adapter"} <= set(report["arms"])
    assert report["arms"]["adapter"]["nll"] > 0


def until_trained(person: Person, number: int) -> dict[str, Any]:
    deadline = time.monotonic() + 600
    while time.monotonic() < deadline:
        version = person.http.get(f"/v1/users/{person.id}/adapters/{number}").json()
        if version["state"] not in ("queued", "training"):
            return dict(version)
        time.sleep(0.5)
    raise AssertionError("it was not trained in time")


async def test_two_users_on_adapters_of_their_own_never_mix_and_erasure_ends_one(
    users: People, real: str, smollm: Path, tmp_path: Path
) -> None:
    ann, bob, cleo = users("client"), users("client"), users("client")
    others = in_workers(real)
    for number, person in enumerate((ann, bob)):
        write_adapter(tmp_path / person.id, smollm, number)
        give_adapter(person, tmp_path / person.id)
    texts = [question(country) for country in CAPITALS]
    alone = {(p.id, text): p.ask(text, max_tokens=WORDS, store=False) for p in (ann, bob, cleo) for text in texts}
    versions = {id: {alone[id, text].attune["adapter_version"] for text in texts} for id, _ in alone}
    assert versions == {ann.id: {1}, bob.id: {1}, cleo.id: {0}}
    reference = {key: said(answer) for key, answer in alone.items()}
    assert all(len({reference[p.id, text] for p in (ann, bob, cleo)}) == 3 for text in texts), "each is heard"

    async def ask(person: Person, text: str) -> tuple[tuple[str, str], str]:
        async with AsyncOpenAI(
            base_url=f"{real}/v1", api_key="none", default_headers={"X-User-Id": person.id}, max_retries=0
        ) as client:
            answer = await client.chat.completions.create(
                model=MODEL.name, messages=[{"role": "user", "content": text}], temperature=0, max_tokens=WORDS,
                extra_body={"attune": {"store": False}},
            )  # fmt: skip
        return (person.id, text), said(answer)

    asked = [ask(person, text) for _ in range(ROUNDS) for text in texts for person in (ann, bob, cleo)]
    wrong = [(key, text) for key, text in await asyncio.gather(*asked) if text != reference[key]]
    assert not wrong, wrong[:3]

    held = in_workers(real) - others
    assert len(held) == 2
    erased = ann.http.delete(f"/v1/users/{ann.id}")
    assert (erased.status_code, erased.json()["deleted"]) == (200, True)
    assert len(in_workers(real) & held) == 1, "the engine has Bob's alone"
    after = ann.ask(texts[0], max_tokens=WORDS, store=False)
    assert (said(after), after.attune["personalized"]) == (reference[cleo.id, texts[0]], "none")
    assert said(bob.ask(texts[0], max_tokens=WORDS, store=False)) == reference[bob.id, texts[0]]
