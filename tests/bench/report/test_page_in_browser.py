"""The page as people see it: in a browser, wide and on a phone, light and dark, on paper, without scripts."""

from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING

import msgspec
import pytest

from bench.plan.contender import Contender
from bench.plan.suite import Experiment, LoadTable
from bench.records.schema import Record
from bench.records.store import RunFolder
from bench.report import page

if TYPE_CHECKING:
    from playwright.sync_api import Page

Show = Callable[..., "Page"]
OVERFLOW = "document.documentElement.scrollWidth - document.documentElement.clientWidth"
PAPER = 703  # CSS pixels: A4's width within the page's margins
VISIBLE_LINES = """paths => paths.filter(path => {
    const box = path.getBoundingClientRect();
    return box.width > 50 && box.height > 2 && getComputedStyle(path).stroke.startsWith("rgb");
}).length"""
# WCAG 2.2, 1.4.3, of every text that is seen: [text, contrast] where that is below 4.5.
FAINT_TEXTS = """() => {
    const parse = text => {
        const [r, g, b, a = 1] = text.match(/[\\d.]+/g).map(Number);
        return { r, g, b, a };
    };
    const over = (top, below) => Object.fromEntries(
        ["r", "g", "b"].map(name => [name, top[name] * top.a + below[name] * (1 - top.a)]));
    const luminance = colour => {
        const [r, g, b] = [colour.r, colour.g, colour.b].map(part => part / 255).map(
            part => part <= 0.04045 ? part / 12.92 : ((part + 0.055) / 1.055) ** 2.4);
        return 0.2126 * r + 0.7152 * g + 0.0722 * b;
    };
    const lineage = element => element ? [element, ...lineage(element.parentElement)] : [];
    const ground = element => lineage(element).reverse()
        .map(one => parse(getComputedStyle(one).backgroundColor))
        .reduce((below, top) => over(top, below), { r: 255, g: 255, b: 255 });
    const walker = document.createTreeWalker(document.body, NodeFilter.SHOW_TEXT);
    const faint = [];
    let count = 0;
    for (let node = walker.nextNode(); node; node = walker.nextNode()) {
        const element = node.parentElement;
        if (!node.textContent.trim() || element.closest("script, style, option, .spoken")) continue;
        if (!element.checkVisibility()) continue;
        const style = getComputedStyle(element);
        const colour = parse(element.closest("svg") ? style.fill : style.color);
        colour.a *= lineage(element).reduce((a, one) => a * Number(getComputedStyle(one).opacity), 1);
        const below = ground(element);
        const [dark, light] = [luminance(over(colour, below)), luminance(below)].sort((a, b) => a - b);
        const contrast = (light + 0.05) / (dark + 0.05);
        count += 1;
        if (contrast < 4.5) faint.push([node.textContent, contrast]);
    }
    return { count, faint };
}"""

pytestmark = pytest.mark.slow


def _experiment(name: str, question: str, contenders: list[str], claims: list[str]) -> Experiment:
    return Experiment(
        name=name,
        question=question,
        claims=claims,
        contenders=[
            Contender(name=one, model=one.split(":")[0], implementation="c" if ":" in one else "python")
            for one in contenders
        ],
        reference="epoll",
        repeats=3,
        rounds=6,
        slice_s=0.05,
        load=LoadTable(connections=[1, 10, 100, 1000]),
    )


@pytest.fixture(scope="module")
def run(make_records: Callable[..., list[Record]], make_run: Callable[..., RunFolder]) -> RunFolder:
    """Two experiments, verdicts, marks, a failure, a refusal, and a page of it."""
    service_ns = {
        "threads": 7800,
        "select": 3770,
        "epoll": 3860,
        "asyncio_streams": 9900,
        "epoll:c": 3250,
        "threads:c": 3260,
    }
    marks = {("threads", 1000): [{"code": "wake-bound"}], ("select", 100): [{"code": "starved"}]}
    records = make_records(service_ns, repeats=3, marks=marks)
    missing = {
        ("select", 1000): ("refused", "no more than 1024"),
        ("asyncio_streams", 1): ("failed", "x" * 300),
    }
    for number, one in enumerate(records):
        if found := missing.get((one.cell.contender, one.cell.load.connections)):
            status, reason = found
            records[number] = msgspec.structs.replace(
                one, status=status, reason=reason, load=None, server=None
            )
    again = [
        msgspec.structs.replace(
            one, block=f"again-{one.block}", cell=msgspec.structs.replace(one.cell, experiment="again")
        )
        for one in make_records({"epoll": 4000, "threads": 9000}, connections=(100,), repeats=3)
    ]
    claims = [f"C{number}" for number in range(1, 9)]
    experiments = [
        _experiment("connections", "How does response time grow with connections?", list(service_ns), claims),
        _experiment("again", "And once more?", ["epoll", "threads"], []),
    ]
    folder = make_run([*records, *again], experiments=experiments, command=["run", "quick"])
    page.write([folder])
    return folder


@pytest.fixture(scope="module")
def written(run: RunFolder) -> Path:
    return run.path / "report.html"


@pytest.mark.parametrize("width", [1200, 360])
@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_page_shows_lines_and_rows_and_fits(written: Path, show: Show, width: int, scheme: str) -> None:
    shown = show(written, width=width, scheme=scheme)
    assert shown.locator("h1").inner_text() == "Which I/O answers fastest here?"
    assert shown.locator("#connections tr.cell").count() == 4 * 6 - 2
    assert shown.locator("#connections tr.cell.marked").count() == 1
    charts = shown.locator(".chart svg")
    assert charts.count() == 10  # four of each experiment, what Python costs over C, and the machine
    for number in range(2):
        assert charts.nth(number).locator("path").evaluate_all(VISIBLE_LINES) >= 6
    assert shown.evaluate(OVERFLOW) == 0


def test_the_answer_and_the_main_chart_come_first(written: Path, show: Show) -> None:
    shown = show(written)
    places = shown.evaluate(
        """["h1", ".answer", ".chart svg", "#claims", "#contents", "#connections", "#again", "#marks",
            "#problems", "#environment", "#method", "#reproduce", "#data"].map(
            one => document.querySelector(one).getBoundingClientRect().top)"""
    )
    assert places == sorted(places)
    assert places[2] < 600  # the chart begins on the first screen


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_every_text_has_contrast(written: Path, show: Show, scheme: str) -> None:
    shown = show(written, scheme=scheme)
    shown.evaluate("for (const one of document.querySelectorAll('details')) one.open = true")
    found = shown.evaluate(FAINT_TEXTS)
    assert found["count"] > 500
    assert found["faint"] == []


def test_charts_have_a_name_with_the_answer(written: Path, show: Show) -> None:
    shown = show(written)
    charts = shown.get_by_role("img")
    assert charts.count() == shown.locator(".chart svg").count()
    for chart in charts.all():
        title = chart.locator("xpath=ancestor::figure").get_by_role("heading").inner_text()
        name = chart.get_attribute("aria-label") or ""
        assert name.startswith(f"{title}. ")
        if not title.startswith("How the machine"):
            assert "answer fastest" in name or "answers fastest" in name


def test_tables_are_sorted_by_click_and_by_key(written: Path, show: Show) -> None:
    shown = show(written)
    table = shown.locator("#connections table.figures")
    names = (
        "bodies => [...bodies[2].querySelectorAll('tr.cell th')].map(one => one.innerText.split(/\\s/)[0])"
    )
    before = table.locator("tbody").evaluate_all(names)
    header = table.locator("thead th", has_text="median").first
    header.get_by_role("button").click()
    assert header.get_attribute("aria-sort") == "ascending"
    ascending = table.locator("tbody").evaluate_all(names)
    assert sorted(ascending) == sorted(before)
    assert ascending[-2:] == ["threads", "asyncio_streams"]
    header.get_by_role("button").focus()
    shown.keyboard.press("Enter")
    assert header.get_attribute("aria-sort") == "descending"
    assert table.locator("tbody").evaluate_all(names)[:2] == ["asyncio_streams", "threads"]
    shown.keyboard.press("Space")
    assert header.get_attribute("aria-sort") is None
    assert table.locator("tbody").evaluate_all(names) == before
    table.locator("thead th", has_text="contender").get_by_role("button").click()
    assert table.locator("tbody").evaluate_all(names) == sorted(before)
    assert table.locator("tr.load").count() == 4


def test_rows_are_chosen_by_contender_and_by_mark(written: Path, show: Show) -> None:
    shown = show(written)
    section = shown.locator("#connections")
    controls = section.locator(".controls", has_text="Choose rows")
    controls.locator("summary").click()
    rows, count = section.locator("table.figures tr.cell:visible"), controls.locator("output")
    assert (rows.count(), count.inner_text()) == (22, "22 of 22 rows")
    controls.get_by_label("asyncio_streams", exact=True).uncheck()
    assert rows.count() == 22 - 3
    controls.get_by_role("combobox").select_option(label="those marked starved")
    assert (rows.count(), count.inner_text()) == (1, "1 of 22 rows")
    assert section.locator("table.figures tr.load:visible").count() == 1
    controls.get_by_role("combobox").select_option(label="those without a mark")
    assert rows.count() == 22 - 3 - 2
    controls.get_by_role("button", name="show all").click()
    assert rows.count() == 22


def test_a_contender_is_hidden_on_the_whole_page(written: Path, show: Show) -> None:
    """Its lines, their names and its rows, from whichever chart or table that is asked."""
    shown = show(written)
    rows = shown.locator('tr[data-contender="asyncio_streams"]:visible')

    def drawn(name: str) -> int:  # a line without height is nothing that a locator calls visible
        parts = shown.locator(f'svg [data-contender="{name}"]')
        found: int = parts.evaluate_all(
            "all => all.filter(one => getComputedStyle(one).display != 'none').length"
        )
        return found

    before = drawn("asyncio_streams"), rows.count(), drawn("epoll")
    assert before[0] >= 6
    assert before[1] >= 3
    controls = shown.locator("#answer .controls")
    controls.locator("summary").click()
    controls.get_by_label("asyncio_streams", exact=True).uncheck()
    assert (drawn("asyncio_streams"), rows.count(), drawn("epoll")) == (0, 0, before[2])
    in_table = shown.locator("#connections .controls", has_text="Choose rows")
    in_table.locator("summary").click()
    in_table.get_by_label("asyncio_streams", exact=True).check()
    assert (drawn("asyncio_streams"), rows.count(), drawn("epoll")) == before


def test_without_scripts_everything_is_there(written: Path, show: Show) -> None:
    shown = show(written, scripts=False)
    assert shown.locator("tr.cell:visible").count() >= 24
    assert shown.locator("button, select, input").count() == 0
    shown.locator("#claim-C5 summary").click()
    assert "epoll:c" in shown.locator("#claim-C5 code").all_inner_texts()
    assert shown.locator("#claim-C5 table").is_visible()


@pytest.mark.parametrize("scripts", [True, False])
def test_on_paper_nothing_is_cut_off_or_folded(written: Path, show: Show, *, scripts: bool) -> None:
    shown = show(written, width=PAPER, scheme="dark", scripts=scripts)
    shown.emulate_media(media="print")
    if scripts:
        assert shown.evaluate(OVERFLOW) == 0
        cut = "all => all.filter(one => one.getBoundingClientRect().right > innerWidth + 0.5).length"
        assert shown.locator("table, figure, svg, p, dd, pre").evaluate_all(cut) == 0
        assert shown.evaluate("getComputedStyle(document.body).backgroundColor") == "rgb(255, 255, 255)"
        assert shown.evaluate(FAINT_TEXTS)["faint"] == []
    assert shown.locator("#claim-C5 table").is_visible()
    assert shown.pdf(format="A4").startswith(b"%PDF-")
