"""A browser that shows pages, and listens to what they say and ask for."""

import shutil
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

if TYPE_CHECKING:
    from playwright.sync_api import Browser, Dialog, Page

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


@pytest.fixture(scope="module")
def chromium(needs: Callable[[str, bool, str], None]) -> "Iterator[Browser]":
    """The system's Chromium, without a window."""
    needs("Chromium", CHROMIUM is not None, "install the system's chromium package")
    from playwright.sync_api import sync_playwright

    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=CHROMIUM, args=ARGUMENTS)
        yield browser
        browser.close()


@pytest.fixture
def show(chromium: "Browser") -> "Iterator[Callable[..., Page]]":
    """`show(path, width=1200, scheme="light", scripts=True)`: a page as a browser shows it.

    A page that says something on the console, opens a dialog, has an error or asks for anything fails.
    """
    said: list[str] = []
    contexts = []

    def dismissed(dialog: "Dialog") -> None:
        said.append(f"dialog: {dialog.message}")
        dialog.dismiss()

    def shown(path: Path, *, width: int = 1200, scheme: Any = "light", scripts: bool = True) -> "Page":
        context = chromium.new_context(
            viewport={"width": width, "height": 900}, color_scheme=scheme, java_script_enabled=scripts
        )
        contexts.append(context)
        page = context.new_page()
        page.on("console", lambda message: said.append(message.text))
        page.on("pageerror", lambda error: said.append(str(error)))
        page.on("dialog", dismissed)
        page.on("popup", lambda other: said.append(f"popup: {other.url}"))
        page.on("request", lambda asked: said.append(asked.url) if asked.url != path.as_uri() else None)
        page.goto(path.as_uri())
        return page

    yield shown
    for context in contexts:
        context.close()
    assert said == []
