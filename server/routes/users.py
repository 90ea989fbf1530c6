"""A user's standing values, and erasing a user."""

from typing import Any

from fastapi import APIRouter
from pydantic import BaseModel, ConfigDict, Field
from sqlalchemy import Connection

from preference import users
from preference.owner import Owner
from preference.users import User
from preference.values import Value
from server.routes.requests import PathOwner, ServicesOf, known

router = APIRouter(prefix="/users/{user}", tags=["users"])


class StandingValues(BaseModel):
    """What a user wants in every answer."""

    model_config = ConfigDict(extra="forbid")

    values: list[Value] = Field(max_length=users.MAX_STANDING_VALUES)


@router.get("/values")
async def get_values(services: ServicesOf, owner: PathOwner) -> StandingValues:
    """The values that apply to every request of this user."""
    return StandingValues(values=list((await known(services, owner)).standing_values))


@router.put("/values")
async def put_values(body: StandingValues, services: ServicesOf, owner: PathOwner) -> StandingValues:
    """Replace the standing values; a user not seen before is made."""
    user = await services.database.write(_put, owner, body.values)
    return StandingValues(values=list(user.standing_values))


@router.delete("")
async def delete_user(services: ServicesOf, owner: PathOwner) -> dict[str, Any]:
    """Erase everything held about the user. Safe to repeat when it was interrupted."""
    user = await known(services, owner)
    # Files first: if we are stopped in between, the row is still there and the call can be repeated.
    await services.remove_files(user)
    await services.database.write(users.delete, owner)
    await services.forget(user)
    return {"id": owner.user, "object": "user.deleted", "deleted": True}


def _put(c: Connection, owner: Owner, values: list[Value]) -> User:
    users.ensure(c, owner)
    users.set_standing_values(c, owner, values)
    return users.ensure(c, owner)
