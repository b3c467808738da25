"""The sentence says what can be told, and no more."""

from collections.abc import Callable
from typing import Any

import msgspec
import pytest

from bench.records.schema import Record
from bench.records.store import RunFolder
from bench.report.summary import summary

MakeRecords = Callable[..., list[Record]]
MakeRun = Callable[..., RunFolder]
WAKE_BOUND = [{"code": "wake-bound"}]


@pytest.fixture
def sentence(make_records: MakeRecords, make_run: MakeRun) -> Callable[..., str]:
    def of(*arguments: Any, **options: Any) -> str:
        records = make_records(*arguments, **{"connections": (100, 1000), **options})
        (answer,) = summary([make_run(records)]).answers
        return answer.sentence

    return of


def test_one_that_is_ahead(sentence: Callable[..., str]) -> None:
    text = sentence({"epoll": 4000, "threads": 9000, "select": 6000})
    assert text.startswith("With 1000 connections epoll answers fastest (median ")
    assert "; threads takes 2.2" in text
    assert text.endswith(").")


def test_several_that_cannot_be_told_apart(sentence: Callable[..., str]) -> None:
    text = sentence({"epoll": 4000, "threads": 9000, "select": 4004})
    fact = "With 1000 connections epoll and select answer fastest and can't be told apart (medians "
    assert text.startswith(fact)


def test_all_alike(sentence: Callable[..., str]) -> None:
    text = sentence({"epoll": 4000, "select": 4004, "poll": 3996}, connections=(10, 100))
    assert text.startswith("With 100 connections no difference between epoll, select and poll can be told")
    assert "times as long" not in text


def test_counts_that_disagree(make_records: MakeRecords, make_run: MakeRun) -> None:
    few = make_records({"epoll": 30_000, "threads": 10_000}, connections=(10,))
    many = make_records({"epoll": 4000, "threads": 9000}, connections=(100,))
    (answer,) = summary([make_run(few + many)]).answers
    assert answer.sentence.startswith("With 100 connections epoll answers fastest")
    assert answer.sentence.endswith("; the order changes: with 10 connections threads does.")
    assert answer.best == ["epoll"]
    assert answer.load is not None
    assert answer.load.connections == 100


def test_an_experiment_is_judged_by_what_it_asks_about(make_records: MakeRecords, make_run: MakeRun) -> None:
    waits_ns = {"epoll": 50_000_000, "threads": 200_000, "select": 9_000_000}
    service_ns = {"epoll": 4000, "threads": 9000, "select": 6000}
    records = make_records(service_ns, connections=(100,), first_echo_ns=waits_ns)
    judged = {
        quantity: summary([make_run(records, judged_by=quantity)])
        for quantity in ("first_echo_time", "request_rate", "response_time")
    }
    sentences = {quantity: found.answers[0].sentence for quantity, found in judged.items()}
    first_echo = sentences["first_echo_time"]
    start = "With 100 connections threads gives a new client its first echo soonest (median 20"
    assert first_echo.startswith(start)
    assert "; with epoll it takes 2" in first_echo  # 250 times as long
    rate = sentences["request_rate"]
    assert rate.startswith("With 100 connections epoll answers most requests (2")
    assert "; threads answers 0.44" in rate
    assert sentences["response_time"].startswith("With 100 connections epoll answers fastest")
    rows = {row.contender: row for row in judged["first_echo_time"].rows}
    assert rows["threads"].judged == rows["threads"].first_echo_time
    assert rows["threads"].in_best
    assert not rows["epoll"].in_best


def test_rates_that_each_kept_up_with(make_records: MakeRecords, make_run: MakeRun) -> None:
    def at(rate_per_s: float, marks: dict[tuple[str, int], list[dict[str, str]]]) -> list[Record]:
        records = make_records({"epoll": 4000, "threads": 9000}, connections=(100,), marks=marks)
        cells = [
            msgspec.structs.replace(
                one.cell, load=msgspec.structs.replace(one.cell.load, offered_per_s=rate_per_s)
            )
            for one in records
        ]
        return [
            msgspec.structs.replace(one, cell=cell, block=f"rate-{rate_per_s:g}")
            for one, cell in zip(records, cells, strict=True)
        ]

    behind = [{"code": "rate-not-reached"}]
    both = {("threads", 100): behind, ("epoll", 100): behind}
    records = at(1000.0, {}) + at(50_000.0, {("threads", 100): behind}) + at(90_000.0, both)
    (answer,) = summary([make_run(records)]).answers
    # Where somebody didn't keep up, response times tell how long the load lasted.
    assert answer.sentence.startswith("With 100 connections, 1.00k requests a second epoll answers fastest")
    words = "The highest of the rates offered that each kept up with: epoll 50.0k and threads 1.00k a second."
    assert answer.sentence.endswith(words)


def test_one_repeat_tells_nothing(sentence: Callable[..., str]) -> None:
    text = sentence({"epoll": 4000, "threads": 9000}, repeats=1)
    assert "epoll had the shortest median response time" in text
    assert "one repeat can't tell" in text


def test_marked_cells_are_left_out_by_name(sentence: Callable[..., str]) -> None:
    marks = {("threads", 1000): WAKE_BOUND}
    text = sentence({"epoll": 4000, "poll": 5000, "threads": 2000}, marks=marks)
    assert text.startswith("With 1000 connections epoll answers fastest")
    assert "threads is left out (wake-bound)" in text


def test_a_load_at_which_most_are_marked_is_passed_over(sentence: Callable[..., str]) -> None:
    marks = {(name, 1000): [{"code": "generator-bound"}] for name in ("epoll", "poll")}
    text = sentence({"epoll": 4000, "poll": 5000, "threads": 9000}, marks=marks)
    assert text.startswith("With 100 connections epoll answers fastest")


def test_marks_everywhere_leave_nothing_to_tell(sentence: Callable[..., str]) -> None:
    marks = {(name, count): WAKE_BOUND for name in ("epoll", "threads") for count in (1, 10)}
    text = sentence({"epoll": 4000, "threads": 9000}, connections=(1, 10), marks=marks)
    assert text == "Nothing can be told: at every load too many contenders are marked wake-bound."
    marks = {key: [*WAKE_BOUND, {"code": "foreign-load", "cpus": 0.9}] for key in marks}
    text = sentence({"epoll": 4000, "threads": 9000}, connections=(1, 10), marks=marks)
    assert text.endswith("wake-bound; other processes used the CPUs meanwhile.")


def test_marks_in_a_minority_of_repeats_disqualify_nothing(
    make_records: MakeRecords, make_run: MakeRun
) -> None:
    records = make_records({"epoll": 4000, "threads": 9000}, connections=(100,))
    records[0] = msgspec.structs.replace(records[0], warnings=WAKE_BOUND)
    found = summary([make_run(records)])
    assert found.answers[0].best == ["epoll"]
    assert found.rows[0].marks == {"wake-bound": 1}


def test_the_yardstick_wins_nothing_unless_it_was_asked_for(
    make_records: MakeRecords, make_run: MakeRun
) -> None:
    records = make_records({"epoll": 4000, "threads": 9000, "epoll:c": 3000}, connections=(100,))
    found = summary([make_run(records)])
    assert found.answers[0].best == ["epoll"]
    assert [row.contender for row in found.rows if not row.competes] == ["epoll:c"]
    asked = summary([make_run(records, contenders=["epoll", "threads", "epoll:c"])])
    assert asked.answers[0].best == ["epoll:c"]


def test_what_was_refused_there_is_named(make_records: MakeRecords, make_run: MakeRun) -> None:
    records = make_records({"epoll": 4000, "threads": 9000, "select": 3000}, connections=(100, 1000))
    records = [
        msgspec.structs.replace(one, status="refused", reason="FD_SETSIZE", load=None, server=None)
        if (one.cell.contender, one.cell.load.connections) == ("select", 1000)
        else one
        for one in records
    ]
    found = summary([make_run(records)])
    assert "select is left out (refused)" in found.answers[0].sentence
    (problem,) = found.problems
    assert (problem.contender, problem.reason, problem.records) == ("select", "FD_SETSIZE", 5)
    assert [load.connections for load in problem.loads] == [1000]


def test_nothing_or_one_contender(make_records: MakeRecords, make_run: MakeRun) -> None:
    records = make_records({"epoll": 4000}, connections=(10,), repeats=2)
    assert summary([make_run(records)]).answers[0].sentence.startswith("Only epoll was measured")
    failed = [msgspec.structs.replace(one, status="failed", reason="gone", load=None) for one in records]
    found = summary([make_run(failed)])
    assert found.answers[0].sentence == "Nothing was measured."
    assert found.rows == []


def test_a_command_of_anybodys_competes_like_a_model(make_records: MakeRecords, make_run: MakeRun) -> None:
    def by_command(record: Record) -> Record:
        cell = msgspec.structs.replace(record.cell, contender="mine", model=None, implementation=None)
        return msgspec.structs.replace(record, server=None, cell=cell)

    records = make_records({"epoll": 4000, "threads": 3000}, connections=(100,))
    found = summary(
        [make_run([by_command(one) if one.cell.contender == "threads" else one for one in records])]
    )
    assert found.answers[0].best == ["mine"]
    assert {row.contender: (row.model, row.system) for row in found.rows}["mine"] == (None, "linux")
