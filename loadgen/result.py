"""The generator's answers, made of what its engines counted."""

from typing import Any

from loadgen.histogram import Histogram
from loadgen.part import Part, SlicePart
from loadgen.profile import Profile

STAMP_SAMPLES_MIN = 20  # fewer than this near the median say nothing


def slice_answer(round_number: int, part: SlicePart, *, warmup: bool) -> dict[str, Any]:
    """The answer to a line that asked for a slice. Times in it are of the window but for `span_s`."""
    duration_s = part.duration_ns / 1e9
    return {
        "round": round_number,
        "warmup": warmup,
        "requests": part.requests,
        "duration_s": duration_s,
        "rate_per_s": part.requests / duration_s if duration_s else 0.0,
        "p50_ns": part.interval.percentile(50.0),
        "p99_ns": part.interval.percentile(99.0),
        "in_flight_mean": part.in_flight_mean,
        "connections_served": part.connections_served,
        "cpu_s": part.cpu_ns / 1e9,
        "censored": part.censored,
        "requests_total": part.requests_total,
        "span_s": part.span_ns / 1e9,
        **({"due": part.arrivals} if part.arrivals else {}),
    }


def result(profile: Profile, whole: Part, slices: list[dict[str, Any]]) -> dict[str, Any]:
    """The result line over all that was measured."""
    totals = whole.totals
    requests, duration_s = totals["requests"], totals["duration_ns"] / 1e9
    response_time = whole.histograms["response_time"]
    per_connection = sorted(whole.requests_per_connection)
    found = {
        "requests": requests,
        "bytes_sent": totals["bytes_sent"],
        "bytes_received": totals["bytes_received"],
        "duration_s": duration_s,
        "rate_per_s": requests / duration_s if duration_s else 0.0,
        "bandwidth_bytes_per_s": totals["bytes_received"] / duration_s if duration_s else 0.0,
        "errors": whole.errors,
        "connections_opened": totals["connections_opened"],
        "connections_open_min": min(totals["connections_open_min"], totals["connections_opened"]),
        "requests_per_connection": _spread(per_connection),
        "longest_silence_ns": totals["longest_silence_ns"],
        "fairness": _jain(per_connection),
        "response_time": response_time.figures(),
        "connect_time": whole.histograms["connect_time"].figures(),
        "first_echo_time": whole.histograms["first_echo_time"].figures(),
        "series": [point.figures() for point in whole.series],
        "client": _client(profile, whole),
        "checks": _checks(profile, whole),
        "ever": {
            "connections": totals["lives"],
            "echoes": totals["echoes_ever"],
            "bytes_sent": totals["bytes_sent_ever"],
            "bytes_received": totals["bytes_received_ever"],
            "kernel_bytes_sent": totals["kernel_bytes_sent"] if totals["kernel_counts"] else None,
            "kernel_bytes_received": totals["kernel_bytes_received"] if totals["kernel_counts"] else None,
        },
    }
    if profile.rate_per_s is not None:
        found["open_loop"] = _open_loop(profile, whole)
        found["service_time"] = whole.histograms["service_time"].figures()
    if profile.idle:
        found["idle"] = {
            "connections": profile.idle,
            "opened": totals["idle_opened"],
            "open": totals["idle_open"],
            "echoed_again": totals["idle_echoed_again"],
        }
    if profile.slices:
        found["slices"] = slices
    return found


def _open_loop(profile: Profile, whole: Part) -> dict[str, Any]:
    """What was to be and what came to be. `reached`: of the requests due in the window, how many were done.

    A Poisson schedule of a rate has not exactly as many requests in a window as the rate says: `due` has.
    """
    totals = whole.totals
    lateness = whole.histograms["lateness"]
    return {
        "rate_per_s": profile.rate_per_s,
        "arrivals": "poisson" if profile.poisson else "constant",
        "due": totals["arrivals"],
        "given_up": whole.errors.get("backlog", 0),
        "reached": totals["requests"] / totals["arrivals"] if totals["arrivals"] else None,
        "lateness_p50_ns": lateness.percentile(50.0),
        "lateness_p99_ns": lateness.percentile(99.0),
        "lateness_max_ns": lateness.maximum if lateness.count else None,
    }


def _checks(profile: Profile, whole: Part) -> dict[str, float | int | None]:
    response_time = whole.histograms["response_time"]
    # In flight is from send to echo; an open loop's response time begins before.
    in_flight_time = whole.histograms["response_time" if profile.rate_per_s is None else "service_time"]
    count = response_time.count
    return {
        "littles_law_ratio": _littles_law_ratio(whole.totals, in_flight_time),
        "censored_share": whole.totals["censored"] / count if count else 0.0,
        "beyond_histogram": sum(one.beyond for one in whole.histograms.values()),
        "unfinished": whole.totals["unfinished"],
    }


def _client(profile: Profile, whole: Part) -> dict[str, Any]:
    totals = whole.totals
    cpu_ns = totals["cpu_ns"]
    # Spun away by the clock; what the system took from this process meanwhile is no CPU time of its own.
    needed_ns = max(0, cpu_ns - totals["spun_ns"])
    parts_ns = totals["cpu_user_ns"] + totals["cpu_system_ns"]  # counted in ticks; on Linux their sum isn't
    user_s = cpu_ns / 1e9 * (totals["cpu_user_ns"] / parts_ns if parts_ns else 0.0)
    parts = profile.threads * profile.processes
    connections = profile.connections + profile.idle
    return {
        "cpu_user_s": user_s,
        "cpu_system_s": cpu_ns / 1e9 - user_s,
        "cpu_ns_per_request": needed_ns / totals["requests"] if totals["requests"] else None,
        # Of the threads that it has, so that 1 is all that it can do; without what is spun.
        "busy": needed_ns / totals["duration_ns"] / parts if totals["duration_ns"] else 0.0,
        "spun_s": totals["spun_ns"] / 1e9,
        "lateness_p99_ns": whole.histograms["lateness"].percentile(99.0),
        "in_client_share": _in_client_share(whole.stamps),
        "wait": "spin" if profile.spin else "sleep",
        "threads": profile.threads,
        "processes": profile.processes,
        "memory_bytes_per_connection": None
        if whole.memory_bytes is None
        else whole.memory_bytes / connections,
    }


def _in_client_share(stamps: list[tuple[int, int]]) -> float | None:
    """Median, over samples near the median, of the time from kernel to client over the response time.

    Near the median: the tenth of the samples on each side of it. It misses the way of sending.
    """
    count = len(stamps)
    near = sorted(stamps)[count * 2 // 5 : count * 3 // 5]
    shares = sorted(in_client / response for response, in_client in near if response)
    return shares[len(shares) // 2] if len(shares) >= STAMP_SAMPLES_MIN else None


def _spread(ascending: list[int]) -> dict[str, int]:
    if not ascending:
        return {"min": 0, "p1": 0, "p50": 0, "max": 0}
    return {
        "min": ascending[0],
        "p1": ascending[len(ascending) // 100],
        "p50": ascending[len(ascending) // 2],
        "max": ascending[-1],
    }


def _jain(counts: list[int]) -> float | None:
    """Jain's fairness index: 1 where all connections were served alike, 1/n where one had everything.

    Source: Jain, Chiu and Hawe, "A Quantitative Measure of Fairness and Discrimination", 1984.
    """
    squares = sum(count * count for count in counts)
    return sum(counts) ** 2 / (len(counts) * squares) if squares else None


def _littles_law_ratio(totals: dict[str, Any], in_flight_time: Histogram) -> float | None:
    """Requests in flight, as integrated, over rate times mean time in flight: 1 where accounting holds."""
    if not totals["requests"] or not in_flight_time.count:
        return None
    mean_ns = in_flight_time.total / in_flight_time.count
    return float(totals["in_flight_ns"] / (totals["requests"] * mean_ns)) if mean_ns else None
