"""C7: no array of all handles has to be kept."""

from collections.abc import Iterator

from bench.analysis.claims import idle_slopes
from bench.analysis.claims.asked import asking
from bench.analysis.claims.verdict import Evidence, Judgement
from bench.analysis.findings import Findings
from bench.analysis.memory import Memory, memories

CLAIM = "C7"
STATEMENT = "No array of handles has to be kept, and handed over for each wait."
RULE = f"{idle_slopes.RULE} Memory for each idle connection is shown beside it and decides nothing."


def judge(found: Findings) -> Judgement:
    """By the slope of CPU time over idle connections; memory is described."""
    asked_for = asking(found, CLAIM)
    own = [one for one in memories(found) if (one.run, one.experiment) in asked_for]
    memory = (part for one in own for part in _described(one))
    return idle_slopes.judgement(found, CLAIM, STATEMENT, RULE, memory)


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
