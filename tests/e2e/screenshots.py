"""`make console-screenshots`: the pictures of docs/console.md, of a scripted engine and invented weeks of use.

The answers are those of the bundled model, word for word. ``--url`` takes a server that runs, for a look at its own.
"""

import argparse
import tempfile
from io import BytesIO
from pathlib import Path

from PIL import Image
from playwright.sync_api import expect
from sqlalchemy import Connection

from preference import preferences
from preference.feedback import feedback
from server.settings import Settings
from store.database import Database
from store.owner import Owner
from tests.browser import browser
from tests.e2e.console_page import Console, opened
from tests.server.conftest import WordEmbedder, serving
from tests.server.console import rows as console_rows
from tests.server.fake_engine import FakeEngine, Script

FOLDER = Path(__file__).resolve().parents[2] / "docs" / "console"
SIZE = {"width": 1120, "height": 760}
SCREENS = ("preferences", "curve", "adapters", "operation", "data")
MARIA = Owner("local", "maria")
COLOURS = 96


def main() -> None:
    """Make them."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--url", help="A server that runs; only its pages are shown, as user maria.")
    url = parser.parse_args().url
    FOLDER.mkdir(exist_ok=True)
    if url:
        take(url)
        return
    with tempfile.TemporaryDirectory() as data, FakeEngine() as engine:
        settings = Settings(engine_url=engine.url, data_dir=Path(data), worker_in_process=False)
        with serving(settings, engine) as running:
            about = WordEmbedder()
            last = running.services.database.write_now(console_rows.weeks, MARIA, about)
            engine.enqueue(Script(tokens=[f"{line}\n" for line in console_rows.DRAFT.split("\n")]))
            take(running.url, last, running.services.database)


def take(url: str, last: str | None = None, database: Database | None = None) -> None:
    """Every screen, of a server at ``url``."""
    with browser() as chromium, opened(chromium, url, viewport=SIZE, color_scheme="light") as console:
        for screen in SCREENS:
            console.open(screen, MARIA.user)
            save(console, screen)
        if last:
            console.page.goto(f"{url}/console/#/why/{last}")
            expect(console.page.locator(".prompt")).to_be_visible()
            save(console, "why")
    if database is None:
        return
    with browser() as chromium, opened(chromium, url, viewport={**SIZE, "height": 980}) as console:
        console.open("chat", "ida")
        turn = console.ask(console_rows.ANNA)
        console.edit_draft(turn, console_rows.EDITED)
        expect(turn.locator(".diff ins").first).to_be_visible()
        save(console, "edit")
        console.button("Send what I really used", turn).click()
        expect(turn.locator(".outcome")).to_contain_text("Learning")
        database.write_now(learn)
        expect(turn.locator(".learned li").first).to_be_visible()
        save(console, "chat")


def learn(c: Connection) -> None:
    """What the learner would store of that edit."""
    owner = Owner("local", "ida")
    (held,) = feedback.page(c, owner)
    ids = [preferences.create(c, owner, text, "learned").id for text, _ in console_rows.LEARNED[:5]]
    feedback.resolve(c, owner, held.id, "learned", learned=ids)


def save(console: Console, name: str) -> None:
    """The page as it is now, in few colours."""
    console.page.wait_for_timeout(400)
    picture = Image.open(BytesIO(console.page.screenshot())).convert("RGB")
    small = picture.quantize(COLOURS, dither=Image.Dither.NONE)
    small.save(FOLDER / f"{name}.png", optimize=True)


if __name__ == "__main__":
    main()
