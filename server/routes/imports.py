"""POST /v1/users/{user}/import: what a user brings along, so that their first requests are not anybody's."""

from typing import Annotated, Any, Literal

from fastapi import APIRouter, Query, Request
from pydantic import BaseModel, Field
from starlette.requests import ClientDisconnect

from preference.imports.items import Format
from server.http.openapi import errors
from server.imports import Outcome, Reading, take_in
from server.routes.requests import KeepsMore, PathOwner, ServicesOf
from store.errors import Invalid

router = APIRouter(prefix="/users/{user}/import", tags=["users"])

_TYPES = ("application/jsonl", "application/x-ndjson", "application/x-jsonlines", "application/octet-stream")
_EXAMPLE = (
    '{"request": "Write to Ann", "draft": "Dear Ann, I will see you at 9.", "final": "Hi Ann, see you at 9. Bo"}\n'
    '{"request": "Write to Ann", "text": "Hi Ann, see you at 9. Bo"}\n'
    '{"preference": "Sign with Bo", "context": "Write an email"}\n'
)
_BODY: dict[str, Any] = {
    "requestBody": {
        "required": True,
        "content": {"application/jsonl": {"schema": {"type": "string", "format": "binary"}, "example": _EXAMPLE}},
        "description": "A value of JSON a line: pairs, own texts, preferences, or rows of another product's export.",
    }
}


class SkippedLine(BaseModel):
    """A part of a line that was left out."""

    line: int = Field(examples=[7])
    reason: str = Field(examples=["says not how to write: Works in Berlin"])


class RefusedLine(BaseModel):
    """A line that could not be taken."""

    line: int = Field(examples=[9])
    message: str = Field(examples=["final must be a text"])
    param: str | None = Field(description="The field that it is about.", examples=["final"])


class Taken(BaseModel):
    """What is new."""

    demonstrations: int = Field(description="Pairs and own texts; learned from like edits.", examples=[120])
    preferences: int = Field(examples=[8])
    thumbs: int = Field(examples=[0])
    ratings: int = Field(examples=[0])
    comments: int = Field(examples=[0])


class ImportResponse(BaseModel):
    """What has become of the lines."""

    object: Literal["import"] = "import"
    user: str = Field(examples=["maria"])
    lines: int = Field(examples=[131])
    taken: Taken
    repeated: int = Field(description="Things that came before, or say what was known.", examples=[0])
    skipped: int = Field(description="Parts that teach nothing.", examples=[1])
    skipped_lines: list[SkippedLine] = Field(description="The first 100.")
    refused: int = Field(examples=[1])
    refused_lines: list[RefusedLine] = Field(description="The first 1,000.")


@router.post("", dependencies=[KeepsMore], openapi_extra=_BODY, responses=errors(409))
async def import_past(
    request: Request,
    services: ServicesOf,
    owner: PathOwner,
    format: Annotated[Format | None, Query(description="Of all rows; else each row's keys tell its own.")] = None,
    after: Annotated[int, Query(ge=0, lt=2**31, description="Lines that were taken before, to be left out.")] = 0,
    of: Annotated[
        str | None,
        Query(min_length=1, max_length=256, description="The user's name there: rows of others are skipped."),
    ] = None,
    facts: Annotated[bool, Query(description="Take memories that do not say how to write, too.")] = False,
) -> ImportResponse:
    """Take in past drafts and what became of them, own texts, preferences, memories and ratings, a line each.

    A user not seen before is made. Sent again, what was taken counts once: after an error send the whole file, or the
    rest with `after`.
    """
    media_type = request.headers.get("content-type", "").partition(";")[0].strip().lower()
    if media_type not in _TYPES:  # what a page of another site may not send
        raise Invalid("Send lines of JSON with the header Content-Type: application/jsonl.", param="Content-Type")
    reading = Reading(format, of, facts, owner.user)
    try:
        outcome = await take_in(services, owner, request.stream(), reading, after=after)
    except ClientDisconnect as error:
        raise Invalid("The import is cut short.") from error
    return _told(owner.user, outcome)


def _told(user: str, outcome: Outcome) -> ImportResponse:
    taken = outcome.taken
    return ImportResponse(
        user=user,
        lines=outcome.lines,
        taken=Taken(
            demonstrations=taken.get("demonstration", 0),
            preferences=taken.get("preference", 0),
            thumbs=taken.get("thumbs", 0),
            ratings=taken.get("rating", 0),
            comments=taken.get("comment", 0),
        ),
        repeated=outcome.repeated,
        skipped=outcome.skipped,
        skipped_lines=[SkippedLine(line=line, reason=why) for line, why in outcome.skipped_told],
        refused=outcome.refused,
        refused_lines=[
            RefusedLine(line=line, message=message, param=param) for line, message, param in outcome.refused_told
        ],
    )
