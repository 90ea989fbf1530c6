"""What a route takes from a request besides its body: the services, the tenant, the user."""

from typing import Annotated
from urllib.parse import unquote

from fastapi import Depends, Header, Path, Query, Request

from preference import users
from preference.errors import Invalid, NotFound
from preference.owner import Owner
from preference.users import User
from server.identity import checked_user
from server.services import Services


async def _services(request: Request) -> Services:
    services: Services = request.app.state.services
    return services


async def _tenant(request: Request) -> str:
    tenant: str = request.state.tenant
    return tenant


async def header_user(
    x_user_id: Annotated[str | None, Header(description="The end user, in UTF-8.")] = None,
) -> str | None:
    """The end user that the header names. Raises ``Invalid``."""
    if x_user_id is None:
        return None
    try:
        return x_user_id.encode("latin-1").decode()
    except UnicodeDecodeError as error:
        raise Invalid("The header X-User-Id must be UTF-8.", param="X-User-Id") from error


# Each is a coroutine although it waits for nothing: FastAPI sends plain functions to a thread.
ServicesOf = Annotated[Services, Depends(_services)]
TenantOf = Annotated[str, Depends(_tenant)]
HeaderUser = Annotated[str | None, Depends(header_user)]


async def _asking_owner(
    tenant: TenantOf,
    header: HeaderUser,
    user: Annotated[str | None, Query(description="The end user, where no header says so.")] = None,
) -> Owner:
    if header:
        return Owner(tenant, checked_user(header, "X-User-Id"))
    if user:
        return Owner(tenant, checked_user(user, "user"))
    raise Invalid("Name the user, in the header X-User-Id or as ?user=.", param="X-User-Id")


async def _path_owner(
    tenant: TenantOf, user: Annotated[str, Path(description="The end user, percent-encoded.")]
) -> Owner:
    try:
        return Owner(tenant, checked_user(unquote(user, errors="strict"), "user"))
    except UnicodeDecodeError as error:
        raise Invalid("The user id must be UTF-8.", param="user") from error


AskingOwner = Annotated[Owner, Depends(_asking_owner)]
"""The user of a resource that has no user in its path."""
PathOwner = Annotated[Owner, Depends(_path_owner)]
"""The user named in the path."""


async def known(services: Services, owner: Owner) -> User:
    """The user's row. Raises ``NotFound``: nothing is held about that user."""
    user = await services.database.read(users.get, owner)
    if user is None:
        raise NotFound("Nothing is held about this user.", param="user")
    return user
