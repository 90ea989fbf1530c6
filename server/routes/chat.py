"""POST /v1/chat/completions."""

from fastapi import APIRouter, Request
from starlette.responses import Response

from server.chat import ChatRequest
from server.identity import Caller, user_of
from server.routes.requests import HeaderUser, ServicesOf, TenantOf
from server.stream import ClientGone, RelayResponse, until_disconnect

router = APIRouter(tags=["chat"])


@router.post("/chat/completions")
async def create_chat_completion(
    body: ChatRequest, request: Request, services: ServicesOf, tenant: TenantOf, header: HeaderUser
) -> Response:
    """OpenAI's chat completion, made personal. The `attune` object of the answer says how."""
    caller = Caller(tenant, user_of(header, body.model_dump(include={"safety_identifier", "user", "metadata"})))
    assistant = services.assistant
    if body.stream:
        return RelayResponse(await assistant.stream(caller, body))
    try:
        answer = await until_disconnect(request.receive, assistant.answer(caller, body))
    except ClientGone:
        return Response(status_code=499)  # nobody reads it
    return Response(answer, media_type="application/json")
