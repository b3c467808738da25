"""Which marks keep a cell out of comparisons. Nothing hides it: it stays in every table and chart."""

from collections.abc import Mapping

WINE = "windows-wine"  # a system, and the mark of what ran there
NO_REQUESTS = "no-requests"  # none was completed in a repeat
UNREAD = "unread-distribution"  # a repeat's histogram can't be read: percentiles are of the others
DISQUALIFYING = frozenset(
    {WINE, NO_REQUESTS, "generator-bound", "wake-bound", "littles-law", "rate-not-reached"}
)


def disqualified(marks: Mapping[str, int], repeats: int) -> list[str]:
    """The codes that keep a cell out of the answer: disqualifying, in at least half of the repeats."""
    return [code for code, count in marks.items() if code in DISQUALIFYING and 2 * count >= repeats]
