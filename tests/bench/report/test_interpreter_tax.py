"""Python over C for people: what marks allow to be said, and where it is shown."""

import io
import re
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np
import pytest
from rich.console import Console

from bench.analysis.findings import find
from bench.records.schema import CallCost, ForeignCall, Record
from bench.records.store import RunFolder
from bench.report import interpreter_tax, page, terminal
from bench.report.charts import interpreter_tax as chart
from bench.report.charts.style import MARKED
from bench.report.interpreter_tax import Tax, binding_sentences, calls_sentence
from bench.report.summary import Summary, summary

MakeRecords = Callable[..., list[Record]]
MakeRun = Callable[..., RunFolder]
FOUR = {"epoll": 4800, "epoll:c": 3200, "io_uring": 9000, "io_uring:c": 4500}
LOADS = (10, 100, 1000)


def call(name: str, arguments: int, module_ns: float, ctypes_ns: float) -> ForeignCall:
    module, by_ctypes = (CallCost(p25_ns=ns - 10, p50_ns=ns, p75_ns=ns + 10) for ns in (module_ns, ctypes_ns))
    return ForeignCall(call=name, arguments=arguments, batches=41, module=module, ctypes=by_ctypes)


CALLS = [call("getppid", 0, 200, 310), call("epoll_wait", 4, 250, 700)]


def marked(*codes: str) -> list[dict[str, Any]]:
    return [{"code": code} for code in codes]


@pytest.fixture
def summed(make_records: MakeRecords, make_run: MakeRun) -> Callable[..., Summary]:
    """A call that sums up a run in which twins compete, under marks."""

    def make(
        marks: Mapping[tuple[str, int], Sequence[dict[str, Any]]] | None = None,
        connections: Sequence[int] = LOADS,
    ) -> Summary:
        records = make_records(FOUR, connections=connections, marks=marks, repeats=3)
        return summary([make_run(records, contenders=list(FOUR), foreign_calls=CALLS)])

    return make


def by_cell(found: Summary) -> dict[tuple[str, int], Tax]:
    return {(one.contender, one.load.connections): one for one in found.taxes}


def shown(found: Summary, *, width: int = 80, is_terminal: bool = True) -> str:
    output = io.StringIO()
    terminal.show(found, Console(file=output, width=width, force_terminal=is_terminal, no_color=True))
    return re.sub(r"\x1b\[[0-9;]*m", "", output.getvalue())


def test_every_pair_has_a_row_in_the_order_of_the_suite(summed: Callable[..., Summary]) -> None:
    found = summed()
    assert list(by_cell(found)) == [(name, load) for name in ("epoll", "io_uring") for load in LOADS]
    for one in found.taxes:
        truth = {"epoll": 1.5, "io_uring": 2.0}[one.contender]
        assert one.is_fit
        assert one.is_asked
        assert (one.cpu_ns, one.twin_cpu_ns) == (FOUR[one.contender], FOUR[one.twin])
        assert one.cpu is not None
        assert one.cpu.ratio == pytest.approx(truth)
        assert one.marks == []


def test_where_the_generator_held_up_c_python_costs_that_at_least(summed: Callable[..., Summary]) -> None:
    rows = by_cell(summed({("epoll:c", 100): marked("generator-bound")}))
    one = rows["epoll", 100]
    assert (one.is_bound, one.is_fit, one.is_cpu_fit) == (True, False, True)
    assert one.marks == ["generator-bound (C)"]
    assert one.shown_response_time.startswith("≥ 1.")
    assert one.shown_rate.startswith("≤ 0.")
    assert one.shown_cpu[0].isdigit()
    assert not rows["epoll", 1000].is_bound
    assert rows["epoll", 1000].shown_rate[0].isdigit()


@pytest.mark.parametrize(
    ("python", "c", "marks", "is_cpu_fit"),
    [
        (["generator-bound"], ["generator-bound"], ["generator-bound"], True),
        (["generator-bound"], [], ["generator-bound (Python)"], True),
        (["wake-bound"], ["wake-bound"], ["wake-bound"], True),
        (["wake-bound"], ["generator-bound"], ["wake-bound (Python)", "generator-bound (C)"], True),
        (["littles-law"], [], ["littles-law (Python)"], False),
        ([], ["generator-bound", "littles-law"], ["generator-bound (C)", "littles-law (C)"], False),
        (["foreign-load"], ["steal"], [], True),
    ],
)
def test_marks_say_what_a_pair_may_be_used_for(
    summed: Callable[..., Summary], python: list[str], c: list[str], marks: list[str], *, is_cpu_fit: bool
) -> None:
    marks_of = {("epoll", 10): marked(*python), ("epoll:c", 10): marked(*c)}
    one = by_cell(summed(marks_of, connections=(10,)))["epoll", 10]
    assert one.marks == marks
    assert one.is_cpu_fit == is_cpu_fit
    assert one.is_fit == (not marks)
    assert not one.is_bound
    assert "≥" not in one.shown_response_time


def test_the_answer_says_what_python_costs_where_that_may_be_compared(summed: Callable[..., Summary]) -> None:
    spoilt = {("epoll", load): marked("littles-law") for load in LOADS}
    for marks, says in (
        ({}, "For a request Python takes 1.50 (epoll), 2.00 (io_uring) times the CPU time of C."),
        (spoilt, "For a request Python takes 2.00 (io_uring) times the CPU time of C."),
    ):
        assert summed(marks).answers[0].sentence.endswith(says)


def test_no_difference_is_said_to_be_none(make_records: MakeRecords, make_run: MakeRun) -> None:
    records = make_records({"epoll": 4000, "epoll:c": 4000}, connections=(100,))
    found = summary([make_run(records, contenders=["epoll", "epoll:c"])])
    assert "epoll: no difference in CPU time between Python and C can be told." in found.answers[0].sentence


def test_a_terminal_has_it_where_twins_compete(summed: Callable[..., Summary]) -> None:
    found = summed({("epoll:c", 100): marked("generator-bound"), ("epoll", 10): marked("wake-bound")})
    text = shown(found)
    lines = text[text.index("Interpreter tax") :].splitlines()
    assert max(map(len, lines)) <= 80
    assert "…" not in text
    rows = [line for line in lines if re.match(r"(epoll|io_uring)  ", line)]
    assert len(rows) == len(FOUR) // 2 * len(LOADS)
    assert sum("≥" in line for line in rows) == 1
    assert interpreter_tax.BOUNDS in lines
    assert "ctypes" in text
    plain = shown(found, is_terminal=False).splitlines()
    start = plain.index("Interpreter tax: Python over its twin in C")
    assert plain[start + 1].split() == ["load", "contender", "CPU/request", "median", "req/s", "marks"]
    assert [int(line.split()[0]) for line in plain[start + 2 : start + 8]] == [10, 10, 100, 100, 1000, 1000]
    assert "≤ 0." in "\n".join(plain)


def test_the_yardstick_alone_shows_on_the_page_and_to_programs(
    make_records: MakeRecords, make_run: MakeRun
) -> None:
    run = make_run(make_records({"epoll": 4800, "epoll:c": 3200}, connections=(10, 100), repeats=3))
    found = summary([run])
    assert len(terminal.as_json(found)["taxes"]) == 2
    assert not any(one.is_asked for one in found.taxes)
    assert "Interpreter tax" not in shown(found)
    assert "times the CPU time of C" not in found.answers[0].sentence
    html = page.write([run]).read_text(encoding="utf-8")
    assert html.count('<tr class="tax') == 2
    assert "epoll over epoll:c" in html
    assert not list((run.path / "charts").glob("*interpreter_tax*"))


def test_the_page_has_chart_rows_and_what_a_call_costs(make_records: MakeRecords, make_run: MakeRun) -> None:
    marks = {("epoll:c", 100): marked("generator-bound"), ("io_uring", 10): marked("wake-bound")}
    records = make_records(FOUR, connections=LOADS, marks=marks)
    run = make_run(records, contenders=list(FOUR), foreign_calls=CALLS)
    html = page.write([run]).read_text(encoding="utf-8")
    assert html.count('<tr class="tax') == 6
    assert html.count('<tr class="tax marked') == 2
    assert "generator-bound (C)</a>" in html
    assert "wake-bound (Python)</a>" in html
    assert html.count("≥ 1.") == 1
    assert "io_uring calls through ctypes, which adds 450 ns to a call." in html
    assert (run.path / "charts" / "connections-interpreter_tax.png").exists()
    ids = re.findall(r'\bid="([^"]+)"', html)
    assert len(ids) == len(set(ids))
    assert set(re.findall(r'href="#([^"]+)"', html)) <= set(ids)


@pytest.mark.slow
def test_runs_beside_each_other_say_whose_pair_it_is(make_records: MakeRecords, make_run: MakeRun) -> None:
    records = make_records(FOUR, connections=(10,), repeats=2)
    runs = [
        make_run(records, contenders=list(FOUR), started_at=f"2026-11-{day}T00:00:00Z") for day in (23, 24)
    ]
    found = summary(runs)
    assert [one.run for one in found.taxes] == [run.path.name for run in runs for _ in range(2)]
    text = shown(found, width=120)
    html = page.write(runs, runs[0].path / "both").read_text(encoding="utf-8")
    for run in runs:
        assert f"{run.path.name}: 10 connections" in text
        assert f"{run.path.name}: epoll over epoll:c" in html


def test_under_wine_nothing_is_compared(make_records: MakeRecords, make_run: MakeRun) -> None:
    records = make_records(
        {"iocp": 40_000, "iocp:c": 30_000}, connections=(10,), repeats=2, system="windows-wine"
    )
    run = make_run(records, contenders=["iocp", "iocp:c"], reference="iocp")
    assert summary([run]).taxes == []
    assert "Interpreter tax" not in page.write([run]).read_text(encoding="utf-8")


def test_a_call_is_put_beside_what_python_costs(summed: Callable[..., Summary]) -> None:
    found = summed({("io_uring", 1000): marked("littles-law")})
    assert calls_sentence(CALLS) == (
        "One call into the system, made from a module in C and through ctypes, takes this Python 200 ns and "
        "310 ns without arguments (getppid), 250 ns and 700 ns with 4 arguments (epoll_wait)."
    )
    (sentence,) = binding_sentences(found.taxes, CALLS)
    assert sentence == (
        "io_uring calls through ctypes, which adds 450 ns to a call. It makes 2 calls a request at most, "
        "up to about 20 % with 10 connections (of 4.50 µs), 20 % with 100 connections (of 4.50 µs) "
        "of what Python takes more than C."
    )
    shown_ns = [one.cpu_ns for one in found.taxes if one.contender == "io_uring"]
    assert shown_ns == [9000] * 3  # never subtracted


def test_nothing_is_said_of_calls_that_were_not_measured(summed: Callable[..., Summary]) -> None:
    taxes = summed().taxes
    assert calls_sentence([]) is None
    assert list(binding_sentences(taxes, [])) == []
    assert list(binding_sentences(taxes, [call("epoll_wait", 4, 300, 290)])) == []
    too_much = call("epoll_wait", 4, 300, 3000)  # two of them are more than all that Python takes more
    assert list(binding_sentences(taxes, [too_much])) == []


def test_in_an_open_loop_the_rate_is_what_was_offered(make_records: MakeRecords, make_run: MakeRun) -> None:
    import msgspec

    def offered(record: Record) -> Record:
        load = msgspec.structs.replace(record.cell.load, offered_per_s=1000.0)
        return msgspec.structs.replace(record, cell=msgspec.structs.replace(record.cell, load=load))

    records = [offered(one) for one in make_records(FOUR, connections=(10,), repeats=2)]
    for one in summary([make_run(records, contenders=list(FOUR))]).taxes:
        assert one.rate is None
        assert one.shown_rate == "-"
        assert one.response_time is not None


def test_the_chart_has_a_dot_a_row_greys_and_arrows(make_records: MakeRecords, make_run: MakeRun) -> None:
    marks = {
        ("epoll:c", 100): marked("generator-bound"),
        ("io_uring", 10): marked("littles-law"),
        ("io_uring", 1000): marked("wake-bound"),
    }
    records = make_records(FOUR, connections=LOADS, marks=marks)
    findings = find([make_run(records, contenders=list(FOUR))])
    taxes = interpreter_tax.taxes(findings)
    cpu, response_time = chart.draw(taxes, findings.table, findings.labels).axes

    def points(axes: Any, of: str) -> list[list[float]]:
        kinds = {
            "dot": lambda one: one.get_marker() not in ("None", ">", ""),
            "arrow": lambda one: one.get_marker() == ">",
            "grey": lambda one: kinds["dot"](one) and one.get_color() == MARKED,
        }
        lines = [np.asarray(one.get_xydata()).tolist() for one in axes.get_lines() if kinds[of](one)]
        return sorted((point for line in lines for point in line), key=lambda point: point[1])

    assert [x for x, _ in points(cpu, "dot")] == [one.cpu.ratio for one in taxes if one.cpu]
    assert [x for x, _ in points(response_time, "dot")] == [
        one.response_time.ratio for one in taxes if one.response_time
    ]
    rows = [y for _, y in points(cpu, "dot")]
    assert rows == sorted(set(rows))
    assert rows[3] - rows[2] > rows[2] - rows[1]  # room between contenders
    assert [y for _, y in points(cpu, "grey")] == [rows[3]]
    assert [y for _, y in points(response_time, "grey")] == [rows[1], rows[3], rows[5]]
    assert points(cpu, "arrow") == []
    assert [y for _, y in points(response_time, "arrow")] == [rows[1]]
    low, high = cpu.get_xlim()
    assert low < 1
    assert high > 2
    assert [text.get_text() for text in cpu.get_yticklabels()] == [f"{n} connections" for n in LOADS] * 2
