"""Each experiment has the charts that answer it, and no more."""

from collections.abc import Callable, Sequence
from pathlib import Path

import msgspec
import pytest
from matplotlib.figure import Figure

from bench.analysis.findings import find
from bench.records.schema import Record, ServerPython
from bench.records.store import RunFolder
from bench.report import page
from bench.report.charts import canvas
from bench.report.drawing import CHARTS, draw_charts

MakeRecords = Callable[..., list[Record]]
MakeRun = Callable[..., RunFolder]
SERVICE_NS = {"epoll": 4000, "threads": 9000, "epoll:c": 3000}
MIB = 1 << 20


def with_load(records: Sequence[Record], **fields: object) -> list[Record]:
    found = []
    for one in records:
        load = msgspec.structs.replace(one.cell.load, **fields)
        block = "-".join([one.block, *map(str, fields.values())])
        cell = msgspec.structs.replace(one.cell, load=load)
        found.append(msgspec.structs.replace(one, block=block, cell=cell))
    return found


def names(run: RunFolder) -> set[str]:
    """Of an experiment's charts, and of the run's."""
    return {
        name.removeprefix("connections-").replace(run.path.name, "RUN") for name in draw_charts(find([run]))
    }


def test_over_connections(make_records: MakeRecords, make_run: MakeRun) -> None:
    run = make_run(make_records(SERVICE_NS, repeats=2))
    assert names(run) == {"response_time", "request_rate", "ratio", "distribution", "RUN-wandering"}


@pytest.mark.parametrize(
    ("field", "values", "expected"),
    [
        (
            "idle",
            [0, 2000],
            {"response_time", "request_rate", "cpu_per_request", "ratio", "memory_per_connection"},
        ),
        ("message_bytes", [64, 65536], {"response_time", "request_rate", "bandwidth", "ratio"}),
        ("requests_per_connection", [1, 10], {"first_echo_time", "response_time", "request_rate", "ratio"}),
        ("offered_per_s", [0.0, 1e4, 2e4], {"offered_load", "ratio", "distribution"}),
        ("depth", [1, 16], {"response_time", "request_rate", "ratio", "distribution"}),
    ],
)
def test_over_another_axis(
    make_records: MakeRecords, make_run: MakeRun, field: str, values: Sequence[object], expected: set[str]
) -> None:
    made = [_with_memory(one) for one in make_records(SERVICE_NS, connections=(10,), repeats=2)]
    run = make_run([record for value in values for record in with_load(made, **{field: value})])
    assert names(run) - {"RUN-wandering"} == expected


def _with_memory(record: Record) -> Record:
    sizes = {"server_memory_before_bytes": 12 * MIB, "server_memory_bytes": 14 * MIB}
    return msgspec.structs.replace(record, samples=msgspec.structs.replace(record.samples, **sizes))


def test_settings_are_compared_with_their_default_alone(make_records: MakeRecords, make_run: MakeRun) -> None:
    services = {
        "epoll-threads-1": 4000,
        "epoll-threads-2": 2000,
        "poll-threads-1": 4000,
        "poll-threads-2": 3000,
    }
    records = make_records(services, connections=(100,), repeats=4)
    run = make_run(records, reference="epoll-threads-1", judged_by="request_rate")
    assert names(run) == {"response_time", "request_rate", "settings"}
    with_another = make_records({**services, "threads": 9000}, connections=(100,), repeats=4)
    run = make_run(with_another, reference="epoll-threads-1", judged_by="request_rate")
    assert names(run) == {"response_time", "request_rate", "settings", "ratio"}


def test_nothing_measured_draws_nothing(make_records: MakeRecords, make_run: MakeRun) -> None:
    failed = [
        msgspec.structs.replace(one, status="failed", reason="it ended", load=None)
        for one in make_records(SERVICE_NS, connections=(10,), repeats=2)
    ]
    assert draw_charts(find([make_run(failed)])) == {}


def test_wine_is_beside_nothing(make_records: MakeRecords, make_run: MakeRun) -> None:
    python = ServerPython(interpreter="CPython 3.11.9", system="windows-wine", gil=True)
    service_ns = {"iocp": 40_000, "threads": 90_000, "epoll:c": 3000}
    records = make_records(service_ns, connections=(10, 100), repeats=3, system="windows-wine")
    wine = make_run(records, reference="iocp", started_at="2026-11-24T00:00:00Z", server_python=python)
    linux = make_run(make_records(SERVICE_NS, connections=(10, 100), repeats=3))
    drawn = draw_charts(find([linux, wine]))
    compared = [name for name in drawn if name.startswith("connections-") and "-wine-" not in name]
    assert len(compared) == 4
    for name in compared:
        assert not {"iocp", "windows-wine"} & set(words(drawn[name]))
    assert "iocp" in words(drawn["connections-wine-response_time"])


def words(drawn: Figure) -> list[str]:
    """All text of a figure, titles and names of rows too."""
    texts = [text.get_text() for axes in drawn.axes for text in axes.texts]
    texts += [axes.get_title(loc="left") for axes in drawn.axes]
    return texts + [tick.get_text() for axes in drawn.axes for tick in axes.get_yticklabels()]


def test_the_same_records_give_the_same_bytes(
    make_records: MakeRecords, make_run: MakeRun, tmp_path: Path
) -> None:
    crowd = [_with_memory(one) for one in make_records(SERVICE_NS, connections=(10, 100), repeats=2)]
    run = make_run([*crowd, *with_load(crowd, idle=2000)])
    for folder in ("first", "second"):
        (tmp_path / folder).mkdir()
        for name, drawn in draw_charts(find([run])).items():
            canvas.save(drawn, tmp_path / folder / name)
    files = sorted(path.name for path in (tmp_path / "first").iterdir())
    assert len(files) == 2 * 6
    for file in files:
        assert (tmp_path / "first" / file).read_bytes() == (tmp_path / "second" / file).read_bytes()


def test_every_chart_says_what_it_is_and_how_to_read_it() -> None:
    assert len({chart.NAME for chart in CHARTS}) == len(CHARTS)
    for chart in CHARTS:
        assert chart.TITLE
        assert chart.READ.endswith(".")


def test_the_page_has_them_and_the_machine_last(
    make_records: MakeRecords, make_run: MakeRun, tmp_path: Path
) -> None:
    run = make_run(make_records(SERVICE_NS, connections=(10, 100), repeats=2))
    html = page.write([run], tmp_path).read_text(encoding="utf-8")
    titles = ["Response time", "Requests per second", "Ratio to the reference", "How the machine wanders"]
    places = [html.index(f">{title}</h") for title in titles]
    assert places == sorted(places)
    assert (tmp_path / "charts" / f"{run.path.name}-wandering.svg").exists()


def test_what_an_experiment_asks_is_in_front(make_records: MakeRecords, make_run: MakeRun) -> None:
    crowd = [
        _with_memory(one)
        for one in with_load(make_records(SERVICE_NS, connections=(10,), repeats=2), idle=2000)
    ]
    assert _first_figure(make_run(crowd)) == "Memory for each idle connection"
    more = with_load(crowd, idle=4000)
    assert _first_figure(make_run([*crowd, *more])) == "Response time"
    services = {"epoll-threads-1": 4000, "epoll-threads-2": 2000}
    sweep = make_run(make_records(services, connections=(100,), repeats=4), reference="epoll-threads-1")
    assert _first_figure(sweep) == "What each setting gains over the default"


def _first_figure(run: RunFolder) -> str:
    html = page.write([run]).read_text(encoding="utf-8")
    return html.partition("<figure>")[2].partition(">")[2].partition("<")[0]
