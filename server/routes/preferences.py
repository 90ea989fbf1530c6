"""A user's preferences: list, state, correct, lock, delete, search."""

import asyncio
from collections.abc import Sequence
from typing import Annotated, Any, Literal

from fastapi import APIRouter, Path, Query, Response
from pydantic import BaseModel, ConfigDict, Field
from sqlalchemy import Connection

from preference import context_rows, evidence, preferences, stating
from preference.context_rows import Context
from preference.evidence import Standing
from preference.ports import Vectors
from preference.preferences import Preference
from server.http.openapi import errors
from server.routes.requests import KeepsMore, PathOwner, ServicesOf, known
from store import turns
from store.errors import Invalid
from store.owner import Owner

router = APIRouter(prefix="/users/{user}/preferences", tags=["preferences"])

_KIND = 200  # characters
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
    """A correction, a lock, or the requests that it is for; at least one of them."""

    model_config = ConfigDict(extra="forbid", strict=True)

    text: str | None = Field(default=None, description="One short instruction.", examples=["Sign with 'B.'"])
    locked: bool | None = Field(default=None, description="Learning never changes or replaces a locked one.")
    context: str | None = Field(
        default=None,
        min_length=1,
        max_length=4000,
        description="A request: from now on it is for requests like this one alone.",
        examples=["Write an email to Ann"],
    )


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
    evidence: float = Field(
        description="What edits say for it less what they say against it, the newest with most weight: -1 to 2.5.",
        examples=[1.9],
    )
    standing: Standing = Field(
        description="`fixed` where the user stated or locked it; else `held` after two edits that show it, `tentative` "
        "after one, `doubtful` where edits speak against it.",
        examples=["tentative"],
    )
    created_at: float = Field(description="Unix seconds.", examples=[1790000000.5])
    updated_at: float = Field(description="Unix seconds.", examples=[1790000060.25])


class ListedPreference(PreferenceResponse):
    """One preference of a list, by the kind of request that it is for."""

    kind: str | None = Field(
        description="The beginning of a request that stands for that kind: equal for preferences of one kind. None: it "
        "is for every request, or holds no more.",
        examples=["Write an email to Ann"],
    )


class PreferenceList(BaseModel):
    """A user's preferences, oldest first."""

    object: Literal["list"] = "list"
    data: list[ListedPreference]


class ContextResponse(BaseModel):
    """A request that a preference was seen to hold in."""

    text: str = Field(examples=["Write an email to Ann"])
    feedback_id: str | None = Field(description="The edit that showed it; none for a stated one.", examples=["fb-4c1d"])
    weight: float = Field(description="What it says for the preference; below 0 against it.", examples=[1.0])
    created_at: float = Field(description="Unix seconds.", examples=[1790000000.5])


class PreferenceWithContexts(PreferenceResponse):
    """One preference and where it was seen to hold, oldest first."""

    contexts: list[ContextResponse]
    used_at: float | None = Field(
        description="When it was last applied to an answer that is held; Unix seconds.", examples=[1790000090.5]
    )


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
    return PreferenceList(
        data=await services.database.read(_listed, owner, superseded, services.settings.recall_min_score)
    )


_STATED: dict[int | str, dict[str, Any]] = {
    200: {"model": PreferenceResponse, "description": "One that says the same, case and end punctuation aside."}
}


@router.post("", status_code=201, dependencies=[KeepsMore], responses=_STATED | errors(409))
async def state_preference(
    body: StatePreference, services: ServicesOf, owner: PathOwner, response: Response
) -> PreferenceResponse:
    """State a preference. Without a context it applies to every request.

    One that says the same already comes back: it holds in this context, too, or without one in every request.
    """
    vector = None
    if body.context is not None:
        vector = (await asyncio.to_thread(services.embedder.embed, [body.context]))[0]
    limit, embedder = services.settings.max_preferences, services.embedder.name
    held, is_new = await services.database.write(_state, owner, body, vector, embedder, limit)
    if not is_new:
        response.status_code = 200
    return held


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
    if body.text is None and body.locked is None and body.context is None:
        raise Invalid("Give text, locked or context.", param="text")
    await known(services, owner)
    vector = None
    if body.context is not None:
        vector = (await asyncio.to_thread(services.embedder.embed, [body.context]))[0]
    return await services.database.write(_changed, owner, id, body, vector, services.embedder.name)


@router.delete("/{id}", responses=errors(404))
async def delete_preference(id: PreferenceId, services: ServicesOf, owner: PathOwner) -> DeletedPreference:
    """Delete a preference with its contexts, for good."""
    await known(services, owner)
    await services.database.write(preferences.delete, owner, id)
    return DeletedPreference(id=id)


def rendered(preference: Preference, weights: Sequence[float]) -> PreferenceResponse:
    """A preference as the API shows it. ``weights`` are what edits said of it, oldest first."""
    total = evidence.total(weights)
    fixed = preference.locked or preference.source == "stated"
    shown = any(weight > evidence.TENTATIVE for weight in weights)  # by an edit: words alone stay tentative
    standing = "fixed" if fixed else evidence.standing(total, shown * sum(weight > 0 for weight in weights))
    return PreferenceResponse(**vars(preference), evidence=round(total, 3), standing=standing)


def _rendered(c: Connection, owner: Owner, preference: Preference) -> PreferenceResponse:
    return rendered(preference, context_rows.evidence_of(c, owner, [preference.id]).get(preference.id, []))


def _listed(c: Connection, owner: Owner, superseded: bool, alike: float) -> list[ListedPreference]:
    held = preferences.all_of(c, owner) if superseded else preferences.active(c, owner)
    said = context_rows.evidence_of(c, owner)
    kinds = kinds_of(context_rows.newest(c, owner), alike)
    shown = [rendered(preference, said.get(preference.id, [])) for preference in held]
    return [ListedPreference(**one.model_dump(), kind=kinds.get(one.id)) for one in shown]


def kinds_of(contexts: Sequence[Context], alike: float) -> dict[str, str]:
    """By preference the beginning of the first context that is as much ``alike`` (cosine) as one kind is."""
    kinds: list[Context] = []
    found = {}
    for context in contexts:
        of_kind = (
            one for one in kinds
            if one.embedder == context.embedder and float(one.vector @ context.vector) >= alike
        )  # fmt: skip
        kind = next(of_kind, None)
        if kind is None:
            kinds.append(kind := context)
        found[context.preference_id] = kind.text[:_KIND]
    return found


def _changed(
    c: Connection, owner: Owner, id: str, body: ChangePreference, vector: Vectors | None, embedder: str
) -> PreferenceResponse:
    if body.text is not None or body.locked is not None:
        preferences.change(c, owner, id, text=body.text, locked=body.locked)
    if body.context is not None and vector is not None:
        context_rows.narrow(c, owner, id, text=body.context, embedder=embedder, vector=vector)
    return _rendered(c, owner, preferences.get(c, owner, id))


def _state(
    c: Connection, owner: Owner, body: StatePreference, vector: Vectors | None, embedder: str, limit: int
) -> tuple[PreferenceResponse, bool]:
    """The preference, and whether it is a new one."""
    stated, is_new = stating.state(
        c, owner, body.text, context=body.context, embedder=embedder, vector=vector, limit=limit
    )
    return _rendered(c, owner, stated), is_new


def _with_contexts(c: Connection, owner: Owner, id: str) -> PreferenceWithContexts:
    contexts = [ContextResponse(**vars(context)) for context in context_rows.of(c, owner, id)]
    shown = _rendered(c, owner, preferences.get(c, owner, id))
    used_at = turns.last_with(c, owner, id)
    return PreferenceWithContexts(**shown.model_dump(), contexts=contexts, used_at=used_at)
