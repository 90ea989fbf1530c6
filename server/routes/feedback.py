"""POST and GET /v1/feedback: edits of answers, and thumbs; durable before the reply, learned from afterwards."""

import asyncio
import hashlib
import time
from typing import Annotated, Any, Literal

from fastapi import APIRouter, Header, Path, Response
from pydantic import BaseModel, ConfigDict, Field
from sqlalchemy import Connection

from adapters import canary, serving, versions
from preference import feedback
from preference.errors import Invalid
from preference.feedback import Feedback
from preference.owner import Owner
from server.identity import user_of
from server.openapi import errors
from server.routes.requests import AskingOwner, HeaderUser, ServicesOf, TenantOf

router = APIRouter(tags=["feedback"])


class AboutAnswer(BaseModel):
    """Which answer feedback is about, and whose it is."""

    model_config = ConfigDict(extra="forbid", strict=True)

    completion_id: str = Field(
        min_length=1, max_length=128, description="The `id` of the answer.", examples=["chatcmpl-9f2c"]
    )
    choice: int = Field(default=0, ge=0, description="Which of the answer's choices.")
    user: str | None = None
    safety_identifier: str | None = None
    metadata: dict[str, str] | None = Field(default=None, max_length=16)


class EditRequest(AboutAnswer):
    """What the user made of an answer."""

    type: Literal["edit"]
    edited_text: str = Field(description="The text the user really sent.", examples=["Hi Ann, see you at 9. Bo"])


class ThumbsRequest(AboutAnswer):
    """Whether the user liked an answer."""

    type: Literal["thumbs"]
    thumb: feedback.UpOrDown = Field(description="The answer is right, or wrong.", examples=["up"])


FeedbackRequest = Annotated[EditRequest | ThumbsRequest, Field(discriminator="type")]


class DeletedFeedback(BaseModel):
    """The feedback is erased, with what was learned from it alone."""

    id: str = Field(examples=["fb-4c1d"])
    object: Literal["feedback.deleted"] = "feedback.deleted"
    deleted: Literal[True] = True
    retired: list[int] = Field(description="The adapter versions that had learned from it.", examples=[[3]])
    training: int | None = Field(description="The version that is trained without it.", examples=[4])


class FeedbackResponse(BaseModel):
    """Feedback, and what came of it."""

    id: str = Field(examples=["fb-4c1d"])
    object: Literal["feedback"] = "feedback"
    type: feedback.Type = Field(examples=["edit"])
    status: feedback.Status = Field(
        description="`pending` until it was learned from; thumbs teach no preferences.", examples=["learned"]
    )
    completion_id: str = Field(examples=["chatcmpl-9f2c"])
    choice: int = Field(examples=[0])
    cost: float | None = Field(
        description="Of an edit, the normalised word edit distance from draft to edited text: 0 is equal, 1 all new.",
        examples=[0.42],
    )
    thumb: feedback.UpOrDown | None = Field(description="Of thumbs.", examples=[None])
    learned: list[str] = Field(description="Ids of the preferences it taught or confirmed.", examples=[["pref-77a0"]])
    reason: str | None = Field(description="Why nothing was learned, or why it failed.", examples=[None])
    created_at: float = Field(description="Unix seconds.", examples=[1790000000.5])


@router.post("/feedback", status_code=202, responses=errors(404, 422))
async def create_feedback(
    body: FeedbackRequest,
    services: ServicesOf,
    tenant: TenantOf,
    header: HeaderUser,
    idempotency_key: Annotated[str | None, Header(description="Repeats with the same key count once.")] = None,
) -> FeedbackResponse:
    """Accept an edit or a thumb. It is stored, an edit with its learning job, before this returns.

    A newer edit of the same choice replaces the one before, a newer thumb the thumb before.
    """
    user = user_of(header, body.model_dump(include={"safety_identifier", "user", "metadata"}))
    if user is None:
        raise Invalid("Say whose feedback this is, in the header X-User-Id or as user.", param="user")
    limit = services.settings.edit_limit
    if isinstance(body, EditRequest) and len(body.edited_text) > limit:
        raise Invalid(f"edited_text may have {limit} characters at most.", param="edited_text")
    accepted, is_new = await services.database.write(
        _accept, Owner(tenant, user), body, idempotency_key, services.settings.adapter_min_edits
    )
    if is_new:
        services.metrics.accepted(tenant, accepted.cost)
    services.wake_worker()
    return _rendered(accepted)


@router.get("/feedback/{id}", responses=errors(404))
async def get_feedback(
    id: Annotated[str, Path(description="The `id` of the feedback.", examples=["fb-4c1d"])],
    services: ServicesOf,
    owner: AskingOwner,
) -> FeedbackResponse:
    """What came of it: pending, learned, nothing_learned, failed or replaced; and why."""
    return _rendered(await services.database.read(feedback.get, owner, id))


_DELETED: dict[int | str, dict[str, Any]] = {
    200: {"description": "Nothing is left of it."},
    202: {"model": DeletedFeedback, "description": "An adapter still answers, or the store is busy; the rest follows."},
}


@router.delete("/feedback/{id}", responses=_DELETED | errors(404))
async def delete_feedback(
    id: Annotated[str, Path(description="The `id` of the feedback.", examples=["fb-4c1d"])],
    services: ServicesOf,
    owner: AskingOwner,
    response: Response,
) -> DeletedFeedback:
    """Erase an edit with those of the same answer that it replaced: texts, contexts, what they alone have taught.

    Or a thumb with those that it replaced. Adapters that learned from it serve no more, and one is trained without it
    while enough edits are left. What the app asked and was answered stays in its turn.
    """
    erased = await services.database.write(serving.erase_feedback, owner, id, services.settings.policy)
    opaque_id = erased.user.opaque_id
    if erased.stopped:
        await services.training.stop(opaque_id)
    for version in erased.stopped:
        await asyncio.to_thread(services.directories.clear_stage, opaque_id, version)
    complete = await services.erasures.within_patience(services.follow(erased.user))
    if not await services.erasures.scrub() or not complete:
        response.status_code = 202
    services.wake_worker()
    return DeletedFeedback(id=id, retired=erased.dropped, training=erased.queued)


def _accept(
    c: Connection, owner: Owner, body: FeedbackRequest, key: str | None, min_edits: int
) -> tuple[Feedback, bool]:
    began = time.time()
    accepted = feedback.accept(
        c,
        owner,
        completion_id=body.completion_id,
        edited_text=body.edited_text if isinstance(body, EditRequest) else None,
        thumb=body.thumb if isinstance(body, ThumbsRequest) else None,
        choice=body.choice,
        idempotency_key=key,
        body_sha256=hashlib.sha256(body.model_dump_json().encode()).hexdigest(),
    )
    if accepted.type == "edit":
        versions.queue_if_due(c, owner, min_edits)
        canary.notice(c, owner)
    return accepted, accepted.created_at >= began  # an older one was found by its Idempotency-Key


def _rendered(held: Feedback) -> FeedbackResponse:
    return FeedbackResponse.model_validate(held, from_attributes=True)
