"""GET /v1/caller: whom a key or a token speaks for."""

from typing import Literal

from fastapi import APIRouter, Depends, Request
from pydantic import BaseModel, Field

from server.admission.identity import LOCAL_KEY, UserKey
from server.errors import Forbidden
from server.routes.requests import ServicesOf
from server.services import Services
from store.keys import Key
from store.tokens import Scope

router = APIRouter(tags=["keys"])


class CallerResponse(BaseModel):
    """Who asks, as the server sees it."""

    object: Literal["caller"] = "caller"
    kind: Literal["api_key", "user_token", "local"] = Field(
        description="`local`: this machine, while no API key exists.", examples=["api_key"]
    )
    tenant: str = Field(examples=["acme"])
    name: str = Field(description="The API key's.", examples=["default"])
    user: str | None = Field(description="The one user that a token speaks for.", examples=[None])
    scopes: list[Scope] | None = Field(description="What a token allows; None: everything.", examples=[None])
    operator: bool = Field(description="Whether it may manage keys, and see the whole server.", examples=[False])


def is_operator(services: Services, key: Key) -> bool:
    """Whether a key may manage keys and see figures of all tenants. Without any key this machine may."""
    return key is LOCAL_KEY or (not isinstance(key, UserKey) and key.id in services.settings.operators)


async def _operator(request: Request, services: ServicesOf) -> None:
    if not is_operator(services, request.state.caller):
        raise Forbidden("Only operators' keys may do that: ATTUNE_OPERATOR_KEYS names them.")


Operator = Depends(_operator)
"""Raises ``Forbidden`` for whoever is none."""


@router.get("/caller")
async def get_caller(request: Request, services: ServicesOf) -> CallerResponse:
    """Whom this request's key or token speaks for, and what it may do."""
    key: Key = request.state.caller
    of_user = key if isinstance(key, UserKey) else None
    return CallerResponse(
        kind="local" if key is LOCAL_KEY else "user_token" if of_user else "api_key",
        tenant=key.tenant,
        name=key.name,
        user=of_user.user if of_user else None,
        scopes=list(of_user.scopes) if of_user else None,
        operator=is_operator(services, key),
    )
