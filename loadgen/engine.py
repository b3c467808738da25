"""The binding to the core, and what becomes of its counters: the generator's result."""

import ctypes
import os
import socket
import sys
from collections.abc import Callable
from ctypes import c_bool, c_double, c_int, c_int64, c_uint16, c_uint32, c_uint64, c_void_p
from typing import Any

from loadgen import histogram
from loadgen.profile import SOURCES_MAX, Profile

NAME = "libloadgen.dll" if sys.platform == "win32" else "libloadgen.so"
# Not by pathlib, which takes 3 ms to import: a generator is started for every contender of every block.
LIBRARY = os.path.join(os.path.dirname(__file__), NAME)  # noqa: PTH118, PTH120
COUNTS = 33 * 1024
SERIES_POINTS_MAX = 600
SERIES_INTERVAL_S = 0.1
FAILURES = (
    "refused",
    "connect_timeout",
    "unreachable",
    "no_port",
    "no_descriptor",
    "reset",
    "closed",
    "response_timeout",
    "mismatch",
    "other",
)
STAMP_SAMPLES_MIN = 20  # fewer than this near the median say nothing


class _Histogram(ctypes.Structure):
    _fields_ = (("count", c_uint64), ("sum", c_uint64), ("max", c_uint64), ("counts", c_uint64 * COUNTS))


class _Options(ctypes.Structure):
    _fields_ = (
        ("address", c_uint32),
        ("sources", c_uint32 * SOURCES_MAX),
        ("source_count", c_uint32),
        ("connections", c_uint32),
        ("message_bytes", c_uint32),
        ("depth", c_uint32),
        ("spin", c_uint32),
        ("response_timeout_ns", c_uint64),
        ("seed", c_uint64),
        ("stop", c_int64),
        ("port", c_uint16),
    )


class _SeriesPoint(ctypes.Structure):
    _fields_ = (
        ("t_ns", c_uint64),
        ("requests", c_uint64),
        ("p50_ns", c_uint64),
        ("p99_ns", c_uint64),
        ("responses", c_uint64),
        ("in_flight", c_uint32),
        ("connections_open", c_uint32),
        ("connections_served", c_uint32),
    )


class _SliceResult(ctypes.Structure):
    _fields_ = (
        ("requests", c_uint64),
        ("requests_total", c_uint64),
        ("duration_ns", c_uint64),
        ("span_ns", c_uint64),
        ("cpu_ns", c_uint64),
        ("p50_ns", c_uint64),
        ("p99_ns", c_uint64),
        ("responses", c_uint64),
        ("censored", c_uint64),
        ("in_flight_mean", c_double),
        ("connections_served", c_uint32),
        ("connections_open", c_uint32),
    )


class _Totals(ctypes.Structure):
    _fields_ = (
        ("requests", c_uint64),
        ("bytes_sent", c_uint64),
        ("bytes_received", c_uint64),
        ("duration_ns", c_uint64),
        ("cpu_ns", c_uint64),
        ("cpu_user_ns", c_uint64),
        ("cpu_system_ns", c_uint64),
        ("longest_silence_ns", c_uint64),
        ("censored", c_uint64),
        ("in_flight_ns", c_double),
        ("errors", c_uint64 * len(FAILURES)),
        ("connections_opened", c_uint32),
        ("connections_open", c_uint32),
        ("connections_open_min", c_uint32),
        ("stamp_samples", c_uint64),
    )


class _StampSample(ctypes.Structure):
    _fields_ = (("response_ns", c_uint64), ("in_client_ns", c_uint64))


_OnProgress = ctypes.CFUNCTYPE(None, ctypes.POINTER(_SeriesPoint))
_RESPONSE_TIME, _CONNECT_TIME, _FIRST_ECHO_TIME = range(3)


def _load() -> ctypes.CDLL:
    core = ctypes.CDLL(LIBRARY)
    signatures: dict[str, tuple[Any, ...]] = {
        "engine_open": (c_int, ctypes.POINTER(_Options), ctypes.POINTER(c_void_p)),
        "engine_connect": (c_int, c_void_p),
        "engine_slice": (
            *(c_int, c_void_p, c_uint64, c_uint64, c_uint64),
            *(c_bool, ctypes.POINTER(_SliceResult)),
        ),
        "engine_run": (
            *(c_int, c_void_p, c_uint64, c_uint64, c_uint64),
            *(_OnProgress, ctypes.POINTER(_SliceResult)),
        ),
        "engine_finish": (c_int, c_void_p),
        "engine_close": (None, c_void_p),
        "engine_totals": (ctypes.POINTER(_Totals), c_void_p),
        "engine_histogram": (ctypes.POINTER(_Histogram), c_void_p, c_int),
        "engine_series": (ctypes.POINTER(_SeriesPoint), c_void_p, ctypes.POINTER(c_uint32)),
        "engine_stamps": (ctypes.POINTER(_StampSample), c_void_p),
        "engine_requests": (None, c_void_p, ctypes.POINTER(c_uint32)),
        "histogram_percentile": (c_uint64, ctypes.POINTER(_Histogram), c_double),
    }
    for name, (restype, *argtypes) in signatures.items():
        function = getattr(core, name)
        function.restype, function.argtypes = restype, argtypes
    return core


def _check(error: int) -> None:
    """Raise OSError with number and text of the system's `error`, unless it is 0."""
    if not error:
        return
    if sys.platform == "win32":
        from loadgen import win32

        raise win32.error(error)
    raise OSError(error, os.strerror(error))


class Engine:
    """The core on one server: connect, then a run or slices, then the result. Not to be shared by threads."""

    def __init__(self, profile: Profile, stop: socket.socket | None = None) -> None:
        """Allocate everything. `stop` ends a run early when it becomes readable, which it stays.

        On Windows `stop` is made non-blocking. Raises OSError where the system refuses memory or descriptors.
        """
        self._profile = profile
        self._core = _load()
        self._engine = c_void_p()
        self._slices: list[dict[str, Any]] = []
        options = _Options(
            address=_in_network_order(profile.host),
            sources=(c_uint32 * SOURCES_MAX)(*map(_in_network_order, profile.sources)),
            source_count=len(profile.sources),
            connections=profile.connections,
            message_bytes=profile.message_bytes,
            depth=profile.depth,
            spin=profile.spin,
            response_timeout_ns=round(profile.response_timeout_s * 1e9),
            seed=profile.seed,
            stop=-1 if stop is None else stop.fileno(),
            port=socket.htons(profile.port),
        )
        try:
            _check(self._core.engine_open(options, self._engine))
        except OSError:
            self.close()
            raise

    def __enter__(self) -> "Engine":
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def connect(self) -> dict[str, Any]:
        """Open all connections, each with one echo; how many came to be, and what failed."""
        _check(self._core.engine_connect(self._engine))
        totals = self._totals()
        return {"connections_opened": totals.connections_opened, "errors": _errors(totals)}

    def slice(
        self, round_number: int, slice_s: float, ramp_s: float, *, warmup: bool, linger_s: float | None
    ) -> dict[str, Any]:
        """Put load on for one slice; a warm-up stays out of the result.

        Load goes on until all that was started in the slice is back, for `linger_s` after it at most. Windows
        counts CPU time in ticks of 15.6 ms: there `cpu_s` of one slice says little, the sum over many does.
        """
        result = _SliceResult()
        _check(
            self._core.engine_slice(
                self._engine,
                round(slice_s * 1e9),
                round(ramp_s * 1e9),
                2**64 - 1 if linger_s is None else round(linger_s * 1e9),
                not warmup,
                result,
            )
        )
        duration_s = result.duration_ns / 1e9
        answer = {
            "round": round_number,
            "warmup": warmup,
            "requests": result.requests,
            "duration_s": duration_s,
            "rate_per_s": result.requests / duration_s if duration_s else 0.0,
            "p50_ns": result.p50_ns if result.responses else None,
            "p99_ns": result.p99_ns if result.responses else None,
            "in_flight_mean": result.in_flight_mean,
            "connections_served": result.connections_served,
            "cpu_s": result.cpu_ns / 1e9,
            "censored": result.censored,
            "requests_total": result.requests_total,
            "span_s": result.span_ns / 1e9,
        }
        if not warmup:
            self._slices.append(answer)
        return answer

    def run(self, on_point: Callable[[dict[str, Any]], None] | None) -> None:
        """Put load on for the profile's warm-up and duration; `on_point` gets each point of the series."""
        duration_s = self._profile.duration_s
        points = min(max(1, round(duration_s / SERIES_INTERVAL_S)), SERIES_POINTS_MAX)
        callback = _OnProgress() if on_point is None else _OnProgress(lambda p: on_point(_point(p.contents)))
        _check(
            self._core.engine_run(
                self._engine,
                round(duration_s * 1e9),
                round(self._profile.warmup_s * 1e9),
                round(duration_s * 1e9) // points,
                callback,
                _SliceResult(),
            )
        )

    def result(self) -> dict[str, Any]:
        """Everything over all that was measured, as the result line has it."""
        _check(self._core.engine_finish(self._engine))
        totals = self._totals()
        requests, duration_s = totals.requests, totals.duration_ns / 1e9
        response_time = self._histogram(_RESPONSE_TIME)
        per_connection = self._requests_per_connection()
        points = c_uint32()
        series = self._core.engine_series(self._engine, points)
        result = {
            "requests": requests,
            "bytes_sent": totals.bytes_sent,
            "bytes_received": totals.bytes_received,
            "duration_s": duration_s,
            "rate_per_s": requests / duration_s if duration_s else 0.0,
            "errors": _errors(totals),
            "connections_opened": totals.connections_opened,
            "connections_open_min": min(totals.connections_open_min, totals.connections_opened),
            "requests_per_connection": _spread(per_connection),
            "longest_silence_ns": totals.longest_silence_ns,
            "fairness": _jain(per_connection),
            "response_time": self._latency(response_time),
            "connect_time": self._latency(self._histogram(_CONNECT_TIME)),
            "first_echo_time": self._latency(self._histogram(_FIRST_ECHO_TIME)),
            "series": [_point(series[i]) for i in range(points.value)],
            "client": self._client(totals),
            "checks": {
                "littles_law_ratio": _littles_law_ratio(totals, response_time),
                "censored_share": totals.censored / response_time.count if response_time.count else 0.0,
            },
        }
        if self._profile.slices:
            result["slices"] = self._slices
        return result

    def close(self) -> None:
        """Close all connections and free everything."""
        engine, self._engine = self._engine, c_void_p()
        self._core.engine_close(engine)

    def _totals(self) -> _Totals:
        totals: _Totals = self._core.engine_totals(self._engine).contents
        return totals

    def _histogram(self, which: int) -> _Histogram:
        contents: _Histogram = self._core.engine_histogram(self._engine, which).contents
        return contents

    def _latency(self, recorded: _Histogram) -> dict[str, Any]:
        encoded = histogram.encode(memoryview(recorded.counts).cast("B").cast("Q").tolist())
        if not recorded.count:
            return {"count": 0, "histogram": encoded}
        percentile = self._core.histogram_percentile
        return {
            "count": recorded.count,
            "mean_ns": recorded.sum / recorded.count,
            "p50_ns": percentile(recorded, 50.0),
            "p90_ns": percentile(recorded, 90.0),
            "p99_ns": percentile(recorded, 99.0),
            "p99_9_ns": percentile(recorded, 99.9),
            "max_ns": recorded.max,
            "histogram": encoded,
        }

    def _requests_per_connection(self) -> list[int]:
        """Requests of each connection that was opened, ascending."""
        counts = (c_uint32 * self._profile.connections)()
        self._core.engine_requests(self._engine, counts)
        return sorted(counts)[self._profile.connections - self._totals().connections_opened :]

    def _client(self, totals: _Totals) -> dict[str, Any]:
        cpu_ns = totals.cpu_ns
        parts_ns = totals.cpu_user_ns + totals.cpu_system_ns  # counted in ticks; on Linux their sum isn't
        user_s = cpu_ns / 1e9 * (totals.cpu_user_ns / parts_ns if parts_ns else 0.0)
        return {
            "cpu_user_s": user_s,
            "cpu_system_s": cpu_ns / 1e9 - user_s,
            "cpu_ns_per_request": cpu_ns / totals.requests if totals.requests else None,
            "busy": cpu_ns / totals.duration_ns if totals.duration_ns else 0.0,
            "lateness_p99_ns": None,
            "in_client_share": self._in_client_share(totals),
            "wait": "spin" if self._profile.spin else "sleep",
        }

    def _in_client_share(self, totals: _Totals) -> float | None:
        """Median, over samples near the median, of the time from kernel to client over the response time.

        Near the median: the tenth of the samples on each side of it. It misses the way of sending.
        """
        count = totals.stamp_samples
        stamps = self._core.engine_stamps(self._engine)
        samples = sorted((stamps[i].response_ns, stamps[i].in_client_ns) for i in range(count))
        near = [
            in_client / response
            for response, in_client in samples[count * 2 // 5 : count * 3 // 5]
            if response
        ]
        return sorted(near)[len(near) // 2] if len(near) >= STAMP_SAMPLES_MIN else None


def _in_network_order(address: str) -> int:
    """An IPv4 address as the core keeps it: the four bytes as they are on the wire."""
    return int.from_bytes(socket.inet_aton(address), "little" if _LITTLE_ENDIAN else "big")


_LITTLE_ENDIAN = bytes(c_uint16(1)) == bytes((1, 0))


def _errors(totals: _Totals) -> dict[str, int]:
    return {name: count for name, count in zip(FAILURES, totals.errors, strict=True) if count}


def _point(point: _SeriesPoint) -> dict[str, Any]:
    return {
        "t_s": point.t_ns / 1e9,
        "requests": point.requests,
        "in_flight": point.in_flight,
        "connections_open": point.connections_open,
        "connections_served": point.connections_served,
        "p50_ns": point.p50_ns if point.responses else None,
        "p99_ns": point.p99_ns if point.responses else None,
    }


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


def _littles_law_ratio(totals: _Totals, response_time: _Histogram) -> float | None:
    """Requests in flight, as integrated, over rate times mean response time: 1 where the accounting holds."""
    if not totals.requests or not response_time.count:
        return None
    mean_ns = response_time.sum / response_time.count
    return float(totals.in_flight_ns / (totals.requests * mean_ns))
