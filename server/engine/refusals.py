"""What an engine's refusal, or its silence, means."""

import asyncio
import json
from typing import Any

import aiohttp

from store.errors import EngineFailed, EngineRejected, EngineUnavailable

GONE = (aiohttp.ClientConnectionError, aiohttp.ClientPayloadError, ConnectionError, asyncio.TimeoutError)
_NOT_LOADED = "was found but could not be loaded."
"""How vLLM says that it brought an adapter and then failed to take it."""
STOPPING = "The server is stopping; try again."


class AdapterGone(EngineRejected):
    """The engine no longer has the adapter that was asked for: it restarted."""

    code = "adapter_gone"


def lost(error: Exception) -> EngineUnavailable:
    """The error for an engine that cannot be reached, or was silent for too long."""
    if isinstance(error, aiohttp.SocketTimeoutError):
        return EngineFailed("The engine did not answer in time; try again later.")
    return EngineUnavailable("The engine is loading or restarting; try again shortly.")


async def refusal(response: aiohttp.ClientResponse, payload: dict[str, Any]) -> EngineUnavailable | EngineRejected:
    """The error that an engine's answer to ``payload`` means, whose status is not 200."""
    text = await response.text(errors="replace")
    try:
        error = json.loads(text)["error"]
        message, param = str(error["message"]), error.get("param")
    except (ValueError, KeyError, TypeError):
        message, param = f"The engine answered with status {response.status}.", None
    if "model" in payload and (response.status == 404 or message.endswith(_NOT_LOADED)):
        return AdapterGone(message)
    if "lora_name" in payload:
        return EngineRejected(message, param=str(param) if param else None)
    if response.status in (401, 403):
        return EngineUnavailable("The engine refuses this server's key: check ATTUNE_ENGINE_API_KEY.")
    if response.status in (429, 502, 503):  # 502: a proxy's, whose engine is away
        return EngineUnavailable("The engine is overloaded or loading; try again shortly.")
    if response.status >= 500:
        return EngineFailed("The engine failed; try again shortly.")
    return EngineRejected(message, param=str(param) if param else None)
