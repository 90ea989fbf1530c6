"""POST and GET /v1/feedback: edits of answers, durable before the reply, learned from afterwards."""

import hashlib
from typing import Annotated, Any, Literal

from fastapi import APIRouter, Header
from pydantic import BaseModel, ConfigDict, Field
from sqlalchemy import Connection

from adapters import versions
from preference import feedback
from preference.errors import Invalid
from preference.feedback import Feedback
from preference.owner import Owner
from server.identity import user_of
from server.routes.requests import AskingOwner, HeaderUser, ServicesOf, TenantOf

router = APIRouter(tags=["feedback"])


class FeedbackRequest(BaseModel):
    """What the user made of an answer."""

    model_config = ConfigDict(extra="forbid", strict=True)

    type: Literal["edit"] = Field(description="Only edits so far.")
    completion_id: str = Field(min_length=1, max_length=128, description="The `id` of the answer.")
    edited_text: str = Field(description="The text the user really sent.")
    choice: int = Field(default=0, ge=0, description="Which of the answer's choices.")
    user: str | None = None
    safety_identifier: str | None = None
    metadata: dict[str, str] | None = Field(default=None, max_length=16)


@router.post("/feedback", status_code=202)
async def create_feedback(
    body: FeedbackRequest,
    services: ServicesOf,
    tenant: TenantOf,
    header: HeaderUser,
    idempotency_key: Annotated[str | None, Header(description="Repeats with the same key count once.")] = None,
) -> dict[str, Any]:
    """Accept an edit. It is stored, with its learning job, before this returns."""
    user = user_of(header, body.model_dump(include={"safety_identifier", "user", "metadata"}))
    if user is None:
        raise Invalid("Say whose feedback this is, in the header X-User-Id or as user.", param="user")
    limit = services.settings.edit_limit
    if len(body.edited_text) > limit:
        raise Invalid(f"edited_text may have {limit} characters at most.", param="edited_text")
    accepted = await services.database.write(
        _accept, Owner(tenant, user), body, idempotency_key, services.settings.adapter_min_edits
    )
    services.wake_worker()
    return _rendered(accepted)


@router.get("/feedback/{id}")
async def get_feedback(id: str, services: ServicesOf, owner: AskingOwner) -> dict[str, Any]:
    """What came of it: pending, learned, nothing_learned, failed or replaced; and why."""
    return _rendered(await services.database.read(feedback.get, owner, id))


def _accept(c: Connection, owner: Owner, body: FeedbackRequest, key: str | None, min_edits: int) -> Feedback:
    accepted = feedback.accept(
        c,
        owner,
        completion_id=body.completion_id,
        edited_text=body.edited_text,
        choice=body.choice,
        idempotency_key=key,
        body_sha256=hashlib.sha256(body.model_dump_json().encode()).hexdigest(),
    )
    versions.queue_if_due(c, owner, min_edits)
    return accepted


def _rendered(held: Feedback) -> dict[str, Any]:
    return {
        "id": held.id,
        "object": "feedback",
        "type": held.type,
        "status": held.status,
        "completion_id": held.completion_id,
        "choice": held.choice,
        "cost": held.cost,
        "learned": list(held.learned),
        "reason": held.reason,
        "created_at": held.created_at,
    }
