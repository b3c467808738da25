"""Exports, read back by those they are for: pandas, Parquet, HdrHistogram."""

import importlib.util
import io
import re
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import msgspec
import pandas as pd
import pytest
from hdrh.histogram import HdrHistogram
from hypothesis import given, settings
from hypothesis import strategies as st

from bench.analysis import export, frames
from bench.analysis.histograms import Histogram
from bench.records.schema import Record
from bench.records.store import RunFolder

MakeRecords = Callable[..., list[Record]]
MakeRun = Callable[..., RunFolder]
HIGHEST_NS = 3_600_000_000_000
ROOT = Path(__file__).parents[3]


@pytest.fixture
def run(make_records: MakeRecords, make_run: MakeRun) -> RunFolder:
    marks = {("select", 10): [{"code": "steal"}, {"code": "foreign-load"}]}
    services = {"epoll": 4000, "select": 5000, "epoll:c": 3000}
    return make_run(make_records(services, connections=(10, 100), repeats=3, rounds=4, marks=marks))


def test_csv_is_what_the_frames_are(run: RunFolder, tmp_path: Path) -> None:
    cells_file, slices_file = export.write([run], "csv", tmp_path / "new")
    cells, slices = pd.read_csv(cells_file), pd.read_csv(slices_file)
    expected = frames.cells(run)
    assert len(cells) == len(expected) == 18
    assert set(cells) == set(expected) - {"histogram", "first_echo_histogram"}
    for name in ("rate_per_s", "p99_ns", "server_cpu_ns_per_request"):
        assert cells[name].tolist() == pytest.approx(expected[name].tolist())
    marked = cells[(cells["contender"] == "select") & (cells["connections"] == 10)]
    assert set(marked["marks"]) == {"steal foreign-load"}
    assert slices["requests"].tolist() == frames.slices(run)["requests"].tolist()


@pytest.mark.linux("pyarrow is installed for the tests there")
def test_parquet_keeps_types_and_distributions(
    run: RunFolder, tmp_path: Path, needs: Callable[..., None]
) -> None:
    needs("pyarrow", importlib.util.find_spec("pyarrow") is not None, "uv run --extra parquet")
    cells_file, slices_file = export.write([run], "parquet", tmp_path)
    cells, expected = pd.read_parquet(cells_file), frames.cells(run)
    assert cells["connections"].dtype == expected["connections"].dtype
    assert cells["histogram"].tolist() == expected["histogram"].tolist()
    pd.testing.assert_frame_equal(pd.read_parquet(slices_file), frames.slices(run), check_dtype=False)


def test_several_runs_go_into_the_same_tables(run: RunFolder, make_run: MakeRun, tmp_path: Path) -> None:
    other = make_run(run.records(), started_at="2026-11-24T00:00:00Z")
    cells_file, _ = export.write([run, other], "csv", tmp_path)
    assert pd.read_csv(cells_file).groupby("run").size().tolist() == [18, 18]
    assert len(export.write([run, other], "hgrm", tmp_path)) == 2 * 3 * 2


def test_a_distribution_is_a_file_for_each_cell(run: RunFolder, tmp_path: Path) -> None:
    files = export.write([run], "hgrm", tmp_path)
    names = sorted(file.name for file in files)
    assert names == sorted(
        f"connections-{contender}-{count}-connections.hgrm"
        for contender in ("epoll", "select", "epoll.c")
        for count in (10, 100)
    )
    table = frames.merged(frames.cells(run)).set_index(["contender", "connections"])
    text = (tmp_path / "connections-epoll.c-100-connections.hgrm").read_text()
    found = re.search(r"^ +([\d.]+) 1\.000000000000 +(\d+)$", text, re.MULTILINE)
    assert float(found[1]) * 1000 == table.loc[("epoll:c", 100), "max_ns"]
    assert int(found[2]) == sum(
        record.load.response_time.count
        for record in run.records()
        if (record.cell.contender, record.cell.load.connections) == ("epoll:c", 100)
    )


values = st.dictionaries(
    st.integers(1, 50_000) | st.integers(1, HIGHEST_NS), st.integers(1, 10**6), min_size=1, max_size=40
)


@settings(max_examples=60, deadline=None)
@given(values)
def test_a_distribution_is_as_hdrhistogram_writes_it(counts: dict[int, int]) -> None:
    peer = HdrHistogram(1, HIGHEST_NS, 3)
    for value, count in counts.items():
        peer.record_value(value, count)
    expected = io.BytesIO()
    peer.output_percentile_distribution(expected, export.NS_PER_US)
    own = export.percentile_distribution(Histogram.decode(peer.encode().decode()))
    theirs = expected.getvalue().decode()
    assert _numbers(own) == pytest.approx(_numbers(theirs), rel=1e-6, abs=2e-3)
    assert own.splitlines()[0] == theirs.splitlines()[0]
    assert len(own.splitlines()) == len(theirs.splitlines())


def _numbers(text: str) -> list[float]:
    """All but the deviation, which the package doesn't scale."""
    without = re.sub(r"StdDeviation += +[\d.]+", "", text)
    return [float(number) for number in re.findall(r"\d+\.?\d*", without.split("\n", 1)[1])]


def iocpbench(*arguments: object) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-P", "-m", "bench", "export", *map(str, arguments)]
    return subprocess.run(command, capture_output=True, encoding="utf-8", check=False, cwd=ROOT)


@pytest.mark.slow
def test_the_command_names_what_it_wrote(run: RunFolder) -> None:
    done = iocpbench(run.path)
    assert done.returncode == 0, done.stderr
    assert done.stdout.splitlines() == [
        str(run.path / "export" / f"{name}.csv") for name in ("cells", "slices")
    ]
    wrong = iocpbench(run.path, "--format", "parket")
    assert (wrong.returncode, wrong.stderr) == (2, "iocpbench: --format parket: did you mean parquet?\n")


@pytest.mark.slow
def test_parquet_without_its_library_says_what_to_do(run: RunFolder, tmp_path: Path) -> None:
    code = "import sys; sys.modules['pyarrow'] = None; from bench.commands.cli import main; main()"
    arguments = ["export", str(run.path), "--format", "parquet", "--out", str(tmp_path)]
    done = subprocess.run(
        [sys.executable, "-c", code, *arguments], capture_output=True, text=True, check=False, cwd=ROOT
    )
    assert done.returncode == 3
    assert "uv run --extra parquet" in done.stderr
    assert done.stderr.count("\n") == 1


@pytest.mark.slow
def test_a_run_in_which_nothing_was_measured(
    make_records: MakeRecords, make_run: MakeRun, tmp_path: Path
) -> None:
    records = make_records({"epoll": 4000}, connections=(10,), repeats=1)
    failed = [msgspec.structs.replace(one, status="failed", reason="no", load=None) for one in records]
    done = iocpbench(make_run(failed).path, "--format", "hgrm", "--out", tmp_path)
    assert done.returncode == 1
    assert "nothing was measured" in done.stderr
    assert done.stdout == ""
