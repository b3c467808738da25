"""What each mark means: fact, likely cause, what to do next, and what the figures are good for as they are.

A marked cell stays in every table and chart. Which marks keep one out of the answer: `bench.analysis.marks`.
"""

from typing import NamedTuple


class Meaning(NamedTuple):
    """A mark as the page explains it."""

    fact: str
    cause: str
    next_step: str
    still_good: str


MEANINGS = {
    "windows-wine": Meaning(
        "The server, or all of the run, is Windows code under Wine.",
        "Each call on a socket is a round trip to another process, wineserver: that is what was measured.",
        "Run the same suite on Windows; `iocpbench report` puts both runs on one page.",
        "That the Windows code works: every echo was verified. It ranks nothing.",
    ),
    "generator-bound": Meaning(
        "The load generator was over 95 % busy while the server was not.",
        "The server answers faster than the generator can ask, so its rate is a lower bound.",
        "Give the generator more threads (load.generator_threads); each takes a CPU.",
        "The server's CPU time per request may be compared; rates and response times may not.",
    ),
    "wake-bound": Meaning(
        "Requests were waiting, or one connection slept between two, and neither side was over 90 % busy.",
        "The time goes into waking processes that sleep, which says more about the system than the server.",
        'Measure with a generator that doesn\'t sleep (load.wait = "spin"), or with more connections.',
        "The server's CPU time per request may be compared; rates and times hold for this machine only.",
    ),
    "uneven": Meaning(
        "The ratio of all requests disagrees with the median over the rounds.",
        "One of the two stalled in some slices; a median doesn't see that.",
        "Look for what pauses that server: a collector, a lock, a full buffer. More --rounds show how often.",
        "Both ratios, side by side: the median for the usual round, the totals for what stalls cost.",
    ),
    "drift": Meaning(
        "The contender moved by more than 3 % against the others from the first round to the last.",
        "Memory that grows, a cache that warms up, a collector that starts.",
        "Measure with more --rounds, until the first ones weigh little.",
        "The direction, but not the size.",
    ),
    "starved": Meaning(
        "A connection completed no request.",
        "The server serves some connections before others, or lost one.",
        "Look at requests_per_connection in its records; with a longer --slice each may have its turn.",
        "The median, as that of the connections that were served.",
    ),
    "littles-law": Meaning(
        "Requests in flight differ by more than 5 % from rate times response time.",
        "Some requests wait longer than a slice lasts, so rate and response time are of different ones.",
        "Measure in longer slices (--slice).",
        "That the server starves connections.",
    ),
    "censored": Meaning(
        "Over 1 % of the requests were still waiting when the load moved on.",
        "The server starves connections for many times a slice while others are served.",
        "Measure in longer slices (--slice).",
        "The median. p99 is a lower bound.",
    ),
    "foreign-load": Meaning(
        "Processes that aren't the run's used CPU time.",
        "Something else is running on the machine.",
        "`iocpbench doctor` names it; end it or wait, and measure again. On Linux the superuser comes first.",
        "Ratios within the run: all contenders met the same load. Absolute figures only roughly.",
    ),
    "steal": Meaning(
        "The hypervisor took CPU time from this machine.",
        "Other virtual machines share the host.",
        "Measure at another hour, or on a machine of its own.",
        "Ratios within the run: all contenders met the same. Absolute figures only roughly.",
    ),
    "restless": Meaning(
        "The server used over 1 % of a CPU while another contender had the load.",
        "A polling thread or a garbage collector works on after the load.",
        "Nothing: such a contender is measured apart from the others, beside the yardstick alone.",
        "Its own figures; where it wasn't apart it may have slowed the others down.",
    ),
    "too-few-samples": Meaning(
        "Too few requests for the 99th percentile: fewer than ten lie above it.",
        "Slow responses, or little time.",
        "Measure longer: more --rounds, or a longer --slice.",
        "The median.",
    ),
    "rate-not-reached": Meaning(
        "Less than 99.5 % of the requests that were due were done in time.",
        "The rate is more than the server can do, or more than the generator can.",
        "Offer less (load.offered_per_s); the suite `capacity` finds the highest rate that it keeps up with.",
        "Response times as those of an overloaded server: they grow with the time that the load lasts.",
    ),
    "late": Meaning(
        "The generator's own lateness is over a tenth of the 99th percentile.",
        "It sleeps between requests and is woken late, or can't keep up with the rate that was asked for.",
        'Let it not sleep (load.wait = "spin"), or offer less.',
        "Response time, which is counted from the intended start.",
    ),
    "no-requests": Meaning(
        "No request was completed in a repeat.",
        "The server took connections and answered none, or every connection failed.",
        "See the server's log in logs/, and start it by hand: `iocpbench serve`, `iocpbench client`.",
        "That it doesn't work under this load, or didn't at that time.",
    ),
    "unread-distribution": Meaning(
        "The distribution of times in a record can't be read.",
        "The file was damaged, or another version wrote it.",
        "Take cells.jsonl from a copy, or measure again.",
        "Rates and ratios; percentiles are of the other repeats.",
    ),
    "errors": Meaning(
        "Requests or connections failed.",
        "The counts in the record say which (load.errors), the server's log in logs/ often why.",
        "Mend the server, or give it fewer connections, and measure again.",
        "What was answered, as a record of a server that fails.",
    ),
}
# What a mark can say of code that is only to be proved: the rest is of speed.
FAULTS = ("errors", "no-requests", "starved")
UNKNOWN = Meaning(
    "A mark that this version doesn't know.",
    "The run was made by a newer version.",
    "Read it with that version.",
    "Its records say.",
)


def meaning(code: str) -> Meaning:
    """What `code` means; of a newer version's mark only that it is one."""
    return MEANINGS.get(code, UNKNOWN)


def faults(marks: dict[str, int]) -> dict[str, int]:
    """Of `marks` those that speak against the code itself."""
    return {code: count for code, count in marks.items() if code in FAULTS}
