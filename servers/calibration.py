"""What a call into the system costs from this interpreter: out of a module in C, and by ctypes.

`select`, `poll` and `epoll` wait in Python's own modules, which are in C; `io_uring` and the Windows models
call the system through ctypes. So a part of what these cost in Python is no choice of the interpreter's but
the way that it is bound to the system. Here the same system call is made by both ways: one that takes no
argument and does next to nothing, and the one that waits, with a timeout of 0, declared as the models declare
theirs and given addresses as they give them. On Linux it is made a second time with the seven arguments of
io_uring_enter.

The two ways take turns in batches of 0.4 milliseconds, so that both meet the same machine. A figure is of
one call, its loop and the system call itself included, which are the same for both.

`python -m servers.calibration` prints one line of JSON. Source: timeit, ctypes in Python's library reference.
"""

import json
import os
import sys
from contextlib import ExitStack
from timeit import Timer

BATCH_S = 0.0004  # long beside the clock's ticks, short beside the weather of a shared machine
BATCHES = 31  # of each way; odd, so that the median is one of them. All take less than 0.1 s.
PROBE_CALLS, PROBES = 16, 3


class Call:
    """One system call, by both ways: two statements, and the names that they use."""

    __slots__ = ("arguments", "name", "names", "statements")

    def __init__(
        self, name: str, arguments: int, *, by_module: str, by_ctypes: str, names: dict[str, object]
    ) -> None:
        self.name, self.arguments, self.names = name, arguments, names
        self.statements = (by_module, by_ctypes)


def main() -> int:
    """Measure and print; return the exit code."""
    try:
        import ctypes  # noqa: F401 - not every Python was built with it
    except ImportError as error:
        print(json.dumps({"event": "unavailable", "reason": str(error)}))
        return 3
    with ExitStack() as stack:
        calls = _on_windows(stack) if sys.platform == "win32" else _on_linux(stack)
        print(json.dumps({"event": "calibrated", "calls": [measure(call) for call in calls]}))
    return 0


def measure(call: Call, batches: int = BATCHES, batch_s: float = BATCH_S) -> dict[str, object]:
    """Median and quartiles of what `call` costs by both ways, in nanoseconds."""
    ways = [Timer(statement, globals=call.names) for statement in call.statements]
    counts = [_calls_in(way, batch_s) for way in ways]
    costs: tuple[list[float], list[float]] = ([], [])
    for _ in range(batches):
        for way, count, cost in zip(ways, counts, costs, strict=True):
            cost.append(way.timeit(count) / count * 1e9)
    module, by_ctypes = map(_quartiles, costs)
    return {
        "call": call.name,
        "arguments": call.arguments,
        "batches": batches,
        "module": module,
        "ctypes": by_ctypes,
    }


def _calls_in(way: Timer, batch_s: float) -> int:
    """How many calls take about `batch_s`; the quickest of a few tries, the first of which warms up."""
    one_s = min(way.timeit(PROBE_CALLS) for _ in range(PROBES)) / PROBE_CALLS
    return max(1, round(batch_s / max(one_s, 1e-9)))


def _quartiles(values: list[float]) -> dict[str, float]:
    ordered = sorted(values)
    places = {"p25_ns": 1, "p50_ns": 2, "p75_ns": 3}
    return {name: round(ordered[len(ordered) * quarter // 4], 1) for name, quarter in places.items()}


def _on_linux(stack: "ExitStack[bool | None]") -> list[Call]:
    import ctypes
    import select

    from servers.ffi import linux

    epoll = stack.enter_context(select.epoll())
    event = ctypes.create_string_buffer(linux.EPOLL_EVENT_BYTES)
    bare = {"getppid": linux.getppid(), "wait": linux.epoll_wait(), "pwait": linux.epoll_pwait()}
    module = {"of_os": os.getppid, "poll": epoll.poll}
    # `room` is there to live as long as its address is used.
    where = {
        "fd": epoll.fileno(),
        "at": ctypes.addressof(event),
        "room": event,
        "number": linux.SYS_EPOLL_PWAIT,
    }
    names = {**bare, **module, **where}
    by_module = "poll(0, 1)"
    calls = [
        Call("getppid", 0, by_module="of_os()", by_ctypes="getppid()", names=names),
        Call("epoll_wait", 4, by_module=by_module, by_ctypes="wait(fd, at, 1, 0)", names=names),
    ]
    if linux.SYS_EPOLL_PWAIT is not None:
        by_ctypes = "pwait(number, fd, at, 1, 0, None, 8)"
        calls.append(Call("epoll_pwait", 7, by_module=by_module, by_ctypes=by_ctypes, names=names))
    return calls


def _on_windows(stack: "ExitStack[bool | None]") -> list[Call]:
    """asyncio's own module has GetQueuedCompletionStatus in C."""
    import ctypes
    import importlib

    from servers.ffi import win32

    _overlapped = importlib.import_module("_overlapped")  # which only Windows has
    port = _overlapped.CreateIoCompletionPort(_overlapped.INVALID_HANDLE_VALUE, 0, 0, 1)
    stack.callback(win32.CloseHandle, port)
    room = [ctypes.c_uint64() for _ in range(3)]
    places = {name: ctypes.addressof(one) for name, one in zip(("size", "key", "data"), room, strict=True)}
    own = {"own_id": win32.GetCurrentProcessId, "of_os": os.getpid, "room": room}
    get = {"get": win32.GetQueuedCompletionStatus, "of_module": _overlapped.GetQueuedCompletionStatus}
    names = {**own, **get, **places, "port": port}
    by_ctypes = "get(port, size, key, data, 0)"
    return [
        Call("GetCurrentProcessId", 0, by_module="of_os()", by_ctypes="own_id()", names=names),
        Call(
            "GetQueuedCompletionStatus",
            5,
            by_module="of_module(port, 0)",
            by_ctypes=by_ctypes,
            names=names,
        ),
    ]


if __name__ == "__main__":
    raise SystemExit(main())
