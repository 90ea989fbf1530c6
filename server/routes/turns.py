"""GET /v1/turns/{completion_id}: why this answer."""

from contextlib import suppress
from typing import Annotated, Any, Literal

from fastapi import APIRouter, Path, Query
from pydantic import BaseModel, Field
from sqlalchemy import Connection

from preference import context_rows, preferences
from preference.feedback import feedback
from server.http import paging
from server.http.openapi import errors
from server.routes.requests import AskingOwner, ServicesOf
from store import turns
from store.errors import NotFound
from store.owner import Owner
from store.values import Value

router = APIRouter(tags=["turns"])
_EDITS = 10  # newest source edits shown of one preference


class SourceEdit(BaseModel):
    """An edit that taught a preference."""

    feedback_id: str = Field(examples=["fb-4c1d"])
    completion_id: str = Field(examples=["chatcmpl-9f2c"])
    draft: str = Field(description="What the model had answered.", examples=["Dear Ann, I will see you at 9 o'clock."])
    edited_text: str = Field(description="What the user sent instead.", examples=["Hi Ann, see you at 9. Bo"])
    comment: str | None = Field(description="What the user said of it, where they sent none.", examples=[None])
    created_at: float = Field(description="Unix seconds.", examples=[1790000000.5])


class AppliedPreference(BaseModel):
    """A preference as it was applied, and what has become of it."""

    id: str = Field(examples=["pref-77a0"])
    text: str = Field(description="Its text then.", examples=["Sign with 'Bo'"])
    score: float = Field(description="Cosine of its most alike context.", examples=[0.83])
    status: Literal["active", "superseded", "deleted"] = Field(examples=["active"])
    source: Literal["learned", "stated"] | None = Field(description="None once it is deleted.", examples=["learned"])
    edits: list[SourceEdit] = Field(description=f"The edits it comes from, the newest {_EDITS} at most.")


class Usage(BaseModel):
    """Tokens."""

    prompt_tokens: int = Field(examples=[120])
    completion_tokens: int = Field(examples=[40])


class Timings(BaseModel):
    """How long an answer took, from the request's arrival; None where it was not measured."""

    first_token_ms: int | None = Field(description="To the first event of a stream.", examples=[180])
    total_ms: int | None = Field(description="To its end.", examples=[2100])


class TurnSummary(BaseModel):
    """A turn without its texts."""

    id: str = Field(examples=["chatcmpl-9f2c"])
    object: Literal["turn"] = "turn"
    created_at: float = Field(description="Unix seconds.", examples=[1790000000.5])
    model: str = Field(examples=["attune-tiny"])
    personalized: str = Field(examples=["retrieval"])
    adapter_version: int = Field(description="0 is the base model.", examples=[0])
    partial: bool = Field(description="Whether the answer was cut short.", examples=[False])
    usage: Usage


class TurnResponse(BaseModel):
    """One personalised generation, with its provenance."""

    id: str = Field(examples=["chatcmpl-9f2c"])
    object: Literal["turn"] = "turn"
    created_at: float = Field(description="Unix seconds.", examples=[1790000000.5])
    model: str = Field(examples=["attune-tiny"])
    personalized: str = Field(
        description="`none`, `retrieval`, `adapter` or `retrieval+adapter`: what was applied.", examples=["retrieval"]
    )
    values: list[Value]
    preferences: list[AppliedPreference]
    adapter_version: int = Field(description="0 is the base model.", examples=[0])
    request: list[dict[str, Any]] = Field(description="The messages as the caller sent them.")
    prompt: list[dict[str, Any]] = Field(description="The messages as the engine got them.")
    prompt_sha256: str
    answers: list[str] = Field(description="One text a choice.")
    partial: bool = Field(description="Whether the answer was cut short.", examples=[False])
    usage: Usage
    timings: Timings


@router.get("/turns")
async def list_turns(
    services: ServicesOf,
    owner: AskingOwner,
    limit: paging.Limit = 20,
    cursor: paging.After = None,
    adapter_version: Annotated[
        int | None, Query(ge=0, lt=2**31, description="Only by this version; 0: by none.")
    ] = None,
    partial: Annotated[bool | None, Query(description="Only answers that were cut short, or only whole ones.")] = None,
    created_after: paging.Since = None,
    created_before: paging.Until = None,
) -> paging.Page[TurnSummary]:
    """The user's turns, newest first, without their texts."""
    found = await services.database.read(
        turns.newest,
        owner,
        after=paging.place_of(cursor),
        limit=limit + 1,
        since=created_after,
        until=created_before,
        equal={"adapter_version": adapter_version, "partial": partial},
    )
    return paging.page_of(
        found,
        limit,
        lambda row: (row["created_at"], row["completion_id"]),
        lambda row: TurnSummary(id=row["completion_id"], usage=Usage(**row), **row),
    )


@router.get("/turns/{completion_id}", responses=errors(404))
async def get_turn(
    completion_id: Annotated[str, Path(description="The `id` of the answer.", examples=["chatcmpl-9f2c"])],
    services: ServicesOf,
    owner: AskingOwner,
) -> TurnResponse:
    """Values, preferences with the edits they come from, adapter version, and the prompt as the engine got it."""
    return await services.database.read(_explained, owner, completion_id)


def _explained(c: Connection, owner: Owner, completion_id: str) -> TurnResponse:
    turn = turns.get(c, owner, completion_id)
    row = vars(turn)
    return TurnResponse(
        id=turn.completion_id,
        values=list(turn.applied_values),
        preferences=[
            AppliedPreference(**applied, **_source(c, owner, applied["id"])) for applied in turn.applied_preferences
        ],
        usage=Usage(**row),
        timings=Timings(**row),
        **row,
    )


def _source(c: Connection, owner: Owner, preference_id: str) -> dict[str, Any]:
    """Where a preference comes from, as far as it still exists."""
    try:
        preference = preferences.get(c, owner, preference_id)
    except NotFound:
        return {"status": "deleted", "source": None, "edits": []}
    edits = []
    for context in context_rows.of(c, owner, preference_id)[-_EDITS:]:
        if context.feedback_id is None:
            continue
        with suppress(NotFound):
            held = feedback.get(c, owner, context.feedback_id)
            draft = turns.get(c, owner, held.completion_id).answers[held.choice]
            edits.append(
                SourceEdit(
                    feedback_id=held.id,
                    completion_id=held.completion_id,
                    draft=draft,
                    edited_text=held.edited_text or "",  # a comment has none
                    comment=(held.content or {}).get("comment"),
                    created_at=held.created_at,
                )
            )
    return {"status": preference.status, "source": preference.source, "edits": edits}
