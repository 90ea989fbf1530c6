"""API keys over the API: for operators alone, whose own keys a setting names."""

from typing import Annotated, Literal

from fastapi import APIRouter, Path
from pydantic import BaseModel, ConfigDict, Field
from sqlalchemy import Connection

from server.http.openapi import errors
from server.routes.caller import Operator
from server.routes.requests import ServicesOf
from store import keys
from store.keys import Key

router = APIRouter(prefix="/keys", tags=["keys"], dependencies=[Operator])


class KeyRequest(BaseModel):
    """Whose key it is to be, and its limits."""

    model_config = ConfigDict(extra="forbid", strict=True)

    tenant: str = Field(description="Made with its first key.", min_length=1, max_length=64, examples=["acme"])
    name: str = Field(default="default", min_length=1, max_length=200, description="What it is for.")
    requests_per_minute: int | None = Field(
        default=None, ge=0, le=keys.MAX_LIMIT, description="0 is no limit; None the server's default.", examples=[600]
    )
    in_flight: int | None = Field(
        default=None, ge=1, le=keys.MAX_LIMIT, description="Requests at a time; None: the default.", examples=[16]
    )
    tokens_per_minute: int | None = Field(
        default=None, ge=0, le=keys.MAX_LIMIT, description="0 is no limit; None the default.", examples=[100000]
    )
    tokens_per_day: int | None = Field(
        default=None, ge=0, le=keys.MAX_TOKENS, description="0 is no limit; None the default.", examples=[5000000]
    )


class KeyResponse(BaseModel):
    """A key without its secret."""

    id: str = Field(examples=["6f0c2a4d1b9e47f08a3c5d7e9b1f2a3c"])
    object: Literal["api_key"] = "api_key"
    tenant: str = Field(examples=["acme"])
    name: str = Field(examples=["default"])
    created_at: float = Field(description="Unix seconds.", examples=[1790000000.5])
    revoked_at: float | None = Field(description="Unix seconds; None while it works.", examples=[None])
    requests_per_minute: int | None = Field(description="None: the server's default.", examples=[600])
    in_flight: int | None = Field(description="None: the server's default.", examples=[16])
    tokens_per_minute: int | None = Field(description="None: the server's default.", examples=[100000])
    tokens_per_day: int | None = Field(description="None: the server's default.", examples=[5000000])


class NewKey(KeyResponse):
    """A key, this once with its secret."""

    key: str = Field(examples=["att-..."])


class KeyList(BaseModel):
    """Every key, revoked ones too, by tenant and age."""

    object: Literal["list"] = "list"
    data: list[KeyResponse]


class RevokedKey(BaseModel):
    """The key is revoked; servers notice within a second."""

    id: str = Field(examples=["6f0c2a4d1b9e47f08a3c5d7e9b1f2a3c"])
    object: Literal["api_key.deleted"] = "api_key.deleted"
    deleted: Literal[True] = True


@router.get("")
async def list_keys(services: ServicesOf) -> KeyList:
    """Every tenant's keys."""
    return KeyList(data=[KeyResponse(**vars(key)) for key in await services.database.read(keys.list_all)])


@router.post("", status_code=201)
async def create_key(body: KeyRequest, services: ServicesOf) -> NewKey:
    """Make a key. Where it is the first one, every request needs a key from now on."""
    made, plain = await services.database.write(_create, body)
    return NewKey(**vars(made), key=plain)


@router.delete("/{id}", responses=errors(404))
async def revoke_key(
    id: Annotated[str, Path(description="The `id` of the key.", examples=["6f0c2a4d1b9e47f08a3c5d7e9b1f2a3c"])],
    services: ServicesOf,
) -> RevokedKey:
    """End a key, and with it the tokens that it made."""
    await services.database.write(keys.revoke, id)
    return RevokedKey(id=id)


def _create(c: Connection, body: KeyRequest) -> tuple[Key, str]:
    id, plain = keys.create(c, **body.model_dump())
    made = keys.get(c, id)
    assert made is not None
    return made, plain
