"""What the documents show of the reference runs is current, and one command makes it so."""

import importlib.util
import sys
from collections.abc import Callable
from pathlib import Path
from types import ModuleType

import pytest

from bench.records.schema import Record
from bench.records.store import RunFolder

MakeRecords = Callable[..., list[Record]]
MakeRun = Callable[..., RunFolder]
Refresh = Callable[..., tuple[int, set[str], str]]
ROOT = Path(__file__).parents[2]
ENVIRONMENT: dict[str, object] = {
    "system": "linux",
    "kernel": "6.18.44-fc",
    "python": "CPython 3.11.7",
    "cpu": {"model": "AMD EPYC", "allowed": 2},
}

pytestmark = pytest.mark.slow


@pytest.fixture
def module() -> ModuleType:
    spec = importlib.util.spec_from_file_location("refresh", ROOT / "docs" / "refresh.py")
    assert spec is not None
    assert spec.loader is not None
    loaded = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(loaded)
    return loaded


@pytest.fixture
def refresh(
    module: ModuleType, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> Refresh:
    """`refresh("--check")`: its exit code, the files that it names, and what it says on stderr."""

    def run(*arguments: object) -> tuple[int, set[str], str]:
        monkeypatch.setattr(sys, "argv", ["refresh.py", *map(str, arguments)])
        code = module.main()
        printed = capsys.readouterr()
        return code, set(printed.out.replace("\\", "/").splitlines()), printed.err

    return run


@pytest.fixture
def two_pictures(module: ModuleType, monkeypatch: pytest.MonkeyPatch) -> None:
    """Only what a run of `quick` alone can show."""
    charts = {"response-time": "connections-response_time", "request-rate": "connections-request_rate"}
    pictures = {name: module.Picture("quick", chart) for name, chart in charts.items()}
    monkeypatch.setattr(module, "PICTURES", pictures)


def test_what_the_documents_show_is_current(refresh: Refresh) -> None:
    """Of the runs in results/reference: without them there is nothing to show, so this fails."""
    assert refresh("--check") == (0, set(), ""), "uv run python docs/refresh.py"


@pytest.fixture
def checkout(make_records: MakeRecords, make_run: MakeRun, tmp_path: Path) -> Path:
    """Documents without what they are to show, and a reference run of every suite."""
    reference = tmp_path / "results" / "reference"
    records = make_records({"epoll": 4000, "poll": 5000, "epoll:c": 3000}, connections=(10, 100), repeats=2)
    run = make_run(records, environment=ENVIRONMENT, results=reference)
    for name, text in {
        "README.md": "# A\n\n<!-- reference: answer -->\n\nold\n\n<!-- /reference -->\n\nEnd.\n",
        "docs/page.md": "# B\n\n<!-- reference: machine -->\n\n<!-- /reference -->\n",
        "results/reference/README.md": "# C\n\n<!-- reference: runs -->\n\n<!-- /reference -->\n",
    }.items():
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).write_text(text, encoding="utf-8")
    assert run.path.parent == reference
    return tmp_path


def test_texts_and_pictures_are_made_once(checkout: Path, refresh: Refresh, two_pictures: None) -> None:
    code, made, _ = refresh("--root", checkout)
    assert code == 0
    assert made == {
        *("README.md", "docs/page.md", "results/reference/README.md"),
        *("docs/images/response-time.png", "docs/images/request-rate.png"),
    }
    readme = (checkout / "README.md").read_text(encoding="utf-8")
    assert readme.startswith("# A\n\n<!-- reference: answer -->\n\n> With 100 connections epoll ")
    assert "That was a machine with 2 CPUs (AMD EPYC, Linux 6.18, CPython 3.11.7) in November 2026" in readme
    assert readme.endswith("\n\n<!-- /reference -->\n\nEnd.\n")
    assert "old" not in readme
    assert refresh("--root", checkout, "--check") == (0, set(), "")


def test_other_records_make_them_stale(
    checkout: Path, refresh: Refresh, two_pictures: None, make_records: MakeRecords, make_run: MakeRun
) -> None:
    _, made, _ = refresh("--root", checkout)
    before = (checkout / "docs" / "images" / "response-time.png").read_bytes()
    records = make_records({"epoll": 9000, "poll": 5000, "epoll:c": 3000}, connections=(10, 100), repeats=2)
    make_run(
        records,
        environment=ENVIRONMENT,
        results=checkout / "results" / "reference",
        started_at="2026-12-01T00:00:00Z",
    )
    assert refresh("--root", checkout, "--check") == (1, made, "")
    assert (checkout / "docs" / "images" / "response-time.png").read_bytes() == before
    assert refresh("--root", checkout) == (0, made, "")
    assert refresh("--root", checkout, "--check") == (0, set(), "")


def test_a_chart_that_looks_otherwise_makes_its_picture_stale(
    checkout: Path, refresh: Refresh, two_pictures: None, monkeypatch: pytest.MonkeyPatch
) -> None:
    from bench.report.charts import canvas

    refresh("--root", checkout)
    monkeypatch.setattr(canvas, "_RC", {**canvas._RC, "axes.facecolor": "#eeeeee"})
    code, stale, _ = refresh("--root", checkout, "--check")
    assert (code, "docs/images/response-time.png" in stale) == (1, True)


def test_a_suite_without_a_run_is_named(checkout: Path, refresh: Refresh) -> None:
    code, _, said = refresh("--root", checkout, "--suites", "chapter")
    assert (code, "no run chapter" in said) == (1, True)


def test_a_chart_that_a_run_has_not_is_named(
    checkout: Path, refresh: Refresh, module: ModuleType, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "PICTURES", {"one": module.Picture("quick", "gone")})
    code, _, said = refresh("--root", checkout)
    assert (code, "has no chart gone; it has: connections-response_time" in said) == (1, True)


def test_a_marker_that_nothing_fills_is_named(checkout: Path, refresh: Refresh, two_pictures: None) -> None:
    (checkout / "docs" / "page.md").write_text("<!-- reference: gone -->\n\n<!-- /reference -->\n")
    code, _, said = refresh("--root", checkout)
    assert (code, "no text is called gone" in said) == (1, True)


def test_a_picture_that_nothing_makes_is_named(checkout: Path, refresh: Refresh, two_pictures: None) -> None:
    (checkout / "docs" / "images").mkdir()
    (checkout / "docs" / "images" / "old.png").write_bytes(b"")
    code, _, said = refresh("--root", checkout)
    assert (code, "old" in said) == (1, True)
