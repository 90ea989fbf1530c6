"""GET /v1/turns/{completion_id}: why this answer."""

from contextlib import suppress
from typing import Any

from fastapi import APIRouter
from sqlalchemy import Connection

from preference import feedback, preferences, turns
from preference.errors import NotFound
from preference.owner import Owner
from server.routes.requests import AskingOwner, ServicesOf

router = APIRouter(tags=["turns"])
_EDITS = 10  # newest source edits shown of one preference


@router.get("/turns/{completion_id}")
async def get_turn(completion_id: str, services: ServicesOf, owner: AskingOwner) -> dict[str, Any]:
    """Values, preferences with the edits they come from, adapter version, and the prompt as the engine got it."""
    return await services.database.read(_explained, owner, completion_id)


def _explained(c: Connection, owner: Owner, completion_id: str) -> dict[str, Any]:
    turn = turns.get(c, owner, completion_id)
    return {
        "id": turn.completion_id,
        "object": "turn",
        "created_at": turn.created_at,
        "model": turn.model,
        "personalized": turn.personalized,
        "values": [value.model_dump() for value in turn.applied_values],
        "preferences": [{**applied, **_source(c, owner, applied["id"])} for applied in turn.applied_preferences],
        "adapter_version": turn.adapter_version,
        "request": list(turn.request),
        "prompt": list(turn.prompt),
        "prompt_sha256": turn.prompt_sha256,
        "answers": list(turn.answers),
        "partial": turn.partial,
        "usage": {"prompt_tokens": turn.prompt_tokens, "completion_tokens": turn.completion_tokens},
    }


def _source(c: Connection, owner: Owner, preference_id: str) -> dict[str, Any]:
    """Where a preference comes from, as far as it still exists."""
    try:
        preference = preferences.get(c, owner, preference_id)
    except NotFound:
        return {"status": "deleted", "source": None, "edits": []}
    edits = []
    for context in preferences.contexts_of(c, owner, preference_id)[-_EDITS:]:
        if context.feedback_id is None:
            continue
        with suppress(NotFound):
            held = feedback.get(c, owner, context.feedback_id)
            draft = turns.get(c, owner, held.completion_id).answers[held.choice]
            edits.append(
                {
                    "feedback_id": held.id,
                    "completion_id": held.completion_id,
                    "draft": draft,
                    "edited_text": held.edited_text,
                    "created_at": held.created_at,
                }
            )
    return {"status": preference.status, "source": preference.source, "edits": edits}
