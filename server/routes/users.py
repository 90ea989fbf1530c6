"""A user: standing values, pausing, erasing."""

from collections.abc import Sequence
from typing import Annotated, Literal

from fastapi import APIRouter, Response
from pydantic import BaseModel, ConfigDict, Field
from sqlalchemy import Connection

from server.http import paging
from server.http.openapi import errors
from server.routes.requests import KeepsMore, PathOwner, ServicesOf, TenantOf, known
from store import turns, users
from store.owner import Owner
from store.users import User
from store.values import Value

router = APIRouter(prefix="/users/{user}", tags=["users"], responses=errors(404))
everybody = APIRouter(tags=["users"])


class StandingValues(BaseModel):
    """What a user wants in every answer."""

    model_config = ConfigDict(extra="forbid")

    values: Annotated[list[Value], Field(max_length=users.MAX_STANDING_VALUES, fail_fast=True)] = Field(
        examples=[[{"dimension": "style", "preference": "Be brief"}]]
    )


class UserResponse(BaseModel):
    """A user, as the app names them."""

    id: str = Field(examples=["maria"])
    object: Literal["user"] = "user"
    created_at: float = Field(description="When first seen; Unix seconds.", examples=[1790000000.5])
    active_adapter: int = Field(description="The version that serves; 0 is none.", examples=[3])
    pinned: bool = Field(description="Whether nothing but the API changes it.", examples=[False])
    paused: bool = Field(
        description="Whether learning is paused: what is known is applied, and nothing new is stored.", examples=[False]
    )
    active_at: float | None = Field(
        description="When the newest answer was made that is held; Unix seconds.", examples=[1790000060.5]
    )


class UserChange(BaseModel):
    """What to change about a user."""

    model_config = ConfigDict(extra="forbid")

    paused: bool = Field(
        strict=True,
        description="True: no answer is stored and no feedback taken, until it is false again. What is known is "
        "applied all the same.",
        examples=[True],
    )


class DeletedUser(BaseModel):
    """The user is erased: no request reads or stores anything of them any more."""

    id: str = Field(examples=["maria"])
    object: Literal["user.deleted"] = "user.deleted"
    deleted: Literal[True] = True


@everybody.get("/users")
async def list_users(
    services: ServicesOf,
    tenant: TenantOf,
    limit: paging.Limit = 20,
    cursor: paging.After = None,
    created_after: paging.Since = None,
    created_before: paging.Until = None,
) -> paging.Page[UserResponse]:
    """The users of the API key's tenant, newest first."""
    found = await services.database.read(
        users.of_tenant,
        tenant,
        after=paging.place_of(cursor),
        limit=limit + 1,
        since=created_after,
        until=created_before,
    )
    active = await services.database.read(_active, [one.owner for one in found])
    rows = list(zip(found, active, strict=True))
    return paging.page_of(rows, limit, lambda row: (row[0].created_at, row[0].owner.user), lambda row: _shown(*row))


@router.get("")
async def get_user(services: ServicesOf, owner: PathOwner) -> UserResponse:
    """The user, and whether learning is paused."""
    user = await known(services, owner)
    (active_at,) = await services.database.read(_active, [owner])
    return _shown(user, active_at)


@router.patch("")
async def change_user(body: UserChange, services: ServicesOf, owner: PathOwner) -> UserResponse:
    """Pause learning, or go on with it; a user not seen before is made.

    While it is paused, requests are answered with what is known, and feedback and imports are a 409.
    """
    if await services.database.read(users.get, owner) is None:  # whoever is there may pause, however full it is
        await services.quota.check(owner.tenant)
    user = await services.database.write(_pause, owner, body.paused)
    (active_at,) = await services.database.read(_active, [owner])
    return _shown(user, active_at)


@router.get("/values")
async def get_values(services: ServicesOf, owner: PathOwner) -> StandingValues:
    """The values that apply to every request of this user."""
    return StandingValues(values=list((await known(services, owner)).standing_values))


@router.put("/values", dependencies=[KeepsMore])
async def put_values(body: StandingValues, services: ServicesOf, owner: PathOwner) -> StandingValues:
    """Replace the standing values; a user not seen before is made."""
    user = await services.database.write(_put, owner, body.values)
    return StandingValues(values=list(user.standing_values))


@router.delete(
    "",
    responses={
        200: {"description": "Nothing is left."},
        202: {"model": DeletedUser, "description": "An answer to the user is still under way; the rest follows it."},
    },
)
async def delete_user(services: ServicesOf, owner: PathOwner, response: Response) -> DeletedUser:
    """Erase everything held about the user: rows, caches, adapters on disk and in the engine.

    An interrupted erasure goes on by itself, also in a server that is started again.
    """
    if not await services.erasures.erase(owner):
        response.status_code = 202
    return DeletedUser(id=owner.user)


def _shown(user: User, active_at: float | None) -> UserResponse:
    return UserResponse(id=user.owner.user, active_at=active_at, **vars(user))


def _pause(c: Connection, owner: Owner, paused: bool) -> User:
    users.ensure(c, owner)
    users.set_paused(c, owner, paused)
    return users.ensure(c, owner)


def _active(c: Connection, owners: Sequence[Owner]) -> list[float | None]:
    return [turns.last_at(c, owner) for owner in owners]


def _put(c: Connection, owner: Owner, values: list[Value]) -> User:
    users.ensure(c, owner)
    users.set_standing_values(c, owner, values)
    return users.ensure(c, owner)
