"""The console's page in a real Chromium, before a server with a scripted engine."""

from collections.abc import Iterator
from typing import Any

import httpx
import pytest
from playwright.sync_api import Browser, expect

from store.owner import Owner
from tests.browser import browser
from tests.e2e.console_page import Console, opened
from tests.server.conftest import Running

SCREENS = ("chat", "preferences", "why", "curve", "adapters", "operation", "data")
LOCAL = Owner("local", "ann")


@pytest.fixture(scope="module")
def chromium() -> Iterator[Browser]:
    with browser() as opened_browser:
        yield opened_browser


@pytest.fixture
def console(running: Running, chromium: Browser) -> Iterator[Console]:
    with opened(chromium, running.url) as console:
        yield console


def sign_in(console: Console, key: str) -> None:
    console.page.goto(f"{console.base}/console/")
    console.page.get_by_label("API key or token").fill(key)
    console.page.keyboard.press("Enter")
    expect(console.page.locator("nav")).to_be_visible()


def held_values(http: httpx.Client) -> list[dict[str, Any]]:
    held: list[dict[str, Any]] = http.get("/v1/users/ann/values").json()["values"]
    return held


def known(http: httpx.Client) -> list[dict[str, Any]]:
    held: list[dict[str, Any]] = http.get("/v1/users/ann/preferences").json()["data"]
    return held
