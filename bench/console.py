"""What the console takes to appear, by Chromium's own timings, and how many bytes it loads. `make bench-console`

A server has to run; each start is in a browser without a cache. First paint is the browser's; the page is interactive
when its first screen stands, with what it shows from the API.
"""

import statistics
from pathlib import Path
from typing import Annotated, Any

import typer
from playwright.sync_api import Browser
from rich.console import Console

from bench import machine
from lab import report
from server.console import assets
from tests.browser import browser

STARTS = 15
_READY = ".screen"


def main(
    out: Annotated[Path, typer.Option("--json", help="Where to write the figures.")],
    url: Annotated[str, typer.Option(help="A server that runs.")] = "http://127.0.0.1:8000",
) -> None:
    """Measure, print and write."""
    with browser() as chromium:
        starts = [start(chromium, url) for _ in range(STARTS + 1)][1:]  # the first one warms the server
    packed = sum(len(asset.packed or asset.content) for asset in assets.assets().values())
    figures = {
        **machine.about(),
        "starts": STARTS,
        "asset_bytes_compressed": packed,
        **{name: round(statistics.median(one[name] for one in starts), 1) for name in starts[0]},
    }
    Console().print_json(data=figures)
    report.write(figures, out)


def start(chromium: Browser, url: str) -> dict[str, float]:
    """One start: first paint and interactive in milliseconds from the navigation, bytes that came."""
    context = chromium.new_context(viewport={"width": 1440, "height": 900})
    try:
        page = context.new_page()
        page.goto(f"{url}/console/")
        page.wait_for_selector(_READY)
        told: dict[str, Any] = page.evaluate(
            """() => new Promise((done) => requestAnimationFrame(() => done({
              first_paint_ms: performance.getEntriesByName("first-contentful-paint")[0]?.startTime ?? performance.now(),
              interactive_ms: performance.now(),
              bytes: performance.getEntriesByType("resource").reduce((sum, one) => sum + one.transferSize, 0),
              requests: performance.getEntriesByType("resource").length,
            })))"""
        )
        return {name: float(value) for name, value in told.items()}
    finally:
        context.close()


if __name__ == "__main__":
    typer.run(main)
