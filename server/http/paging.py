"""Lists page by page, newest first. A cursor says where a page ended: nothing that is deleted later can spoil it."""

import base64
import binascii
import json
from collections.abc import Callable, Sequence
from typing import Annotated, Generic, Literal, TypeVar

from fastapi import Query
from pydantic import BaseModel, Field

from store.errors import Invalid
from store.rows import findable

T = TypeVar("T")
Row = TypeVar("Row")
MAX_PAGE = 100

Limit = Annotated[int, Query(ge=1, le=MAX_PAGE, description="How many at most.")]
After = Annotated[str | None, Query(max_length=1024, description="The `next_cursor` of the page before.")]
Since = Annotated[
    float | None, Query(ge=0, le=1e12, description="Only what was made at or after this time, in Unix seconds.")
]
Until = Annotated[float | None, Query(ge=0, le=1e12, description="Only what was made before this time.")]


class Page(BaseModel, Generic[T]):
    """One page of a list."""

    object: Literal["list"] = "list"
    data: list[T]
    has_more: bool = Field(description="Whether there are more.", examples=[False])
    next_cursor: str | None = Field(description="What to send as `cursor` for the next page.", examples=[None])


def page_of(
    found: Sequence[Row], limit: int, place: Callable[[Row], tuple[float, str]], shown: Callable[[Row], T]
) -> Page[T]:
    """At most ``limit`` of the rows ``found``, of which one more was asked for.

    ``place`` is when a row was made, and its id.
    """
    page, more = found[:limit], len(found) > limit
    cursor = base64.urlsafe_b64encode(json.dumps(place(page[-1])).encode()).decode().rstrip("=") if more else None
    return Page(data=[shown(row) for row in page], has_more=more, next_cursor=cursor)


def place_of(cursor: str | None) -> tuple[float, str] | None:
    """The place that a cursor names. Raises ``Invalid``."""
    if cursor is None:
        return None
    try:
        created_at, id = json.loads(base64.urlsafe_b64decode(cursor + "=" * (-len(cursor) % 4)))
        if type(created_at) is float and 0 <= created_at <= 1e12 and isinstance(id, str) and findable(id):
            return created_at, id
    except (ValueError, TypeError, binascii.Error, RecursionError):
        pass
    raise Invalid("The cursor is not one that a page gave.", param="cursor")
