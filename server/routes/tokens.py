"""POST /v1/users/{user}/tokens: what an app gives to a page or a phone, so that it speaks for its own user alone."""

from typing import Annotated, Literal

from fastapi import APIRouter, Path, Request
from pydantic import BaseModel, ConfigDict, Field
from sqlalchemy import Connection

from server.http.openapi import errors
from server.routes.requests import KeepsMore, PathOwner, ServicesOf, known
from store import tokens, users
from store.owner import Owner
from store.tokens import Scope, Token

router = APIRouter(prefix="/users/{user}/tokens", tags=["users"])

_DAY = 86_400


class TokenRequest(BaseModel):
    """What the token is to allow, and for how long."""

    model_config = ConfigDict(extra="forbid", strict=True)

    scopes: list[Scope] = Field(
        default=["chat", "feedback", "data"],
        min_length=1,
        max_length=4,
        description="`chat`: generations and embeddings; `feedback`: give and read it; `data`: read and correct what "
        "is held about the user, and export it; `erase`: erase all of it.",
    )
    expires_in: int = Field(default=3600, ge=60, le=_DAY, description="Seconds.", examples=[3600])


class TokenResponse(BaseModel):
    """A token without its secret."""

    id: str = Field(examples=["tok-5f0c2a"])
    object: Literal["user.token"] = "user.token"
    user: str = Field(examples=["maria"])
    scopes: list[Scope] = Field(examples=[["chat", "feedback"]])
    created_at: float = Field(description="Unix seconds.", examples=[1790000000.5])
    expires_at: float = Field(description="Unix seconds.", examples=[1790003600.5])


class NewToken(TokenResponse):
    """A token, this once with its secret: send it as ``Authorization: Bearer``."""

    token: str = Field(examples=["attu-..."])


class TokenList(BaseModel):
    """A user's tokens that have not expired, oldest first."""

    object: Literal["list"] = "list"
    data: list[TokenResponse]


class DeletedToken(BaseModel):
    """The token is revoked; servers notice within a second."""

    id: str = Field(examples=["tok-5f0c2a"])
    object: Literal["user.token.deleted"] = "user.token.deleted"
    deleted: Literal[True] = True


@router.post("", status_code=201, dependencies=[KeepsMore], responses=errors(409))
async def create_token(body: TokenRequest, request: Request, services: ServicesOf, owner: PathOwner) -> NewToken:
    """Make a token; a user not seen before is made. Only an API key can."""
    key_id: str = request.state.key
    made, plain = await services.database.write(_create, owner, key_id, body)
    return NewToken(user=owner.user, token=plain, **vars(made))


@router.get("", responses=errors(404))
async def list_tokens(services: ServicesOf, owner: PathOwner) -> TokenList:
    """The user's tokens that have not expired."""
    await known(services, owner)
    held = await services.database.read(tokens.all_of, owner)
    return TokenList(data=[TokenResponse(user=owner.user, **vars(token)) for token in held])


@router.delete("/{id}", responses=errors(404))
async def revoke_token(
    id: Annotated[str, Path(description="The `id` of the token.", examples=["tok-5f0c2a"])],
    services: ServicesOf,
    owner: PathOwner,
) -> DeletedToken:
    """End a token before its time."""
    await services.database.write(tokens.revoke, owner, id)
    return DeletedToken(id=id)


def _create(c: Connection, owner: Owner, key_id: str, body: TokenRequest) -> tuple[Token, str]:
    users.ensure(c, owner)
    return tokens.create(c, owner, key_id, body.scopes, body.expires_in)
