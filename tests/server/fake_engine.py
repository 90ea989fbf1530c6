"""A scripted engine: a real HTTP server that speaks vLLM's dialect of the OpenAI API, in a thread of its own."""

import asyncio
import json
import threading
import uuid
import zlib
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any, Literal

from aiohttp import web
from aiohttp.typedefs import Handler

MODEL = "fake-model"


@dataclass
class Script:
    """How to answer one request: after ``die_after`` events the connection is cut, ``hang`` waits after the tokens."""

    tokens: list[str] = field(default_factory=lambda: ["Hello", " wor", "ld", "!"])
    status: int = 200
    error: str = ""
    param: str | None = None
    delay: float = 0.0
    die_after: int | None = None
    hang: bool = False
    error_event: bool = False
    split: int | None = None  # send the stream in pieces of this many bytes
    tool_calls: list[dict[str, Any]] | None = None
    finish: str | None = None  # why it ended, where it did not stop by itself; in the words of the route
    stop: str | None = None  # the stop sequence that ended it
    page: str | None = None  # a proxy's page instead of an answer
    ends: int | None = None  # the stream ends in good order after so many events
    others: list[str] = field(default_factory=list)  # what the further choices of a chat say, of n that are asked for
    said: Any = None  # instead of the tokens: a chat's message, a response's output, an Anthropic message's content


class FakeEngine:
    """``enqueue`` scripts; without one every request is answered by the default script."""

    def __init__(self) -> None:
        self.requests: list[dict[str, Any]] = []
        self.headers: list[dict[str, str]] = []
        self.sent: list[bytes] = []  # each answer's bytes, streamed ones joined
        self.aborted = threading.Event()
        self.adapters: dict[str, str] = {}
        self.url = ""
        self.away = False  # every connection is cut
        self.respells = False  # its JSON has spaces, other escapes, and its members in another order
        self.marks: dict[str, Any] | None = None  # what our plugin adds to the list of models
        self.brings: Callable[[str], bool] | None = None  # a name that it does not have: whether it is loaded then
        self.tokenizes = True
        self.scores: Literal["yes", "no", "refuses"] = "yes"
        self.hears = False  # a word that stands in the prompt is likelier by two nats
        self.by_priority = False  # any priority is refused otherwise, as by vLLM
        self.priorities: list[int] = []
        self.ends_turns = True  # by a token of the chat template
        self.scored: list[int] = []  # how many texts each request to score had
        self.scoring = 0
        self.most_scoring = 0  # requests at once
        self._token_of: dict[int, str] = {}
        self.context = 4096  # tokens
        self.writes_tools = False  # its chat template does
        self.counts = True  # it has the route that counts them
        self.counted = 0
        self._scripts: deque[Script] = deque()
        self._loop = asyncio.new_event_loop()
        self._thread = threading.Thread(target=self._run, daemon=True)
        self._ready = threading.Event()
        self._stop = asyncio.Event()

    def enqueue(self, *scripts: Script) -> None:
        self._scripts.extend(scripts)

    def restart(self) -> None:
        """Forget the adapters, as a restarted engine does."""
        self.adapters.clear()

    def __enter__(self) -> "FakeEngine":
        self._thread.start()
        assert self._ready.wait(10)
        return self

    def __exit__(self, *_: object) -> None:
        self._loop.call_soon_threadsafe(self._stop.set)
        self._thread.join(10)
        self._loop.close()

    def _run(self) -> None:
        asyncio.set_event_loop(self._loop)
        self._loop.run_until_complete(self._serve())

    async def _serve(self) -> None:
        app = web.Application(middlewares=[self._cut_when_away])
        app.router.add_get("/health", self._health)
        app.router.add_get("/v1/models", self._models)
        for path in ("/v1/chat/completions", "/v1/completions", "/v1/responses", "/v1/messages"):
            app.router.add_post(path, self._generate)
        app.router.add_post("/tokenize", self._tokenize)
        app.router.add_post("/v1/load_lora_adapter", self._load)
        app.router.add_post("/v1/unload_lora_adapter", self._unload)
        runner = web.AppRunner(app, handler_cancellation=True, shutdown_timeout=0.1)
        await runner.setup()
        site = web.TCPSite(runner, "127.0.0.1", 0)
        await site.start()
        self.url = f"http://127.0.0.1:{runner.addresses[0][1]}"
        self._ready.set()
        await self._stop.wait()
        await runner.cleanup()

    @web.middleware
    async def _cut_when_away(self, request: web.Request, handler: Handler) -> web.StreamResponse:
        if self.away and request.transport is not None:
            request.transport.abort()
            return web.Response()
        return await handler(request)

    async def _health(self, request: web.Request) -> web.Response:
        return web.Response()

    async def _models(self, request: web.Request) -> web.Response:
        mark = {} if self.marks is None else {"attune": self.marks}
        base = {"id": MODEL, "object": "model", "parent": None, "max_model_len": self.context, **mark}
        data: list[dict[str, Any]] = [base]
        data += [{"id": name, "object": "model", "parent": MODEL} for name in self.adapters]
        return web.json_response({"object": "list", "data": data})

    async def _load(self, request: web.Request) -> web.Response:
        body = await request.json()
        if body["lora_name"] in self.adapters:
            return _error(400, "already loaded")
        self.adapters[body["lora_name"]] = body["lora_path"]
        return web.Response(text="Success")

    async def _unload(self, request: web.Request) -> web.Response:
        body = await request.json()
        if self.adapters.pop(body["lora_name"], None) is None:
            return _error(404, "not found")
        return web.Response(text="Success")

    async def _tokenize(self, request: web.Request) -> web.Response:
        self.counted += 1
        body = await request.json()
        if not self.counts:
            return _error(404, "Not Found")
        if not self.tokenizes:
            raise web.HTTPNotFound
        if "messages" in body:
            tokens = rendered(body["messages"], body.get("add_generation_prompt", True))
            tokens += json.dumps(body.get("tools") or "").split() if self.writes_tools else []
        else:
            tokens = body["prompt"].split()
        if not self.ends_turns:
            tokens = [token for token in tokens if token != "<end>" and token != "\n"]
        self._token_of |= {_id_of(token): token for token in tokens}
        ids = [_id_of(token) for token in tokens]
        return web.json_response({"count": len(ids), "max_model_len": self.context, "tokens": ids})

    async def _score(self, body: dict[str, Any]) -> web.Response:
        """A token is the less likely the longer it is."""
        if self.scores == "refuses":
            return _error(400, "prompt_logprobs are not available")
        self.scored.append(len(body["prompt"]))
        self.scoring += 1
        self.most_scoring = max(self.most_scoring, self.scoring)
        await asyncio.sleep(0.02)
        self.scoring -= 1
        choices = []
        for number, ids in enumerate(body["prompt"]):
            start = _id_of("<assistant>")
            said = set(ids[: ids.index(start)]) if self.hears and start in ids else set()
            told = [
                {str(id): {"logprob": (2.0 if id in said else 0.0) - len(self._token_of[id]), "rank": 1}} for id in ids
            ]
            of_prompt = [None, *told[1:]] if self.scores == "yes" else None
            choices.append({**_text(number, ".", "length"), "prompt_logprobs": of_prompt})
        return web.json_response({"id": _id("cmpl-"), "choices": choices[::-1], "usage": _usage(Script(), 1)})

    async def _generate(self, request: web.Request) -> web.StreamResponse:
        body = await request.json()
        name = body["model"]
        if name != MODEL and name not in self.adapters and self.brings and await asyncio.to_thread(self.brings, name):
            self.adapters[name] = "brought"
        if body["model"] != MODEL and body["model"] not in self.adapters:
            return _error(404, f"The model `{body['model']}` does not exist.", "model")
        self.priorities.append(body.get("priority", 0))
        if self.priorities[-1] and not self.by_priority:
            return _error(400, "Got priority 1 but Priority scheduling is not enabled.")
        if "prompt_logprobs" in body:
            return await self._score(body)
        if "temperature" in body and body.get("max_tokens") == 1 and not body.get("stream"):  # the registry's probe
            return self._whole(request, body, Script(tokens=["."]))
        self.requests.append(body)
        self.headers.append(dict(request.headers))
        script = self._scripts.popleft() if self._scripts else Script()
        used = len(rendered(body["messages"], True)) if "messages" in body else 0
        try:
            if script.page is not None:
                return web.Response(text=script.page, content_type="text/html", status=script.status)
            if script.status != 200:
                return _error(script.status, script.error, script.param)
            if used + (body.get("max_tokens") or 0) > self.context:
                told = f"This model's maximum context length is {self.context} tokens. However, your prompt contains"
                return _error(400, f"{told} {used} input tokens.", "input_tokens")
            if not body.get("stream"):
                await asyncio.sleep(3600 if script.hang else script.delay)
                if script.die_after is not None and request.transport is not None:
                    request.transport.abort()
                return self._whole(request, body, script)
            return await self._stream(request, body, script)
        except (asyncio.CancelledError, ConnectionError):
            self.aborted.set()
            raise

    def _whole(self, request: web.Request, body: dict[str, Any], script: Script) -> web.Response:
        sent = json.dumps(_ANSWERS[request.path](body, script), separators=(",", ":"), ensure_ascii=False).encode()
        sent = respelled(sent) if self.respells else sent
        self.sent.append(sent)
        return web.Response(body=sent, content_type="application/json")

    async def _stream(self, request: web.Request, body: dict[str, Any], script: Script) -> web.StreamResponse:
        response = web.StreamResponse(headers={"Content-Type": "text/event-stream"})
        await response.prepare(request)
        events = _STREAMS[request.path](body, script)
        events = list(map(respelled, events)) if self.respells else events
        n = body.get("n") or 1
        spoken = _HEADS[request.path] * n + len(script.tokens) * n  # events until all tokens are out
        sent = b""
        for number, event in enumerate(events):
            if script.ends == number:
                return response
            if script.die_after == number:
                assert request.transport is not None
                request.transport.abort()
                return response
            if script.hang and number == spoken:
                await asyncio.sleep(3600)
            sent += event
            if script.split is None:
                await response.write(event)
                await asyncio.sleep(script.delay)
        if script.split is not None:
            for start in range(0, len(sent), script.split):
                await response.write(sent[start : start + script.split])
                await asyncio.sleep(0)
        self.sent.append(sent)
        await response.write_eof()
        return response


def rendered(messages: list[dict[str, Any]], add_generation_prompt: bool) -> list[str]:
    """A conversation as this engine's chat template has it, in tokens: words, and what stands around a message."""
    tokens = [t for m in messages for t in (f"<{m['role']}>", *str(m.get("content") or "").split(), "<end>", "\n")]
    return [*tokens, "<assistant>"] if add_generation_prompt else tokens


def respelled(sent: bytes) -> bytes:
    """An answer, or an event of a stream, as a server may spell it that is not vLLM."""
    head, data = (b"", sent) if sent.startswith(b"{") else (sent[: sent.index(b"data: ")], sent.partition(b"data: ")[2])
    if data.startswith(b"[DONE]"):
        return b"data:[DONE]\n\n"
    said = json.dumps(json.loads(data), separators=(" , ", " : "), sort_keys=True).replace("-", "\\u002d").encode()
    if data is sent:
        return said
    lines = said.replace(b" , ", b" ,\ndata: ", 1)  # an event may have its data in several lines, and more after it
    return head.replace(b"event: ", b"event:") + b"data:" + lines + b"\nid: 1\n\n"


def _id_of(token: str) -> int:
    return zlib.crc32(token.encode())


def _id(prefix: str = "chatcmpl-") -> str:
    return f"{prefix}{uuid.uuid4().hex}"


def _chat(body: dict[str, Any], script: Script) -> dict[str, Any]:
    n = body.get("n") or 1
    nothing = dict.fromkeys(("refusal", "annotations", "audio", "function_call", "reasoning"))  # as vLLM has it
    message: dict[str, Any] = {"role": "assistant", "content": "".join(script.tokens), **nothing}
    if script.tool_calls:
        message |= {"content": None, "tool_calls": script.tool_calls}
    message = script.said or message
    said = [message, *({**message, "content": other} for other in script.others)]
    choices = [{"index": i, "message": said[i % len(said)], **_end(script)} for i in range(n)]
    answer = {"id": _id(), "object": "chat.completion", "created": 1, "model": body["model"], "choices": choices}
    return {**answer, "usage": _usage(script, n)}


def _chat_stream(body: dict[str, Any], script: Script) -> list[bytes]:
    n, head = body.get("n") or 1, {"id": _id(), "object": "chat.completion.chunk", "created": 1}
    head["model"] = body["model"]
    starts = [_choice(i, {"role": "assistant", "content": ""}) for i in range(n)]
    said: list[dict[str, Any]] = [{"content": token} for token in script.tokens]
    if script.said is not None:
        said = [{name: script.said[name]} for name in ("reasoning", "refusal", "content") if script.said.get(name)]
        said += [
            delta for number, call in enumerate(script.said.get("tool_calls") or ()) for delta in _call(number, call)
        ]
    texts = [_choice(i, delta) for delta in said for i in range(n)]
    return _chunks(
        head, [*starts, *texts], [{**_choice(i, {"content": ""}), **_end(script)} for i in range(n)], body, script
    )


def _call(number: int, call: dict[str, Any]) -> list[dict[str, Any]]:
    """A call of a tool as a stream has it: who is called, then with what, in two pieces."""
    name, arguments = call["function"]["name"], call["function"]["arguments"]
    head = {"index": number, "id": call["id"], "type": "function", "function": {"name": name, "arguments": ""}}
    pieces = [{"index": number, "function": {"arguments": one}} for one in (arguments[:3], arguments[3:])]
    return [{"tool_calls": [one]} for one in (head, *pieces)]


def _completion(body: dict[str, Any], script: Script) -> dict[str, Any]:
    n = body.get("n") or 1
    choices = [{**_text(i, "".join(script.tokens)), **_end(script)} for i in range(n)]
    answer = {"id": _id("cmpl-"), "object": "text_completion", "created": 1, "model": body["model"]}
    return {**answer, "choices": choices, "usage": _usage(script, n)}


def _completion_stream(body: dict[str, Any], script: Script) -> list[bytes]:
    n, head = body.get("n") or 1, {"id": _id("cmpl-"), "object": "text_completion", "created": 1}
    head["model"] = body["model"]
    texts = [_text(i, token) for token in script.tokens for i in range(n)]
    return _chunks(head, texts, [{**_text(i, ""), **_end(script)} for i in range(n)], body, script)


def _chunks(
    head: dict[str, Any],
    choices: list[dict[str, Any]],
    ends: list[dict[str, Any]],
    body: dict[str, Any],
    script: Script,
) -> list[bytes]:
    events = [_event({**head, "choices": [choice]}) for choice in choices]
    if script.error_event:
        events.append(_event({"error": {"message": "EngineCore died", "type": "InternalServerError", "code": 500}}))
    else:
        events += [_event({**head, "choices": [end]}) for end in ends]
        if (body.get("stream_options") or {}).get("include_usage"):
            events.append(_event({**head, "choices": [], "usage": _usage(script, len(ends))}))
    return [*events, b"data: [DONE]\n\n"]


def _response(body: dict[str, Any], script: Script) -> dict[str, Any]:
    part: dict[str, Any] = {"annotations": [], "text": "".join(script.tokens), "type": "output_text", "logprobs": None}
    message = {"id": _id("msg_"), "content": [part], "role": "assistant", "status": "completed", "type": "message"}
    usage = {
        "input_tokens": 7,
        "input_tokens_details": {"cached_tokens": 0},
        "output_tokens": len(script.tokens),
        "output_tokens_details": {"reasoning_tokens": 0},
        "total_tokens": 7 + len(script.tokens),
    }
    return {
        **_started_response(body),
        "output": [message] if script.said is None else script.said,
        "status": script.finish or "completed",
        "usage": usage,
    }


def _started_response(body: dict[str, Any]) -> dict[str, Any]:
    return {
        "id": _id("resp_"),
        "created_at": 1,
        "instructions": body.get("instructions"),
        "metadata": body.get("metadata"),
        "model": body["model"],
        "object": "response",
        "output": [],
        "parallel_tool_calls": True,
        "tool_choice": "auto",
        "tools": [],
        "status": "in_progress",
        "usage": None,
    }


def _response_stream(body: dict[str, Any], script: Script) -> list[bytes]:
    whole = _response(body, script)
    started = {**_started_response(body), "id": whole["id"]}
    if script.said is not None:
        done = [
            {"item": one, "output_index": number, "type": f"response.output_item.{when}"}
            for number, one in enumerate(whole["output"])
            for when in ("added", "done")
        ]
        told: list[dict[str, Any]] = [
            {"response": started, "type": "response.created"},
            *done,
            {"response": whole, "type": "response.completed"},
        ]
        return [_named({**event, "sequence_number": number}) for number, event in enumerate(told)]
    item = whole["output"][0]
    where = {"item_id": item["id"], "output_index": 0, "content_index": 0}
    empty = {"annotations": [], "text": "", "type": "output_text", "logprobs": []}
    events: list[dict[str, Any]] = [
        {"response": started, "type": "response.created"},
        {"item": {**item, "content": []}, "output_index": 0, "type": "response.output_item.added"},
        {**where, "part": empty, "type": "response.content_part.added"},
    ]
    events += [
        {**where, "delta": token, "logprobs": [], "type": "response.output_text.delta"} for token in script.tokens
    ]
    if script.error_event:
        events.append({"error": {"message": "EngineCore died", "type": "InternalServerError"}, "type": "error"})
    else:
        events.append({**where, "text": "".join(script.tokens), "logprobs": [], "type": "response.output_text.done"})
        events.append({"response": whole, "type": "response.completed"})
    return [_named({**event, "sequence_number": number}) for number, event in enumerate(events)]


def _message(body: dict[str, Any], script: Script) -> dict[str, Any]:
    return {
        "id": _id(),
        "type": "message",
        "role": "assistant",
        "content": [{"type": "text", "text": "".join(script.tokens)}] if script.said is None else script.said,
        "model": body["model"],
        "stop_reason": script.finish or "end_turn",
        "usage": {"input_tokens": 5, "output_tokens": len(script.tokens), "cache_read_input_tokens": 2},
    }


def _message_stream(body: dict[str, Any], script: Script) -> list[bytes]:
    usage = {"input_tokens": 5, "output_tokens": 0, "cache_read_input_tokens": 2}
    message = {**_message(body, script), "content": [], "stop_reason": None, "stop_sequence": None, "usage": usage}
    events: list[dict[str, Any]] = [{"type": "message_start", "message": message}]
    events += [
        {"type": "content_block_delta", "delta": {"type": "text_delta", "text": token}, "index": 0}
        for token in script.tokens
    ]
    events.insert(1, {"type": "content_block_start", "content_block": {"type": "text", "text": ""}, "index": 0})
    if script.said is not None:
        events = [events[0], *(event for number, block in enumerate(script.said) for event in _block(number, block))]
    if script.error_event:
        return [
            *(_named(event) for event in events),
            _named({"type": "error", "error": {"type": "internal_error", "message": "EngineCore died"}}),
        ]
    events.append({"type": "content_block_stop", "index": 0})
    told = {"input_tokens": 5, "output_tokens": len(script.tokens), "cache_read_input_tokens": 2}
    ended = {"stop_reason": script.finish or "end_turn", "stop_sequence": script.stop}
    events += [{"type": "message_delta", "delta": ended, "usage": told}, {"type": "message_stop"}]
    return [_named(event) for event in events]


def _block(number: int, block: dict[str, Any]) -> list[dict[str, Any]]:
    """A block of a message as a stream has it."""
    field, kind = {"text": ("text", "text"), "thinking": ("thinking", "thinking"), "tool_use": ("input", "input_json")}[
        block["type"]
    ]
    said = json.dumps(block[field]) if field == "input" else block[field]
    delta = {"type": f"{kind}_delta", "partial_json" if field == "input" else field: said}
    begun = {**block, field: {} if field == "input" else ""}
    return [
        {"type": "content_block_start", "content_block": begun, "index": number},
        {"type": "content_block_delta", "delta": delta, "index": number},
        {"type": "content_block_stop", "index": number},
    ]


_ANSWERS = {
    "/v1/chat/completions": _chat,
    "/v1/completions": _completion,
    "/v1/responses": _response,
    "/v1/messages": _message,
}
_STREAMS = {
    "/v1/chat/completions": _chat_stream,
    "/v1/completions": _completion_stream,
    "/v1/responses": _response_stream,
    "/v1/messages": _message_stream,
}


_HEADS = {"/v1/chat/completions": 1, "/v1/completions": 0, "/v1/responses": 3, "/v1/messages": 2}


def _named(event: dict[str, Any]) -> bytes:
    data = json.dumps(event, separators=(",", ":"), ensure_ascii=False)
    return f"event: {event['type']}\ndata: {data}\n\n".encode()


def _end(script: Script) -> dict[str, Any]:
    """Why a choice ended; vLLM says which stop sequence it was."""
    why = {"finish_reason": script.finish or "stop"}
    return why | {"stop_reason": script.stop} if script.stop else why


def _text(index: int, text: str, finish: str | None = None) -> dict[str, Any]:
    return {"index": index, "text": text, "logprobs": None, "finish_reason": finish}


def _choice(index: int, delta: dict[str, Any], finish: str | None = None) -> dict[str, Any]:
    return {"index": index, "delta": delta, "logprobs": None, "finish_reason": finish}


def _usage(script: Script, n: int) -> dict[str, int]:
    completion = n * len(script.tokens)
    return {"prompt_tokens": 7, "completion_tokens": completion, "total_tokens": 7 + completion}


def _event(data: dict[str, Any]) -> bytes:
    return b"data: " + json.dumps(data, separators=(",", ":")).encode() + b"\n\n"


def _error(status: int, message: str, param: str | None = None) -> web.Response:
    error = {"message": message, "type": "BadRequestError", "param": param, "code": status}
    return web.json_response({"error": error}, status=status)
