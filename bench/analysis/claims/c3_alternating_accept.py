"""C3: a server that takes turns between accepting and waiting for completions keeps new clients waiting."""

from bench.analysis.claims.accept_slopes import MARGIN_NS_PER_MS, accept_slopes
from bench.analysis.claims.asked import UNDER_WINE, asked
from bench.analysis.claims.verdict import Judgement, Verdict, together
from bench.analysis.findings import Findings

CLAIM = "C3"
STATEMENT = "Alternating `accept` and `SleepEx` hurts the overlapped server."
RULE = (
    "Clients come at random moments, one at a time; `overlapped` accepts one each time that it has "
    "waited 1, 10 or 100 ms for completions. Supported if the median first-echo time grows with that "
    "pause: 95 % interval of the slope above 0. Not supported if it lies within 0.05 ms for each ms. "
    "How it is while others are served is shown beside it."
)


def judge(found: Findings) -> Judgement:
    """By the slope of first-echo time over the pause."""
    slopes = [one for one in accept_slopes(found, asked(found, CLAIM)) if one.model == "overlapped"]
    alternating = [one for one in slopes if one.accept == "alternating"]
    verdicts = [_verdict(one.evidence.low, one.evidence.high) for one in alternating if one.evidence.decides]
    verdict = together(verdicts)
    reasons = []
    if verdict is Verdict.NOT_MEASURED:
        under_wine = any(one.evidence.note == UNDER_WINE for one in alternating)
        fact = (
            "measured under Wine alone, which ranks nothing" if under_wine else "overlapped I/O is Windows'"
        )
        reasons = [f"{fact}: `iocpbench run chapter` on Windows measures it"]
    elif verdict is Verdict.INCONCLUSIVE:
        reasons = ["the slope's interval crosses 0 and the margin: more --repeats"]
    return Judgement(
        claim=CLAIM,
        statement=STATEMENT,
        rule=RULE,
        verdict=verdict,
        evidence=[one.evidence for one in alternating],
        reasons=reasons,
    )


def _verdict(low: float | None, high: float | None) -> Verdict:
    if low is None or high is None:
        return Verdict.INCONCLUSIVE
    if low > 0 and high > MARGIN_NS_PER_MS:
        return Verdict.SUPPORTED
    return Verdict.NOT_SUPPORTED if high <= MARGIN_NS_PER_MS else Verdict.INCONCLUSIVE
