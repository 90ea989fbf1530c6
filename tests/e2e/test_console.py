"""The console in a real Chromium, before a real server with real vLLM: what a person does with it."""

import json
import re
import uuid
from collections.abc import Iterator
from pathlib import Path

import httpx
import pytest
from playwright.sync_api import Browser, expect

from tests.browser import browser
from tests.e2e.conftest import People
from tests.e2e.console_page import PATIENCE, Console, opened

ANNA = (
    "Write an email to Anna, my client.\nNotes:\nabout: the launch\nwhat: the invoice is late\nwhen: Friday at 10\n"
    "where: the head office\nrequest: send the quote"
)
WALTER = (
    "Write an email to Walter, my client.\nNotes:\nabout: the renewal\nwhat: the contract has arrived\n"
    "when: Tuesday at 14\nwhere: the showroom\nrequest: sign the terms"
)
DEAR_ANNA = (
    "Dear Anna,\nI am writing to inform you about the launch.\n- The invoice is late.\n- The time is Friday at 10.\n"
    "- The place is the head office.\n- It would be appreciated if you could send the quote.\nBest wishes"
)
WIDTHS = [{"width": 360, "height": 780}, {"width": 1440, "height": 900}]
SCREENS = ("chat", "preferences", "why", "curve", "adapters", "operation", "data")


@pytest.fixture(scope="module")
def chromium() -> Iterator[Browser]:
    with browser() as opened_browser:
        yield opened_browser


def somebody() -> str:
    return f"person {uuid.uuid4().hex[:8]}"


def test_a_new_user_from_the_first_chat_to_the_erasure(server: str, chromium: Browser, tmp_path: Path) -> None:
    name = somebody()
    with opened(chromium, server, accept_downloads=True) as console:
        page = console.page
        page.goto(f"{server}/console")
        page.get_by_label("User", exact=True).fill(name)
        page.keyboard.press("Enter")
        console.settled("chat")
        expect(page.get_by_text("Ask for something that you would really send")).to_be_visible()

        first = console.ask(ANNA)
        expect(first.locator(".text")).to_contain_text("Anna")
        assert first.locator(".chips").count() == 0

        console.button("Edit", first).click()
        first.get_by_label("What you really used").fill(DEAR_ANNA)
        expect(first.locator(".diff ins").first).to_be_visible()
        expect(first.locator(".diff del").first).to_be_visible()
        console.check_access()
        console.button("Send what I really used", first).click()
        learned = first.locator(".learned li")
        expect(learned.first).to_be_visible(timeout=PATIENCE)
        expect(first.locator(".text")).to_contain_text("Dear Anna")
        console.check_access()

        second = console.ask(WALTER)
        expect(second.locator(".text")).to_contain_text("Dear Walter")
        chip = second.locator(".chips button", has_text="Greet with Dear")
        chip.click()
        source = page.get_by_role("dialog")
        expect(source.locator(".source ins").first).to_be_visible()
        console.check_access()
        page.keyboard.press("Escape")

        console.button("Compare", second).click()
        sides = second.locator(".compare .text")
        expect(sides.nth(1)).to_contain_text("Dear Walter", timeout=PATIENCE)
        expect(sides.nth(0)).not_to_contain_text("Dear Walter")

        greets = learned.filter(has_text="Greet with Dear")
        console.button("Always", greets).click()
        expect(greets).to_contain_text("Now it holds for every request")
        emojis = learned.filter(has_text="emojis")
        console.button("Only here", emojis).click()
        expect(emojis).to_contain_text("only for requests like this one")
        bullets = learned.filter(has_text="bullet")
        console.button("Wrong", bullets).click()
        expect(bullets).to_be_hidden()

        console.go("preferences")  # what was called wrong is deleted now: it can be undone no more
        always = page.locator(".kind", has=page.get_by_role("heading", name="For every request"))
        expect(always).to_contain_text("Greet with Dear")
        expect(page.locator(".kind")).not_to_contain_text(["bullet"])
        row = page.locator(".rows li", has_text="Sign off with Best wishes")
        console.button("Correct", row).click()
        page.get_by_role("textbox", name="Correct").fill("Sign off with Cheers.")
        page.keyboard.press("Enter")
        expect(page.locator(".rows li", has_text="Sign off with Cheers")).to_be_visible()

        console.go("chat")
        third = console.ask(WALTER.replace("Walter", "Ida"))
        expect(third.locator(".chips")).to_contain_text("Sign off with Cheers")
        expect(third.locator(".chips")).not_to_contain_text("bullet")
        third.get_by_role("link", name="Why?").click()
        console.settled("why")
        expect(page.locator(".prompt .part.preferences")).to_contain_text("Sign off with Cheers")
        console.check_access()

        console.go("curve")
        expect(page.locator("svg.chart").first).to_be_visible()
        console.go("data")
        with page.expect_download() as download:
            page.get_by_role("link", name="Everything", exact=True).click()
        download.value.save_as(tmp_path / "all.jsonl")
        lines = [json.loads(line) for line in (tmp_path / "all.jsonl").read_text().splitlines()]
        assert {"user", "turn", "feedback", "preference"} <= {line["object"] for line in lines}
        assert all(name in line["id"] for line in lines if line["object"] == "user")
        go = console.button("Erase everything")
        expect(go).to_be_disabled()
        page.get_by_label(f"Type {name} to confirm").fill(name)
        go.click()
        expect(page.get_by_text("Nothing is held any more")).to_be_visible(timeout=PATIENCE)
        console.check_access()
    listed = httpx.get(f"{server}/v1/users", params={"limit": 100}).json()["data"]
    assert name not in [one["id"] for one in listed]


@pytest.mark.timeout(1200)
def test_an_adapter_is_seen_and_rolled_back(server: str, chromium: Browser, people: People) -> None:
    person = people("client")
    made = person.train("client")
    assert made["state"] in ("ready", "refused")
    with opened(chromium, server) as console:
        console.open("adapters", person.id)
        version = console.page.locator(".timeline > li").first
        expect(version).to_contain_text("Version 1")
        expect(version.locator("svg.intervals")).to_be_visible()
        console.check_access()
        if made["state"] == "ready":
            expect(version.locator(".badge", has_text=re.compile("^active$"))).to_be_visible()
            console.button("Roll back").click()
            console.button("Roll back", console.page.get_by_role("dialog")).click()
            expect(console.page.locator(".facts").first).to_contain_text("the base model", timeout=PATIENCE)
            console.button("Activate", version).click()
            expect(version.locator(".badge", has_text=re.compile("^active$"))).to_be_visible(timeout=PATIENCE)
        console.go("curve")
        expect(console.page.locator(".mark.preference").first).to_be_attached()
        console.check_access()


@pytest.mark.parametrize("scheme", ["light", "dark"])
@pytest.mark.parametrize("size", WIDTHS, ids=lambda size: f"{size['width']}px")
def test_every_screen_is_for_everybody_at_every_width(
    server: str, chromium: Browser, size: dict[str, int], scheme: str
) -> None:
    name = somebody()
    edited(server, name)
    with opened(chromium, server, viewport=size, color_scheme=scheme, locale="de-DE") as console:
        console.open("chat", name)
        assert console.page.evaluate("document.documentElement.lang") == "de"
        for screen in SCREENS:
            console.page.locator(f"nav a[data-screen={screen}]").click()
            expect(console.page.locator(f"main .screen.{screen}")).to_be_visible()
            expect(console.page.locator("main")).not_to_contain_text("Wird geladen")
            console.check_access()
            console.check_width()


def edited(server: str, name: str, text: str = DEAR_ANNA) -> str:
    """A user who has edited an answer; its id."""
    http = httpx.Client(base_url=server, headers={"X-User-Id": name}, timeout=120)
    body = {"model": "attune-tiny", "temperature": 0, "messages": [{"role": "user", "content": ANNA}]}
    answer = http.post("/v1/chat/completions", json=body).json()
    sent = http.post("/v1/feedback", json={"type": "edit", "completion_id": answer["id"], "edited_text": text})
    assert sent.status_code == 202, sent.text
    http.close()
    return str(answer["id"])


def test_the_keyboard_suffices(server: str, chromium: Browser) -> None:
    with opened(chromium, server) as console:
        console.open("chat", somebody())
        page = console.page
        page.keyboard.press("Tab")
        expect(page.locator(":focus")).to_have_text("Skip to the content")
        page.keyboard.press("Enter")
        page.keyboard.press("Tab")  # the first thing that the content offers
        focused(console, "An email to a client")
        page.keyboard.press("Enter")
        expect(page.get_by_label("Message", exact=True)).to_be_focused()
        page.keyboard.press("Control+Enter")
        turn = console.turn()
        expect(console.button("Edit", turn)).to_be_visible(timeout=PATIENCE)
        console.button("Edit", turn).focus()
        page.keyboard.press("Enter")
        expect(turn.get_by_label("What you really used")).to_be_focused()
        page.keyboard.press("Escape")
        expect(console.button("Edit", turn)).to_be_focused()


def focused(console: Console, name: str) -> None:
    expect(console.page.locator(":focus")).to_have_text(name)
