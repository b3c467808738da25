"""C4: a thread of its own for accepting cures what C3 shows."""

from bench.analysis.claims.accept_slopes import MARGIN_NS_PER_MS, Slope, accept_slopes
from bench.analysis.claims.asked import UNDER_WINE, asked
from bench.analysis.claims.verdict import Judgement, Verdict, together, within
from bench.analysis.findings import Findings

CLAIM = "C4"
STATEMENT = "A thread that only accepts, apart from the threads that do I/O, cures that."
MODELS = ("overlapped", "iocp")
RULE = (
    "Two mechanisms, `overlapped` and `iocp`, each accepting in turns with a pause and in a thread of "
    "its own, so that thread and mechanism aren't confused. Supported if in both the slope of first- "
    "echo time over the pause is above 0 without the thread, and with it within 0.05 ms for each ms (95 "
    "% intervals)."
)


def judge(found: Findings) -> Judgement:
    """By the four slopes."""
    slopes = [one for one in accept_slopes(found, asked(found, CLAIM)) if one.model in MODELS]
    deciding = [one for one in slopes if one.evidence.decides]
    have = {(one.model, one.accept) for one in deciding}
    reasons = []
    if any((model, accept) not in have for model in MODELS for accept in ("alternating", "thread")):
        verdict = Verdict.NOT_MEASURED
        under_wine = any(one.evidence.note == UNDER_WINE for one in slopes)
        fact = "measured under Wine alone, which ranks nothing" if under_wine else "IOCP is Windows'"
        reasons = [f"{fact}: `iocpbench run chapter` on Windows measures it"]
    else:
        verdict = together(map(_verdict, deciding))
        if verdict is Verdict.INCONCLUSIVE:
            reasons = ["a slope's interval crosses its margin: more --repeats"]
    evidence = [one.evidence for one in slopes]
    return Judgement(
        claim=CLAIM, statement=STATEMENT, rule=RULE, verdict=verdict, evidence=evidence, reasons=reasons
    )


def _verdict(slope: Slope) -> Verdict:
    low, high = slope.evidence.low, slope.evidence.high
    if slope.accept == "thread":
        return within(low, high, -MARGIN_NS_PER_MS, MARGIN_NS_PER_MS)
    if low is None or high is None:
        return Verdict.INCONCLUSIVE
    if low > 0 and high > MARGIN_NS_PER_MS:
        return Verdict.SUPPORTED
    # Without a slope there is nothing that a thread could cure.
    return Verdict.NOT_SUPPORTED if high <= MARGIN_NS_PER_MS else Verdict.INCONCLUSIVE
