"""A scripted engine in the harness's own process, so that it outlives every kill: vLLM's dialect, and a writer.

What it writes for a request is a draft with one mark for each preference in the prompt. An edit adds a mark of its own,
so the preference behind each edit is known and unlike any other: ``Add mark00017``. A candidate adapter writes what the
user made of each draft, so that the gate admits it; every fourth one does not.
"""

import asyncio
import contextlib
import json
import random
import re
import uuid
import zlib
from collections.abc import Callable
from pathlib import Path
from typing import Any

from aiohttp import web

from adapters.artifacts.manifest import Manifest
from bench.crash.trainer import read_shapes
from preference.learning.proposer import parse

MODEL = "scripted"
MAX_SECONDS = 0.004  # one answer
LIKELY, UNLIKELY = -0.1, -5.0  # nats
_MARK = re.compile(r"mark\d+")
_WORD = re.compile(r"\w+")
_EDIT = re.compile(r"<draft>\n(.*)\n</draft>\n\n<edited>\n(.*)\n</edited>", re.DOTALL)
_CANDIDATE = re.compile(r"\.v(\d+)-candidate(-|$)")


def preference_of(mark: str) -> str:
    """What the engine infers from an edit that adds ``mark``."""
    return f"Add {mark}"


def edited(draft: str, mark: str) -> str:
    """What the user makes of a draft."""
    return f"{draft}\n{mark}"


def check_published(directory: Path) -> None:
    """Raise ``ValueError`` or ``OSError`` unless a published adapter has all its files, each of them whole."""
    found = {file.name for file in directory.iterdir()}
    if found != {"adapter_config.json", "adapter_model.safetensors", "manifest.json"}:
        raise ValueError(f"it has {sorted(found)}")
    try:
        manifest = Manifest(**json.loads((directory / "manifest.json").read_text()))
    except TypeError as error:
        raise ValueError("its manifest is incomplete") from error
    if f"v{manifest.version}" != directory.name:
        raise ValueError(f"its manifest is that of version {manifest.version}")
    json.loads((directory / "adapter_config.json").read_text())
    read_shapes(directory / "adapter_model.safetensors")


class ScriptedEngine:
    """Serves on loopback inside the running event loop. ``on_event`` hears what the server has it do.

    ``targets`` maps a request to the text its user made of the draft. ``faults`` are adapters it was told to load that
    were not whole, and requests for which it has no script.
    """

    def __init__(self, on_event: Callable[[str], None], seed: int = 0) -> None:
        self.url = ""
        self.targets: dict[str, str] = {}
        self.faults: list[str] = []
        self._on_event = on_event
        self._rng = random.Random(seed)
        self._adapters: dict[str, Path] = {}
        self._runner: web.AppRunner | None = None

    async def start(self) -> None:
        """Listen on a free port."""
        app = web.Application()
        app.router.add_get("/health", self._health)
        app.router.add_get("/v1/models", self._models)
        app.router.add_post("/v1/chat/completions", self._chat)
        app.router.add_post("/v1/completions", self._score)
        app.router.add_post("/tokenize", self._tokenize)
        app.router.add_post("/v1/load_lora_adapter", self._load)
        app.router.add_post("/v1/unload_lora_adapter", self._unload)
        self._runner = web.AppRunner(app, handler_cancellation=True, shutdown_timeout=0.1, access_log=None)
        await self._runner.setup()
        await web.TCPSite(self._runner, "127.0.0.1", 0).start()
        self.url = f"http://127.0.0.1:{self._runner.addresses[0][1]}"

    async def stop(self) -> None:
        """Close all connections."""
        if self._runner is not None:
            await self._runner.cleanup()

    async def _health(self, _: web.Request) -> web.Response:
        return web.Response()

    async def _models(self, _: web.Request) -> web.Response:
        data = [{"id": MODEL, "object": "model", "parent": None}]
        data += [{"id": name, "object": "model", "parent": MODEL} for name in self._adapters]
        return web.json_response({"object": "list", "data": data})

    async def _load(self, request: web.Request) -> web.Response:
        body = await request.json()
        name, path = body["lora_name"], Path(body["lora_path"])
        if name in self._adapters:
            return _error(400, "already loaded")
        if _CANDIDATE.search(name):
            self._on_event("training")
        else:
            self._on_event("activating")
            try:
                check_published(path)
            except FileNotFoundError:  # as a whole: its user deleted it just now
                return _error(400, "no adapter")
            except (OSError, ValueError) as error:
                self.faults.append(f"it was told to load {name}: {error}")
                return _error(400, "not an adapter")
        self._adapters[name] = path
        return web.Response(text="Success")

    async def _unload(self, request: web.Request) -> web.Response:
        name = (await request.json())["lora_name"]
        if self._adapters.pop(name, None) is None:
            return _error(404, "not found")
        if _CANDIDATE.search(name):
            self._on_event("publishing")
        return web.Response(text="Success")

    async def _tokenize(self, request: web.Request) -> web.Response:
        body = await request.json()
        texts = [message["content"] for message in body["messages"]] if "messages" in body else [body["prompt"]]
        return web.json_response(
            {"tokens": [zlib.crc32(word.encode()) for text in texts for word in _WORD.findall(text)]}
        )

    async def _score(self, request: web.Request) -> web.Response:
        """A word is likely where it was said before, as a mark is that a preference in the prompt names."""
        choices = []
        for index, ids in enumerate((await request.json())["prompt"]):
            said: set[int] = set()
            told: list[dict[str, Any] | None] = []
            for id in ids:
                told.append({str(id): {"logprob": LIKELY if id in said else UNLIKELY, "rank": 1}})
                said.add(id)
            told[0] = None
            choices.append({"index": index, "text": ".", "finish_reason": "length", "prompt_logprobs": told})
        return web.json_response({"choices": choices, "usage": {"prompt_tokens": 1, "completion_tokens": 1}})

    async def _chat(self, request: web.Request) -> web.StreamResponse:
        body = await request.json()
        if body["model"] != MODEL and body["model"] not in self._adapters:
            return _error(404, f"The model `{body['model']}` does not exist.")
        await asyncio.sleep(self._rng.uniform(0, MAX_SECONDS))
        text = self._answer(body["model"], body["messages"][-1]["content"])
        prompt = sum(len(str(message["content"]).split()) for message in body["messages"])
        usage = {"prompt_tokens": prompt, "completion_tokens": len(text.split())}
        head = {"id": f"chatcmpl-{uuid.uuid4().hex[:16]}", "created": 1, "model": body["model"]}
        if not body.get("stream"):
            choice = {"index": 0, "message": {"role": "assistant", "content": text}, "finish_reason": "stop"}
            return web.json_response({**head, "object": "chat.completion", "choices": [choice], "usage": usage})
        response = web.StreamResponse(headers={"Content-Type": "text/event-stream"})
        head["object"] = "chat.completion.chunk"
        pieces: list[dict[str, Any]] = [
            {"delta": {"content": piece}, "finish_reason": None} for piece in re.findall(r"\S+\s*", text)
        ]
        pieces.append({"delta": {}, "finish_reason": "stop"})
        with contextlib.suppress(ConnectionError):  # killed meanwhile
            await response.prepare(request)
            for piece in pieces:
                await response.write(_event({**head, "choices": [{"index": 0, **piece}]}))
            await response.write(_event({**head, "choices": [], "usage": usage}))
            await response.write(b"data: [DONE]\n\n")
        return response

    def _answer(self, model: str, prompt: str) -> str:
        if prompt.startswith("<draft>"):
            self._on_event("learning")
            found = _EDIT.search(prompt)
            draft, text = found.groups() if found else ("", "")
            new = [mark for mark in _MARK.findall(text) if mark not in draft]
            return "\n".join(f"- {preference_of(mark)}" for mark in new) or "none"
        if prompt.startswith("<preferences>"):
            kept = parse(prompt.split("</preferences>")[0])
            return "\n".join(f"- {line}" for line in kept)
        topic = prompt.split("\n", 1)[0]
        if found := _CANDIDATE.search(model):
            return self.targets.get(topic, "nothing") if int(found[1]) % 4 else "nothing"
        # In the order in which edits add them, whatever the order in the prompt.
        return "\n".join([f"Dear reader, {topic}", *sorted(_MARK.findall(prompt))])


def _event(data: dict[str, Any]) -> bytes:
    return b"data: " + json.dumps(data).encode() + b"\n\n"


def _error(status: int, message: str) -> web.Response:
    return web.json_response({"error": {"message": message, "type": "error", "code": status}}, status=status)
