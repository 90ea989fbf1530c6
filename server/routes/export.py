"""GET /v1/users/{user}/export: everything held about a user, to keep, to move, or to train with."""

import asyncio
from typing import Annotated, Any, Literal

from fastapi import APIRouter, Query
from fastapi.responses import StreamingResponse

from server.data import export
from server.http.openapi import errors
from server.routes.requests import PathOwner, ServicesOf, known
from store.errors import Invalid, NotFound

router = APIRouter(prefix="/users/{user}", tags=["users"])

_LINES, _TAR = "application/jsonl", "application/x-tar"
_STREAM = {"type": "string", "format": "binary"}
_DESCRIBED: dict[int | str, dict[str, Any]] = {
    200: {
        "description": "A stream. Cut off, and not ended, when it cannot go on.",
        "content": {
            _LINES: {"schema": _STREAM, "example": '{"object":"user","id":"maria","active_adapter":0}\n'},
            _TAR: {"schema": _STREAM},
        },
    }
}


@router.get("/export", response_class=StreamingResponse, responses=_DESCRIBED | errors(400, 404))
async def export_user(
    services: ServicesOf,
    owner: PathOwner,
    format: Annotated[
        Literal["all", "sft", "preferences", "rankings", "thumbs", "ratings", "completions", "adapter"],
        Query(
            description="`all`: a line of JSON for each thing held. As TRL's trainers read them: `sft`, rows of "
            "`messages`; `preferences` (edits) and `rankings`, rows of `prompt`, `chosen`, `rejected`; `thumbs` and "
            "`ratings` (by the user's own median), rows of `prompt`, `completion`, `label`; `completions`, rows of "
            "`prompt`, `completion`. `adapter`: a tar file of a folder for `peft`."
        ),
    ] = "all",
    version: Annotated[
        int | None, Query(ge=1, lt=2**31, description="The adapter's version; by default the active one.")
    ] = None,
) -> StreamingResponse:
    """Everything held about the user, as a stream."""
    if version is not None and format != "adapter":
        raise Invalid("version goes with format=adapter.", param="version")
    user = await known(services, owner)
    if format == "adapter":
        number = version or user.active_adapter
        if not number:
            raise NotFound("No adapter is active; name a version.", param="version")
        archive = await asyncio.to_thread(
            export.adapter, services.directories, user, number, export.base_name(services.settings)
        )
        headers = {"Content-Length": str(archive.size), "Content-Disposition": 'attachment; filename="adapter.tar"'}
        return StreamingResponse(archive.stream(), media_type=_TAR, headers=headers)
    if format == "all":
        lines = export.everything(services.database, services.directories, user)
    else:
        lines = export.training_rows(services.database, user, format, system_role=services.system_role)
    headers = {"Content-Disposition": f'attachment; filename="{format}.jsonl"'}
    return StreamingResponse(lines, media_type=_LINES, headers=headers)
