"""GET /v1/usage: what was answered by day, for a user, a key or the tenant; and what is left of limits in tokens."""

import re
from datetime import date, timedelta
from typing import Annotated, Literal

from fastapi import APIRouter, Query, Request
from pydantic import BaseModel, BeforeValidator, Field
from sqlalchemy import Connection

from server.admission.identity import UserKey, user_of
from server.errors import Forbidden
from server.http.openapi import errors
from server.routes.requests import HeaderUser, ServicesOf, TenantOf
from server.services import Services
from store import keys, limits, usage
from store.errors import Invalid, NotFound
from store.keys import Key
from store.owner import Owner
from store.usage import Day


def _written_out(day: object) -> object:
    """Pydantic reads a number as seconds, too."""
    if isinstance(day, str) and not re.fullmatch(r"\d{4}-\d\d-\d\d", day):
        raise ValueError("it must be written as 2027-01-31")
    return day


CalendarDay = Annotated[date, BeforeValidator(_written_out)]
router = APIRouter(tags=["health"], responses=errors(404))
_EPOCH = date(1970, 1, 1)
MOST_DAYS = 400


class UsageDay(BaseModel):
    """What was answered on a day, in UTC. The newest seconds are not in it yet."""

    day: date = Field(examples=["2026-11-30"])
    requests: int = Field(description="Answers.", examples=[12])
    prompt_tokens: int = Field(examples=[3400])
    completion_tokens: int = Field(examples=[900])


class Budget(BaseModel):
    """A budget of tokens, and how it stands."""

    of: Literal["key", "user"] = Field(description="Whose it is.", examples=["key"])
    limit: int = Field(description="Tokens a day, in UTC.", examples=[5000000])
    used: int = Field(description="Of today, with what answers under way may take at most.", examples=[4300])
    resets_at: float = Field(description="Unix seconds.", examples=[1790035200.0])


class UsageResponse(BaseModel):
    """Usage by day, oldest first; days without any are left out."""

    object: Literal["usage"] = "usage"
    user: str | None = Field(description="None: not of one user.", examples=["maria"])
    key: str | None = Field(description="The key's id; None: of all keys of the tenant, or of a user.", examples=[None])
    data: list[UsageDay]
    budgets: list[Budget] = Field(description="Of this user, or of this key; else of the key that asks.")


@router.get("/usage")
async def get_usage(
    request: Request,
    services: ServicesOf,
    tenant: TenantOf,
    header: HeaderUser,
    user: Annotated[str | None, Query(description="Of this user; where no header says so.")] = None,
    key: Annotated[str | None, Query(description="Of the API key with this id.", max_length=32)] = None,
    since: Annotated[CalendarDay | None, Query(description="The first day; by default 30 days ago.")] = None,
    until: Annotated[CalendarDay | None, Query(description="The last day; by default today.")] = None,
) -> UsageResponse:
    """Of the tenant, of one of its keys, or of one of its users; a token of one user sees that user alone."""
    caller: Key = request.state.caller
    named = user_of(header, {"user": user})
    if isinstance(caller, UserKey):
        if key is not None or (named or caller.user) != caller.user:
            raise Forbidden("This token is of one user: it sees no other's usage.", param="key" if key else "user")
        named = caller.user
    if named is not None and key is not None:
        raise Invalid("Ask for a user or for a key.", param="key")
    last = usage.today() if until is None else (until - _EPOCH).days
    first = last - 30 if since is None else (since - _EPOCH).days
    if not first <= last <= first + MOST_DAYS:
        raise Invalid(f"since must not be after until, nor more than {MOST_DAYS} days before.", param="since")

    def read(c: Connection) -> tuple[list[Day], list[Budget]]:
        if named is not None:
            return usage.of_user(c, Owner(tenant, named), first, last), _budgets(c, services, tenant, named)
        asked = caller if key is None or key == caller.id else keys.get(c, key)
        if asked is None or asked.tenant != tenant:
            raise NotFound(f"There is no working key with the id {key!r}.", param="key")
        return usage.of_keys(c, tenant, first, last, key), _budgets(c, services, tenant, asked)

    days, budgets = await services.database.read(read)
    told = [UsageDay(day=_EPOCH + timedelta(days=one.day), **one.spent._asdict()) for one in days]
    return UsageResponse(user=named, key=key, data=told, budgets=budgets)


def _budgets(c: Connection, services: Services, tenant: str, whose: str | Key) -> list[Budget]:
    """Of a user or of a key."""
    if isinstance(whose, Key):
        limit, subject = services.limits.of_key(whose).tokens_per_day, limits.of_key(whose.id)
    else:
        limit, subject = services.limits.of_user.tokens_per_day, limits.of_user(whose)
    if not limit:
        return []
    used = limits.spent_today(c, tenant, subject)
    of: Literal["key", "user"] = "key" if isinstance(whose, Key) else "user"
    return [Budget(of=of, limit=limit, used=used, resets_at=(usage.today() + 1) * float(limits.DAY))]
