"""The routes that take a body for the engine, and what may be said where. To add a route: one more ``Route``."""

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

import pytest

from server.dialects.chat import ChatRequest
from server.dialects.completions import CompletionRequest
from server.dialects.generation import GenerationRequest
from server.dialects.messages import MessagesRequest
from server.dialects.responses import ResponsesRequest
from tests.server.fake_engine import MODEL

Body = dict[str, Any]
URL = "http://169.254.169.254/latest/meta-data"
SAMPLING = {"temperature": 0.5, "top_p": 0.9}
PENALTIES = {"presence_penalty": 0.1, "frequency_penalty": 0.1}
FUNCTION = {"name": "f", "description": "A function.", "parameters": {"type": "object", "properties": {}}}


def messages(content: Any) -> Body:
    return {"messages": [{"role": "user", "content": content}]}


@dataclass(frozen=True)
class Route:
    """One route: a body that fills every field, and where the things that need bounds are said."""

    request: type[GenerationRequest]
    engine_model: tuple[str, str]
    """File and class of the engine's own request model."""
    forwarded: frozenset[str]
    """The frozen list. A field is added to it only when somebody has thought about what it can do to others."""
    full: Body
    content: Callable[[Any], Body]
    """The fields that carry a user's content."""
    parts: list[Body]
    """Content parts that are, or hide, something other than text."""
    numbers: dict[str, list[Any]]
    """Fields with bounds, and values beyond them."""
    stop: str | None = None
    schema: Callable[[Any], tuple[Body, str]] | None = None
    tools: Callable[[str, Any], Body] | None = None
    chooses: Callable[[str], Body] | None = None
    calls: Callable[[str], Body] | None = None
    unlike_engine: frozenset[str] = field(default_factory=frozenset)
    """Fields of the engine's model that we accept and never forward."""

    @property
    def path(self) -> str:
        return self.request.path

    def body(self, **changes: Any) -> Body:
        needed = {"max_tokens": 9} if self.request is MessagesRequest else {}
        return {"model": MODEL, **needed, **self.content("Hi"), **changes}


OPENAI_NUMBERS: dict[str, list[Any]] = {
    "n": [5, 16_384, 10**9, 0, -1, True, "2", 1.5],
    "temperature": [-1, 2.1, 1e309, "1"],
    "top_p": [0, 1.1],
    "top_k": [2**31, -2],
    "min_p": [-0.1, 1.1],
    "presence_penalty": [3, -3],
    "frequency_penalty": [3, -3],
    "repetition_penalty": [0, -1, 1e9],
    "seed": [2**63, -(2**63) - 1],
    "max_tokens": [0, -1],
    "logit_bias": [
        {str(token): 1.0 for token in range(1025)},
        {"-1": 1.0},
        {"1e9": 1.0},
        {"9" * 30: 1.0},
        {"x": 1.0},
        {"1": 1e9},
        {"1": "1"},
        [[1, 1]],
    ],
}


CHAT_PARTS: list[Body] = [
    {"type": "image_url", "image_url": {"url": URL}},
    {"type": "image_url", "image_url": {"url": "file:///etc/passwd"}},
    {"type": "image_url", "image_url": {"url": "data:image/png;base64,AAAA"}},
    {"type": "image_embeds", "image_embeds": "AAAA"},
    {"type": "image_pil", "image_pil": "AAAA"},
    {"type": "input_image", "image_url": URL},
    {"type": "audio_url", "audio_url": {"url": URL}},
    {"type": "audio_embeds", "audio_embeds": "AAAA"},
    {"type": "input_audio", "input_audio": {"data": "AAAA", "format": "wav"}},
    {"type": "video_url", "video_url": {"url": URL}},
    {"type": "file", "file": {"file_id": "1"}},
    {"type": "input_file", "file_url": URL},
    {"type": "prompt_embeds", "data": "AAAA"},
    {"type": "tool_reference", "name": "f"},
    {"type": "video", "video": URL},
    {"type": "IMAGE_URL", "image_url": {"url": URL}},
    {"type": "text", "text": "Hi", "image_url": {"url": URL}},
    {"type": "text", "text": "Hi", "uuid": "1"},
    {"type": "text", "image_url": {"url": URL}},
    *(
        {"type": "refusal", "refusal": "x", "uuid": "1", field: URL}
        for field in ("image_url", "audio_url", "video_url", "image_embeds", "audio_embeds", "prompt_embeds")
    ),
    {"type": "refusal", "refusal": "x", "uuid": "1"},
    {"type": "refusal", "text": "x"},
    {"type": "refusal", "refusal": None},
    {"type": ["text"], "text": "Hi"},
    {"image_url": {"url": URL}},
    {"url": URL},
]


CHAT = Route(
    request=ChatRequest,
    engine_model=("openai/chat_completion/protocol.py", "ChatCompletionRequest"),
    forwarded=frozenset(
        """model messages stream stream_options n max_tokens max_completion_tokens temperature top_p top_k min_p
        presence_penalty frequency_penalty repetition_penalty seed stop logit_bias logprobs top_logprobs
        response_format tools tool_choice parallel_tool_calls reasoning_effort cache_salt""".split()
    ),
    full={
        **SAMPLING,
        **PENALTIES,
        "stream": True,
        "stream_options": {"include_usage": True},
        "n": 2,
        "max_tokens": 9,
        "max_completion_tokens": 9,
        "top_k": 3,
        "min_p": 0.1,
        "repetition_penalty": 1.1,
        "seed": 1,
        "stop": ["x"],
        "logit_bias": {"1": -1.0},
        "logprobs": True,
        "top_logprobs": 3,
        "response_format": {"type": "json_object"},
        "tools": [{"type": "function", "function": FUNCTION}],
        "tool_choice": "auto",
        "parallel_tool_calls": False,
        "reasoning_effort": "low",
    },
    content=messages,
    parts=CHAT_PARTS,
    numbers={
        **OPENAI_NUMBERS,
        "top_logprobs": [6, -1, 10**9],
        "max_completion_tokens": [0],
        "reasoning_effort": ["<|im_start|>system", ""],
        "messages": [[], [{"role": "user", "content": "x"}] * 501],
    },
    stop="stop",
    schema=lambda schema: (
        {"response_format": {"type": "json_schema", "json_schema": {"name": "a", "schema": schema}}},
        "response_format",
    ),
    tools=lambda name, schema: {"tools": [{"type": "function", "function": {"name": name, "parameters": schema}}]},
    chooses=lambda name: {"tool_choice": {"type": "function", "function": {"name": name}}},
    calls=lambda name: {
        "messages": [
            {"role": "user", "content": "Hi"},
            {"role": "assistant", "tool_calls": [{"id": "1", "type": "function", "function": {"name": name}}]},
        ]
    },
)


COMPLETIONS = Route(
    request=CompletionRequest,
    engine_model=("openai/completion/protocol.py", "CompletionRequest"),
    forwarded=frozenset(
        """model prompt stream stream_options n max_tokens temperature top_p top_k min_p presence_penalty
        frequency_penalty repetition_penalty seed stop logit_bias logprobs echo response_format cache_salt""".split()
    ),
    full={
        **{key: value for key, value in CHAT.full.items() if key in OPENAI_NUMBERS},
        "stream": True,
        "stream_options": {"include_usage": True},
        "stop": ["x"],
        "logprobs": 3,
        "echo": False,
        "response_format": {"type": "json_object"},
    },
    content=lambda content: {"prompt": content},
    parts=[*CHAT_PARTS, {"prompt_embeds": "AAAA"}],
    numbers={
        **OPENAI_NUMBERS,
        "logprobs": [6, -1, 10**9, True],
        "prompt": [[1, 2, 3], [[1], [2]], ["a"] * 1000, None, b"AAAA".decode().split("A")],
        "echo": [True],
    },
    stop="stop",
    schema=CHAT.schema,
)


RESPONSES = Route(
    request=ResponsesRequest,
    engine_model=("openai/responses/protocol.py", "ResponsesRequest"),
    forwarded=frozenset(
        """model input instructions stream max_output_tokens max_tool_calls temperature top_p presence_penalty
        frequency_penalty top_logprobs include text reasoning
        tools tool_choice parallel_tool_calls truncation store cache_salt""".split()
    ),
    full={
        **SAMPLING,
        **PENALTIES,
        "stream": True,
        "instructions": "Be kind.",
        "max_output_tokens": 9,
        "max_tool_calls": 3,
        "top_logprobs": 3,
        "include": ["message.output_text.logprobs"],
        "text": {"format": {"type": "text"}},
        "reasoning": {"effort": "low"},
        "tools": [{"type": "function", **FUNCTION}],
        "tool_choice": "auto",
        "parallel_tool_calls": True,
        "truncation": "disabled",
        "metadata": {"a": "b"},
    },
    content=lambda content: {
        "input": content if isinstance(content, str) else [{"type": "message", "role": "user", "content": content}]
    },
    parts=[
        *CHAT_PARTS,
        {"type": "input_image", "file_id": "1"},
        {"type": "input_text", "text": "Hi", "image_url": URL},
        {"type": "computer_screenshot", "image_url": URL},
    ],
    numbers={
        "temperature": [-1, 2.1],
        "top_p": [0, 1.1],
        "presence_penalty": [3],
        "frequency_penalty": [3],
        "max_output_tokens": [0],
        "top_logprobs": [6, 10**9],
        "max_tool_calls": [0],
        "include": [["file_search_call.results"], ["message.input_image.image_url"]],
        "reasoning": [{"effort": "<|im_start|>"}],
        "tools": [
            [{"type": "mcp", "server_url": URL}],
            [{"type": "web_search"}],
            [{"type": "code_interpreter", "container": "x"}],
            [{"type": "custom", "name": "f", "format": {"type": "grammar", "definition": "x"}}],
        ],
        "input": [[], [{"role": "user", "content": "x"}] * 501, [{"type": "item_reference", "id": "resp_1"}]],
        "metadata": [{str(key): "x" for key in range(17)}],
    },
    schema=lambda schema: ({"text": {"format": {"type": "json_schema", "name": "a", "schema": schema}}}, "text.format"),
    tools=lambda name, schema: {"tools": [{"type": "function", "name": name, "parameters": schema}]},
    chooses=lambda name: {"tool_choice": {"type": "function", "name": name}},
    calls=lambda name: {
        "input": [
            {"role": "user", "content": "Hi"},
            {"type": "function_call", "call_id": "1", "name": name, "arguments": "{}"},
        ]
    },
    unlike_engine=frozenset({"user", "service_tier", "prompt_cache_key"}),
)


MESSAGES = Route(
    request=MessagesRequest,
    engine_model=("anthropic/protocol.py", "AnthropicMessagesRequest"),
    forwarded=frozenset(
        """model messages max_tokens system stream temperature top_k top_p stop_sequences tools tool_choice thinking
        output_config cache_salt""".split()
    ),
    full={
        **SAMPLING,
        "stream": True,
        "max_tokens": 9,
        "system": "Be kind.",
        "top_k": 3,
        "stop_sequences": ["x"],
        "tools": [{"name": "f", "input_schema": {"type": "object"}}],
        "tool_choice": {"type": "auto"},
        "thinking": {"type": "disabled"},
        "output_config": {"effort": "low"},
    },
    content=messages,
    parts=[
        *CHAT_PARTS,
        {"type": "image", "source": {"type": "url", "url": URL}},
        {"type": "image", "source": {"type": "base64", "media_type": "image/png", "data": "AAAA"}},
        {"type": "document", "source": {"type": "url", "url": URL}},
        {"type": "tool_result", "tool_use_id": "1", "content": [{"type": "image", "source": {"url": URL}}]},
        {"type": "tool_result", "tool_use_id": "1", "content": [{"type": "text", "text": "x", "image_url": URL}]},
        {"type": "server_tool_use", "id": "1", "name": "web_search"},
    ],
    numbers={
        "temperature": [-1, 2.1],
        "top_p": [0, 1.1],
        "top_k": [2**31],
        "max_tokens": [0, -1, None],
        "messages": [[], [{"role": "user", "content": "x"}] * 501, [{"role": "system", "content": "x"}]],
        "tools": [[{"type": "web_search_20250305", "name": "web_search"}], [{"type": "bash_20250124", "name": "bash"}]],
        "system": [[{"type": "image", "source": {"type": "url", "url": URL}}]],
    },
    stop="stop_sequences",
    schema=lambda schema: (
        {"output_config": {"format": {"type": "json_schema", "schema": schema}}},
        "output_config.format",
    ),
    tools=lambda name, schema: {"tools": [{"name": name, "input_schema": schema}]},
    chooses=lambda name: {"tool_choice": {"type": "tool", "name": name}},
    calls=lambda name: {
        "messages": [
            {"role": "user", "content": "Hi"},
            {"role": "assistant", "content": [{"type": "tool_use", "id": "1", "name": name, "input": {}}]},
        ]
    },
    unlike_engine=frozenset({"metadata"}),
)
ROUTES = [CHAT, COMPLETIONS, RESPONSES, MESSAGES]
every = pytest.mark.parametrize("route", ROUTES, ids=lambda route: route.path)
FORBIDDEN: dict[str, Any] = {
    "chat_template": "{% for i in range(10**9) %}x{% endfor %}",
    "chat_template_kwargs": {"tokenize": True},
    "prompt_embeds": "AAAA",
    "prompt_token_ids": [1],
    "cache_salt": "another tenant's",
    "lora_request": {"lora_name": "x", "lora_path": "/x"},
    "lora_name": "x",
    "lora_path": "/x",
    "adapter_name": "x",
    "structured_outputs": {"regex": "(a+)+b"},
    "guided_regex": "(a+)+b",
    "guided_json": {},
    "guided_grammar": "root ::= root",
    "guided_choice": ["a"],
    "guided_decoding_backend": "outlines",
    "priority": -1,
    "vllm_xargs": {"a": 1},
    "kv_transfer_params": {"remote_host": "169.254.169.254"},
    "ec_transfer_params": {"remote_host": "169.254.169.254"},
    "mm_processor_kwargs": {"num_crops": 10**9},
    "media_io_kwargs": {"video": {"num_frames": -1}},
    "request_id": "somebody else's",
    "session_id": "somebody else's",
    "best_of": 100,
    "use_beam_search": True,
    "length_penalty": 1e9,
    "prompt_logprobs": 1,
    "logprob_token_ids": [1],
    "add_special_tokens": True,
    "skip_special_tokens": False,
    "spaces_between_special_tokens": False,
    "add_generation_prompt": False,
    "continue_final_message": True,
    "stop_token_ids": [1],
    "bad_words": ["a"],
    "allowed_token_ids": [10**9],
    "ignore_eos": True,
    "min_tokens": 10**9,
    "include_stop_str_in_output": True,
    "truncate_prompt_tokens": 1,
    "documents": [{"text": "x"}],
    "logits_processors": ["os.system"],
    "return_token_ids": True,
    "return_prompt_text": True,
    "return_tokens_as_token_ids": True,
    "previous_response_id": "resp_1",
    "conversation": "conv_1",
    "background": True,
    "functions": [FUNCTION],
    "function_call": "auto",
    "audio": {"voice": "x"},
    "modalities": ["audio"],
    "suffix": "x",
    "web_search_options": {},
    "mcp_servers": [{"url": URL}],
    "container": "x",
    "extra_body": {"chat_template": "x"},
}
TRICKS = ["", "f g", "f\n", "<|im_start|>system", "[TOOL_CALLS]", "{{ x }}", "f" * 129, "é", "f\u200b", "</tools>"]


def nested(depth: int) -> Body:
    schema: Body = {"type": "string"}
    for _ in range(depth):
        schema = {"type": "object", "properties": {"a": schema}}
    return schema
