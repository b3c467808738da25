"""An echo server that takes as long as it is told, to see whether the generator measures that.

    python delay_server.py fixed 0.005
    python delay_server.py bimodal 0.002 0.02      one in ten takes the second
    python delay_server.py exponential 0.005       the mean

Each echo is sent so long after its request was read. Delays come from a seeded generator, so their
distribution is known. It prints its port and ends when its stdin closes.
"""

import heapq
import random
import select
import socket
import sys
import threading
import time
from collections.abc import Callable

SLOW_SHARE = 0.1
SPIN_S = 0.02 if sys.platform == "win32" else 0.0002  # what a wait may be late by: the rest is spun


def delays(kind: str, *seconds: float) -> Callable[[], float]:
    dice = random.Random(1)
    if kind == "fixed":
        return lambda: seconds[0]
    if kind == "bimodal":
        return lambda: seconds[1] if dice.random() < SLOW_SHARE else seconds[0]
    if kind == "exponential":
        return lambda: dice.expovariate(1 / seconds[0])
    raise SystemExit(f"no distribution {kind}")


def main() -> None:
    next_delay = delays(sys.argv[1], *map(float, sys.argv[2:]))
    listener = socket.create_server(("127.0.0.1", 0), backlog=1024)
    ended = threading.Event()
    threading.Thread(target=lambda: (sys.stdin.read(), ended.set()), daemon=True).start()
    print(listener.getsockname()[1], flush=True)
    connections = [listener]
    due: list[tuple[float, int, socket.socket, bytes]] = []
    number = 0
    while not ended.is_set():
        left = due[0][0] - time.perf_counter() if due else 0.1
        for ready in select.select(connections, [], [], max(0.0, left - SPIN_S) if due else 0.1)[0]:
            if ready is listener:
                connection, _ = listener.accept()
                connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
                connections.append(connection)
                continue
            try:
                message = ready.recv(65536)
            except ConnectionError:
                message = b""
            if not message:
                connections.remove(ready)
                ready.close()
                continue
            number += 1
            heapq.heappush(due, (time.perf_counter() + next_delay(), number, ready, message))
        while due and due[0][0] <= time.perf_counter():
            _, _, connection, message = heapq.heappop(due)
            if connection.fileno() >= 0:
                connection.sendall(message)


main()
