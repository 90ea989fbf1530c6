"""The engine's own routes, made personal: chat completions, completions, responses, messages."""

from typing import Any

from fastapi import APIRouter, Request
from pydantic import BaseModel, ConfigDict, Field
from starlette.responses import Response

from server.admission.identity import Caller, user_of
from server.answering.stream import ClientGone, RelayResponse, until_disconnect
from server.dialects import app_headers
from server.dialects.chat import ChatRequest
from server.dialects.completions import CompletionRequest
from server.dialects.generation import GenerationRequest
from server.dialects.messages import CountTokensRequest, MessagesRequest
from server.dialects.responses import ResponsesRequest
from server.http.openapi import errors
from server.routes.direct import DirectRoute
from server.routes.requests import HeaderUser, ServicesOf, TenantOf
from server.services import Services
from store.values import Value

router = APIRouter(tags=["generation"], responses=errors(404), route_class=DirectRoute)


class RecalledPreference(BaseModel):
    """A preference that was applied."""

    id: str = Field(examples=["pref-77a0"])
    text: str = Field(examples=["Sign with 'Bo'"])
    score: float = Field(description="Cosine of its most alike context; 1.0 where it always applies.", examples=[0.83])


class Personalization(BaseModel):
    """How an answer was made personal."""

    values: list[Value]
    preferences: list[RecalledPreference] = Field(description="In the order of the prompt.")
    adapter_version: int = Field(description="0 is the base model.", examples=[0])
    personalized: str = Field(
        description="`none`, `retrieval`, `adapter` or `retrieval+adapter`: what was applied.", examples=["retrieval"]
    )


class Generated(BaseModel):
    """The engine's answer as it is, with one more member."""

    model_config = ConfigDict(extra="allow")

    id: str = Field(description="The handle for feedback.", examples=["chatcmpl-9f2c"])
    model: str = Field(examples=["attune-tiny"])
    attune: Personalization


_EVENT = {
    "type": "object",
    "properties": {
        "data": {"type": "string", "description": "JSON, or `[DONE]`.", "examples": ['{"id":"chatcmpl-9f2c"}']},
        "event": {"type": "string"},
    },
    "required": ["data"],
}
"""One server-sent event, as OpenAPI 3.2 describes streams."""


def _examples(**request: Any) -> dict[str, Any]:
    """What the document says of a generation's request and of its two kinds of answer."""
    asked = {"model": "attune-tiny", **request, "attune": {"personalize": "auto"}}
    return {
        "openapi_extra": {
            "requestBody": {"content": {"application/json": {"example": asked}}},
            "parameters": app_headers.PARAMETERS,
        },
        "responses": {
            200: {
                "model": Generated,
                "description": "The answer; with `stream: true` server-sent events, of which the last that carries "
                "data has the `attune` object. An answer that fails on its way ends in an event with an `error`.",
                "content": {"text/event-stream": {"itemSchema": _EVENT}},
            }
        },
    }


@router.post(
    "/chat/completions", **_examples(messages=[{"role": "user", "content": "Write an email to Ann"}], user="bo")
)
async def create_chat_completion(
    body: ChatRequest, request: Request, services: ServicesOf, tenant: TenantOf, header: HeaderUser
) -> Response:
    """OpenAI's chat completion, made personal. The `attune` object of the answer says how."""
    return await _generate(body, request, services, tenant, header)


@router.post("/completions", **_examples(prompt="Dear Ann,", max_tokens=64, user="bo"))
async def create_completion(
    body: CompletionRequest, request: Request, services: ServicesOf, tenant: TenantOf, header: HeaderUser
) -> Response:
    """OpenAI's legacy completion of one prompt, made personal: values and preferences stand before the prompt."""
    return await _generate(body, request, services, tenant, header)


@router.post("/responses", **_examples(input="Write an email to Ann", user="bo"))
async def create_response(
    body: ResponsesRequest, request: Request, services: ServicesOf, tenant: TenantOf, header: HeaderUser
) -> Response:
    """OpenAI's response, made personal. Nothing of it is kept for later calls: send the conversation whole."""
    return await _generate(body, request, services, tenant, header)


@router.post(
    "/messages",
    **_examples(
        max_tokens=256, messages=[{"role": "user", "content": "Write an email to Ann"}], metadata={"user_id": "bo"}
    ),
)
async def create_message(
    body: MessagesRequest, request: Request, services: ServicesOf, tenant: TenantOf, header: HeaderUser
) -> Response:
    """Anthropic's message, made personal. The user goes into `metadata.user_id`, or into the header X-User-Id."""
    return await _generate(body, request, services, tenant, header)


class TokenCount(BaseModel):
    """Anthropic's count."""

    input_tokens: int = Field(examples=[42])


_COUNTED = _examples(messages=[{"role": "user", "content": "Write an email to Ann"}])
_COUNTED["responses"] = {200: {"model": TokenCount, "description": "The tokens of the prompt, as made personal."}}


@router.post("/messages/count_tokens", **_COUNTED)
async def count_tokens(
    body: CountTokensRequest, request: Request, services: ServicesOf, tenant: TenantOf, header: HeaderUser
) -> Response:
    """Anthropic's count of a message's tokens, with what would be added for the user; nothing is stored."""
    count = await services.assistant.count_tokens(_caller(body, request, tenant, header), body)
    return Response(TokenCount(input_tokens=count).model_dump_json(), media_type="application/json")


def _caller(body: GenerationRequest, request: Request, tenant: str, header: str | None) -> Caller:
    named = user_of(header, body.model_dump(include={"safety_identifier", "user", "metadata"}))
    return Caller(tenant, named, request.state.caller)


async def _generate(
    body: GenerationRequest, request: Request, services: Services, tenant: str, header: str | None
) -> Response:
    caller = _caller(body, request, tenant, header)
    if body.stream:
        return RelayResponse(await services.assistant.stream(caller, body))
    try:
        answer = await until_disconnect(request.receive, services.assistant.answer(caller, body))
    except ClientGone:
        return Response(status_code=499)  # nobody reads it
    return Response(answer, media_type="application/json")
