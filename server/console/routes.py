"""GET /console: the page and its files; POST and DELETE /console/session: signing in and out."""

from typing import Annotated, Literal

from fastapi import APIRouter, Depends, Header, Request
from fastapi.responses import HTMLResponse, RedirectResponse, Response
from pydantic import BaseModel, ConfigDict, Field
from sqlalchemy import Connection

from server.admission import session
from server.console import assets
from server.errors import Forbidden, Unauthorized
from server.http.body import bounded_body
from server.routes.requests import ServicesOf
from store import keys, tokens
from store.errors import NotFound
from store.keys import Key
from store.tokens import Token

router = APIRouter(prefix="/console", include_in_schema=False)

POLICY = "; ".join(
    (
        "default-src 'none'",
        "script-src 'self'",
        "style-src 'self'",
        "connect-src 'self'",
        "img-src 'self' data:",
        "form-action 'self'",
        "frame-ancestors 'none'",
        "base-uri 'none'",
        "require-trusted-types-for 'script'",
        "trusted-types 'none'",
    )
)
_GUARDED = {
    "Content-Security-Policy": POLICY,
    "Referrer-Policy": "same-origin",
    "X-Content-Type-Options": "nosniff",
    "Cross-Origin-Opener-Policy": "same-origin",
}
_FOR_GOOD = "public, max-age=31536000, immutable"


class SignIn(BaseModel):
    """An API key, or a token of one user."""

    model_config = ConfigDict(extra="forbid", strict=True)

    key: str = Field(min_length=1, max_length=256)


class SignedIn(BaseModel):
    """The cookie is set."""

    object: Literal["session"] = "session"


async def _of_ours(request: Request) -> None:
    if not session.is_same_origin(request.headers):
        raise Forbidden("Only the console's own page signs in and out.")


@router.get("")
async def to_the_page(request: Request) -> RedirectResponse:
    """With a slash, below which the page finds its files."""
    query = f"?{request.url.query}" if request.url.query else ""
    return RedirectResponse(f"console/{query}", status_code=307)  # relative: right behind any prefix


@router.get("/")
async def get_page() -> HTMLResponse:
    """The page. It has no data: what it shows it asks the public API for."""
    return HTMLResponse(assets.page(), headers={**_GUARDED, "Cache-Control": "no-cache"})


@router.get("/files/{version}/{path:path}")
async def get_file(
    version: str,
    path: str,
    accept_encoding: Annotated[str, Header()] = "",
    if_none_match: Annotated[str, Header()] = "",
) -> Response:
    """One of the page's files. Under another version, of a server before or after this one, it is asked for anew."""
    asset = assets.assets().get(path)
    if asset is None:
        raise NotFound("The console has no such file.", param="path")
    headers = {
        "Cache-Control": _FOR_GOOD if version == assets.version() else "no-cache",
        "ETag": asset.etag,
        "Vary": "Accept-Encoding",
        "X-Content-Type-Options": "nosniff",
    }
    if asset.etag in if_none_match:
        return Response(status_code=304, headers=headers)
    if asset.packed is not None and "gzip" in accept_encoding:
        packed = {**headers, "Content-Encoding": "gzip"}
        return Response(asset.packed, media_type=asset.media_type, headers=packed)
    return Response(asset.content, media_type=asset.media_type, headers=headers)


@router.post("/session", dependencies=[Depends(_of_ours), Depends(bounded_body)])
async def sign_in(body: SignIn, request: Request, response: Response, services: ServicesOf) -> SignedIn:
    """Keep a key or a token in a cookie that no script reads and no other site's page uses."""
    plain = body.key.strip()
    await services.identity.key(f"Bearer {plain}", None, request.scope.get("client"), request.headers.get("host"))
    held = await services.database.read(_held, plain)
    if held is None:
        raise Unauthorized("No API key exists yet: nobody needs to sign in.")
    response.set_cookie(
        session.COOKIE,
        session.seal(held, plain),
        max_age=session.SECONDS,
        path=_path(request),
        # Proxies end TLS without always saying so.
        secure=request.url.scheme == "https" or request.headers.get("origin", "").startswith("https://"),
        httponly=True,
        samesite="strict",
    )
    return SignedIn()


@router.delete("/session", dependencies=[Depends(_of_ours)], status_code=204)
async def sign_out(request: Request) -> Response:
    """Forget it. The key itself goes on working."""
    response = Response(status_code=204)
    response.delete_cookie(session.COOKIE, path=_path(request), httponly=True, samesite="strict")
    return response


def _held(c: Connection, plain: str) -> Key | Token | None:
    return tokens.find(c, plain, open=True) if plain.startswith(tokens.PREFIX) else keys.find(c, plain)


def _path(request: Request) -> str:
    return request.app.state.prefix or "/"
