"""A user's preferences: list, state, correct, lock, delete, search."""

import asyncio
from typing import Annotated, Literal

from fastapi import APIRouter, Path, Query
from pydantic import BaseModel, ConfigDict, Field
from sqlalchemy import Connection

from preference import preferences, users
from preference.errors import Invalid
from preference.owner import Owner
from preference.ports import Vectors
from preference.preferences import Preference
from server.openapi import errors
from server.routes.requests import PathOwner, ServicesOf, known

router = APIRouter(prefix="/users/{user}/preferences", tags=["preferences"])

PreferenceId = Annotated[str, Path(description="The `id` of the preference.", examples=["pref-77a0"])]


class StatePreference(BaseModel):
    """A preference in the user's own words."""

    model_config = ConfigDict(extra="forbid", strict=True)

    text: str = Field(description="One short instruction.", examples=["Sign with 'Bo'"])
    context: str | None = Field(
        default=None,
        min_length=1,
        max_length=4000,
        description="A request it applies to; none: to all.",
        examples=["Write an email to Ann"],
    )


class ChangePreference(BaseModel):
    """A correction, or a lock; at least one of them."""

    model_config = ConfigDict(extra="forbid", strict=True)

    text: str | None = Field(default=None, description="One short instruction.", examples=["Sign with 'B.'"])
    locked: bool | None = Field(default=None, description="Learning never changes or replaces a locked one.")


class SearchPreferences(BaseModel):
    """A request as it would be sent."""

    model_config = ConfigDict(extra="forbid", strict=True)

    context: str = Field(min_length=1, max_length=100_000, examples=["Write an email to Ann"])
    k: int | None = Field(
        default=None, ge=1, le=50, description="How many of the nearest earlier contexts vote.", examples=[5]
    )


class PreferenceResponse(BaseModel):
    """One preference of a user."""

    object: Literal["preference"] = "preference"
    id: str = Field(examples=["pref-77a0"])
    text: str = Field(examples=["Sign with 'Bo'"])
    source: preferences.Source = Field(description="Learned from edits, or stated by the user.", examples=["learned"])
    status: Literal["active", "superseded"] = Field(examples=["active"])
    superseded_by: str | None = Field(description="The preference that took its place, if one did.", examples=[None])
    locked: bool = Field(description="Learning never changes or replaces a locked one.", examples=[False])
    created_at: float = Field(description="Unix seconds.", examples=[1790000000.5])
    updated_at: float = Field(description="Unix seconds.", examples=[1790000060.25])


class PreferenceList(BaseModel):
    """A user's preferences, oldest first."""

    object: Literal["list"] = "list"
    data: list[PreferenceResponse]


class ContextResponse(BaseModel):
    """A request that a preference was seen to hold in."""

    text: str = Field(examples=["Write an email to Ann"])
    feedback_id: str | None = Field(description="The edit that showed it; none for a stated one.", examples=["fb-4c1d"])
    created_at: float = Field(description="Unix seconds.", examples=[1790000000.5])


class PreferenceWithContexts(PreferenceResponse):
    """One preference and where it was seen to hold, oldest first."""

    contexts: list[ContextResponse]


class FoundPreference(BaseModel):
    """A preference that would apply."""

    id: str = Field(examples=["pref-77a0"])
    text: str = Field(examples=["Sign with 'Bo'"])
    score: float = Field(description="Cosine of its most alike context; 1.0 where it always applies.", examples=[0.83])


class FoundPreferences(BaseModel):
    """The preferences that would apply, best first."""

    object: Literal["list"] = "list"
    data: list[FoundPreference]


class DeletedPreference(BaseModel):
    """The preference is gone."""

    id: str = Field(examples=["pref-77a0"])
    object: Literal["preference.deleted"] = "preference.deleted"
    deleted: Literal[True] = True


@router.get("", responses=errors(404))
async def list_preferences(
    services: ServicesOf,
    owner: PathOwner,
    superseded: Annotated[bool, Query(description="Also those that no longer hold.")] = False,
) -> PreferenceList:
    """The preferences that hold, oldest first; with `superseded=true` also those that no longer do."""
    await known(services, owner)
    held = await services.database.read(preferences.all_of if superseded else preferences.active, owner)
    return PreferenceList(data=[rendered(preference) for preference in held])


@router.post("", status_code=201, responses=errors(409))
async def state_preference(body: StatePreference, services: ServicesOf, owner: PathOwner) -> PreferenceResponse:
    """State a preference. Without a context it applies to every request."""
    vector = None
    if body.context is not None:
        vector = (await asyncio.to_thread(services.embedder.embed, [body.context]))[0]
    limit, embedder = services.settings.max_preferences, services.embedder.name
    return rendered(await services.database.write(_state, owner, body, vector, embedder, limit))


@router.post("/search", responses=errors(404))
async def search_preferences(body: SearchPreferences, services: ServicesOf, owner: PathOwner) -> FoundPreferences:
    """The preferences that a request with this text would be answered with."""
    user = await known(services, owner)
    found = await services.recall.recall(user, body.context, k=body.k or services.settings.recall_k)
    return FoundPreferences(data=[FoundPreference(id=p.id, text=p.text, score=round(p.score, 4)) for p in found])


@router.get("/{id}", responses=errors(404))
async def get_preference(id: PreferenceId, services: ServicesOf, owner: PathOwner) -> PreferenceWithContexts:
    """One preference with the contexts it was seen to hold in."""
    return await services.database.read(_with_contexts, owner, id)


@router.patch("/{id}", responses=errors(404, 409))
async def change_preference(
    id: PreferenceId, body: ChangePreference, services: ServicesOf, owner: PathOwner
) -> PreferenceResponse:
    """Correct or lock a preference."""
    if body.text is None and body.locked is None:
        raise Invalid("Give text, locked or both.", param="text")
    await known(services, owner)
    changed = await services.database.write(preferences.change, owner, id, text=body.text, locked=body.locked)
    return rendered(changed)


@router.delete("/{id}", responses=errors(404))
async def delete_preference(id: PreferenceId, services: ServicesOf, owner: PathOwner) -> DeletedPreference:
    """Delete a preference with its contexts, for good."""
    await known(services, owner)
    await services.database.write(preferences.delete, owner, id)
    return DeletedPreference(id=id)


def rendered(preference: Preference) -> PreferenceResponse:
    """A preference as the API shows it."""
    return PreferenceResponse.model_validate(preference, from_attributes=True)


def _state(
    c: Connection, owner: Owner, body: StatePreference, vector: Vectors | None, embedder: str, limit: int
) -> Preference:
    users.ensure(c, owner)
    made = preferences.create(c, owner, body.text, "stated", limit=limit)
    if body.context is None or vector is None:
        return made
    preferences.add_context(c, owner, made.id, feedback_id=None, text=body.context, embedder=embedder, vector=vector)
    return preferences.get(c, owner, made.id)


def _with_contexts(c: Connection, owner: Owner, id: str) -> PreferenceWithContexts:
    contexts = [
        ContextResponse(text=context.text, feedback_id=context.feedback_id, created_at=context.created_at)
        for context in preferences.contexts_of(c, owner, id)
    ]
    return PreferenceWithContexts(**vars(preferences.get(c, owner, id)), contexts=contexts)
