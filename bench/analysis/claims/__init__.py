"""The chapter's claims, each put to the test by a rule that was written before the measuring. A file a claim.

A verdict is computed from records alone. What ran under Wine and cells with a disqualifying mark decide
nothing; they are shown, with the reason. A claim is judged where an experiment of a suite names it.
"""

from bench.analysis.claims import (
    c1_time_and_number,
    c2_system_makes_the_difference,
    c3_alternating_accept,
    c4_accept_thread,
    c5_no_delay,
    c6_no_search,
    c7_no_array,
    c8_tuned_threads,
)
from bench.analysis.claims.verdict import Evidence, Judgement, Verdict
from bench.analysis.findings import Findings

__all__ = ["CLAIMS", "Evidence", "Judgement", "Verdict", "judge"]

CLAIMS = {
    module.CLAIM: module
    for module in (
        c1_time_and_number,
        c2_system_makes_the_difference,
        c3_alternating_accept,
        c4_accept_thread,
        c5_no_delay,
        c6_no_search,
        c7_no_array,
        c8_tuned_threads,
    )
}


def judge(found: Findings) -> list[Judgement]:
    """A verdict on each claim that the runs' suites ask about, in the chapter's order."""
    named = {
        claim
        for suite in found.suites.values()
        for experiment in suite.experiment
        for claim in experiment.claims
    }
    return [module.judge(found) for claim, module in CLAIMS.items() if claim in named]
