"""How what went wrong is counted."""

import asyncio
import errno
import sys
import threading

import pytest

from servers.contract import Counters


@pytest.mark.parametrize(
    ("error", "name"),
    [
        (
            ConnectionResetError(errno.ECONNRESET, "Connection reset by peer"),
            errno.errorcode[errno.ECONNRESET],
        ),
        (OSError(errno.EMFILE, "Too many open files"), "EMFILE"),
        (OSError(123456, "of another system"), "123456" if sys.platform == "win32" else "OSError"),
        (ConnectionResetError("Connection lost"), "ConnectionResetError"),
        (MemoryError(), "MemoryError"),
        (asyncio.CancelledError(), "CancelledError"),
    ],
)
def test_failures_are_counted_under_the_systems_name_or_the_classes(error, name):
    counters = Counters()
    counters.failed(error)
    counters.failed(error)
    assert counters.errors == {name: 2}


def test_open_max_is_the_largest_there_was():
    counters = Counters()
    for open_count in (1, 2, 3, 2):
        counters.accepted(open_count)
    assert (counters.connections_accepted, counters.connections_open_max) == (4, 3)


def test_threads_lose_no_count():
    counters = Counters()

    def fail() -> None:
        for _ in range(2000):
            counters.failed(MemoryError())

    threads = [threading.Thread(target=fail) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert counters.errors == {"MemoryError": 16_000}
