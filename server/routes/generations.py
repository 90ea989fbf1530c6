"""The engine's own routes, made personal: chat completions, completions, responses, messages."""

from fastapi import APIRouter, Request
from starlette.responses import Response

from server.chat import ChatRequest
from server.completions import CompletionRequest
from server.generation import GenerationRequest
from server.identity import Caller, user_of
from server.messages import MessagesRequest
from server.responses import ResponsesRequest
from server.routes.requests import HeaderUser, ServicesOf, TenantOf
from server.services import Services
from server.stream import ClientGone, RelayResponse, until_disconnect

router = APIRouter(tags=["generation"])


@router.post("/chat/completions")
async def create_chat_completion(
    body: ChatRequest, request: Request, services: ServicesOf, tenant: TenantOf, header: HeaderUser
) -> Response:
    """OpenAI's chat completion, made personal. The `attune` object of the answer says how."""
    return await _generate(body, request, services, tenant, header)


@router.post("/completions")
async def create_completion(
    body: CompletionRequest, request: Request, services: ServicesOf, tenant: TenantOf, header: HeaderUser
) -> Response:
    """OpenAI's legacy completion of one prompt, made personal: values and preferences stand before the prompt."""
    return await _generate(body, request, services, tenant, header)


@router.post("/responses")
async def create_response(
    body: ResponsesRequest, request: Request, services: ServicesOf, tenant: TenantOf, header: HeaderUser
) -> Response:
    """OpenAI's response, made personal. Nothing of it is kept for later calls: send the conversation whole."""
    return await _generate(body, request, services, tenant, header)


@router.post("/messages")
async def create_message(
    body: MessagesRequest, request: Request, services: ServicesOf, tenant: TenantOf, header: HeaderUser
) -> Response:
    """Anthropic's message, made personal. The user goes into `metadata.user_id`, or into the header X-User-Id."""
    return await _generate(body, request, services, tenant, header)


async def _generate(
    body: GenerationRequest, request: Request, services: Services, tenant: str, header: str | None
) -> Response:
    caller = Caller(tenant, user_of(header, body.model_dump(include={"safety_identifier", "user", "metadata"})))
    if body.stream:
        return RelayResponse(await services.assistant.stream(caller, body))
    try:
        answer = await until_disconnect(request.receive, services.assistant.answer(caller, body))
    except ClientGone:
        return Response(status_code=499)  # nobody reads it
    return Response(answer, media_type="application/json")
