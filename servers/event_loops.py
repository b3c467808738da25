"""Several event loops in one process: the whole model in a thread for each, in Python or in C.

Each loop has its own set of sockets (an epoll for each thread) and its own connections, so the loops share
nothing but the stop, and the listener where the option `listeners` says so. In C they run side by side; in
Python the interpreter's lock lets one of them run at a time, unless it is a free-threaded one. What they have
counted is added up.
"""

import socket
import threading
import time
from collections.abc import Callable, Sequence

from servers.contract import Counters, Options
from servers.stop import Stop

LOOK_S = 0.001  # how often it is looked whether all loops serve
ServeOne = Callable[[socket.socket, Stop, Options, Counters], None]


def serve(
    serve_one: ServeOne,
    listeners: Sequence[socket.socket],
    stop: Stop,
    options: Options,
    counters: Counters,
    *,
    ready: Callable[[], None],
) -> None:
    """Run `serve_one` in `options.threads` threads until `stop` becomes readable; where one fails, all end.

    The listeners are dealt to them in turn; `ready` is called once all of them serve. Raises what the first
    that failed has raised.
    """
    errors: list[BaseException] = []
    own_counters = [Counters() for _ in range(options.threads)]

    def run(index: int) -> None:
        try:
            serve_one(listeners[index % len(listeners)], stop, options, own_counters[index])
        except BaseException as error:  # noqa: BLE001 - whatever it is, the others wouldn't know of it
            errors.append(error)
            stop.ask()

    threads: list[threading.Thread] = []
    try:
        for index in range(options.threads):
            thread = threading.Thread(target=run, args=(index,))
            thread.start()
            threads.append(thread)
    except RuntimeError as error:  # the system gives no more
        errors.append(OSError(None, f"{options.threads} threads can't be started: {error}"))
        stop.ask()
    while not errors and not all(one.is_serving() for one in own_counters):
        time.sleep(LOOK_S)
    if not errors:
        ready()
    for thread in threads:
        thread.join()
    for one in own_counters:
        counters.add(one)
    if errors:
        raise errors[0]
