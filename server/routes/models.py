"""GET /v1/models: the base model. Adapters are chosen by the server, never by a client's ``model``."""

import time
from typing import Annotated, Literal

from fastapi import APIRouter, Path
from pydantic import BaseModel, Field

from server.errors import ModelNotFound
from server.http.openapi import errors
from server.routes.requests import ServicesOf
from server.services import Services

router = APIRouter(tags=["models"])
_STARTED = int(time.time())


class ModelResponse(BaseModel):
    """A model as OpenAI describes one."""

    id: str = Field(examples=["attune-tiny"])
    object: Literal["model"] = "model"
    created: int = Field(description="When this server started; Unix seconds.", examples=[1790000000])
    owned_by: Literal["attune"] = "attune"


class ModelList(BaseModel):
    """The served model, alone."""

    object: Literal["list"] = "list"
    data: list[ModelResponse]


@router.get("/models")
async def list_models(services: ServicesOf) -> ModelList:
    """The one model that requests may name."""
    return ModelList(data=[await _model(services)])


@router.get("/models/{model:path}", responses=errors(404))
async def get_model(
    model: Annotated[str, Path(description="A name of `GET /v1/models`.", examples=["attune-tiny"])],
    services: ServicesOf,
) -> ModelResponse:
    """The model, if it is the one served here."""
    served = await _model(services)
    if model != served.id:
        raise ModelNotFound(model, served.id)
    return served


async def _model(services: Services) -> ModelResponse:
    return ModelResponse(id=await services.engine.model(), created=_STARTED)
