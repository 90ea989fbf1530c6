"""A user's adapter versions: list, train, activate (or roll back), delete."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Annotated, Any, Literal

from fastapi import APIRouter, Path
from pydantic import BaseModel, Field
from sqlalchemy import Connection

from adapters import versions
from adapters.versions import Version
from preference import users
from preference.database import Database
from preference.errors import Conflict
from preference.owner import Owner
from preference.users import User
from server.openapi import errors
from server.routes.requests import PathOwner, ServicesOf, known

router = APIRouter(prefix="/users/{user}/adapters", tags=["adapters"], responses=errors(404))

VersionNumber = Annotated[int, Path(ge=0, lt=2**31, description="A version; 0 is none.", examples=[3])]


class AdapterResponse(BaseModel):
    """One adapter version of a user."""

    object: Literal["adapter"] = "adapter"
    version: int = Field(examples=[3])
    active: bool = Field(description="Whether it is the one that the user is set to.")
    state: versions.State = Field(description="`refused` by the gate, or `ready` to serve.", examples=["ready"])
    mode: str = Field(description="How the gate found it best: `adapter` or `retrieval+adapter`.", examples=["adapter"])
    learned_through: float = Field(description="When the newest edit was made that it learned from; Unix seconds.")
    report: dict[str, Any] = Field(
        description="The gate's figures and its verdict.",
        examples=[{"verdict": "admitted", "sentence": "admitted: 0.31 instead of 0.44 on 12 held-out edits"}],
    )
    created_at: float = Field(description="Unix seconds.", examples=[1790000000.5])
    updated_at: float = Field(description="Unix seconds.", examples=[1790000060.25])


class AdapterList(BaseModel):
    """A user's versions, oldest first."""

    object: Literal["list"] = "list"
    active: int = Field(description="The version that the user is set to; 0 is none.", examples=[3])
    data: list[AdapterResponse]


class ActiveAdapter(BaseModel):
    """What serves the user from now on."""

    object: Literal["adapter.active"] = "adapter.active"
    active: int = Field(examples=[3])


class DeletedAdapter(BaseModel):
    """The version is gone."""

    version: int = Field(examples=[3])
    object: Literal["adapter.deleted"] = "adapter.deleted"
    deleted: Literal[True] = True


@router.get("")
async def list_adapters(services: ServicesOf, owner: PathOwner) -> AdapterList:
    """The user's versions with their gate report, oldest first."""
    user = await known(services, owner)
    held = [v for v in await services.database.read(versions.all_of, owner) if v.state != "deleted"]
    data = [_rendered(version, user) for version in held]
    return AdapterList(active=user.active_adapter, data=data)


@router.post("", status_code=202, responses=errors(409))
async def train_adapter(services: ServicesOf, owner: PathOwner) -> AdapterResponse:
    """Queue the training of a new version from the user's edits."""
    user = await known(services, owner)
    version = await services.database.write(_queue, owner)
    services.wake_worker()
    return _rendered(version, user)


@router.post("/{version}/activate", responses=errors(409))
async def activate_adapter(version: VersionNumber, services: ServicesOf, owner: PathOwner) -> ActiveAdapter:
    """Serve the user with a version, and return once it really serves; 0 goes back to the base model."""
    if version:
        await services.registry.switch(owner, _pointed(services.database, owner, version))
    else:  # needs no turn: there is nothing to load that could fail
        user, _ = await services.database.write(_point_to, owner, 0)
        await services.registry.activate(user, None)
    return ActiveAdapter(active=version)


@router.delete("/{version}")
async def delete_adapter(version: VersionNumber, services: ServicesOf, owner: PathOwner) -> DeletedAdapter:
    """Delete a version: its weights, and its place in the engine. The base model serves if it was the active one.

    Requests that it answers are waited for. Should one take too long, the files go later.
    """
    user = await services.database.write(versions.delete, owner, version)
    # Whatever the row said: it may serve here still, or answer requests that named it.
    await services.registry.retire(user, version)
    await asyncio.to_thread(services.directories.remove, user.opaque_id, version)
    return DeletedAdapter(version=version)


def _queue(c: Connection, owner: Owner) -> Version:
    return versions.get(c, owner, versions.queue(c, owner))


@asynccontextmanager
async def _pointed(database: Database, owner: Owner, version: int) -> AsyncIterator[tuple[User, Version | None]]:
    """The row points to ``version``, and back at an error: rows must not promise what the engine could not load."""
    before, chosen = await database.write(_point_to, owner, version)
    try:
        yield before, chosen
    except BaseException:
        await asyncio.shield(database.write(_point_back, owner, version, before.active_adapter))
        raise


def _point_to(c: Connection, owner: Owner, version: int) -> tuple[User, Version | None]:
    """Point the row first: a request that reads it meanwhile brings the same version in, not the old one back."""
    user = versions.lock_user(c, owner)
    chosen = versions.get(c, owner, version) if version else None
    if chosen is not None and chosen.state != "ready":
        raise Conflict(f"Adapter version {version} is {chosen.state}, not ready.", param="version")
    users.set_active_adapter(c, owner, version)
    return user, chosen


def _point_back(c: Connection, owner: Owner, version: int, before: int) -> None:
    user = users.get(c, owner)
    if user is not None and user.active_adapter == version:
        users.set_active_adapter(c, owner, before)


def _rendered(version: Version, user: User) -> AdapterResponse:
    return AdapterResponse(active=version.version == user.active_adapter, **vars(version))
