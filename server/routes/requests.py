"""What a route takes from a request besides its body: the services, the tenant, the user."""

from typing import Annotated
from urllib.parse import unquote

from fastapi import Depends, Header, Path, Query, Request

from server.admission.identity import checked_user, user_of
from server.errors import Forbidden
from server.services import Services
from store import users
from store.errors import Invalid, NotFound
from store.owner import Owner
from store.users import User


async def _services(request: Request) -> Services:
    services: Services = request.app.state.services
    return services


async def _tenant(request: Request) -> str:
    tenant: str = request.state.tenant
    return tenant


async def header_user(
    request: Request, x_user_id: Annotated[str | None, Header(description="The end user, in UTF-8.")] = None
) -> str | None:
    """The end user that the header names, or whose token was sent. Raises ``Invalid``, ``Forbidden``."""
    granted: str | None = getattr(request.state, "user", None)
    if x_user_id is None:
        return granted
    try:
        named = x_user_id.encode("latin-1").decode()
    except UnicodeDecodeError as error:
        raise Invalid("The header X-User-Id must be UTF-8.", param="X-User-Id") from error
    if granted is not None and checked_user(named, "X-User-Id") != granted:
        raise Forbidden("This token is another user's.", param="X-User-Id")
    return named


# Each is a coroutine although it waits for nothing: FastAPI sends plain functions to a thread.
ServicesOf = Annotated[Services, Depends(_services)]
TenantOf = Annotated[str, Depends(_tenant)]
HeaderUser = Annotated[str | None, Depends(header_user)]


async def asking_owner(
    tenant: TenantOf,
    header: HeaderUser,
    user: Annotated[str | None, Query(description="The end user, where no header says so.")] = None,
) -> Owner:
    """The user of the header, else of the query. Raises ``Invalid``."""
    named = user_of(header, {"user": user})
    if named is None:
        raise Invalid("Name the user, in the header X-User-Id or as ?user=.", param="X-User-Id")
    return Owner(tenant, named)


async def _path_owner(
    request: Request, tenant: TenantOf, user: Annotated[str, Path(description="The end user, percent-encoded.")]
) -> Owner:
    try:
        named = checked_user(unquote(user, errors="strict"), "user")
    except UnicodeDecodeError as error:
        raise Invalid("The user id must be UTF-8.", param="user") from error
    if getattr(request.state, "user", named) != named:
        raise Forbidden("This token is another user's.", param="user")
    return Owner(tenant, named)


async def _keeps_more(services: ServicesOf, tenant: TenantOf) -> None:
    await services.quota.check(tenant)


KeepsMore = Depends(_keeps_more)
"""Of a route that stores something: raises ``QuotaExceeded`` where the tenant may keep no more."""

AskingOwner = Annotated[Owner, Depends(asking_owner)]
"""The user of a resource that has no user in its path."""
PathOwner = Annotated[Owner, Depends(_path_owner)]
"""The user named in the path."""


async def known(services: Services, owner: Owner) -> User:
    """The user's row. Raises ``NotFound``: nothing is held about that user."""
    user = await services.database.read(users.get, owner)
    if user is None:
        raise NotFound("Nothing is held about this user.", param="user")
    return user
