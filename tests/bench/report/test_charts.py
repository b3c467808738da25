"""Charts draw what the tables say, and a model looks the same everywhere."""

from collections.abc import Callable

import numpy as np
import pandas as pd
import pytest
from matplotlib.axes import Axes

from bench.analysis.findings import Findings, find
from bench.records.schema import Record
from bench.records.store import RunFolder
from bench.report.charts import first_echo_time, lines, request_rate, response_time
from bench.report.charts.style import styles

MakeRecords = Callable[..., list[Record]]
MakeRun = Callable[..., RunFolder]


@pytest.fixture(scope="module")
def findings(make_records: MakeRecords, make_run: MakeRun) -> Findings:
    marks = {("threads", 100): [{"code": "wake-bound"}]}
    return find([make_run(make_records(marks=marks, repeats=2))])


def named_lines(axes: Axes) -> dict[str, np.ndarray]:
    return {str(one.get_label()): np.asarray(one.get_xydata()) for one in axes.get_lines()}


@pytest.mark.parametrize(("chart", "column"), [(response_time, "p50_ns"), (request_rate, "rate_per_s")])
def test_each_contender_has_its_line(findings: Findings, chart: object, column: str) -> None:
    (axes,) = chart.draw(findings.table, findings.labels).axes  # type: ignore[attr-defined]
    drawn = named_lines(axes)
    for contender, rows in findings.table.groupby("contender"):
        assert (
            drawn[str(contender)].tolist() == rows[["connections", column]].astype(float).to_numpy().tolist()
        )
    assert (axes.get_xscale(), axes.get_yscale()) == ("log", "log")
    assert [text.get_text() for text in axes.get_xticklabels()] == ["1", "10", "100", "1000"]


def test_a_disqualified_cell_has_a_ring(findings: Findings) -> None:
    (axes,) = response_time.draw(findings.table, findings.labels).axes
    rings = [one for one in axes.get_lines() if one.get_linestyle() == "None" and len(one.get_xdata())]
    cell = findings.table.query("contender == 'threads' and connections == 100").iloc[0]
    assert [tuple(np.asarray(ring.get_xydata())[0]) for ring in rings] == [(100, cell["p50_ns"])]
    (key,) = axes.figure.legends
    assert "wake-bound" in [text.get_text() for text in key.get_texts()]


def test_a_twin_in_c_has_the_colour_of_its_model() -> None:
    table = pd.DataFrame(
        [
            ("epoll", "epoll", "python"),
            ("epoll:c", "epoll", "c"),
            ("poll", "poll", "python"),
            ("mine", None, None),
        ],
        columns=["contender", "model", "implementation"],
    )
    looks = styles(table)
    python, c = looks["epoll"], looks["epoll:c"]
    assert (python.colour, python.marker) == (c.colour, c.marker)
    assert (python.dashed, c.dashed, c.hollow) == (False, True, True)
    assert len({look.colour for look in looks.values()}) == 3
    alone = styles(table[table["contender"] == "mine"])
    assert alone["mine"] == looks["mine"]


def test_variants_of_a_model_differ_in_marker_alone() -> None:
    names = ["iocp", "iocp-1", "iocp-2"]
    table = pd.DataFrame({"contender": names, "model": "iocp", "implementation": "python"})
    looks = styles(table)
    assert len({look.colour for look in looks.values()}) == 1
    assert len({look.marker for look in looks.values()}) == 3


def test_several_runs_have_a_panel_each(make_records: MakeRecords, make_run: MakeRun) -> None:
    records = make_records({"epoll": 4000, "poll": 5000}, repeats=2)
    windows = make_run(records, started_at="2026-11-24T00:00:00Z", environment={"system": "windows"})
    findings = find([make_run(records), windows])
    axes = response_time.draw(findings.table, findings.labels).axes
    assert [one.get_title(loc="left") for one in axes] == ["linux", "windows"]
    assert axes[0].get_ylim() == axes[1].get_ylim()


def test_names_at_the_ends_do_not_overlap(findings: Findings) -> None:
    figure = request_rate.draw(findings.table, findings.labels)
    figure.canvas.draw()
    heights = sorted(text.get_window_extent().y0 for text in figure.axes[0].texts)
    tall = figure.axes[0].texts[0].get_window_extent().height
    assert len(heights) == 6
    assert np.diff(heights).min() > 0.75 * tall


def test_the_axis_is_the_one_that_varies(findings: Findings) -> None:
    assert lines.axis(findings.table) == "connections"
    sizes = findings.table.assign(connections=10, message_bytes=findings.table["connections"])
    assert lines.axis(sizes) == "message_bytes"


def test_at_one_load_each_contender_has_a_row_the_best_on_top(
    make_records: MakeRecords, make_run: MakeRun
) -> None:
    service_ns = {"threads": 9000, "epoll": 4000, "poll": 6000}
    findings = find([make_run(make_records(service_ns, connections=(100,), repeats=2))])
    (times,) = response_time.draw(findings.table, findings.labels).axes
    assert [tick.get_text() for tick in times.get_yticklabels()] == ["threads", "poll", "epoll"]
    dots = named_lines(times)
    p50_ns = findings.table.set_index("contender")["p50_ns"]
    assert {name: dots[name][0].tolist() for name in service_ns} == {
        "threads": [p50_ns["threads"], 0],
        "poll": [p50_ns["poll"], 1],
        "epoll": [p50_ns["epoll"], 2],
    }
    (rates,) = request_rate.draw(findings.table, findings.labels).axes
    assert [tick.get_text() for tick in rates.get_yticklabels()] == ["threads", "poll", "epoll"]


def test_a_chart_is_drawn_where_it_says_something(make_records: MakeRecords, make_run: MakeRun) -> None:
    waits_ns = {"epoll": 200_000, "threads": 3_000_000}
    service_ns = {"epoll": 4000, "threads": 9000}
    come = find([make_run(make_records(service_ns, connections=(100,), first_echo_ns=waits_ns))])
    stay = find([make_run(make_records(service_ns, connections=(100,)))])
    assert first_echo_time.applies(come.table)
    assert not first_echo_time.applies(stay.table)
    assert request_rate.applies(stay.table)
    assert not request_rate.applies(stay.table.assign(offered_per_s=1000.0))
    (axes,) = first_echo_time.draw(come.table, come.labels).axes
    assert [tick.get_text() for tick in axes.get_yticklabels()] == ["threads", "epoll"]
