"""GET /v1/models: the base model. Adapters are chosen by the server, never by a client's ``model``."""

import time
from typing import Any

from fastapi import APIRouter

from server.errors import ModelNotFound
from server.routes.requests import ServicesOf
from server.services import Services

router = APIRouter(tags=["models"])
_STARTED = int(time.time())


@router.get("/models")
async def list_models(services: ServicesOf) -> dict[str, Any]:
    """The one model that requests may name."""
    return {"object": "list", "data": [await _model(services)]}


@router.get("/models/{model:path}")
async def get_model(model: str, services: ServicesOf) -> dict[str, Any]:
    """The model, if it is the one served here."""
    served = await _model(services)
    if model != served["id"]:
        raise ModelNotFound(model, served["id"])
    return served


async def _model(services: Services) -> dict[str, Any]:
    return {"id": await services.engine.model(), "object": "model", "created": _STARTED, "owned_by": "attune"}
