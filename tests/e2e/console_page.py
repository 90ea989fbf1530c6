"""The console as a person sees it: a page of a real Chromium that fails where it breaks a rule of its own."""

import json
import re
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from playwright.sync_api import Browser, BrowserContext, Locator, Page, expect

AXE = Path(__file__).resolve().parent / "node" / "node_modules" / "axe-core" / "axe.min.js"
PATIENCE = 150_000  # milliseconds; a real model on a busy machine
WATCH = """
window.broken = [];
const broken = (what) => window.broken.push(what);
document.addEventListener("securitypolicyviolation", (e) => broken(`${e.violatedDirective} ${e.blockedURI}`));
window.addEventListener("unhandledrejection", (e) => broken(`rejected: ${e.reason}`));
"""


class Console:
    """One page of the console. ``errors`` are the page's own; a response that is refused is none."""

    def __init__(self, page: Page, base: str) -> None:
        self.page = page
        self.base = base
        self.errors: list[str] = []
        page.set_default_timeout(60_000)
        page.on("pageerror", lambda error: self.errors.append(str(error)))
        page.on("dialog", lambda dialog: self.errors.append(f"a dialog: {dialog.message}"))

    def open(self, screen: str = "chat", user: str | None = None) -> None:
        """A screen, of a user."""
        if user is not None:
            kept = json.dumps(json.dumps(user))
            self.page.add_init_script(
                f"if (!sessionStorage['attune.user']) sessionStorage.setItem('attune.user', {kept})"
            )
        self.page.goto(f"{self.base}/console/#/{screen}")
        self.page.reload()
        self.settled(screen.partition("/")[0].partition("?")[0])

    def go(self, screen: str) -> None:
        """To another screen, by the menu."""
        self.page.locator(f"nav a[data-screen={screen}]").click()
        self.settled(screen)

    def settled(self, screen: str) -> None:
        """Wait until a screen is there."""
        expect(self.page.locator(f"main .screen.{screen}")).to_be_visible(timeout=PATIENCE)
        expect(self.page.locator("main")).not_to_contain_text("Loading…", timeout=PATIENCE)

    def button(self, name: str, within: Locator | None = None) -> Locator:
        """A button by its name."""
        return (within or self.page).get_by_role("button", name=name, exact=True)

    def turn(self, number: int = -1) -> Locator:
        """A turn of the chat."""
        turns = self.page.locator(".talk .turn")
        return turns.last if number == -1 else turns.nth(number)

    def ask(self, text: str) -> Locator:
        """Send a message and wait for its whole answer."""
        before = self.page.locator(".talk .turn").count()
        self.page.get_by_label("Message", exact=True).fill(text)
        self.button("Send").click()
        expect(self.page.locator(".talk .turn")).to_have_count(before + 1)
        turn = self.turn(before)  # and no later one
        expect(self.button("Edit", turn)).to_be_visible(timeout=PATIENCE)
        return turn

    def edit_draft(self, turn: Locator, text: str) -> None:
        """Edit an answer in place, and do not send it."""
        self.button("Edit", turn).click()
        turn.get_by_label("What you really used").fill(text)

    def edit(self, turn: Locator, text: str) -> None:
        """Edit an answer in place, send it, and wait for what comes of it."""
        self.edit_draft(turn, text)
        self.button("Send what I really used", turn).click()
        expect(turn.locator(".outcome")).to_contain_text(re.compile("learned|confirms|Noted", re.I), timeout=PATIENCE)

    def check(self) -> None:
        """Nothing was broken so far: no error of a script, no breach of the policy."""
        assert self.errors == []
        assert self.page.evaluate("window.broken") == []

    def check_access(self) -> None:
        """What axe finds wrong for people who do not see, hear or point: nothing."""
        self.check()
        self.page.evaluate(AXE.read_text())
        found: list[dict[str, Any]] = self.page.evaluate(
            "axe.run(document, {resultTypes: ['violations']}).then((r) => r.violations)"
        )
        told = [
            (one["id"], [(node["html"][:160], node["failureSummary"][:200]) for node in one["nodes"][:3]])
            for one in found
        ]
        self.page.evaluate("window.broken = []")  # what axe itself may have tried
        assert told == []

    def check_width(self) -> None:
        """Nothing sticks out sideways."""
        wide = self.page.evaluate("[document.documentElement.scrollWidth, document.documentElement.clientWidth]")
        assert wide[0] <= wide[1], wide


@contextmanager
def opened(browser: Browser, base: str, **options: Any) -> Iterator[Console]:
    """A page in a browser of its own: no cookie, nothing kept."""
    expect.set_options(timeout=30_000)
    context: BrowserContext = browser.new_context(
        **{"viewport": {"width": 1440, "height": 900}, "locale": "en-GB", **options}
    )
    context.add_init_script(WATCH)
    try:
        console = Console(context.new_page(), base)
        yield console
        console.check()
    finally:
        context.close()
