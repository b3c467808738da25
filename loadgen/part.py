"""What one engine counted, as it counted it, so that several can be added; and a slice of it.

Everything that can be added is added here; what can't (percentiles, shares, ratios) is made of the sums in
`result`. Between processes a part travels as JSON.
"""

from collections import Counter
from collections.abc import Iterable
from typing import Any, NamedTuple

from loadgen.histogram import Histogram, percentiles

HISTOGRAMS = ("response_time", "connect_time", "first_echo_time", "service_time", "lateness")
# Of the totals, what isn't added: engines measure at the same time, so the longest is the time of all.
LONGEST = ("duration_ns", "longest_silence_ns")


class Point(NamedTuple):
    """One interval of the series; `counts` are of its response times, where several are to be added."""

    t_ns: int
    requests: int
    in_flight: int
    connections_open: int
    connections_served: int
    responses: int
    p50_ns: int | None
    p99_ns: int | None
    counts: list[tuple[int, int]]

    def figures(self) -> dict[str, Any]:
        """What a result has of it."""
        return {
            "t_s": self.t_ns / 1e9,
            "requests": self.requests,
            "in_flight": self.in_flight,
            "connections_open": self.connections_open,
            "connections_served": self.connections_served,
            "p50_ns": self.p50_ns if self.responses else None,
            "p99_ns": self.p99_ns if self.responses else None,
        }


class Part(NamedTuple):
    """Everything over all that one engine, or several, measured."""

    totals: dict[str, Any]
    errors: dict[str, int]
    histograms: dict[str, Histogram]
    series: list[Point]
    stamps: list[tuple[int, int]]  # response time and time in this machine's kernel, in ns
    requests_per_connection: list[int]  # of those that were opened
    memory_bytes: int | None

    def to_json(self) -> dict[str, Any]:
        """For a pipe; `from_json` makes the same part of it."""
        histograms = {name: one.to_json() for name, one in self.histograms.items()}
        return {**self._asdict(), "histograms": histograms}

    @classmethod
    def from_json(cls, values: dict[str, Any]) -> "Part":
        """Of what `to_json` gave."""
        values = dict(values)
        values["histograms"] = {name: Histogram.from_json(one) for name, one in values["histograms"].items()}
        values["series"] = [Point(*point) for point in values["series"]]
        values["stamps"] = [tuple(one) for one in values["stamps"]]
        return cls(**values)


def add_counts(several: Iterable[dict[str, int]]) -> dict[str, int]:
    """The sum for each name that one of them has."""
    total: Counter[str] = Counter()
    for counts in several:
        total.update(counts)
    return dict(total)


def add(parts: list[Part]) -> Part:
    """All of them as one. Engines that ended early have shorter series."""
    if len(parts) == 1:
        return parts[0]
    first = parts[0]
    totals = {
        name: (max if name in LONGEST else sum)(part.totals[name] for part in parts) for name in first.totals
    }
    histograms = {}
    for name in HISTOGRAMS:
        histograms[name] = Histogram()
        for part in parts:
            histograms[name].add(part.histograms[name])
    longest = max(len(part.series) for part in parts)
    columns = ([part.series[i] for part in parts if i < len(part.series)] for i in range(longest))
    memory = [part.memory_bytes for part in parts if part.memory_bytes is not None]
    return Part(
        totals=totals,
        errors=add_counts(part.errors for part in parts),
        histograms=histograms,
        series=[add_points(points) for points in columns],
        stamps=[stamp for part in parts for stamp in part.stamps],
        requests_per_connection=[count for part in parts for count in part.requests_per_connection],
        memory_bytes=sum(memory) if len(memory) == len(parts) else None,
    )


def add_points(points: list[Point]) -> Point:
    """The same interval of several engines, as one; percentiles need `counts` of each."""
    counts: Counter[int] = Counter()
    for point in points:
        for index, count in point.counts:
            counts[index] += count
    responses = sum(point.responses for point in points)
    # A bucket's largest value, where one engine would say the largest that it met: told apart by 0.1 %.
    p50_ns, p99_ns = percentiles(sorted(counts.items()), sum(counts.values()), 2**63, (50.0, 99.0))
    return Point(
        t_ns=max(point.t_ns for point in points),
        requests=sum(point.requests for point in points),
        in_flight=sum(point.in_flight for point in points),
        connections_open=sum(point.connections_open for point in points),
        connections_served=sum(point.connections_served for point in points),
        responses=responses,
        p50_ns=p50_ns,
        p99_ns=p99_ns,
        counts=list(counts.items()),
    )


class SlicePart(NamedTuple):
    """What one engine, or several, did in a slice. `interval`: its response times."""

    requests: int
    requests_total: int
    duration_ns: int
    span_ns: int
    cpu_ns: int
    spun_ns: int
    censored: int
    arrivals: int
    in_flight_mean: float
    connections_served: int
    interval: Histogram

    def to_json(self) -> dict[str, Any]:
        """For a pipe; `from_json` makes the same of it."""
        return {**self._asdict(), "interval": self.interval.to_json()}

    @classmethod
    def from_json(cls, values: dict[str, Any]) -> "SlicePart":
        """Of what `to_json` gave."""
        return cls(**{**values, "interval": Histogram.from_json(values["interval"])})


def add_slices(parts: list[SlicePart]) -> SlicePart:
    """All of them as one."""
    if len(parts) == 1:
        return parts[0]
    interval = Histogram()
    for part in parts:
        interval.add(part.interval)
    values = {
        name: (max if name in ("duration_ns", "span_ns") else sum)(getattr(part, name) for part in parts)
        for name in SlicePart._fields
        if name != "interval"
    }
    return SlicePart(**values, interval=interval)
