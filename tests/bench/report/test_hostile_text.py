"""A run that comes from anybody: whatever its texts hold, the page shows them as texts and stays in shape."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any

import msgspec
import pytest

from bench.analysis.names import short
from bench.records.schema import CallCost, ForeignCall, Record, ServerPython
from bench.records.store import RunFolder
from bench.report import page

if TYPE_CHECKING:
    from playwright.sync_api import Page

HOSTILE = {
    "script": "<script>alert(1)</script>",
    "image": '"><img src=x onerror=alert(1)>',
    "attribute": "' onmouseover='alert(1)' x=\" onfocus=alert(1) autofocus tabindex=1 y=\"",
    "style": "</style></title></script><style>body { display: none }</style>",
    "svg": ']]></text></svg><svg onload="alert(1)"><a xlink:href="javascript:alert(1)">x</a>',
    "templates": "{{7*7}} {% raw %} ${7*7} <!-- {#",
    "formula": "$x^2$ $\\frac{1}{0}$ \\N{DASH} %s {0}",
    "link": "javascript:alert(1)//../../../../x?y#z",
    "long": "M" * 2000,
    "right-to-left": "\N{RIGHT-TO-LEFT OVERRIDE}abc\N{RIGHT-TO-LEFT ISOLATE} שלום",
    "controls": "\x00\x1b[31m\x07\u2028\ufeff\n\n\tb",
}
# What has a fixed vocabulary or is a time: another value is another file format.
FIXED = frozenset(
    ("status", "started_at", "finished_at", "judged_by", "arrivals", "close", "wait", "histogram")
)
FREE_KEYS = frozenset(("sysctls", "options", "errors"))  # whose keys are texts, too
OVERFLOW = "document.documentElement.scrollWidth - document.documentElement.clientWidth"

pytestmark = pytest.mark.slow


def _spoilt(value: Any, hostile: str, key: str = "") -> Any:
    """`value` with `hostile` behind each text, so that what was the same stays the same."""
    if isinstance(value, str) and key not in FIXED:
        return value + hostile
    if isinstance(value, list):
        return [_spoilt(one, hostile, key) for one in value]
    if isinstance(value, dict):
        added = hostile if key in FREE_KEYS else ""
        return {name + added: _spoilt(one, hostile, name) for name, one in value.items()}
    return value


@pytest.fixture(scope="module")
def run(make_records: Callable[..., list[Record]], make_run: Callable[..., RunFolder]) -> RunFolder:
    """A run that has a text in every field that may hold one."""
    records = make_records(
        {"epoll": 4000, "threads": 9000, "select": 5000},
        connections=(10, 100),
        repeats=2,
        marks={("threads", 10): [{"code": "wake-bound", "why": "asleep"}], ("epoll", 10): [{"code": "new"}]},
    )
    for number, one in enumerate(records):
        if one.cell.contender == "select":
            status: Any = "failed" if one.cell.load.connections == 10 else "refused"
            records[number] = msgspec.structs.replace(one, status=status, reason="it ended", load=None)
        else:
            assert one.load is not None
            load = msgspec.structs.replace(one.load, errors={"reset": 1})
            records[number] = msgspec.structs.replace(one, load=load)
    cost = CallCost(p25_ns=1, p50_ns=2, p75_ns=3)
    return make_run(
        records,
        environment={
            "system": "linux",
            "kernel": "6.1",
            "distribution": "Debian",
            "cpu": {"model": "Xeon", "governors": ["performance"]},
            "sysctls": {"net.core.somaxconn": "4096"},
            "git_revision": "abc",
            "placement": "split",
        },
        server_python=ServerPython(interpreter="CPython 3.14", system="linux", gil=True),
        foreign_calls=[ForeignCall(call="getpid", arguments=0, batches=1, module=cost, ctypes=cost)],
        command=["run", "mine.toml", "--contender", "mine=./server {port}"],
    )


@pytest.fixture
def spoil(run: RunFolder, tmp_path: Path) -> Callable[[str], RunFolder]:
    """`spoil(text)`: the run with that text behind each of its own."""

    def spoilt(hostile: str) -> RunFolder:
        for name in ("run.json", "cells.jsonl"):
            lines = (run.path / name).read_text(encoding="utf-8")
            parts = [lines] if name == "run.json" else lines.splitlines()
            found = [json.dumps(_spoilt(json.loads(part), hostile)) for part in parts]
            (tmp_path / name).write_text("\n".join(found) + "\n", encoding="utf-8")
        return RunFolder.open(tmp_path)

    return spoilt


@pytest.mark.parametrize("kind", HOSTILE)
def test_it_does_nothing_is_read_as_it_stands_and_the_page_stays_in_shape(
    kind: str, spoil: Callable[[str], RunFolder], show: "Callable[..., Page]", tmp_path: Path
) -> None:
    hostile = HOSTILE[kind]
    before = {path for path in tmp_path.parent.rglob("*") if path.parent != tmp_path}
    written = page.write([spoil(hostile)])
    made = set(tmp_path.parent.rglob("*")) - before
    assert all(path.is_relative_to(tmp_path) for path in made)
    for width in (1200, 360):
        shown = show(written, width=width)
        assert (
            shown.locator("img, iframe, object, embed, form, base, svg svg, svg a, svg script").count() == 0
        )
        assert shown.locator("script").count() == 1
        assert shown.locator("h1").is_visible()
        assert shown.evaluate(OVERFLOW) == 0
        assert shown.locator(".chart svg").count() == 4
        assert shown.locator("tr.cell").count() == 4
        for field in shown.locator("*").evaluate_all("all => all.map(one => one.getAttributeNames())"):
            assert not [name for name in field if name.startswith("on")]
        links = shown.locator("a").evaluate_all("all => all.map(one => one.getAttribute('href'))")
        assert all(link.startswith("#") or (tmp_path / link).is_file() for link in links)
        shown.locator("h1").hover()
    if kind not in ("right-to-left", "controls"):  # of which a part can't be shown
        _is_read_as_it_stands(shown, hostile)


def _is_read_as_it_stands(shown: "Page", hostile: str) -> None:
    assert shown.locator("h1").text_content() == f"Which I/O answers fastest here?{hostile}"
    body = shown.locator("body").text_content() or ""
    for text in (
        "it ended",
        "6.1",
        "Debian",
        "Xeon",
        "performance",
        "4096",
        "wake-bound",
        "CPython 3.14",
        "new",
    ):
        assert text + hostile in body
    drawn = shown.locator(".chart svg text").all_text_contents()
    assert short(f"epoll{hostile}") in drawn
