"""What a browser does for an Action of Open WebUI: holds its socket open, shows what it is asked, and replies.

Runs with Open WebUI's own Python: ``BASE TOKEN CHAT_ID MESSAGE_ID REPLY``. Prints the events that it was sent, as JSON.
"""

import asyncio
import json
import sys
from typing import Any

import aiohttp
import socketio


async def main(base: str, token: str, chat_id: str, message_id: str, reply: str) -> None:
    events = []
    browser = socketio.AsyncClient()

    async def on_event(event: dict[str, Any]) -> object:
        if event["data"]["type"] in ("input", "notification"):  # others are of a chat's title and tags
            events.append(event["data"])
        return reply if event["data"]["type"] == "input" else None

    browser.on("events", on_event)
    await browser.connect(
        base, socketio_path="/ws/socket.io", transports=["websocket"], auth={"token": token}, wait_timeout=60
    )
    body = {
        "model": "attune-tiny",
        "messages": [],
        "chat_id": chat_id,
        "id": message_id,
        "session_id": browser.get_sid(),
    }
    headers = {"Authorization": f"Bearer {token}"}
    async with (
        aiohttp.ClientSession(headers=headers) as http,
        http.post(f"{base}/api/chat/actions/attune", json=body) as done,
    ):
        assert done.status == 200, await done.text()
    await asyncio.sleep(1)  # events that are on their way
    await browser.disconnect()
    print(json.dumps(events))


asyncio.run(main(*sys.argv[1:]))
