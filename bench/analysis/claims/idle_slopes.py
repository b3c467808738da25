"""What each further idle connection adds to a request: the figure behind C6 and C7."""

from collections.abc import Iterable, Sequence
from typing import NamedTuple

from bench.analysis.claims.asked import UNDER_WINE, Asked, asked, number, slopes
from bench.analysis.claims.verdict import Evidence, Judgement, Verdict, together
from bench.analysis.findings import Findings, rows_of

MARGIN_NS = 0.5  # for each idle connection: at ten thousand of them 5 us, about what a request takes
# With the generator as the limit the server's CPU time for a request is its own all the same.
CPU_FIT = frozenset({"generator-bound"})
SCANNED = frozenset({"select", "poll", "wsapoll"})  # given all sockets at each call
TOLD = frozenset({"epoll", "io_uring", "iocp", "overlapped"})  # told of those that have something
RULE = (
    "Ten connections work among more and more idle ones. Slope of the server's CPU time for a request "
    "over the idle count: 95 % interval below 0.5 ns for each idle connection where the system tells "
    "what is done (epoll, io_uring, iocp, overlapped), above it where all sockets are handed over each "
    "time (select, poll, wsapoll). Supported if both hold for every model that was measured. Also where "
    "the generator was the limit: CPU time is the server's own."
)


class Slopes(NamedTuple):
    """The slopes as evidence, and what they say together."""

    evidence: list[Evidence]
    verdict: Verdict
    scope: str
    reasons: list[str]


def judgement(
    found: Findings, claim: str, statement: str, rule: str, beside: Iterable[Evidence] = ()
) -> Judgement:
    """The verdict on a claim that stands and falls with the slopes; `beside` is shown and decides nothing."""
    slopes = idle_slopes(asked(found, claim))
    return Judgement(
        claim=claim,
        statement=statement,
        rule=rule,
        verdict=slopes.verdict,
        evidence=[*slopes.evidence, *beside],
        scope=slopes.scope,
        reasons=slopes.reasons,
    )


def idle_slopes(measured: Asked) -> Slopes:
    """The slope of each contender, and the verdict of RULE on them."""
    crowds = measured.where(measured.table["newcomers_per_s"] == 0)
    evidence, verdicts = [], []
    told: set[str] = set()
    scanned: set[str] = set()
    fit = crowds.table["disqualified"].map(lambda codes: set(codes) <= CPU_FIT).astype(bool)
    decided = crowds.where(fit | crowds.table["wine"].astype(bool))
    wine = {(row["run"], row["contender"]) for row in rows_of(decided.table) if row["wine"]}
    keys = ["run", "experiment", "contender", "model"]
    for row in rows_of(slopes(decided.cells, "idle", "server_cpu_ns_per_request", keys, measured.level)):
        is_wine = (row["run"], row["contender"]) in wine
        is_ruled = row["model"] in SCANNED | TOLD
        note = UNDER_WINE if is_wine else "" if is_ruled else "the rule doesn't speak of it"
        low, high = number(row["low"]), number(row["high"])
        evidence.append(
            Evidence(
                run=row["run"],
                what=row["contender"],
                quantity=f"server CPU for a request, at {row['points']} idle counts",
                unit="ns_per_idle_connection",
                value=number(row["mean"]),
                low=low,
                high=high,
                repeats=row["repeats"],
                decides=not note,
                note=note,
            )
        )
        if not note:
            verdicts.append(_verdict(row["model"], low, high))
            (told if row["model"] in TOLD else scanned).add(row["model"])
    if not told or not scanned:
        return Slopes(evidence, Verdict.NOT_MEASURED, "", [_missing(evidence, told, scanned)])
    verdict = together(verdicts)
    reasons = ["an interval crosses the margin: more --repeats"] if verdict is Verdict.INCONCLUSIVE else []
    if "iocp" not in told:
        reasons.append("of IOCP itself it isn't measured here: that takes Windows")
    return Slopes(evidence, verdict, f"{_names(told)} against {_names(scanned)}", reasons)


def _verdict(model: str, low: float | None, high: float | None) -> Verdict:
    if low is None or high is None or low <= MARGIN_NS <= high:
        return Verdict.INCONCLUSIVE
    return Verdict.SUPPORTED if (high < MARGIN_NS) == (model in TOLD) else Verdict.NOT_SUPPORTED


def _missing(evidence: Sequence[Evidence], told: set[str], scanned: set[str]) -> str:
    if evidence and all(one.note == UNDER_WINE for one in evidence):
        return "it was measured under Wine alone, which ranks nothing"
    kinds = [(told, "epoll, io_uring or iocp"), (scanned, "select or poll")]
    lacking = " and ".join(words for kind, words in kinds if not kind)
    return f"{lacking} among idle connections, at several counts, wasn't measured: `iocpbench run idle` does"


def _names(models: set[str]) -> str:
    return ", ".join(sorted(models))
