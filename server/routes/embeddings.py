"""POST /v1/embeddings: OpenAI's route, by the sentence encoder under the embedder that finds preferences."""

import asyncio
import base64
from typing import Literal

from fastapi import APIRouter
from pydantic import Field

from preference.ports import Vectors
from server.dialects.generation import Strict
from server.errors import ModelNotFound
from server.http.openapi import errors
from server.routes.requests import ServicesOf
from store.errors import Invalid

router = APIRouter(tags=["generation"], responses=errors(404))

MAX_INPUTS, MAX_INPUT = 256, 8192
"""Texts of a request, and the characters of one: the bundled embedder reads some thousand."""
_AT_ONCE = 8  # then others, who wait to be answered, may embed their text


class EmbeddingRequest(Strict):
    """OpenAI's request for embeddings."""

    model: str = Field(max_length=512, description="The embedder's name.", examples=["all-MiniLM-L6-v2"])
    input: str | list[str] = Field(description="A text, or several.", examples=["Write an email to Ann"])
    encoding_format: Literal["float", "base64"] | None = None
    dimensions: int | None = Field(default=None, ge=1, le=2**16, description="Only what the embedder has.")
    user: str | None = Field(default=None, description="Accepted and without effect.")


class Embedding(Strict):
    """The unit vector of one text."""

    object: Literal["embedding"] = "embedding"
    index: int = Field(ge=0, lt=MAX_INPUTS, examples=[0])
    embedding: list[float] | str = Field(
        description="Numbers, or their bytes in base64: little-endian 32-bit floats.", examples=[[0.6, -0.8]]
    )


class EmbeddingUsage(Strict):
    """The embedder counts no tokens: both are 0."""

    prompt_tokens: int = Field(default=0, ge=0, le=0)
    total_tokens: int = Field(default=0, ge=0, le=0)


class EmbeddingList(Strict):
    """The vectors, in the order of the texts."""

    object: Literal["list"] = "list"
    model: str = Field(examples=["all-MiniLM-L6-v2"])
    data: list[Embedding]
    usage: EmbeddingUsage = EmbeddingUsage()


@router.post("/embeddings")
async def create_embeddings(body: EmbeddingRequest, services: ServicesOf) -> EmbeddingList:
    """Unit vectors of texts. Nothing of it is stored."""
    embedder = services.sentences
    if body.model != embedder.name:
        raise ModelNotFound(body.model, embedder.name)
    if body.dimensions not in (None, embedder.dimension):
        raise Invalid(f"This embedder has {embedder.dimension} dimensions.", param="dimensions")
    texts = [body.input] if isinstance(body.input, str) else body.input
    if not 0 < len(texts) <= MAX_INPUTS:
        raise Invalid(f"input may be 1 to {MAX_INPUTS} texts.", param="input")
    for place, text in enumerate(texts):
        if not 0 < len(text) <= MAX_INPUT:
            raise Invalid(f"A text may have 1 to {MAX_INPUT} characters.", param=f"input.{place}")
    data = []
    for start in range(0, len(texts), _AT_ONCE):
        vectors = await asyncio.to_thread(embedder.embed, texts[start : start + _AT_ONCE])
        data += _rendered(vectors, start, as_bytes=body.encoding_format == "base64")
    return EmbeddingList(model=embedder.name, data=data)


def _rendered(vectors: Vectors, start: int, *, as_bytes: bool) -> list[Embedding]:
    return [
        Embedding(
            index=place, embedding=base64.b64encode(row.astype("<f4").tobytes()).decode() if as_bytes else row.tolist()
        )
        for place, row in enumerate(vectors, start)
    ]
