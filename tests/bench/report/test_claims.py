"""Verdicts as they are shown: figures with units, what decides nothing, and where there is none at all."""

import json
import re
from collections.abc import Callable
from io import StringIO

import msgspec
import pytest
from rich.console import Console

from bench.analysis.claims import Evidence, Judgement, Verdict
from bench.analysis.findings import find
from bench.plan.contender import Contender
from bench.plan.suite import Experiment, LoadTable
from bench.records.schema import Record, Run
from bench.records.store import RunFolder
from bench.report import claims, page, terminal
from bench.report.summary import of, shown_judgements

MakeRecords = Callable[..., list[Record]]
MakeRun = Callable[..., RunFolder]


def evidence(unit: str, value: float | None, low: float | None = None, high: float | None = None) -> Evidence:
    return Evidence(run="r", what="w", quantity="q", unit=unit, value=value, low=low, high=high)  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("one", "shown"),
    [
        (evidence("ratio", 1.052, 1.031, 1.074), "1.05 (1.03-1.07)"),
        (evidence("ratio", 1.052), "1.05"),
        (evidence("ns", -350.0, -520.0, -180.0), "-350 (-520 to -180) ns"),
        (evidence("ns", 1350.0, 1120.0, 1580.0), "1.4 (1.1 to 1.6) µs"),
        (
            evidence("ns_per_idle_connection", 0.012, -0.021, 0.046),
            "0.01 (-0.02 to 0.05) ns for each idle connection",
        ),
        (evidence("ns_per_ms", 520_000.0, 480_000.0, 560_000.0), "0.52 (0.48 to 0.56) ms for each ms"),
        (evidence("connections", 951.0, 951.0, 1131.0), "951 to 1131"),
        (evidence("connections", 951.0, 951.0, None), "951 or more"),
        (evidence("connections", 0.0, 0.0, 12.0), "fewer than 12"),
        (evidence("bytes", 1484.8), "1.45 KiB"),
        (evidence("ratio", None), "-"),
    ],
)
def test_figures_have_their_unit_and_interval(one: Evidence, shown: str) -> None:
    assert claims.figure(one) == shown


def test_what_decides_nothing_says_why() -> None:
    silent = msgspec.structs.replace(evidence("ratio", 1.0), decides=False, note="under Wine")
    assert claims.note(silent) == "decides nothing: under Wine"
    assert claims.note(evidence("ratio", 1.0)) == ""


def test_scope_comes_before_the_reasons() -> None:
    one = Judgement(
        claim="C6",
        statement="",
        rule="",
        verdict=Verdict.SUPPORTED,
        evidence=[],
        scope="epoll against select",
        reasons=["of IOCP it isn't measured here"],
    )
    assert claims.reasons(one) == "of epoll against select; of IOCP it isn't measured here"


def test_hosts_are_told_apart(make_records: MakeRecords, make_run: MakeRun) -> None:
    records = make_records(connections=(10,), repeats=1)
    runs: list[Run] = [
        make_run(records, environment={"system": "linux", "cpu": {"model": model}}).run
        for model in ("AMD EPYC", "Intel Xeon")
    ]
    assert claims.hosts(runs) == "The runs' hosts differ in: CPU: AMD EPYC and Intel Xeon."
    assert claims.hosts(runs[:1]) == ""


# --- on the terminal and on the page --------------------------------------------------------------


def asking(make_records: MakeRecords, make_run: MakeRun, asked: list[str]) -> RunFolder:
    """One connection, a generator that spins: C5 can be judged, C3 can't."""
    names = ("threads:c", "epoll:c")
    contenders = [Contender(name=name, model=name.removesuffix(":c"), implementation="c") for name in names]
    experiment = Experiment(
        name="connections",
        question="",
        claims=asked,
        contenders=contenders,
        reference="threads:c",
        repeats=5,
        rounds=6,
        slice_s=0.05,
        load=LoadTable(wait=["spin"]),
    )
    records = make_records(dict.fromkeys(names, 4000), connections=(1,), repeats=8, noise=0.004)
    spun = []
    for record in records:
        load = msgspec.structs.replace(record.cell.load, wait="spin")
        spun.append(msgspec.structs.replace(record, cell=msgspec.structs.replace(record.cell, load=load)))
    return make_run(spun, experiments=[experiment])


def printed(run: RunFolder, **console: object) -> str:
    out = StringIO()
    terminal.show(of(find([run])), Console(file=out, width=80, **console))  # type: ignore[arg-type]
    return out.getvalue()


def test_verdicts_on_a_terminal_fit_it_and_in_a_pipe_are_lines(
    make_records: MakeRecords, make_run: MakeRun
) -> None:
    run = asking(make_records, make_run, ["C3", "C5"])
    shown = printed(run, force_terminal=True, color_system=None)
    assert max(map(len, shown.splitlines())) <= 80
    assert re.search(r"C5 +✓ supported +Non-blocking I/O", shown)
    assert re.search(r"C3 +- not measured here", shown)
    lines = printed(run).splitlines()
    (line,) = [line for line in lines if line.startswith("C5")]
    assert re.match(r"C5 +supported +Non-blocking I/O adds no delay of its own\.", line)


def test_where_nothing_can_be_judged_there_is_no_table(make_records: MakeRecords, make_run: MakeRun) -> None:
    run = asking(make_records, make_run, ["C3", "C8"])
    found = of(find([run]))
    assert {one.verdict for one in found.judgements} == {Verdict.NOT_MEASURED}
    assert shown_judgements(found) == []
    assert claims.TITLE not in printed(run)
    assert 'id="claims"' not in page.write([run]).read_text(encoding="utf-8")


def test_the_page_has_verdict_rule_and_every_figure(make_records: MakeRecords, make_run: MakeRun) -> None:
    run = asking(make_records, make_run, ["C3", "C5"])
    html = page.write([run]).read_text(encoding="utf-8")
    found = {one.claim: one for one in of(find([run])).judgements}
    for claim in ("C3", "C5"):
        assert f'id="claim-{claim}"' in html
    assert found["C5"].rule.split(":")[0] in html
    for one in found["C5"].evidence:
        assert claims.figure(one) in html


def test_programs_get_verdicts_as_well(make_records: MakeRecords, make_run: MakeRun) -> None:
    found = terminal.as_json(of(find([asking(make_records, make_run, ["C5"])])))
    (one,) = json.loads(json.dumps(found))["judgements"]
    assert (one["claim"], one["verdict"]) == ("C5", "supported")
    assert one["evidence"][0]["unit"] == "ns"
