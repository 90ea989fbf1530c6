"""Engine: an OpenAI-compatible vLLM server over HTTP, the one seam to generation."""

import asyncio
import json
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any
from weakref import WeakSet

import aiohttp

from preference.ports import Generation, TokenScores
from server.engine.refusals import GONE, STOPPING, lost, refusal
from server.engine.scorer import EngineScorer
from server.engine.stream import EngineStream
from store.errors import EngineRejected, EngineUnavailable
from store.message import Message

_PROBE = aiohttp.ClientTimeout(total=3)
_LOAD = aiohttp.ClientTimeout(total=120)
IDLE_SECONDS = 2.0
"""For how long an idle connection is used again: vLLM closes it after five, perhaps just as a request is sent on it."""
BACKGROUND = 1
"""vLLM's priority of what nobody waits for: a lower one goes first, and answers have 0."""


class Engine:
    """Implements ``AdapterHost``. ``base_model`` is the served name; empty until a remote engine has told it."""

    def __init__(
        self,
        url: str,
        *,
        socket: Path | None = None,
        base_model: str | None = None,
        api_key: str | None = None,
        read_timeout: float = 300,
        idle_seconds: float = IDLE_SECONDS,
        trace_headers: Callable[[], Mapping[str, str]] = dict,
        by_priority: bool = False,
    ) -> None:
        """``trace_headers`` gives the headers that join the engine's trace to ours, asked for each generation.

        ``by_priority``: the engine was started with ``--scheduling-policy priority``; others refuse any priority.
        """
        self.base_model = base_model or ""
        self._context: int | None = None
        self._url = url.rstrip("/").removesuffix("/v1")
        self._socket = socket
        self._headers = {"Authorization": f"Bearer {api_key}"} if api_key else {}
        self._trace_headers = trace_headers
        self._background = {"priority": BACKGROUND} if by_priority else {}
        self._timeout = aiohttp.ClientTimeout(total=None, sock_connect=10, sock_read=read_timeout)
        self._idle_seconds = idle_seconds
        self._open_session: aiohttp.ClientSession | None = None
        self._asking: set[asyncio.Task[Any]] = set()
        self._streams: WeakSet[EngineStream] = WeakSet()
        self._stopping = asyncio.Event()
        self._scorer = EngineScorer(self, self._background)

    async def complete(self, path: str, payload: dict[str, Any], user: str | None = None) -> bytes:
        """A whole answer of the engine's route ``path``, its own bytes. Cancelling the call aborts the generation.

        ``user`` is the opaque id of whom it is for.
        """
        with self._cuttable():
            return await self._call("POST", path, payload, headers=self.headers(payload, user))

    async def stream(self, path: str, payload: dict[str, Any], user: str | None = None) -> EngineStream:
        """Start a streamed answer. Raises before the first byte when the engine refuses it."""
        started = time.perf_counter()
        with self._cuttable():
            try:
                headers = self.headers(payload, user)
                response = await self._session.post(self._url + path, json=payload, headers=headers)
                if response.status != 200:
                    async with response:
                        raise await refusal(response, payload)
            except GONE as error:
                raise lost(error) from error
        stream = EngineStream(response, started)
        self._streams.add(stream)
        return stream

    def headers(self, payload: dict[str, Any], user: str | None) -> Mapping[str, str]:
        """What a generation is sent with."""
        return self._trace_headers()

    def cut(self) -> None:
        """End every generation under way in ``EngineUnavailable``, and refuse new ones: the server stops."""
        self._stopping.set()
        for task in list(self._asking):
            task.cancel()
        for stream in list(self._streams):
            stream.cut()

    async def generate(self, messages: Sequence[Message], *, max_tokens: int, model: str | None = None) -> Generation:
        """Answer ``messages`` greedily, outside the request path."""
        payload = {
            "model": model or await self.model(),
            "messages": list(messages),
            "max_tokens": max_tokens,
            "temperature": 0,
            **self._background,
        }
        answer = json.loads(await self.complete("/v1/chat/completions", payload))
        usage = answer["usage"]
        text = answer["choices"][0]["message"].get("content") or ""
        return Generation(text, usage["prompt_tokens"], usage["completion_tokens"])

    async def nll(self, messages: Sequence[Message], answer: str, *, model: str | None = None) -> float:
        """Negative log-likelihood of ``answer`` to ``messages``, its end included, in nats a token."""
        (scored,) = await self.score([(messages, answer)], model=model)
        return -sum(scored.logprobs) / max(1, len(scored.logprobs))

    async def score(
        self, pairs: Sequence[tuple[Sequence[Message], str]], *, model: str | None = None
    ) -> list[TokenScores]:
        """How likely each answer is to its messages, token by token. Raises ``ScoringUnavailable``."""
        return await self._scorer.score(pairs, model or await self.model())

    async def load(self, name: str, path: Path) -> None:
        """Load the adapter at ``path`` (a folder the engine can read) under ``name``; a second time does nothing."""
        try:
            await self._call("POST", "/v1/load_lora_adapter", {"lora_name": name, "lora_path": str(path)}, _LOAD)
        except EngineRejected:
            if name not in await self.loaded():
                raise

    async def unload(self, name: str) -> None:
        """Make the engine forget ``name``; an unknown name is no error."""
        try:
            await self._call("POST", "/v1/unload_lora_adapter", {"lora_name": name}, _LOAD)
        except EngineRejected:
            if name in await self.loaded():
                raise

    async def purge(self, chosen: Callable[[str], bool]) -> None:
        """Unload every adapter whose name is ``chosen``, whoever loaded it."""
        for name in filter(chosen, await self.loaded()):
            await self.unload(name)

    async def loaded(self) -> set[str]:
        """Names of the adapters that the engine would serve now."""
        return {model["id"] for model in await self.models() if model.get("parent")}

    async def model(self) -> str:
        """The served model's name. Raises ``EngineUnavailable`` while a remote engine has not told it."""
        if not self.base_model and not await self.ready():
            raise EngineUnavailable("The engine has not answered yet; try again shortly.")
        return self.base_model

    async def ready(self) -> bool:
        """True when the engine answers; asks a remote one for its model name the first time."""
        try:
            await self._call("GET", "/health", None, _PROBE)
            if not self.base_model:
                self.base_model = next((m["id"] for m in await self.models() if not m.get("parent")), "")
        except (EngineUnavailable, EngineRejected):
            return False
        return bool(self.base_model)

    async def context(self) -> int | None:
        """Tokens that a prompt and its answer may have; None where the engine does not tell."""
        if self._context is None:
            with suppress(EngineUnavailable, EngineRejected, ValueError, TypeError):
                told = next((m.get("max_model_len") for m in await self.models() if not m.get("parent")), None)
                self._context = int(told or 0)
        return self._context or None

    async def close(self) -> None:
        """Close all connections."""
        if self._open_session is not None:
            await self._open_session.close()
            await asyncio.sleep(0.05)  # aiohttp leaves its transports to the loop's next turns
            self._open_session = None

    @contextmanager
    def _cuttable(self) -> Iterator[None]:
        task = asyncio.current_task()
        if self._stopping.is_set() or task is None:
            raise EngineUnavailable(STOPPING)
        self._asking.add(task)
        try:
            yield
        except asyncio.CancelledError:
            if not self._stopping.is_set():
                raise
            task.uncancel()
            raise EngineUnavailable(STOPPING) from None
        finally:
            self._asking.discard(task)

    @property
    def _session(self) -> aiohttp.ClientSession:
        if self._open_session is None:
            # No cap on connections here: the server's in-flight limits are the cap.
            connector = (
                aiohttp.UnixConnector(path=str(self._socket), limit=0, keepalive_timeout=self._idle_seconds)
                if self._socket
                else aiohttp.TCPConnector(limit=0, keepalive_timeout=self._idle_seconds)
            )
            self._open_session = aiohttp.ClientSession(
                connector=connector, timeout=self._timeout, headers=self._headers, read_bufsize=1 << 20
            )
        return self._open_session

    async def models(self) -> list[dict[str, Any]]:
        """What the engine lists. Raises ``EngineUnavailable`` for what is no list, too."""
        told = await self._call("GET", "/v1/models", None, _PROBE)
        try:
            return [dict(model, id=str(model["id"])) for model in json.loads(told)["data"]]
        except (ValueError, KeyError, TypeError) as error:
            raise EngineUnavailable("The engine does not list its models as vLLM does.") from error

    async def _call(
        self,
        method: str,
        path: str,
        payload: dict[str, Any] | None,
        timeout: aiohttp.ClientTimeout | None = None,
        headers: Mapping[str, str] | None = None,
    ) -> bytes:
        try:
            async with self._session.request(
                method, self._url + path, json=payload, timeout=timeout or self._timeout, headers=headers
            ) as response:
                if response.status != 200:
                    raise await refusal(response, payload or {})
                return await response.read()
        except GONE as error:
            raise lost(error) from error
