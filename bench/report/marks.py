"""What each mark means: fact, likely cause, and what the figures are still good for.

A marked cell stays in every table and chart. Which marks keep one out of the answer: `bench.analysis.marks`.
"""

from typing import NamedTuple


class Meaning(NamedTuple):
    """A mark as the page explains it."""

    fact: str
    cause: str
    still_good: str


MEANINGS = {
    "windows-wine": Meaning(
        "The server, or all of the run, is Windows code under Wine.",
        "Each call on a socket is a round trip to another process, wineserver: that is what was measured.",
        "That the Windows code works: every echo was verified. It ranks nothing.",
    ),
    "generator-bound": Meaning(
        "The load generator was over 95 % busy while the server was not.",
        "The server answers faster than the generator can ask, so its rate is a lower bound.",
        "The server's CPU time per request may be compared; rates and response times may not.",
    ),
    "wake-bound": Meaning(
        "Requests were waiting, or one connection slept between two, and neither side was over 90 % busy.",
        "The time goes into waking processes that sleep, which says more about the system than the server.",
        "The server's CPU time per request may be compared; rates and times hold for this machine only.",
    ),
    "uneven": Meaning(
        "The ratio of all requests disagrees with the median over the rounds.",
        "One of the two stalled in some slices; a median doesn't see that.",
        "Both ratios, side by side: the median for the usual round, the totals for what stalls cost.",
    ),
    "drift": Meaning(
        "The contender moved by more than 3 % against the others from the first round to the last.",
        "Memory that grows, a cache that warms up, a collector that starts.",
        "The direction; for the size measure with more rounds.",
    ),
    "starved": Meaning(
        "A connection completed no request.",
        "The server serves some connections before others, or lost one.",
        "The median, as that of the connections that were served.",
    ),
    "littles-law": Meaning(
        "Requests in flight differ by more than 5 % from rate times response time.",
        "Some requests wait longer than a slice lasts, so rate and response time are of different ones.",
        "That the server starves connections; for its figures measure it in longer slices (--slice).",
    ),
    "censored": Meaning(
        "Over 1 % of the requests were still waiting when the load moved on.",
        "The server starves connections for many times a slice while others are served.",
        "The median. p99 is a lower bound.",
    ),
    "foreign-load": Meaning(
        "Processes that aren't the run's used CPU time.",
        "Something else is running on the machine.",
        "Ratios within the run: all contenders met the same load. Absolute figures only roughly.",
    ),
    "steal": Meaning(
        "The hypervisor took CPU time from this machine.",
        "Other virtual machines share the host.",
        "Ratios within the run: all contenders met the same. Absolute figures only roughly.",
    ),
    "restless": Meaning(
        "The server used over 1 % of a CPU while another contender had the load.",
        "A polling thread or a garbage collector works on after the load.",
        "Its own figures; it may have slowed the others down.",
    ),
    "too-few-samples": Meaning(
        "Too few requests for the 99th percentile: fewer than ten lie above it.",
        "Slow responses, or little time.",
        "The median; for p99 measure longer.",
    ),
    "rate-not-reached": Meaning(
        "Less than 99.5 % of the requests that were due were done in time.",
        "The rate is more than the server can do, or more than the generator can.",
        "Response times as those of an overloaded server: they grow with the time that the load lasts.",
    ),
    "late": Meaning(
        "The generator's own lateness is over a tenth of the 99th percentile.",
        "It sleeps between requests and is woken late, or can't keep up with the rate that was asked for.",
        "Response time, which is counted from the intended start.",
    ),
    "no-requests": Meaning(
        "No request was completed in a repeat.",
        "The server took connections and answered none, or every connection failed.",
        "That it doesn't work under this load, or didn't at that time.",
    ),
    "unread-distribution": Meaning(
        "The distribution of times in a record can't be read.",
        "The file was damaged, or another version wrote it.",
        "Rates and ratios; percentiles are of the other repeats.",
    ),
    "errors": Meaning(
        "Requests or connections failed.",
        "The log of the server and the counts in the record say which and why.",
        "What was answered, as a record of a server that fails.",
    ),
}
# What a mark can say of code that is only to be proved: the rest is of speed.
FAULTS = ("errors", "no-requests", "starved")
UNKNOWN = Meaning(
    "A mark that this version doesn't know.", "The run was made by a newer version.", "See its records."
)


def meaning(code: str) -> Meaning:
    """What `code` means; of a newer version's mark only that it is one."""
    return MEANINGS.get(code, UNKNOWN)


def faults(marks: dict[str, int]) -> dict[str, int]:
    """Of `marks` those that speak against the code itself."""
    return {code: count for code, count in marks.items() if code in FAULTS}
