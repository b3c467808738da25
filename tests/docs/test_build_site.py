"""The documents' site: whole, without a link that leads nowhere, and without a request elsewhere."""

import functools
import http.server
import importlib.util
import re
import shutil
import subprocess
import sys
import threading
import tomllib
from collections.abc import Callable, Iterator
from html.parser import HTMLParser
from pathlib import Path
from typing import Any
from urllib.parse import unquote, urlsplit

import pytest

ROOT = Path(__file__).parents[2]
CHROMIUM = next(filter(None, map(shutil.which, ("chromium", "chromium-browser", "google-chrome"))), None)
ARGUMENTS = ["--no-sandbox", "--disable-gpu", "--disable-background-networking", "--disable-component-update"]
Needs = Callable[[str, bool, str], None]

pytestmark = pytest.mark.slow


class Page(HTMLParser):
    """What a page links to, what it loads, and where it can be linked to."""

    def __init__(self, path: Path) -> None:
        super().__init__()
        self.links: list[str] = []
        self.loaded: list[str] = []
        self.anchors: set[str] = set()
        self.feed(path.read_text(encoding="utf-8"))

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        values = {name: value or "" for name, value in attrs}
        self.anchors |= {values[name] for name in ("id", "name") if name in values}
        if tag == "a" and "href" in values:
            self.links.append(values["href"])
        elif tag == "link" and values.get("rel") in ("stylesheet", "preconnect", "icon"):
            self.loaded.append(values["href"])
        elif "src" in values:
            self.loaded.append(values["src"])


def build(root: Path) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, ROOT / "docs" / "build_site.py", "--root", root]
    return subprocess.run(command, capture_output=True, encoding="utf-8", check=False)


@pytest.fixture(scope="module")
def zensical(request: pytest.FixtureRequest) -> None:
    lacks = [name for name in ("zensical", "nbconvert") if importlib.util.find_spec(name) is None]
    if lacks:
        end = pytest.fail if request.config.getoption("--require-all") else pytest.skip
        end(f"{' and '.join(lacks)} is missing: uv run --group docs --group test pytest")


@pytest.fixture(scope="module")
def site(zensical: None) -> Path:
    done = build(ROOT)
    assert done.returncode == 0, done.stdout + done.stderr
    return ROOT / "build" / "site"


@pytest.fixture
def small(zensical: None, tmp_path: Path) -> Path:
    """A checkout with a document of each kind."""
    texts = {
        "README.md": "# Start\n\n[a page](docs/page.md#a-part)\n",
        "docs/page.md": (
            "# Page\n\n## A part\n\n[source](../servers/one.py), [its line](../servers/one.py#L2),\n"
            "[start](../README.md), [examples](../examples/), ![picture](images/one.png)\n\n"
            "```\n[no link](../servers/other.py)\n```\n"
        ),
        "servers/one.py": 'first = "```"\nsecond = 2\n',
        "servers/other.py": "",
        "examples/README.md": "# Examples\n\n[in C](echo.c), [page](../docs/page.md)\n",
        "examples/echo.c": "int main(void) { return 0; }\n",
        "zensical.toml": re.sub(
            r"nav = \[.*?\n\]\n",
            'nav = [{ "Start" = "index.md" }, { "Page" = "page.md" }]\n',
            (ROOT / "zensical.toml").read_text(encoding="utf-8"),
            flags=re.DOTALL,
        ),
    }
    for name, text in texts.items():
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).write_text(text, encoding="utf-8")
    (tmp_path / "docs" / "images").mkdir()
    shutil.copyfile(ROOT / "docs" / "images" / "response-time.png", tmp_path / "docs" / "images" / "one.png")
    return tmp_path


def test_what_a_document_links_to_in_the_source_has_a_page(small: Path) -> None:
    done = build(small)
    assert done.returncode == 0, done.stdout + done.stderr
    site = small / "build" / "site"
    page, source = Page(site / "page.html"), Page(site / "source" / "servers" / "one.py.html")
    expected = ["source/servers/one.py.html", "source/servers/one.py.html#__codelineno-0-2", "index.html"]
    assert [link for link in expected if link not in page.links] == []
    assert "source/examples/index.html" in page.links
    assert "__codelineno-0-2" in source.anchors
    assert not (site / "source" / "servers" / "other.py.html").exists()
    assert "echo.c.html" in Page(site / "source" / "examples" / "index.html").links
    assert "second" in (site / "source" / "servers" / "one.py.html").read_text(encoding="utf-8")
    assert leading_nowhere(site) == []


@pytest.mark.parametrize(
    "link", ["gone.md", "../servers/gone.py", "#gone", "../README.md#gone", "images/gone.png"]
)
def test_a_link_that_leads_nowhere_fails_the_build(small: Path, link: str) -> None:
    (small / "docs" / "page.md").write_text(f"# Page\n\n## A part\n\n[there]({link})\n", encoding="utf-8")
    done = build(small)
    assert done.returncode == 1
    assert f"{Path('docs/page.md')}: {link}: " in done.stderr


def test_the_sites_own_check_is_strict(small: Path) -> None:
    """What only the site knows: a page of the navigation, or an anchor that it names in another way."""
    pages = small / "build" / "docs"
    assert build(small).returncode == 0
    (pages / "page.md").write_text("# Page\n\n[there](index.md#gone)\n", encoding="utf-8")
    command = [sys.executable, "-m", "zensical", "build", "--clean", "--strict"]
    done = subprocess.run(command, cwd=small, capture_output=True, encoding="utf-8", check=False)
    assert done.returncode != 0
    assert "anchor does not exist" in done.stderr


def test_every_document_is_in_the_navigation(site: Path) -> None:
    def pages(entries: list[Any]) -> Iterator[str]:
        for entry in entries:
            for value in entry.values():
                yield from pages(value) if isinstance(value, list) else [value]

    named = set(pages(tomllib.loads((ROOT / "zensical.toml").read_text(encoding="utf-8"))["project"]["nav"]))
    documents = {path.name for path in (ROOT / "docs").glob("*.md")}
    notebooks = {f"notebooks/{path.stem}.md" for path in (ROOT / "notebooks").glob("*.ipynb")}
    assert named == {"index.md", "contributing.md", "changelog.md"} | documents | notebooks
    assert [name for name in named if not (site / name).with_suffix(".html").exists()] == []


def leading_nowhere(site: Path) -> list[str]:
    pages = {path: Page(path) for path in site.rglob("*.html") if path.name != "404.html"}
    found = []
    for path, page in pages.items():
        for link in [*page.links, *page.loaded]:
            parts = urlsplit(link)
            if parts.scheme or not (parts.path or parts.fragment):
                continue
            target = (path.parent / unquote(parts.path)).resolve() if parts.path else path
            target = target / "index.html" if target.is_dir() else target
            anchors = pages[target].anchors if target in pages else None
            if not target.exists() or (parts.fragment and anchors and parts.fragment not in anchors):
                found.append(f"{path.relative_to(site)}: {link}")
    return found


def test_no_link_of_the_site_leads_nowhere(site: Path) -> None:
    assert leading_nowhere(site) == []


def test_nothing_is_loaded_from_elsewhere(site: Path) -> None:
    loaded = {link for path in site.rglob("*.html") for link in Page(path).loaded}
    assert {link for link in loaded if urlsplit(link).netloc} == set()
    assert loaded


class Quiet(http.server.SimpleHTTPRequestHandler):
    def log_message(self, *_: object) -> None:
        """Nothing."""


@pytest.fixture
def address(site: Path) -> Iterator[str]:
    handler = functools.partial(Quiet, directory=str(site))
    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), handler) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        yield f"http://127.0.0.1:{server.server_port}"
        server.shutdown()


def test_a_browser_asks_nobody_else_and_complains_of_nothing(site: Path, address: str, needs: Needs) -> None:
    needs("Chromium", CHROMIUM is not None, "install the system's chromium package")
    from playwright.sync_api import sync_playwright

    said: list[str] = []
    asked: list[str] = []
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=CHROMIUM, args=ARGUMENTS)
        try:
            shown = browser.new_page(viewport={"width": 1200, "height": 900})
            shown.on("console", lambda message: said.append(f"{shown.url}: {message.text}"))
            shown.on("pageerror", lambda error: said.append(f"{shown.url}: {error}"))
            shown.on("request", lambda request: asked.append(request.url))
            for path in sorted(site.rglob("*.html")):
                if path.name != "404.html":
                    shown.goto(f"{address}/{path.relative_to(site).as_posix()}", wait_until="load")
                    assert shown.locator("h1").count() == 1
            shown.goto(f"{address}/index.html")
            shown.get_by_role("button", name="Search").first.click()
            shown.get_by_placeholder("Search").last.fill("Bonferroni")
            shown.get_by_text("Bonferroni").first.wait_for()  # which another page has
        finally:
            browser.close()
    assert said == []
    assert {url for url in asked if not url.startswith((address, "data:", "blob:"))} == set()
