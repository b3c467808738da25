"""C7: no array of all handles has to be kept."""

from collections.abc import Iterator

from bench.analysis.claims import idle_slopes
from bench.analysis.claims.asked import asked
from bench.analysis.claims.verdict import Evidence, Judgement
from bench.analysis.findings import Findings
from bench.analysis.memory import Memory, memories

CLAIM = "C7"
STATEMENT = "No array of handles has to be kept, and handed over for each wait."
RULE = f"{idle_slopes.RULE} Memory for each idle connection is shown beside it and decides nothing."


def judge(found: Findings) -> Judgement:
    """By the slope of CPU time over idle connections; memory is described."""
    slopes = idle_slopes.idle_slopes(asked(found, CLAIM))
    return Judgement(
        claim=CLAIM,
        statement=STATEMENT,
        rule=RULE,
        verdict=slopes.verdict,
        evidence=[*slopes.evidence, *(part for one in _memories(found) for part in _described(one))],
        scope=slopes.scope,
        reasons=slopes.reasons,
    )


def _memories(found: Findings) -> list[Memory]:
    asking = {
        (run, experiment.name)
        for run, suite in found.suites.items()
        for experiment in suite.experiment
        if CLAIM in experiment.claims
    }
    return [one for one in memories(found) if (one.run, one.experiment) in asking]


def _described(one: Memory) -> Iterator[Evidence]:
    for value, where in ((one.process_bytes, "process"), (one.kernel_bytes, "kernel")):
        if value is not None:
            yield Evidence(
                run=one.run,
                what=one.contender,
                quantity=f"memory in the {where} for each of {one.connections} connections",
                unit="bytes",
                value=value,
                decides=False,
                note="shown beside the verdict",
            )
