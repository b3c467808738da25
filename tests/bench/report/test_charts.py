"""Charts draw what the tables say, and a model looks the same everywhere."""

from collections.abc import Callable, Sequence
from typing import Any

import msgspec
import numpy as np
import pandas as pd
import pytest
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.text import Text

from bench.analysis import tuning
from bench.analysis.findings import Findings, find
from bench.analysis.histograms import Histogram, Layout
from bench.analysis.memory import Memory
from bench.analysis.wandering import wandering as wandering_of
from bench.plan.suite import Quantity
from bench.records.schema import Load, Record
from bench.records.store import RunFolder
from bench.report.charts import (
    bandwidth,
    cpu_per_request,
    distribution,
    fairness,
    first_echo_time,
    lines,
    memory_per_connection,
    offered_load,
    ratio,
    request_rate,
    response_time,
    settings,
    wandering,
)
from bench.report.charts.style import _MODELS, MARKED, styles
from bench.report.judging import JUDGINGS

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
    for contender, cells in findings.table.groupby("contender"):
        assert (
            drawn[str(contender)].tolist() == cells[["connections", column]].astype(float).to_numpy().tolist()
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


# --- what a load's axis says ----------------------------------------------------------------------


def with_load(records: list[Record], **fields: object) -> list[Record]:
    """The same records as of another load."""
    return [
        msgspec.structs.replace(
            one,
            block="-".join([one.block, *(f"{name}-{value}" for name, value in fields.items())]),
            cell=msgspec.structs.replace(one.cell, load=msgspec.structs.replace(one.cell.load, **fields)),
        )
        for one in records
    ]


def over(make_records: MakeRecords, name: str, values: Sequence[object], **kept: Any) -> list[Record]:
    """Records in which one number of the load varies."""
    made = make_records(**{"connections": (100,), "repeats": 2, **kept})
    return [record for value in values for record in with_load(made, **{name: value})]


def ring_points(axes: Axes) -> list[tuple[float, float]]:
    rings = [one for one in axes.get_lines() if one.get_markerfacecolor() == "none"]
    return [tuple(point) for ring in rings for point in np.asarray(ring.get_xydata()).tolist()]


def test_connections_without_end_stand_at_the_right(make_records: MakeRecords, make_run: MakeRun) -> None:
    churn = find([make_run(over(make_records, "requests_per_connection", [1, 10, 0]))])
    (axes,) = request_rate.draw(churn.table, churn.labels).axes
    shown = dict(zip(axes.get_xticks(), [text.get_text() for text in axes.get_xticklabels()], strict=True))
    assert list(shown.values()) == ["1", "10", "no end"]
    rates = churn.table.query("contender == 'epoll'").set_index("requests_per_connection")["rate_per_s"]
    drawn = named_lines(axes)["epoll"].tolist()
    assert drawn == [[1, rates[1]], [10, rates[10]], [max(shown), rates[0]]]


def test_bandwidth_is_drawn_where_sizes_vary(make_records: MakeRecords, make_run: MakeRun) -> None:
    sizes = find([make_run(over(make_records, "message_bytes", [64, 16384, 1 << 20]))])
    assert bandwidth.applies(sizes.table)
    assert not bandwidth.applies(sizes.table.query("message_bytes == 64"))
    (axes,) = bandwidth.draw(sizes.table, sizes.labels).axes
    (of_64, *_), (*_, of_mib) = (named_lines(axes)["epoll"].tolist(),) * 2
    rates = sizes.table.query("contender == 'epoll'").set_index("message_bytes")["rate_per_s"]
    assert of_64 == [64, pytest.approx(64 * rates[64])]
    assert of_mib == [1 << 20, pytest.approx((1 << 20) * rates[1 << 20])]
    low, high = axes.get_ylim()
    shown = [tick.get_text() for tick in axes.get_yticklabels() if low <= tick.get_position()[1] <= high]
    assert {word.partition(" ")[0] for word in shown} <= {"1", "4", "16", "64", "256"}
    assert {"64 MiB", "1 GiB"} <= set(shown)


def test_offered_load_has_a_panel_for_median_and_tail(make_records: MakeRecords, make_run: MakeRun) -> None:
    late = {("epoll", 100): [{"code": "rate-not-reached"}]}
    lower = over(make_records, "offered_per_s", [0.0, 10_000.0, 20_000.0])
    records = [*lower, *over(make_records, "offered_per_s", [30_000.0], marks=late)]
    findings = find([make_run(records)])
    assert offered_load.applies(findings.table)
    median, tail = offered_load.draw(findings.table, findings.labels).axes
    assert [median.get_title(loc="left"), tail.get_title(loc="left")] == ["median", "99th percentile"]
    assert (median.get_xscale(), median.get_yscale()) == ("linear", "log")
    own = findings.table.query("contender == 'epoll' and offered_per_s > 0").set_index("offered_per_s")
    for axes, column in ((median, "p50_ns"), (tail, "p99_ns")):
        assert named_lines(axes)["epoll"].tolist() == own[column].reset_index().to_numpy().tolist()
        assert ring_points(axes) == [(30_000, own[column][30_000])]
    assert not offered_load.applies(findings.table.query("offered_per_s in (0, 10_000)"))


def test_cpu_time_shows_where_it_is_asked_and_no_mark_that_leaves_it_good(
    make_records: MakeRecords, make_run: MakeRun
) -> None:
    bound = {("epoll", 100): [{"code": "generator-bound"}], ("poll", 100): [{"code": "littles-law"}]}
    crowds = find([make_run(over(make_records, "idle", [0, 1000], marks=bound))])
    plain = find([make_run(over(make_records, "idle", [0]))])
    assert cpu_per_request.applies(crowds.table)
    assert cpu_per_request.applies(crowds.table.query("idle == 0"))  # the generator was in the way
    assert not cpu_per_request.applies(plain.table)
    (axes,) = cpu_per_request.draw(crowds.table, crowds.labels).axes
    assert named_lines(axes)["epoll"].tolist() == [[0, 3860], [1000, 3860]]
    assert ring_points(axes) == [(0, 3700), (1000, 3700)]


def test_fairness_shows_where_somebody_waits_for_others(make_records: MakeRecords, make_run: MakeRun) -> None:
    records = make_records({"epoll": 4000, "threads": 9000}, connections=(1, 10, 100), repeats=2)
    even = find([make_run(records)])
    assert not fairness.applies(even.table)
    starving = [_with_slowest(one, 0.25) if one.cell.contender == "threads" else one for one in records]
    uneven = find([make_run(starving)])
    assert fairness.applies(uneven.table)
    (axes,) = fairness.draw(uneven.table, uneven.labels).axes
    drawn = named_lines(axes)
    assert drawn["threads"][:, 0].tolist() == [10, 100]  # one connection has nobody to share with
    assert drawn["threads"][:, 1] == pytest.approx([0.25, 0.25], abs=0.01)
    assert drawn["epoll"][:, 1] == pytest.approx([1, 1], abs=0.01)
    assert "40 %" in [text.get_text() for text in axes.get_yticklabels()]


def _with_slowest(record: Record, share: float) -> Record:
    assert record.load is not None
    each = record.load.requests_per_connection
    slowest = msgspec.structs.replace(each, min=round(share * each.p50))
    load = msgspec.structs.replace(record.load, requests_per_connection=slowest, fairness=0.8)
    return msgspec.structs.replace(record, load=load)


def test_one_value_of_a_number_has_rows_for_each_word(make_records: MakeRecords, make_run: MakeRun) -> None:
    """A load that differs in a word alone has no axis to draw a line over."""
    delay = find([make_run(over(make_records, "wait", ["sleep", "spin"], connections=(1,)))])
    titles = [one.get_title(loc="left") for one in response_time.draw(delay.table, delay.labels).axes]
    assert titles == ["a generator that sleeps", "a generator that spins"]


# --- many contenders ------------------------------------------------------------------------------

MANY = {name: 3000.0 + 10 * number for number, name in enumerate(_MODELS)}


@pytest.fixture(scope="module")
def many(make_records: MakeRecords, make_run: MakeRun) -> Findings:
    """Eighteen that are all about as fast: every line ends at the same place."""
    return find([make_run(make_records(MANY, connections=(1, 10, 100, 1000), repeats=3))])


@pytest.mark.parametrize("chart", [request_rate, response_time])
def test_names_of_many_do_not_overlap(many: Findings, chart: Any) -> None:
    figure = chart.draw(many.table, many.labels)
    assert_apart(figure, figure.axes[0].texts, len(MANY))


def test_names_of_many_rows_do_not_overlap(many: Findings) -> None:
    figure = draw_ratio(many)
    assert len(figure.axes) == 4
    assert_apart(figure, figure.axes[0].texts, len(MANY))


def assert_apart(figure: Figure, texts: Sequence[Text], count: int) -> None:
    """Names have a line each, and none is cut off."""
    figure.canvas.draw()
    boxes = [text.get_window_extent() for text in texts]
    assert len(boxes) == count
    bottoms = sorted(box.y0 for box in boxes)
    assert np.diff(bottoms).min() > 0.75 * boxes[0].height
    assert min(box.x0 for box in boxes) >= 0
    assert max(box.x1 for box in boxes) <= figure.bbox.x1
    assert bottoms[0] >= 0
    assert max(box.y1 for box in boxes) <= figure.bbox.y1


# --- ratios and settings --------------------------------------------------------------------------


def draw_ratio(found: Findings, judged_by: Quantity = "response_time") -> Figure:
    judging = JUDGINGS[judged_by]
    own = found.ratios[found.ratios["quantity"] == judging.column]
    assert ratio.applies(own, found.table)
    return ratio.draw(own, found.table, found.labels, judging)


def points(axes: Axes) -> list[tuple[float, float, str]]:
    """Place, ratio and colour of each dot."""
    dots = [one for one in axes.get_lines() if one.get_marker() not in ("None", "", None)]
    return [(*np.asarray(one.get_xydata())[0].tolist()[::-1], str(one.get_color())) for one in dots]


@pytest.mark.parametrize(
    ("judged_by", "order"),
    [("response_time", ["epoll", "poll", "threads"]), ("request_rate", ["epoll", "poll", "threads"])],
)
def test_each_load_has_a_panel_of_ratios_the_best_on_top(
    make_records: MakeRecords, make_run: MakeRun, judged_by: Quantity, order: list[str]
) -> None:
    service_ns = {"threads": 8000, "epoll": 4000, "poll": 6000}
    marks = {("threads", 1000): [{"code": "littles-law"}]}
    found = find([make_run(make_records(service_ns, connections=(100, 1000), repeats=3, marks=marks))])
    hundred, thousand = draw_ratio(found, judged_by).axes
    assert [text.get_text() for text in hundred.texts] == order
    assert [hundred.get_title(loc="left"), thousand.get_title(loc="left")] == [
        "100 connections",
        "1000 connections",
    ]
    expected = [1, 1.5, 2] if judged_by == "response_time" else [1, 1 / 1.5, 0.5]
    for axes in (hundred, thousand):
        by_place = sorted(points(axes))
        assert [place for place, _, _ in by_place] == [0, 1, 2]
        assert [value for _, value, _ in by_place] == pytest.approx(expected, rel=0.05)
        low, high = axes.get_xlim()
        assert low < 1 < high
    looks = styles(found.table)
    assert sorted(points(hundred))[2][2] == looks["threads"].colour
    assert sorted(points(thousand))[2][2] == MARKED


def test_a_reference_alone_has_no_ratios(make_records: MakeRecords, make_run: MakeRun) -> None:
    alone = find([make_run(make_records({"epoll": 4000}, connections=(10,), repeats=2))])
    assert not ratio.applies(alone.ratios, alone.table)


def test_settings_stand_beside_their_default(make_records: MakeRecords, make_run: MakeRun) -> None:
    services = {
        "epoll-threads-1": 4000,
        "epoll-threads-2": 2000,
        "poll-threads-1": 3000,
        "poll-threads-2": 6000,
    }
    run = make_run(make_records(services, connections=(1000,), repeats=4), reference="epoll-threads-1")
    found = find([run])
    assert settings.applies(found.table)
    gains = tuning.settings(found.cells, found.slices, found.table, found.quantities)
    (axes,) = settings.draw(gains, found.table, found.labels, JUDGINGS["response_time"]).axes
    assert [text.get_text() for text in axes.get_yticklabels()] == ["threads-1", "threads-2"] * 2
    assert [text.get_text() for text in axes.texts] == ["epoll", "poll"]
    values = [value for _, value, _ in sorted(points(axes))]
    assert values == pytest.approx([1, 2, 1, 0.5], rel=0.05)


# --- distributions --------------------------------------------------------------------------------


def test_a_distribution_is_that_of_all_repeats(make_records: MakeRecords, make_run: MakeRun) -> None:
    service_ns = {"epoll": 4000, "threads": 9000}
    found = find([make_run(make_records(service_ns, connections=(1, 10, 100), repeats=3))])
    one, hundred = distribution.draw(found.cells, found.table, found.labels).axes
    assert [one.get_title(loc="left"), hundred.get_title(loc="left")] == ["1 connection", "100 connections"]
    cell = found.table.query("contender == 'threads' and connections == 100").iloc[0]
    curve = dict(named_lines(hundred)["threads"].tolist())
    assert (curve[1], curve[2]) == (cell["p90_ns"], cell["p99_ns"])
    words = [text.get_text() for text in hundred.get_xticklabels()]
    assert words == ["0", "50 %", "90 %", "99 %", "99.9 %", "99.99 %"]


def test_the_largest_load_at_which_most_are_fit(make_records: MakeRecords, make_run: MakeRun) -> None:
    service_ns = {"epoll": 4000, "threads": 9000, "poll": 5000}
    marks = {(name, 1000): [{"code": "littles-law"}] for name in ("epoll", "threads")}
    found = find([make_run(make_records(service_ns, connections=(1, 100, 1000), repeats=2, marks=marks))])
    axes = distribution.draw(found.cells, found.table, found.labels).axes
    assert [one.get_title(loc="left") for one in axes] == ["1 connection", "100 connections"]


def test_a_distribution_ends_before_luck_begins() -> None:
    layout = Layout(1, 3_600_000_000_000, 3)
    of_2000 = Histogram(layout, np.array([100, 200]), np.array([1990, 10]))
    nines, times_ns = distribution.curve(of_2000)
    assert 10 ** -nines[-1] * 2000 == pytest.approx(10, rel=0.25)
    assert 10 ** -nines[-1] * 2000 >= 10
    assert set(times_ns[:-1]) == {100}
    assert distribution.curve(Histogram(layout, np.array([100]), np.array([9])))[0].size == 0


# --- memory and the machine -----------------------------------------------------------------------


def test_memory_is_stacked_and_said(make_records: MakeRecords, make_run: MakeRun) -> None:
    table = find([make_run(make_records({"epoll": 4000, "threads": 9000}, connections=(10,)))]).table
    run = table["run"].iloc[0]
    found = [
        Memory(run, "connections", name, in_c=False, load=Load(), connections=8010, **sizes)
        for name, sizes in {
            "epoll": {"process_bytes": 512.0, "kernel_bytes": 1536.0, "without_bytes": None},
            "threads": {"process_bytes": 10_240.0, "kernel_bytes": None, "without_bytes": None},
        }.items()
    ]
    (axes,) = memory_per_connection.draw(found, table, {run: "linux"}).axes
    bars = [(bar.get_x(), bar.get_width()) for bar in axes.patches]
    assert bars == [(0, 512), (512, 1536), (0, 10_240), (10_240, 0)]
    assert [text.get_text() for text in axes.texts] == ["2 KiB", "10 KiB"]
    assert [text.get_text() for text in axes.get_yticklabels()] == ["epoll", "threads"]
    assert "2 KiB" in [text.get_text() for text in axes.get_xticklabels()]
    assert axes.get_title(loc="left") == "8010 open connections"


def test_the_machine_wanders_more_than_what_is_left_within_rounds(
    make_records: MakeRecords, make_run: MakeRun
) -> None:
    found = wandering_of(find([make_run(make_records({"epoll": 4000, "epoll:c": 3000}))]))
    assert wandering.applies(found)
    machine, within = wandering.draw(found).axes
    halves = [float(axes.get_title(loc="left").split("±")[1].rstrip(" %")) for axes in (machine, within)]
    assert halves[0] > 2 * halves[1] > 0
    thin, strong = machine.get_lines()[:2]
    assert np.isfinite(np.asarray(thin.get_ydata(), dtype=float)).sum() == len(found)
    assert np.isnan(np.asarray(strong.get_xdata(), dtype=float)).sum() == 4 * 5  # blocks


def test_one_block_is_no_stretch_of_time(make_records: MakeRecords, make_run: MakeRun) -> None:
    records = make_records({"epoll": 4000, "epoll:c": 3000}, connections=(10,), repeats=1)
    assert not wandering.applies(wandering_of(find([make_run(records)])))


def test_of_a_few_requests_there_is_no_distribution(make_records: MakeRecords, make_run: MakeRun) -> None:
    found = find([make_run(make_records({"epoll": 4000, "threads": 9000}, connections=(1, 10)))])
    assert distribution.applies(found.table)
    assert not distribution.applies(found.table.assign(requests=9))
    few = found.table.assign(requests=found.table["requests"].where(found.table["connections"] > 1, 9))
    (axes,) = distribution.draw(found.cells, few, found.labels).axes
    assert axes.get_title(loc="left") == "10 connections"
