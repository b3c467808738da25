"""C8: how many threads do the I/O can be tuned, so experiments can pick the number."""

from collections.abc import Iterator

from bench.analysis.claims.asked import Asked, asked, number
from bench.analysis.claims.verdict import Evidence, Judgement, Verdict
from bench.analysis.findings import Findings, load_of, rows_of
from bench.analysis.tuning import gains

CLAIM = "C8"
STATEMENT = "The number of I/O threads can be tuned, so experiments can pick it."
RULE = (
    "Servers in C with several settings of threads and concurrency: the best is chosen on half of the "
    "repeats, its gain over the default estimated on the other. Supported if a gain's 95 % interval, "
    "counting every gain that is estimated, lies above 1; not supported if all lie below 1.05. Needs a "
    "server with several CPUs."
)
MARGIN = 1.05
COMPLETION_PORT = "iocp:c"


def judge(found: Findings) -> Judgement:
    """By the gain of the best setting."""
    measured = asked(found, CLAIM)
    in_c = measured.where(
        (measured.table["implementation"] == "c") & measured.table["variant_of"].notna().to_numpy(dtype=bool)
    )
    gained = list(_evidence(found, in_c))
    evidence = [one for _, one in gained]
    deciding = [one for one in evidence if one.decides]
    scope = list(dict.fromkeys(name for name, one in gained if one.decides))
    reasons: list[str] = []
    if not deciding:
        verdict, reasons = Verdict.NOT_MEASURED, [_missing(in_c, evidence)]
    elif any(one.low is not None and one.low > 1 for one in deciding):
        verdict = Verdict.SUPPORTED
    elif all(one.high is not None and one.high < MARGIN for one in deciding):
        verdict, reasons = Verdict.NOT_SUPPORTED, ["no setting gains 5 %"]
    else:
        verdict, reasons = Verdict.INCONCLUSIVE, ["no gain is told from none: more --repeats"]
    if deciding and COMPLETION_PORT not in scope:
        reasons = [*reasons, "of a completion port itself it isn't measured here: that takes Windows"]
    return Judgement(
        claim=CLAIM,
        statement=STATEMENT,
        rule=RULE,
        verdict=verdict,
        evidence=evidence,
        scope=", ".join(scope),
        reasons=reasons,
    )


def _missing(measured: Asked, evidence: list[Evidence]) -> str:
    if measured.table.empty:
        return "no server in C ran with several settings: `iocpbench run chapter` does that"
    notes = dict.fromkeys(one.note for one in evidence)
    return "; ".join(notes) or "no setting has figures without a mark that keeps them out"


def _evidence(found: Findings, measured: Asked) -> Iterator[tuple[str, Evidence]]:
    """Each gain, by the contender that came in several settings."""
    fit = measured.table[~measured.table["disqualified"].map(bool).astype(bool) | measured.table["wine"]]
    groups = fit.groupby(["run", "experiment", "variant_of"]).ngroups
    level = 1 - (1 - measured.level) / max(groups, 1)
    quantities = found.quantities
    cpus = _cpus(measured)
    under_wine = {row["run"]: row["note"] for row in rows_of(fit) if row["wine"]}
    for row in rows_of(gains(measured.cells, measured.slices, fit, quantities, level)):
        note = under_wine.get(row["run"], "")
        if not note and cpus.get((row["run"], row["experiment"])) == 1:
            note = "the server had one CPU, on which its threads take turns: a machine with more is needed"
        is_rate = quantities[row["run"], row["experiment"]] == "rate_per_s"
        evidence = Evidence(
            run=row["run"],
            what=f"{row['chosen']} over {row['default']}, {load_of(row).connections} connections",
            quantity="gain in requests a second" if is_rate else "gain in response time",
            unit="ratio",
            value=number(row["gain"]),
            low=number(row["low"]),
            high=number(row["high"]),
            repeats=row["repeats"],
            decides=not note,
            note=note,
        )
        yield row["variant_of"], evidence


def _cpus(measured: Asked) -> dict[tuple[str, str], int]:
    """How many CPUs the servers of each experiment had; left out where they weren't kept to any."""
    counts = {}
    for row in rows_of(measured.cells[["run", "experiment", "server_cpus"]].drop_duplicates()):
        if row["server_cpus"] != "any":
            counts[row["run"], row["experiment"]] = len(str(row["server_cpus"]).split(","))
    return counts
