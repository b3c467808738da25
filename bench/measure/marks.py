"""Marks on a record: what limits its use. Each is a code with the figures that show it, and hides nothing."""

import math
from collections.abc import Iterable

from bench.records.schema import Load, LoadResult, Mark, Samples

GENERATOR_BUSY = 0.95  # past this the generator's own speed is what was measured,
SERVER_BUSY = 0.95  # unless the server was as busy
WAKE_BUSY = 0.90  # with requests waiting, neither side idle for a tenth of the time unless wake-ups rule
WAKE_IN_FLIGHT = 10
LITTLES_LAW_TOLERANCE = 0.05
FOREIGN_CPUS = 0.10  # 5 % of the two CPUs that a measurement needs: more would show beside a 3 % difference
STEAL_SHARE = 0.01
CENSORED_SHARE = 0.01  # of the requests: with more, p99 is among those that were cut short
P99_REQUESTS = 1000  # ten of them lie above p99
LATENESS_SHARE = 0.1
RATE_TOLERANCE = 0.005
BY_CHANCE_DEVIATIONS = 3
FEW_REQUESTS = 30  # a connection: with so many on the average, one without any happens once in 10^13 times
WAITING_SHARE = 0.01  # of the time in which another contender had the load


def wine_mark(systems: Iterable[str]) -> list[Mark]:
    """The mark of what ran under Wine; `systems` are those of the harness and of the server."""
    return [{"code": "windows-wine"}] if "windows-wine" in systems else []


def marks(load: Load, result: LoadResult, samples: Samples, cpus: int) -> list[Mark]:
    """All marks that one record's figures show. `cpus` is how many there are for `foreign_cpu_share`."""
    found: list[Mark | None] = [
        _generator_bound(result, samples),
        _late(result),
        _rate_not_reached(result),
        _wake_bound(load, result, samples),
        _starved(load, result),
        _littles_law(result),
        _censored(result),
        _foreign_load(samples, cpus),
        _steal(samples),
        _restless(samples),
        _too_few_samples(result),
        _errors(result),
    ]
    return [mark for mark in found if mark is not None]


def _generator_bound(result: LoadResult, samples: Samples) -> Mark | None:
    busy, server_busy = result.client.busy, samples.server_busy
    if server_busy is None or busy <= GENERATOR_BUSY or server_busy >= SERVER_BUSY:
        return None
    return {"code": "generator-bound", "generator_busy": busy, "server_busy": server_busy}


def _late(result: LoadResult) -> Mark | None:
    """The generator's own lateness shows in response times: with over a tenth of p99 it is part of that."""
    loop, p99_ns = result.open_loop, result.response_time.p99_ns
    if loop is None or loop.lateness_p99_ns is None or not p99_ns:
        return None
    if loop.lateness_p99_ns <= LATENESS_SHARE * p99_ns:
        return None
    return {"code": "late", "lateness_p99_ns": loop.lateness_p99_ns, "response_time_p99_ns": p99_ns}


def _rate_not_reached(result: LoadResult) -> Mark | None:
    loop = result.open_loop
    if loop is None or loop.reached is None or not loop.due:
        return None
    if loop.reached >= 1 - max(RATE_TOLERANCE, _by_chance(result) / loop.due):
        return None
    return {"code": "rate-not-reached", "rate_per_s": loop.rate_per_s, "reached": loop.reached}


def _wake_bound(load: Load, result: LoadResult, samples: Samples) -> Mark | None:
    if load.offered_per_s:  # it is the schedule that both sides wait for
        return None
    in_flight = load.connections * load.depth
    server_busy = samples.server_busy
    figures: Mark = {"in_flight": in_flight, "generator_busy": result.client.busy, "server_busy": server_busy}
    if in_flight == 1 and load.wait == "sleep":
        return {"code": "wake-bound", **figures}
    if in_flight < WAKE_IN_FLIGHT or server_busy is None or max(result.client.busy, server_busy) > WAKE_BUSY:
        return None
    return {"code": "wake-bound", **figures}


def _starved(load: Load, result: LoadResult) -> Mark | None:
    """By chance alone some connections get none of a schedule that has few requests for each."""
    few = load.offered_per_s > 0 and result.requests < FEW_REQUESTS * load.connections
    if result.requests_per_connection.min > 0 or few:
        return None
    return {"code": "starved", "requests_min": 0, "requests_p50": result.requests_per_connection.p50}


def _littles_law(result: LoadResult) -> Mark | None:
    ratio = result.checks.get("littles_law_ratio")
    chance = _by_chance(result) / result.requests if result.open_loop and result.requests else 0.0
    if ratio is None or abs(ratio - 1) <= LITTLES_LAW_TOLERANCE + chance:
        return None
    return {"code": "littles-law", "ratio": ratio}


def _by_chance(result: LoadResult) -> float:
    """By how many requests a schedule's counts may be off: those in flight when a window begins and ends.

    Three standard deviations. It matters where a slice has a few dozen requests, as of clients that come.
    """
    in_flight = sum(one.in_flight_mean for one in result.slices)
    return BY_CHANCE_DEVIATIONS * math.sqrt(2 * max(in_flight, 1.0))


def _censored(result: LoadResult) -> Mark | None:
    share = result.checks.get("censored_share") or 0.0
    return {"code": "censored", "share": share} if share > CENSORED_SHARE else None


def _foreign_load(samples: Samples, cpus: int) -> Mark | None:
    used = (samples.foreign_cpu_share or 0.0) * cpus
    return {"code": "foreign-load", "cpus": used} if used > FOREIGN_CPUS else None


def _steal(samples: Samples) -> Mark | None:
    share = samples.steal_share or 0.0
    return {"code": "steal", "share": share} if share > STEAL_SHARE else None


def _restless(samples: Samples) -> Mark | None:
    share = samples.server_waiting_cpu_share or 0.0
    return {"code": "restless", "waiting_cpu_share": share} if share > WAITING_SHARE else None


def _too_few_samples(result: LoadResult) -> Mark | None:
    count = result.response_time.count
    return (
        {"code": "too-few-samples", "requests": count, "needed": P99_REQUESTS}
        if count < P99_REQUESTS
        else None
    )


def _errors(result: LoadResult) -> Mark | None:
    return {"code": "errors", **result.errors} if any(result.errors.values()) else None
