"""A user's standing values, and erasing a user."""

from typing import Literal

from fastapi import APIRouter, Response
from pydantic import BaseModel, ConfigDict, Field
from sqlalchemy import Connection

from preference import users
from preference.owner import Owner
from preference.users import User
from preference.values import Value
from server.openapi import errors
from server.routes.requests import PathOwner, ServicesOf, known

router = APIRouter(prefix="/users/{user}", tags=["users"], responses=errors(404))


class StandingValues(BaseModel):
    """What a user wants in every answer."""

    model_config = ConfigDict(extra="forbid")

    values: list[Value] = Field(
        max_length=users.MAX_STANDING_VALUES, examples=[[{"dimension": "style", "preference": "Be brief"}]]
    )


class DeletedUser(BaseModel):
    """The user is erased: no request reads or stores anything of them any more."""

    id: str = Field(examples=["maria"])
    object: Literal["user.deleted"] = "user.deleted"
    deleted: Literal[True] = True


@router.get("/values")
async def get_values(services: ServicesOf, owner: PathOwner) -> StandingValues:
    """The values that apply to every request of this user."""
    return StandingValues(values=list((await known(services, owner)).standing_values))


@router.put("/values")
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


def _put(c: Connection, owner: Owner, values: list[Value]) -> User:
    users.ensure(c, owner)
    users.set_standing_values(c, owner, values)
    return users.ensure(c, owner)
