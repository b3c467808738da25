"""The page as people see it: in a browser, wide and on a phone, light and dark."""

import shutil
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Literal

import pytest

from bench.records.schema import Record
from bench.records.store import RunFolder
from bench.report import page

CHROMIUM = next(filter(None, map(shutil.which, ("chromium", "chromium-browser", "google-chrome"))), None)
ARGUMENTS = [
    "--no-sandbox",
    "--disable-gpu",
    "--disable-quic",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
]
VISIBLE_LINES = """paths => paths.filter(path => {
    const box = path.getBoundingClientRect();
    return box.width > 50 && box.height > 5 && getComputedStyle(path).stroke.startsWith("rgb");
}).length"""

pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def written(make_records: Callable[..., list[Record]], make_run: Callable[..., RunFolder]) -> Path:
    marks = {("threads", 1000): [{"code": "wake-bound"}]}
    return page.write([make_run(make_records(repeats=3, marks=marks))])


@pytest.fixture
def said() -> Iterator[list[str]]:
    """What the page complains of or asks the network for: nothing."""
    messages: list[str] = []
    yield messages
    assert messages == []


@pytest.mark.parametrize("width", [1200, 400])
@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_page_shows_lines_and_rows_and_fits(
    written: Path,
    said: list[str],
    needs: Callable[[str, bool, str], None],
    width: int,
    scheme: Literal["light", "dark"],
) -> None:
    needs("Chromium", CHROMIUM is not None, "install the system's chromium package")
    from playwright.sync_api import sync_playwright

    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=CHROMIUM, args=ARGUMENTS)
        try:
            shown = browser.new_page(viewport={"width": width, "height": 900}, color_scheme=scheme)
            shown.on("console", lambda message: said.append(message.text))
            shown.on("pageerror", lambda error: said.append(str(error)))
            shown.goto(written.as_uri())
            shown.on("request", lambda request: said.append(request.url))
            assert shown.locator("h1").inner_text() == "Which I/O answers fastest here?"
            assert shown.locator("tr.cell").count() == 24
            assert shown.locator("tr.cell.marked").count() == 1
            charts = shown.locator(".chart svg")
            assert charts.count() == 2
            for number in range(2):
                lines = charts.nth(number).locator("path").evaluate_all(VISIBLE_LINES)
                assert lines >= 6
            root = "document.documentElement"
            assert shown.evaluate(f"{root}.scrollWidth - {root}.clientWidth") == 0
        finally:
            browser.close()
