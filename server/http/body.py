"""Bounds on a body of JSON before it is validated: each value may become an object, and each mistake several."""

import re
from typing import Annotated, Any, TypeVar

from fastapi import Request
from fastapi.exceptions import RequestValidationError
from pydantic import BeforeValidator, Field, ValidationError

from store.errors import Invalid

MAX_VALUES = 50_000
"""Values in a body: of a generation, with its schemas and a long conversation's parts."""
MAX_OTHER_VALUES = 1_000
"""In any other body."""
MAX_ERRORS = 100
"""Mistakes of a body that are looked at; of more only their number is told."""

T = TypeVar("T")
Items = Annotated[list[T], Field(fail_fast=True)]
"""A list of which the first mistake is enough; its length is bounded by ``MAX_VALUES`` at least."""
_STRING = re.compile(rb'"[^"\\]*+(?:\\.[^"\\]*+)*+"', re.DOTALL)


def few(most: int) -> BeforeValidator:
    """A bound on an object's members that counts before it validates."""

    def counted(given: Any) -> Any:
        if isinstance(given, dict) and len(given) > most:
            raise ValueError(f"may have {most} members at most")
        return given

    return BeforeValidator(counted)


def check_values(raw: bytes, limit: int) -> None:
    """Raise ``Invalid`` for a body of more than ``limit`` values, which the commas outside of its strings count."""
    if raw.count(b",") > limit and _STRING.sub(b"", raw).count(b",") > limit:
        raise Invalid(f"The body may have {limit:,} JSON values at most.")


async def bounded_body(request: Request) -> None:
    """``check_values`` of a body that the framework has read and not validated yet."""
    if getattr(request.scope.get("route"), "body_field", None) is not None:
        check_values(await request.body(), MAX_OTHER_VALUES)


def mistakes(error: ValidationError) -> RequestValidationError:
    """What pydantic found in a body, a few mistakes at most."""
    if (number := error.error_count()) > MAX_ERRORS:
        message = f"The body has {number:,} mistakes, too many to name one."
        return RequestValidationError([{"type": "too_many", "loc": ("body",), "msg": message}])
    found = error.errors(include_url=False, include_input=False)
    return RequestValidationError([{**one, "loc": ("body", *one["loc"])} for one in found])
