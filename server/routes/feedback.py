"""POST and GET /v1/feedback, of every kind: durable before the reply, learned from afterwards."""

import asyncio
import hashlib
import time
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import replace
from typing import Annotated, Any, Literal

from fastapi import APIRouter, Body, Header, Path, Query, Request, Response
from pydantic import BaseModel, Field
from sqlalchemy import Connection

from adapters import intake
from preference.distance import normalised_distance
from preference.feedback import feedback, given, opinions
from preference.feedback.feedback import Feedback
from preference.learning.findings import Verdict
from server.admission.identity import user_of
from server.given import EXAMPLES, EditRequest, FeedbackRequest
from server.http import paging
from server.http.openapi import errors
from server.routes.requests import AskingOwner, HeaderUser, KeepsMore, PathOwner, ServicesOf, TenantOf, known
from store import turns
from store.errors import Conflict, Invalid, NotFound
from store.feedback_kinds import Type
from store.owner import Owner

router = APIRouter(tags=["feedback"])


class DeletedFeedback(BaseModel):
    """The feedback is erased, with what was learned from it alone."""

    id: str = Field(examples=["fb-4c1d"])
    object: Literal["feedback.deleted"] = "feedback.deleted"
    deleted: Literal[True] = True
    retired: list[int] = Field(description="The adapter versions that had learned from it.", examples=[[3]])
    training: int | None = Field(description="The version that is trained without it.", examples=[4])


class CandidateResponse(BaseModel):
    """Something that an edit might show."""

    text: str = Field(examples=["Sign with 'Bo'"])
    verdict: Verdict = Field(
        description="`learned`, `refused`; of a preference that the draft was made with: `confirmed`, `contradicted`.",
        examples=["learned"],
    )
    reason: str = Field(examples=["it makes the edit likelier"])
    lift: float | None = Field(
        description="By how many nats it makes the edit likelier than the draft, beyond unrelated wishes; of a "
        "preference that the draft was made with, than without it. None where it was counted.",
        examples=[5.6],
    )


class RankedAnswer(BaseModel):
    """An answer in a ranking."""

    completion_id: str = Field(examples=["chatcmpl-9f2c"])
    choice: int = Field(examples=[0])


class FeedbackResponse(BaseModel):
    """Feedback, and what came of it. What another kind has is null."""

    id: str = Field(examples=["fb-4c1d"])
    object: Literal["feedback"] = "feedback"
    type: Type = Field(examples=["edit"])
    status: feedback.Status = Field(
        description="`pending` until it was learned from; edits, demonstrations and comments teach preferences.",
        examples=["learned"],
    )
    source: given.Source = Field(
        description="Who says it; `history`: the server found it in a conversation that came back.", examples=["user"]
    )
    weight: float = Field(examples=[1.0])
    tags: list[str] = Field(examples=[[]])
    metadata: dict[str, str] | None = Field(examples=[None])
    completion_id: str = Field(
        description="The answer's; of a ranking its best; of a demonstration that of the turn it made.",
        examples=["chatcmpl-9f2c"],
    )
    choice: int = Field(examples=[0])
    cost: float | None = Field(
        description="Of an edit, the normalised word edit distance from draft to edited text: 0 is equal, 1 all new.",
        examples=[0.42],
    )
    thumb: given.UpOrDown | None = Field(description="Of thumbs.", examples=[None])
    comment: str | None = Field(default=None, description="Of a comment.", examples=[None])
    rating: int | None = Field(default=None, description="Of a rating.", examples=[None])
    scale: given.Scale | None = Field(default=None, description="Of a rating.", examples=[None])
    aspect: str | None = Field(default=None, description="Of a rating.", examples=[None])
    ranking: list[RankedAnswer] | None = Field(default=None, description="Of a ranking, best first.", examples=[None])
    signal: given.Signal | None = Field(default=None, description="Of a signal.", examples=[None])
    name: str | None = Field(default=None, description="Of an outcome.", examples=[None])
    value: float | None = Field(default=None, description="Of an outcome.", examples=[None])
    adjusted: float | None = Field(
        default=None,
        description="Of an outcome, once it weighs: by how many standard deviations it is better than what else "
        "explains it.",
        examples=[None],
    )
    learned: list[str] = Field(description="Ids of the preferences it taught or confirmed.", examples=[["pref-77a0"]])
    reason: str | None = Field(description="Why nothing was learned, or why it failed.", examples=[None])
    candidates: list[CandidateResponse] = Field(
        description="Of what was learned from: what it might show, and what became of each."
    )
    created_at: float = Field(description="Unix seconds.", examples=[1790000000.5])


class FeedbackWithText(FeedbackResponse):
    """Feedback with the text that it gave."""

    edited_text: str | None = Field(description="Of an edit.", examples=["Hi Ann, see you at 9. Bo"])


@router.post("/feedback", status_code=202, dependencies=[KeepsMore], responses=errors(404, 409, 422, 429))
async def create_feedback(
    body: Annotated[FeedbackRequest, Body(discriminator="type", openapi_examples=EXAMPLES)],
    request: Request,
    services: ServicesOf,
    tenant: TenantOf,
    header: HeaderUser,
    idempotency_key: Annotated[str | None, Header(description="Repeats with the same key count once.")] = None,
) -> FeedbackResponse:
    """Accept feedback. It is stored, with its learning job where it has one, before this returns.

    Newer feedback of a type about the same choice replaces the one before; ratings of several aspects, different
    comments, signals and outcomes of several names stand beside each other.
    """
    user = user_of(header, body.model_dump(include={"safety_identifier", "user", "metadata"}))
    if user is None:
        raise Invalid("Say whose feedback this is, in the header X-User-Id or as user.", param="user")
    body.check(services.settings)
    held = body.given()
    if held.type in ("signal", "outcome"):
        services.signal_rate.spend(request.state.key)
    owner, cost = Owner(tenant, user), None
    was_under_way = any(services.assistant.is_under_way(owner, id) for id in body.about)
    if isinstance(body, EditRequest):
        draft = await services.database.read(feedback.draft, owner, body.completion_id, body.choice)
        cost = None if draft is None else await asyncio.to_thread(normalised_distance, draft, body.edited_text)
    digest = hashlib.sha256(body.digested.encode()).hexdigest()
    try:
        accepted, is_new = await services.database.write(
            _accept, owner, replace(held, cost=cost), idempotency_key, digest, services.settings.adapter_min_edits
        )
    except NotFound as error:
        if was_under_way or any(services.assistant.is_under_way(owner, id) for id in body.about):
            raise Conflict(
                "This answer is still being streamed; send it again after its end.", param=error.param
            ) from None
        raise
    if is_new:
        services.metrics.accepted(tenant, accepted.type, accepted.cost)
    if accepted.status == "pending":
        services.wake_worker()
    return _rendered(accepted)


@router.get("/feedback")
async def list_feedback(
    services: ServicesOf,
    owner: AskingOwner,
    limit: paging.Limit = 20,
    cursor: paging.After = None,
    type: Annotated[Type | None, Query(description="Only of this type.")] = None,
    status: Annotated[feedback.Status | None, Query(description="Only what stands so.")] = None,
    completion_id: Annotated[
        str | None, Query(max_length=128, description="Only on this answer, by its id or the app's own.")
    ] = None,
    source: Annotated[given.Source | None, Query(description="Only what these say.")] = None,
    created_after: paging.Since = None,
    created_before: paging.Until = None,
) -> paging.Page[FeedbackResponse]:
    """The user's feedback, newest first."""
    found = await services.database.read(
        _listed,
        owner,
        after=paging.place_of(cursor),
        limit=limit + 1,
        since=created_after,
        until=created_before,
        equal={"type": type, "status": status, "source": source, "completion_id": completion_id},
    )
    return paging.page_of(found, limit, lambda one: (one.created_at, one.id), _rendered)


@router.get("/feedback/{id}", responses=errors(404))
async def get_feedback(
    id: Annotated[str, Path(description="The `id` of the feedback.", examples=["fb-4c1d"])],
    services: ServicesOf,
    owner: AskingOwner,
) -> FeedbackWithText:
    """What came of it: pending, learned, nothing_learned, failed or replaced; and why."""
    held = await services.database.read(feedback.get, owner, id)
    return FeedbackWithText(**_rendered(held).model_dump(), edited_text=held.edited_text)


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
    """Erase feedback with what it replaced: texts, contexts, what they alone have taught.

    Adapters that learned from it serve no more, and one is trained without it
    while enough edits are left. What the app asked and was answered stays in its turn; a demonstration's goes with it.
    """
    erased, complete = await services.erasures.erase_feedback(owner, id, services.settings.policy, services.follow)
    if not complete:
        response.status_code = 202
    services.wake_worker()
    return DeletedFeedback(id=id, retired=erased.dropped, training=erased.queued)


class Agreement(BaseModel):
    """Pairs of answers that the user both ranked and rated as a whole."""

    pairs: int = Field(examples=[20])
    agree: int = Field(description="Both say that the same one is better.", examples=[8])
    disagree: int = Field(examples=[9])
    tied: int = Field(description="Ranked, and rated alike.", examples=[3])


class FeedbackSummary(BaseModel):
    """How much feedback stands, by type, and how far the user's rankings and ratings agree."""

    object: Literal["feedback.summary"] = "feedback.summary"
    counts: dict[Type, int] = Field(examples=[{"edit": 12, "thumbs": 3}])
    consistency: Agreement


@router.get("/users/{user}/feedback", tags=["users"], responses=errors(404))
async def summarise_feedback(services: ServicesOf, owner: PathOwner) -> FeedbackSummary:
    """Counts by type; and ratings beside rankings of the same answers, which people give by other standards."""
    await known(services, owner)
    counts = await services.database.read(opinions.counts, owner)
    found = await services.database.read(opinions.consistency, owner)
    return FeedbackSummary.model_validate({"counts": counts, "consistency": vars(found)})


def _listed(c: Connection, /, owner: Owner, *, equal: Mapping[str, str | None], **more: Any) -> list[Feedback]:
    """The newest feedback, of an answer also by the app's own name of it."""
    if (id := equal["completion_id"]) is not None:
        with suppress(NotFound):
            equal = {**equal, "completion_id": turns.named(c, owner, id).completion_id}
    return feedback.newest(c, owner, equal=equal, **more)


def _accept(
    c: Connection, owner: Owner, held: given.Given, key: str | None, digest: str, min_edits: int
) -> tuple[Feedback, bool]:
    began = time.time()
    accepted = intake.give(c, owner, held, key=key, body_sha256=digest, min_edits=min_edits)
    return accepted, accepted.created_at >= began  # an older one was found by its Idempotency-Key


def _rendered(held: Feedback) -> FeedbackResponse:
    return FeedbackResponse.model_validate({**vars(held), **(held.content or {})})
