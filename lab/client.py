"""One end user's app: the official OpenAI client, over the public HTTP API alone."""

import asyncio
import json
import time
from collections.abc import Collection, Sequence
from typing import Any, Self
from urllib.parse import quote

import httpx
from openai import AsyncOpenAI, NotFoundError
from prometheus_client.parser import text_string_to_metric_families

from store.message import Message

SECONDS = 300.0
"""How long one answer may take."""
LEARN_SECONDS = 600.0
ADAPTER_SECONDS = 900.0
Tokens = tuple[int, int]
"""Of prompts, and of completions."""
_COUNTER = "attune_learning_tokens"


class Client:
    """Speaks for ``user``. ``retries`` is how often a request is sent again that found the server busy or away."""

    def __init__(self, base: str, user: str, *, key: str = "none", retries: int = 0) -> None:
        self._openai = AsyncOpenAI(
            base_url=f"{base}/v1",
            api_key=key,
            default_headers={"X-User-Id": user},
            max_retries=retries,
            timeout=SECONDS,
        )
        self._base = base
        self._path = f"/users/{quote(user, safe='')}"
        self.user = user
        self.model = ""

    async def __aenter__(self) -> Self:
        try:
            await self.connect()
        except BaseException:
            await self.close()
            raise
        return self

    async def __aexit__(self, *_: object) -> None:
        await self.close()

    async def connect(self) -> None:
        """Ask the server for its model."""
        self.model = (await self._openai.models.list()).data[0].id

    async def answer(self, text: str, **attune: Any) -> Any:
        """One greedy answer; ``attune`` is the extension object."""
        return await self.chat([{"role": "user", "content": text}], **attune)

    async def chat(
        self,
        messages: Sequence[Message],
        *,
        max_tokens: int = 250,
        seed: int | None = None,
        **attune: Any,
    ) -> Any:
        """One greedy answer to a conversation, known by its ``seed``; ``attune`` is the extension object."""
        return await self._openai.chat.completions.create(
            model=self.model,
            messages=list(messages),  # type: ignore[arg-type] # plain dicts, as preference/prompt.py makes them
            temperature=0.0,
            max_tokens=max_tokens,
            extra_body={**({"attune": attune} if attune else {}), **({} if seed is None else {"seed": seed})} or None,
        )

    async def edit(self, completion_id: str, text: str, seconds: float = LEARN_SECONDS) -> dict[str, Any]:
        """Send what the user made of an answer, and wait until it was learned from. Raises ``TimeoutError``."""
        return await self.learned(await self.send_edit(completion_id, text), seconds)

    async def send_edit(self, completion_id: str, text: str) -> str:
        """Send what the user made of an answer; the feedback's id."""
        return await self.send({"type": "edit", "completion_id": completion_id, "edited_text": text})

    async def send(self, body: dict[str, Any]) -> str:
        """Send feedback of any kind; its id."""
        return str((await self._post("/feedback", body)).json()["id"])

    async def given(self, completion_id: str, source: str) -> list[dict[str, Any]]:
        """The feedback on an answer that ``source`` gave, newest first."""
        found = await self._get(f"/feedback?completion_id={quote(completion_id, safe='')}&source={source}")
        return list(found.json()["data"])

    async def bring(self, rows: Sequence[dict[str, Any]]) -> list[str]:
        """Import what is known of the user from elsewhere; the ids of the feedback that came of it, newest first."""
        content = "".join(f"{json.dumps(row)}\n" for row in rows)
        options: Any = {"headers": {"Content-Type": "application/jsonl"}}
        path = f"{self._path}/import"
        told = await self._openai.post(path, cast_to=httpx.Response, content=content.encode(), options=options)
        if told.json()["refused"]:
            raise ValueError(f"Lines were refused: {told.json()['refused_lines'][:3]}")
        found = await self._get(f"/feedback?type=demonstration&limit={len(rows)}")
        return [str(one["id"]) for one in found.json()["data"]]

    async def learned(self, feedback_id: str, seconds: float = LEARN_SECONDS) -> dict[str, Any]:
        """The feedback, once it was learned from. Raises ``TimeoutError``."""
        pause = 0.02
        async with asyncio.timeout(seconds):
            while True:
                held = (await self._get(f"/feedback/{feedback_id}")).json()
                if held["status"] != "pending":
                    return dict(held)
                await asyncio.sleep(pause)
                pause = min(1.5 * pause, 0.2)

    async def forget_since(self, kept: Collection[str | None]) -> None:
        """Have the newest edits forgotten, up to one of those ``kept``."""
        found = await self._openai.get("/feedback?type=edit&limit=5", cast_to=httpx.Response)
        for row in found.json()["data"]:
            if row["id"] in kept:
                return
            await self._openai.delete(f"/feedback/{row['id']}", cast_to=httpx.Response)

    async def preferences(self) -> list[dict[str, Any]]:
        """All of the user's preferences, oldest first, also those that no longer hold."""
        return list((await self._get(f"{self._path}/preferences?superseded=true")).json()["data"])

    async def train(self) -> int:
        """Queue the training of an adapter; its version."""
        return int((await self._post(f"{self._path}/adapters")).json()["version"])

    async def adapters(self) -> dict[str, Any]:
        """The user's adapter versions."""
        return dict((await self._get(f"{self._path}/adapters")).json())

    async def settled(self, version: int, text: str, seconds: float = ADAPTER_SECONDS) -> dict[str, Any]:
        """The version once it was refused, has failed, or really answers ``text``; as it is after ``seconds`` else."""
        deadline = time.monotonic() + seconds
        while True:
            made = next(dict(v) for v in (await self.adapters())["data"] if v["version"] == version)
            if made["state"] in ("refused", "failed") or time.monotonic() > deadline:
                return made
            if made["state"] == "ready":
                answer = await self.answer(text, store=False)
                if answer.attune["adapter_version"] == version:
                    return made
            await asyncio.sleep(1)

    async def learning_tokens(self, tenant: str | None) -> Tokens | None:
        """What the server spent on learning for a tenant; None where it does not tell, and for no tenant."""
        if tenant is None:
            return None
        try:
            text = (await self._get(f"{self._base}/metrics")).text
        except NotFoundError:
            return None
        # The whole text has a line for each route and bucket, and is asked for in every round.
        lines = "\n".join(line for line in text.splitlines() if _COUNTER in line)
        found = {"prompt": 0, "completion": 0}
        for family in text_string_to_metric_families(f"{lines}\n") if lines else ():
            for sample in family.samples:
                if sample.name == f"{_COUNTER}_total" and sample.labels["tenant"] == tenant:
                    found[sample.labels["direction"]] = int(sample.value)
        return (found["prompt"], found["completion"]) if lines else None

    async def close(self) -> None:
        """Close its connections."""
        await self._openai.close()

    async def _get(self, path: str) -> httpx.Response:
        return await self._openai.get(path, cast_to=httpx.Response)

    async def _post(self, path: str, body: dict[str, Any] | None = None) -> httpx.Response:
        return await self._openai.post(path, cast_to=httpx.Response, body=body)


def since(before: Tokens | None, now: Tokens | None) -> Tokens | None:
    """What was spent between two times; None where one of them is not known."""
    return None if before is None or now is None else (now[0] - before[0], now[1] - before[1])
