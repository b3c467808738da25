"""Twisted: a protocol for each connection, on one of its reactors. Every system.

The oldest of the libraries: its protocols and transports are what asyncio's were made after. The reactor
waits by epoll, poll or select, on asyncio's event loop, or on Windows at a completion port. What is written
isn't sent at once: the transport keeps it and waits until the socket can be written, so with epoll a request
costs a second wait and two calls of epoll_ctl.

`buffer_bytes` is a transport's buffer, 64 KiB in Twisted itself: as much is read at once, and with more
unsent it reads no more.

Source: Twisted's documentation, "Writing Servers", "Producers and Consumers" and "Choosing a Reactor".
"""

import importlib
import importlib.util
import socket
import sys
import warnings
from typing import TYPE_CHECKING

from servers.contract import Counters, Options
from servers.readiness import fd_set
from servers.stop import Stop

if TYPE_CHECKING:
    from types import ModuleType

# Twisted itself, and what its reactor at a completion port imports.
PACKAGES = {"twisted": "twisted", "twisted_iocpsupport": "twisted-iocpsupport", "pywintypes": "pywin32"}
BESIDE_CONNECTIONS = 3  # the listener, the stop, and the reactor's own way to be woken


def unavailable_reason(options: Options) -> str | None:
    """Why this model can't run here, and the cure; None where it can."""
    if options.reactor == "iocp" and sys.platform != "win32":
        return "the reactor iocp belongs to Windows: run it there, or use --reactor epoll"
    if options.reactor in ("epoll", "poll") and sys.platform == "win32":
        return f"the reactor {options.reactor} belongs to Linux: run it there, or use --reactor iocp"
    if options.reactor == "iocp" and options.processes > 1:
        return "a listener belongs to one completion port: several processes share it with --reactor select"
    for name, package in PACKAGES.items():
        is_needed = name == "twisted" or options.reactor == "iocp"
        if is_needed and importlib.util.find_spec(name) is None:
            return f"{package} isn't installed: pip install {package}, or uv run --extra libraries"
    return None


def connections_max(options: Options) -> int | None:
    """How many connections it can carry: as many as there are descriptors; by select fewer."""
    by_select = ("select", "asyncio") if sys.platform == "win32" else ("select",)
    return fd_set.room(beside=BESIDE_CONNECTIONS) if options.reactor in by_select else None


def prepare(options: Options) -> None:
    """Import it and install the reactor: that takes a while, which the first clients would wait for."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # without pyOpenSSL the completion port's can't do TLS, and says so
        reactor = importlib.import_module(f"twisted.internet.{options.reactor}reactor")
    if options.reactor == "asyncio":
        import asyncio

        reactor.install(asyncio.SelectorEventLoop())  # the only kind that it takes
    else:
        reactor.install()
    _parts(options)


def serve(listener: socket.socket, stop: Stop, options: Options, counters: Counters) -> None:
    """Echo on every connection of `listener` until `stop` becomes readable."""
    from twisted.internet import reactor

    _parts(options).start(listener, stop, options, counters)
    reactor.run(installSignalHandlers=False)  # the stop has its own


def _parts(options: Options) -> "ModuleType":
    """What stands on Twisted's classes, which can't be had before it is imported."""
    kind = "completion" if options.reactor == "iocp" else "readiness"
    return importlib.import_module(f"servers.libraries.twisted_{kind}")
