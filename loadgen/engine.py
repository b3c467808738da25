"""The binding to the core: one engine, and several that share a load, each with a thread."""

import ctypes
import os
import socket
import sys
import time
from _thread import allocate_lock  # threading takes 2 ms to import
from collections.abc import Callable
from ctypes import c_bool, c_double, c_int, c_int64, c_uint16, c_uint32, c_uint64, c_void_p
from functools import partial
from typing import Any, TypeVar

from loadgen.histogram import Histogram
from loadgen.part import HISTOGRAMS, Part, Point, SlicePart, add, add_counts, add_points, add_slices
from loadgen.profile import SOURCES_MAX, Profile

NAME = "libloadgen.dll" if sys.platform == "win32" else "libloadgen.so"
# Not by pathlib, which takes 3 ms to import: a generator is started for every contender of every block.
LIBRARY = os.path.join(os.path.dirname(__file__), NAME)  # noqa: PTH118, PTH120
COUNTS = 33 * 1024
SERIES_POINTS_MAX = 600
SERIES_INTERVAL_S = 0.1
TOGETHER_NS = 2_000_000  # from asking several engines to the begin of their load: they have all heard by then
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
    "backlog",
    "other",
)


class _Histogram(ctypes.Structure):
    _fields_ = (
        ("count", c_uint64),
        ("sum", c_uint64),
        ("max", c_uint64),
        ("beyond", c_uint64),
        ("counts", c_uint64 * COUNTS),
    )


class _Options(ctypes.Structure):
    _fields_ = (
        ("address", c_uint32),
        ("sources", c_uint32 * SOURCES_MAX),
        ("source_count", c_uint32),
        ("connections", c_uint32),
        ("idle", c_uint32),
        ("all_connections", c_uint32),
        ("first_connection", c_uint32),
        ("first_number", c_uint32),
        ("message_bytes", c_uint32),
        ("depth", c_uint32),
        ("requests_per_connection", c_uint32),
        ("close_by_reset", c_uint32),
        ("backlog", c_uint32),
        ("poisson", c_uint32),
        ("spin", c_uint32),
        ("keep_counts", c_uint32),
        ("rate_per_s", c_double),
        ("newcomers_per_s", c_double),
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
        ("first_count", c_uint64),
        ("in_flight", c_uint32),
        ("connections_open", c_uint32),
        ("connections_served", c_uint32),
        ("count_entries", c_uint32),
    )


class _ValueCount(ctypes.Structure):
    _fields_ = (("index", c_uint32), ("count", c_uint32))


class _SliceResult(ctypes.Structure):
    _fields_ = (
        ("requests", c_uint64),
        ("requests_total", c_uint64),
        ("duration_ns", c_uint64),
        ("span_ns", c_uint64),
        ("cpu_ns", c_uint64),
        ("spun_ns", c_uint64),
        ("p50_ns", c_uint64),
        ("p99_ns", c_uint64),
        ("responses", c_uint64),
        ("censored", c_uint64),
        ("arrivals", c_uint64),
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
        ("spun_ns", c_uint64),
        ("longest_silence_ns", c_uint64),
        ("censored", c_uint64),
        ("arrivals", c_uint64),
        ("echoes_ever", c_uint64),
        ("bytes_sent_ever", c_uint64),
        ("bytes_received_ever", c_uint64),
        ("kernel_bytes_sent", c_uint64),
        ("kernel_bytes_received", c_uint64),
        ("unfinished", c_uint64),
        ("in_flight_ns", c_double),
        ("errors", c_uint64 * len(FAILURES)),
        ("lives", c_uint64),
        ("connections_opened", c_uint32),
        ("connections_open", c_uint32),
        ("connections_open_min", c_uint32),
        ("idle_opened", c_uint32),
        ("idle_open", c_uint32),
        ("idle_echoed_again", c_uint32),
        ("stamp_samples", c_uint32),
        ("kernel_counts", c_uint32),
    )


class _StampSample(ctypes.Structure):
    _fields_ = (("response_ns", c_uint64), ("in_client_ns", c_uint64))


_OnProgress = ctypes.CFUNCTYPE(None, ctypes.POINTER(_SeriesPoint))
_INTERVAL = len(HISTOGRAMS)
OnPoint = Callable[[Point], None]
T = TypeVar("T")


def _load() -> ctypes.CDLL:
    core = ctypes.CDLL(LIBRARY)
    signatures: dict[str, tuple[Any, ...]] = {
        "engine_open": (c_int, ctypes.POINTER(_Options), ctypes.POINTER(c_void_p)),
        "engine_connect": (c_int, c_void_p),
        "engine_slice": (
            *(c_int, c_void_p, c_uint64, c_uint64, c_uint64, c_uint64),
            *(c_bool, ctypes.POINTER(_SliceResult)),
        ),
        "engine_run": (
            *(c_int, c_void_p, c_uint64, c_uint64, c_uint64, c_uint64),
            *(_OnProgress, ctypes.POINTER(_SliceResult)),
        ),
        "engine_finish": (c_int, c_void_p),
        "engine_close": (None, c_void_p),
        "engine_totals": (ctypes.POINTER(_Totals), c_void_p),
        "engine_histogram": (ctypes.POINTER(_Histogram), c_void_p, c_int),
        "engine_series": (ctypes.POINTER(_SeriesPoint), c_void_p, ctypes.POINTER(c_uint32)),
        "engine_series_counts": (ctypes.POINTER(_ValueCount), c_void_p),
        "engine_stamps": (ctypes.POINTER(_StampSample), c_void_p),
        "engine_requests": (None, c_void_p, ctypes.POINTER(c_uint32)),
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
    """One engine on one server: connect, then a run or slices, then what it counted.

    Not to be shared by threads. Times that it is given and gives are in ns.
    """

    def __init__(self, profile: Profile, stop: socket.socket | None = None) -> None:
        """Allocate everything. `stop` ends a run early when it becomes readable, which it stays.

        On Windows `stop` is made non-blocking. Raises OSError where the system refuses memory or descriptors.
        """
        self._profile = profile
        self._core = _load()
        self._engine = c_void_p()
        options = _Options(
            address=_in_network_order(profile.host),
            sources=(c_uint32 * SOURCES_MAX)(*map(_in_network_order, profile.sources)),
            source_count=len(profile.sources),
            connections=profile.connections,
            idle=profile.idle,
            all_connections=profile.all_connections,
            first_connection=profile.first_connection,
            first_number=profile.first_number,
            message_bytes=profile.message_bytes,
            depth=profile.depth,
            requests_per_connection=profile.requests_per_connection or 0,
            close_by_reset=profile.close_by_reset,
            backlog=profile.backlog,
            poisson=profile.poisson,
            spin=profile.spin,
            keep_counts=profile.parts > 1,
            rate_per_s=profile.rate_per_s or 0.0,
            newcomers_per_s=profile.newcomers_per_s or 0.0,
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

    def connect(self) -> None:
        """Open all connections, each with one echo; what failed is counted."""
        _check(self._core.engine_connect(self._engine))

    def slice(
        self, slice_ns: int, ramp_ns: int, *, warmup: bool, linger_ns: int | None, begin_ns: int = 0
    ) -> SlicePart:
        """Put load on for one slice, from `begin_ns` on; a warm-up stays out of what is counted.

        Load goes on until all that was started in the slice is back, for `linger_ns` after it at most.
        Windows counts CPU time in ticks of 15.6 ms: there that of one slice says little, a sum of many does.
        """
        result = _SliceResult()
        most_ns = 2**64 - 1
        _check(
            self._core.engine_slice(
                *(self._engine, begin_ns, slice_ns, ramp_ns),
                *(most_ns if linger_ns is None else linger_ns, not warmup, result),
            )
        )
        values = {name: getattr(result, name) for name in SlicePart._fields if name != "interval"}
        return SlicePart(**values, interval=self._histogram(_INTERVAL))

    def run(self, on_point: OnPoint | None, begin_ns: int = 0) -> None:
        """Put load on for the profile's warm-up and duration; `on_point` gets each point of the series."""
        duration_ns = round(self._profile.duration_s * 1e9)
        points = min(max(1, round(self._profile.duration_s / SERIES_INTERVAL_S)), SERIES_POINTS_MAX)
        callback = _OnProgress()
        if on_point is not None:
            callback = _OnProgress(lambda point: on_point(self._point(point.contents)))
        _check(
            self._core.engine_run(
                *(self._engine, begin_ns, duration_ns, round(self._profile.warmup_s * 1e9)),
                *(duration_ns // points, callback, _SliceResult()),
            )
        )

    def finish(self) -> None:
        """Look once more at all connections: idle ones echo again, bytes that nobody asked for are found."""
        _check(self._core.engine_finish(self._engine))

    def opened(self) -> tuple[int, dict[str, int]]:
        """How many active connections came to be so far, and what failed."""
        totals = self._core.engine_totals(self._engine).contents
        return totals.connections_opened, _errors(totals)

    def part(self, memory_bytes: int | None) -> Part:
        """Everything that was counted; `memory_bytes` is what its connections took."""
        totals = self._core.engine_totals(self._engine).contents
        names = (name for name, *_ in _Totals._fields_ if name != "errors")
        stamps = self._core.engine_stamps(self._engine)
        return Part(
            totals={name: getattr(totals, name) for name in names},
            errors=_errors(totals),
            histograms={name: self._histogram(i) for i, name in enumerate(HISTOGRAMS)},
            series=self._series(),
            stamps=[(stamps[i].response_ns, stamps[i].in_client_ns) for i in range(totals.stamp_samples)],
            requests_per_connection=self._requests_per_connection(totals.connections_opened),
            memory_bytes=memory_bytes,
        )

    def close(self) -> None:
        """Close all connections and free everything."""
        engine, self._engine = self._engine, c_void_p()
        self._core.engine_close(engine)

    def _histogram(self, which: int) -> Histogram:
        recorded = self._core.engine_histogram(self._engine, which).contents
        if not recorded.count:
            return Histogram()
        used = _index(recorded.max) + 1
        counts = memoryview(recorded.counts).cast("B").cast("Q")[:used].tolist()
        return Histogram(counts, recorded.sum, recorded.max, recorded.beyond)

    def _series(self) -> list[Point]:
        count = c_uint32()
        points = self._core.engine_series(self._engine, count)
        return [self._point(point) for point in points[: count.value]]

    def _point(self, point: _SeriesPoint) -> Point:
        counts = self._core.engine_series_counts(self._engine)
        of_point = range(point.first_count, point.first_count + point.count_entries)
        return Point(
            t_ns=point.t_ns,
            requests=point.requests,
            in_flight=point.in_flight,
            connections_open=point.connections_open,
            connections_served=point.connections_served,
            responses=point.responses,
            p50_ns=point.p50_ns if point.responses else None,
            p99_ns=point.p99_ns if point.responses else None,
            counts=[(counts[i].index, counts[i].count) for i in of_point],
        )

    def _requests_per_connection(self, opened: int) -> list[int]:
        """Requests of each active connection that was opened: one that wasn't has none."""
        counts = (c_uint32 * self._profile.connections)()
        self._core.engine_requests(self._engine, counts)
        return sorted(counts)[self._profile.connections - opened :]


class Engines:
    """The engines of one process, each with a thread of its own where there are several."""

    def __init__(self, profile: Profile, stops: list[socket.socket]) -> None:
        """Allocate everything; `stops` are one for each of the profile's threads. Raises OSError."""
        self._before_bytes = _memory_bytes()
        self._memory_bytes: int | None = None
        count = profile.threads
        parts = [profile] if count == 1 else [profile.divided(i, count) for i in range(count)]
        self._engines: list[Engine] = []
        try:
            for part, stop in zip(parts, stops, strict=True):
                self._engines.append(Engine(part, stop))
        except OSError:
            self.close()
            raise

    def __enter__(self) -> "Engines":
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    @property
    def pids(self) -> list[int]:
        """The processes that put load on: this one."""
        return [os.getpid()]

    def connect(self) -> tuple[int, dict[str, int]]:
        """Open all connections; how many active ones came to be, and what failed."""
        _together([engine.connect for engine in self._engines])
        if self._before_bytes is not None:
            self._memory_bytes = max(0, (_memory_bytes() or 0) - self._before_bytes)
        opened, errors = zip(*(engine.opened() for engine in self._engines), strict=True)
        return sum(opened), add_counts(errors)

    def slice(
        self, slice_ns: int, ramp_ns: int, *, warmup: bool, linger_ns: int | None, begin_ns: int = 0
    ) -> SlicePart:
        """As `Engine.slice`, of all."""
        begin_ns = begin_ns or self._begin_ns()
        how: dict[str, Any] = {"warmup": warmup, "linger_ns": linger_ns, "begin_ns": begin_ns}
        return add_slices(_together([partial(one.slice, slice_ns, ramp_ns, **how) for one in self._engines]))

    def run(self, on_point: OnPoint | None, begin_ns: int = 0) -> None:
        """As `Engine.run`, of all; `on_point` gets the points of all added up, as far as all have one."""
        begin_ns = begin_ns or self._begin_ns()
        if on_point is not None and len(self._engines) > 1:
            on_point = _Collected(len(self._engines), on_point)
        _together([partial(one.run, on_point, begin_ns) for one in self._engines])

    def part(self) -> Part:
        """Look once more at all connections, then everything that was counted."""
        _together([engine.finish for engine in self._engines])
        # Memory is the process's: told once.
        parts = [engine.part(0 if i else self._memory_bytes) for i, engine in enumerate(self._engines)]
        return add(parts)

    def close(self) -> None:
        """Close all connections and free everything."""
        for engine in self._engines:
            engine.close()

    def _begin_ns(self) -> int:
        """0 for one engine: now."""
        return 0 if len(self._engines) == 1 else now_ns() + TOGETHER_NS


class _Collected:
    """Puts the points of the same time together; each engine brings its own in a thread of its own."""

    def __init__(self, engines: int, on_point: OnPoint) -> None:
        self._engines = engines
        self._on_point = on_point
        self._points: dict[int, list[Point]] = {}
        self._lock = allocate_lock()

    def __call__(self, point: Point) -> None:
        with self._lock:
            points = self._points.setdefault(point.t_ns, [])
            points.append(point)
            if len(points) == self._engines:
                self._on_point(add_points(self._points.pop(point.t_ns)))


def now_ns() -> int:
    """The core's clock: the same for all processes of this machine."""
    return time.perf_counter_ns()


def _together(calls: list[Callable[[], T]]) -> list[T]:
    """What each of `calls` returns; each but the only one in a thread of its own. Raises what one raised."""
    if len(calls) == 1:
        return [calls[0]()]
    import threading  # takes 2 ms

    results: dict[int, T] = {}
    failures: list[Exception] = []

    def make(index: int) -> None:
        try:
            results[index] = calls[index]()
        except Exception as error:  # noqa: BLE001 - raised again below, in the caller's thread
            failures.append(error)

    threads = [threading.Thread(target=make, args=(index,)) for index in range(len(calls))]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    if failures:
        raise failures[0]
    return [results[index] for index in range(len(calls))]


def _memory_bytes() -> int | None:
    """What this process has in memory; None where the system doesn't tell."""
    if sys.platform == "win32":
        from loadgen import win32

        return win32.working_set_bytes()
    try:
        with open("/proc/self/statm") as file:  # noqa: PTH123 - as above
            return int(file.read().split()[1]) * os.sysconf("SC_PAGE_SIZE")
    except OSError:
        return None


def _index(value: int) -> int:
    """Where the core counts `value`."""
    bucket = max(0, value.bit_length() - 11)
    return bucket * 1024 + (value >> bucket)


def _in_network_order(address: str) -> int:
    """An IPv4 address as the core keeps it: the four bytes as they are on the wire."""
    return int.from_bytes(socket.inet_aton(address), "little" if _LITTLE_ENDIAN else "big")


_LITTLE_ENDIAN = bytes(c_uint16(1)) == bytes((1, 0))


def _errors(totals: _Totals) -> dict[str, int]:
    return {name: count for name, count in zip(FAILURES, totals.errors, strict=True) if count}
