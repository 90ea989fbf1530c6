"""The console in a real Chromium when something goes wrong: servers away, sessions over, two tabs, a proxy."""

import asyncio
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from itertools import cycle
from pathlib import Path
from typing import Any

import pytest
from aiohttp import ClientSession, web
from playwright.sync_api import Browser, expect

from tests.e2e.console_page import Console, opened
from tests.server.conftest import Running, Start, closed, until, with_key
from tests.server.console.conftest import SCREENS, known, sign_in


def test_a_server_that_is_away_loses_nothing(running: Running, console: Console) -> None:
    page = console.page
    console.open("chat", "ann")
    turn = console.ask("Write an email to Ann")
    console.edit_draft(turn, "Half an edit")
    page.route("**/v1/**", lambda route: route.abort())
    console.button("Send what I really used", turn).click()
    expect(turn.get_by_text("Your edit is kept on this page.")).to_be_visible()
    message = page.get_by_label("Message", exact=True)
    message.fill("And another")
    console.button("Send").click()
    expect(page.get_by_text("The server cannot be reached. What you typed is kept.").first).to_be_visible()
    expect(message).to_have_value("And another")
    page.unroute("**/v1/**")
    page.reload()
    expect(page.get_by_label("What you really used")).to_have_value("Half an edit")
    expect(page.get_by_label("Message", exact=True)).to_have_value("And another")
    console.button("Send what I really used").click()
    expect(console.turn(0).locator(".text")).to_have_text("Half an edit")
    expect(console.turn(0).locator(".outcome")).to_contain_text("Learning")
    console.errors.clear()  # the browser's own words on requests that were cut


def test_a_session_that_has_ended_is_said_and_what_was_typed_is_there_again(
    running: Running, chromium: Browser
) -> None:
    _, key = with_key(running)
    with opened(chromium, running.url) as console:
        page = console.page
        page.goto(f"{running.url}/console/")
        page.get_by_label("API key or token").fill("att-wrong")
        page.keyboard.press("Enter")
        expect(page.get_by_role("alert")).to_contain_text("does not know this key")
        console.check_access()
        sign_in(console, key)
        page.get_by_label("User", exact=True).fill("ann")
        page.keyboard.press("Enter")
        page.get_by_label("Message", exact=True).fill("Half a message")
        page.context.clear_cookies()
        console.button("Send").click()
        expect(page.get_by_role("alert")).to_contain_text("Your sign-in has ended")
        sign_in(console, key)
        expect(page.get_by_label("Message", exact=True)).to_have_value("Half a message")
        console.button("Sign out").click()
        expect(page.get_by_label("API key or token")).to_be_visible()
        assert page.evaluate("Object.keys(sessionStorage).length") == 0


def test_an_engine_that_loads_is_said(running: Running, console: Console) -> None:
    running.engine.away = True
    until(lambda: running.http().get("/ready").status_code == 503)
    console.open("chat", "ann")
    expect(console.page.get_by_text("The model is loading")).to_be_visible()
    console.page.get_by_label("Message", exact=True).fill("Hello")
    console.button("Send").click()
    expect(console.page.get_by_role("alert")).to_contain_text("cannot do that just now")
    expect(console.page.get_by_label("Message", exact=True)).to_have_value("Hello")
    running.engine.away = False
    expect(console.page.get_by_text("The model is loading")).to_be_hidden(timeout=20_000)


def test_two_tabs_that_edit_the_same_answer(running: Running, console: Console) -> None:
    console.open("chat", "ann")
    turn = console.ask("Hello")
    with console.page.context.expect_page() as opening:
        console.page.evaluate("window.open(location.href)")  # a tab that knows what this one knew
    other = Console(opening.value, console.base)
    theirs = other.turn()
    other.edit_draft(theirs, "As the other tab has it")
    console.edit_draft(turn, "As this tab has it")
    console.button("Send what I really used", turn).click()
    expect(turn.locator(".text")).to_have_text("As this tab has it")
    expect(other.page.locator("#spoken")).to_contain_text("Another tab has just sent an edit")
    other.button("Send what I really used", theirs).click()
    expect(theirs).to_contain_text("has been edited in another tab or app meanwhile")
    other.button("Take the other one", theirs).click()
    expect(theirs.locator(".text")).to_have_text("As this tab has it")
    other.edit_draft(theirs, "After all")
    other.button("Send what I really used", theirs).click()
    expect(theirs.locator(".text")).to_have_text("After all")
    other.check()


@contextmanager
def proxy(prefix: str, *servers: str) -> Iterator[str]:
    """A proxy that sends each request to the next server, and keeps nobody with one; gives its URL."""
    loop, ready, url = asyncio.new_event_loop(), threading.Event(), ""
    turns, stop = cycle(servers), asyncio.Event()

    async def forward(request: web.Request) -> web.StreamResponse:
        target = next(turns) + request.raw_path.removeprefix(prefix)
        headers = {k: v for k, v in request.headers.items() if k.lower() not in ("content-length", "transfer-encoding")}
        async with (
            ClientSession(auto_decompress=False) as session,
            session.request(
                request.method, target, headers=headers, data=await request.read(), allow_redirects=False
            ) as got,
        ):
            answer = web.StreamResponse(status=got.status)
            for name, value in got.headers.items():
                if name.lower() not in ("content-length", "transfer-encoding"):
                    answer.headers.add(name, value)
            await answer.prepare(request)
            async for part in got.content.iter_any():
                await answer.write(part)
            return answer

    async def serve() -> None:
        nonlocal url
        app = web.Application()
        app.router.add_route("*", f"{prefix}/{{path:.*}}", forward)
        runner = web.AppRunner(app)
        await runner.setup()
        await web.TCPSite(runner, "127.0.0.1", 0).start()
        url = f"http://127.0.0.1:{runner.addresses[0][1]}{prefix}"
        ready.set()
        await stop.wait()
        await runner.cleanup()

    thread = threading.Thread(target=lambda: loop.run_until_complete(serve()), daemon=True)
    thread.start()
    assert ready.wait(10)
    try:
        yield url
    finally:
        loop.call_soon_threadsafe(stop.set)
        thread.join(10)
        loop.close()


@pytest.mark.parametrize("database_url", ["postgresql"], indirect=True)
def test_two_servers_behind_a_proxy_that_keeps_nobody_with_one(
    start: Start, chromium: Browser, database_url: str, tmp_path: Path
) -> None:
    settings: dict[str, Any] = {"database_url": database_url, "root_path": "/attune"}
    one = start(**settings)
    two = start(**settings, data_dir=tmp_path / "two", worker_in_process=True)
    _, key = with_key(one)
    closed(two)
    with proxy("/attune", one.url, two.url) as url, opened(chromium, url) as console:
        sign_in(console, key)
        page = console.page
        page.get_by_label("User", exact=True).fill("ann")
        page.keyboard.press("Enter")
        turn = console.ask("Hello")
        console.edit(turn, "Hello world, and more.")
        for screen in SCREENS:
            console.go(screen)
            assert page.get_by_role("alert").filter(visible=True).count() == 0, screen
        page.reload()
        console.settled("data")
        (cookie,) = page.context.cookies()
        assert (cookie["path"], cookie["httpOnly"], cookie["sameSite"]) == ("/attune", True, "Strict")
        console.button("Sign out").click()
        expect(page.get_by_label("API key or token")).to_be_visible()


def test_what_was_said_and_erased_before_its_time_is_done_when_the_page_is_left(
    running: Running, console: Console
) -> None:
    http = running.http()
    http.post("/v1/users/ann/preferences", json={"text": "Use bullets"})
    http.post("/v1/users/ann/preferences", json={"text": "Be brief"})
    page = console.page
    console.open("preferences", "ann")
    row = page.locator(".rows li", has_text="Use bullets")
    console.button("Delete", row).click()
    expect(row).to_be_hidden()
    console.button("Undo").click()
    expect(row).to_be_visible()
    other = page.locator(".rows li", has_text="Be brief")
    console.button("Delete", other).click()
    console.go("why")
    until(lambda: [one["text"] for one in known(http)] == ["Use bullets"])
