"""A real Chromium for tests, screenshots and benchmarks: the one that `make setup-dev` unpacks from npm."""

import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from playwright.sync_api import Browser, sync_playwright

FOLDER = Path(__file__).resolve().parent / "e2e" / "node"
ARGUMENTS = ["--no-sandbox", "--font-render-hinting=none", "--disable-gpu"]
"""Tests run as root in containers, where Chromium's own sandbox cannot be had; they open pages of ours alone."""


@contextmanager
def browser() -> Iterator[Browser]:
    """The browser, without a window."""
    folder = FOLDER / "browser"
    assert (folder / "chromium").is_file(), "make setup-dev unpacks it"
    environment: dict[str, str | float | bool] = {
        **os.environ,
        "LD_LIBRARY_PATH": f"{folder / 'lib'}:{folder}",
        "FONTCONFIG_FILE": str(folder / "fonts.conf"),
    }
    with sync_playwright() as playwright:
        opened = playwright.chromium.launch(
            executable_path=folder / "chromium", args=ARGUMENTS, env=environment, headless=True
        )
        try:
            yield opened
        finally:
            opened.close()
