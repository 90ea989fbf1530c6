"""What a token of one user may do: some routes by its scopes, and of those below a user's path its own user's alone."""

import re
from collections.abc import Collection

from store.tokens import Scope

_USER = "/v1/users/[^/]+"
_ALLOWED: dict[Scope, tuple[str, ...]] = {
    "chat": (
        "POST /v1/(chat/completions|completions|responses|messages|messages/count_tokens|embeddings)",
        "GET /v1/models(/.+)?",
    ),
    "feedback": ("(GET|POST) /v1/feedback", "(GET|DELETE) /v1/feedback/[^/]+", f"GET {_USER}/feedback"),
    "data": (
        "POST /mcp",
        "GET /v1/turns(/[^/]+)?",
        f"(GET|PATCH) {_USER}",
        f"(GET|PUT) {_USER}/values",
        f"(GET|POST) {_USER}/preferences",
        f"POST {_USER}/preferences/search",
        f"(GET|PATCH|DELETE) {_USER}/preferences/[^/]+",
        f"GET {_USER}/(export|adapters|adapters/[^/]+)",
        "GET /v1/(curve|usage)",
    ),
    "erase": (f"DELETE {_USER}",),
}
_ANY = "GET /v1/caller"
_ROUTES = {scope: re.compile("|".join(f"(?:{route})" for route in routes)) for scope, routes in _ALLOWED.items()}


def allows(scopes: Collection[Scope], method: str, path: str) -> bool:
    """Whether a token with these scopes may make a request; everything that is not named above is refused."""
    return f"{method} {path}" == _ANY or any(_ROUTES[scope].fullmatch(f"{method} {path}") for scope in scopes)
