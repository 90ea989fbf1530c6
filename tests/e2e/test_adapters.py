"""Edits → a trained, gated, swapped adapter; and no answer ever from somebody else's weights."""

import asyncio
from typing import Any

import pytest
from openai import AsyncOpenAI

from preference.distance import normalised_distance
from tests.e2e.conftest import People, Person

REQUESTS = 6
ANSWERS, MAX_SWAPS = 100, 300


def cost(person: Person, kind: str, **attune: Any) -> float:
    costs = []
    for _ in range(REQUESTS):
        request = person.request(kind)
        text = person.ask(request.text, store=False, **attune).choices[0].message.content
        costs.append(normalised_distance(text, person.simulated.edit(request, text)))
    return sum(costs) / REQUESTS


@pytest.mark.timeout(1200)
async def test_two_users_get_adapters_of_their_own_and_swaps_leak_nothing(people: People, server: str) -> None:
    ann, bob = people("client", seed=11), people("client", seed=12)
    versions = await asyncio.gather(asyncio.to_thread(ann.train, "client"), asyncio.to_thread(bob.train, "client"))
    assert [v["state"] for v in versions] == ["ready", "ready"], [v["report"] for v in versions]
    for person in (ann, bob):
        without, alone = cost(person, "client", personalize="off"), cost(person, "client", personalize="adapter")
        assert alone <= 0.2 * without
    await leak_test(server, ann, bob)
    for version in (0, 1, 0):
        done = ann.http.post(f"/v1/users/{ann.id}/adapters/{version}/activate")
        assert done.status_code == 200, done.text
        assert ann.ask(ann.request("client").text, store=False).attune["adapter_version"] == version
    refused = ann.http.post(f"/v1/users/{ann.id}/adapters/9/activate")
    assert refused.status_code == 404
    assert ann.http.delete(f"/v1/users/{ann.id}/adapters/1").status_code == 200
    assert ann.http.get(f"/v1/users/{ann.id}/adapters").json()["active"] == 0


async def leak_test(server: str, ann: Person, bob: Person) -> None:
    """Under load and swaps, every answer equals the solo reference of the version that it says it comes from."""
    texts = [ann.request("client").text for _ in range(REQUESTS)]
    reference: dict[tuple[str, int, str], str] = {}
    for person in (ann, bob):
        for version in (0, 1):
            for text in texts:
                mode = "adapter" if version else "off"
                answer = person.ask(text, store=False, personalize=mode)
                assert answer.attune["adapter_version"] == version
                reference[person.id, version, text] = answer.choices[0].message.content
    assert any(reference[ann.id, 1, t] != reference[bob.id, 1, t] for t in texts)
    stop = asyncio.Event()
    seen: set[tuple[str, int]] = set()
    wrong: list[str] = []
    answered = 0

    async def load(person: Person) -> None:
        nonlocal answered
        headers = {"X-User-Id": person.id}
        async with AsyncOpenAI(
            base_url=f"{server}/v1", api_key="none", default_headers=headers, max_retries=0
        ) as client:
            while not stop.is_set():
                for text in texts:
                    answer = await client.chat.completions.create(
                        model="attune-tiny", messages=[{"role": "user", "content": text}], temperature=0,
                        max_tokens=250, extra_body={"attune": {"store": False, "personalize": "adapter"}},
                    )  # fmt: skip
                    assert answer.model_extra is not None
                    version = answer.model_extra["attune"]["adapter_version"]
                    assert answer.model == "attune-tiny", "an adapter's name is nobody's business"
                    seen.add((person.id, version))
                    answered += 1
                    said = answer.choices[0].message.content
                    if said != reference[person.id, version, text]:
                        same = [key[:2] for key, known in reference.items() if known == said]
                        wrong.append(f"{person.id} v{version} said what {same} say:\n{said}")

    running = [asyncio.create_task(load(person)) for person in (ann, bob, ann, bob)]
    for swap in range(MAX_SWAPS):
        if swap >= 8 and answered >= ANSWERS:
            break
        await asyncio.sleep(0.1)
        for person in (ann, bob):
            path = f"/v1/users/{person.id}/adapters/{swap % 2}/activate"
            done = await asyncio.to_thread(person.http.post, path)
            assert done.status_code == 200, done.text
    stop.set()
    await asyncio.gather(*running)
    assert not wrong, "\n\n".join([f"{len(wrong)} of {answered}", *wrong[:5]])
    assert answered >= ANSWERS
    assert seen == {(p.id, v) for p in (ann, bob) for v in (0, 1)}
