"""C6: what completed needn't be looked for in a loop."""

from bench.analysis.claims import idle_slopes
from bench.analysis.claims.verdict import Judgement
from bench.analysis.findings import Findings

CLAIM = "C6"
STATEMENT = "No loop is needed to find the I/O that completed."
RULE = idle_slopes.RULE


def judge(found: Findings) -> Judgement:
    """By the slope of CPU time over idle connections."""
    return idle_slopes.judgement(found, CLAIM, STATEMENT, RULE)
