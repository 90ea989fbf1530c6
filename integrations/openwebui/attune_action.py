"""title: What Attune learned
author: Attune
description: Shows what was learned of how you want things written, and corrects it in your own words.
version: 0.1.0
license: Apache-2.0
required_open_webui_version: 0.12.0
"""

# Paste this file into Open WebUI (Admin Panel, Functions, +), fill in its valves, and switch it on for your models.

import re
from collections.abc import Awaitable, Callable
from typing import Any
from urllib.parse import quote

import httpx
from pydantic import BaseModel, Field

Event = Callable[[dict[str, Any]], Awaitable[Any]]
SHOWN = 30
_CHANGE = re.compile(r"\s*(\d+)\s*[:.)]\s*(.*)", re.DOTALL)


class Action:
    """A button under each answer. Whose preferences: those of the user who is signed in, and nobody else's."""

    class Valves(BaseModel):
        """Filled in by the admin."""

        url: str = Field(default="http://127.0.0.1:8000", description="The address of Attune, without /v1.")
        api_key: str = Field(default="", description="A key of `attune keys create`; none on the same machine.")

    def __init__(self) -> None:
        self.valves = self.Valves()

    async def action(
        self,
        body: dict[str, Any],
        __user__: dict[str, Any],
        __event_emitter__: Event,
        __event_call__: Event,
    ) -> None:
        """Show the preferences, numbered; the reply corrects one, forgets one, or states a new one."""
        headers = {"Authorization": f"Bearer {self.valves.api_key}"} if self.valves.api_key else {}
        headers["X-User-Id"] = __user__["id"]
        base = f"{self.valves.url.rstrip('/')}/v1/users/{quote(__user__['id'], safe='')}/preferences"
        try:
            async with httpx.AsyncClient(headers=headers, timeout=20) as http:
                answer = await http.get(base)
                held = [] if answer.status_code == 404 else _checked(answer)["data"][::-1][:SHOWN]
                reply = await __event_call__({"type": "input", "data": _question(held)})
                # What is no text was cancelled, or there is no browser to ask.
                said = await _change(http, base, held, reply.strip()) if isinstance(reply, str) else None
        except (httpx.HTTPError, ValueError) as error:
            await _tell(__event_emitter__, "error", str(error))
        else:
            if said:
                await _tell(__event_emitter__, "success", said)


def _question(held: list[dict[str, Any]]) -> dict[str, str]:
    lines = [f"{number}. {one['text']}" for number, one in enumerate(held, 1)]
    return {
        "title": "What Attune learned from you",
        "message": "\n".join(lines) or "Nothing yet: edit an answer and go on, and it will show here.",
        "placeholder": "2: the corrected text   or   forget 2   or   a new preference",
        "value": "",
    }


async def _change(http: httpx.AsyncClient, base: str, held: list[dict[str, Any]], reply: str) -> str | None:
    """Do what the reply asks for; what was done. Raises ``ValueError`` where there is no such number."""
    if not reply:
        return None
    if forgotten := re.fullmatch(r"(?i)forget\s+(\d+)", reply):
        one = _numbered(held, forgotten[1])
        _checked(await http.delete(f"{base}/{quote(one['id'], safe='')}"))
        return f"Forgotten: {one['text']}"
    if corrected := _CHANGE.fullmatch(reply):
        one = _numbered(held, corrected[1])
        changed = await http.patch(f"{base}/{quote(one['id'], safe='')}", json={"text": corrected[2].strip()})
        return f"Corrected: {_checked(changed)['text']}"
    return f"Kept: {_checked(await http.post(base, json={'text': reply}))['text']}"


def _numbered(held: list[dict[str, Any]], number: str) -> dict[str, Any]:
    if not 1 <= int(number[:9]) <= len(held):
        raise ValueError(f"There is no number {number}.")
    return held[int(number) - 1]


def _checked(answer: httpx.Response) -> Any:
    if answer.is_success:
        return answer.json()
    try:
        message = answer.json()["error"]["message"]
    except (ValueError, KeyError, TypeError):
        message = f"Attune answered {answer.status_code}."
    raise ValueError(message)


async def _tell(emit: Event, kind: str, content: str) -> None:
    await emit({"type": "notification", "data": {"type": kind, "content": content}})
