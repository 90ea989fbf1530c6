"""A user's preferences: list, state, correct, lock, delete, search."""

import asyncio
from typing import Any

from fastapi import APIRouter
from pydantic import BaseModel, ConfigDict, Field
from sqlalchemy import Connection

from preference import preferences, users
from preference.errors import Invalid
from preference.owner import Owner
from preference.ports import Vectors
from preference.preferences import Preference
from server.routes.requests import PathOwner, ServicesOf, known

router = APIRouter(prefix="/users/{user}/preferences", tags=["preferences"])


class StatePreference(BaseModel):
    """A preference in the user's own words."""

    model_config = ConfigDict(extra="forbid", strict=True)

    text: str = Field(description="One short instruction.")
    context: str | None = Field(
        default=None, min_length=1, max_length=4000, description="A request it applies to; none: to all."
    )


class ChangePreference(BaseModel):
    """A correction, or a lock; at least one of them."""

    model_config = ConfigDict(extra="forbid", strict=True)

    text: str | None = None
    locked: bool | None = Field(default=None, description="Learning never changes or replaces a locked one.")


class SearchPreferences(BaseModel):
    """A request as it would be sent."""

    model_config = ConfigDict(extra="forbid", strict=True)

    context: str = Field(min_length=1, max_length=100_000)
    k: int | None = Field(default=None, ge=1, le=50)


@router.get("")
async def list_preferences(services: ServicesOf, owner: PathOwner, superseded: bool = False) -> dict[str, Any]:
    """The preferences that hold, oldest first; with `superseded=true` also those that no longer do."""
    await known(services, owner)
    held = await services.database.read(preferences.all_of if superseded else preferences.active, owner)
    return {"object": "list", "data": [rendered(preference) for preference in held]}


@router.post("", status_code=201)
async def state_preference(body: StatePreference, services: ServicesOf, owner: PathOwner) -> dict[str, Any]:
    """State a preference. Without a context it applies to every request."""
    vector = None
    if body.context is not None:
        vector = (await asyncio.to_thread(services.embedder.embed, [body.context]))[0]
    limit, embedder = services.settings.max_preferences, services.embedder.name
    return rendered(await services.database.write(_state, owner, body, vector, embedder, limit))


@router.post("/search")
async def search_preferences(body: SearchPreferences, services: ServicesOf, owner: PathOwner) -> dict[str, Any]:
    """The preferences that a request with this text would be answered with."""
    user = await known(services, owner)
    found = await services.recall.recall(user, body.context, k=body.k or services.settings.recall_k)
    return {"object": "list", "data": [{"id": p.id, "text": p.text, "score": round(p.score, 4)} for p in found]}


@router.get("/{id}")
async def get_preference(id: str, services: ServicesOf, owner: PathOwner) -> dict[str, Any]:
    """One preference with the contexts it was seen to hold in."""
    return await services.database.read(_with_contexts, owner, id)


@router.patch("/{id}")
async def change_preference(id: str, body: ChangePreference, services: ServicesOf, owner: PathOwner) -> dict[str, Any]:
    """Correct or lock a preference."""
    if body.text is None and body.locked is None:
        raise Invalid("Give text, locked or both.", param="text")
    await known(services, owner)
    changed = await services.database.write(preferences.change, owner, id, text=body.text, locked=body.locked)
    return rendered(changed)


@router.delete("/{id}")
async def delete_preference(id: str, services: ServicesOf, owner: PathOwner) -> dict[str, Any]:
    """Delete a preference with its contexts, for good."""
    await known(services, owner)
    await services.database.write(preferences.delete, owner, id)
    return {"id": id, "object": "preference.deleted", "deleted": True}


def rendered(preference: Preference) -> dict[str, Any]:
    """A preference as the API shows it."""
    return {"object": "preference", **vars(preference)}


def _state(
    c: Connection, owner: Owner, body: StatePreference, vector: Vectors | None, embedder: str, limit: int
) -> Preference:
    users.ensure(c, owner)
    made = preferences.create(c, owner, body.text, "stated", limit=limit)
    if body.context is None or vector is None:
        return made
    preferences.add_context(c, owner, made.id, feedback_id=None, text=body.context, embedder=embedder, vector=vector)
    return preferences.get(c, owner, made.id)


def _with_contexts(c: Connection, owner: Owner, id: str) -> dict[str, Any]:
    contexts = [
        {"text": context.text, "feedback_id": context.feedback_id, "created_at": context.created_at}
        for context in preferences.contexts_of(c, owner, id)
    ]
    return {**rendered(preferences.get(c, owner, id)), "contexts": contexts}
