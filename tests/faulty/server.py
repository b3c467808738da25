"""An echo server that does one thing wrong, to see whether the generator notices and what it calls it.

    python server.py FAULT --message-bytes 64 --good 3

The first `--good` messages of each connection are echoed as they should be; then the fault sets in. It prints
its port and ends when its stdin closes.
"""

import argparse
import asyncio
import socket
import struct
import sys
import time
from collections.abc import Awaitable, Callable

WINDOWS = sys.platform == "win32"
Fault = Callable[["Connection", bytes], Awaitable[bool]]


class Connection:
    """One client: its streams, and what it sent before."""

    def __init__(
        self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter, arguments: argparse.Namespace
    ):
        self.reader, self.writer, self.arguments = reader, writer, arguments
        self.previous = b""

    def reset(self) -> None:
        """Close with a reset instead of an end of stream."""
        raw: socket.socket = self.writer.get_extra_info("socket")
        linger = struct.pack("hh" if WINDOWS else "ii", 1, 0)
        raw.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, linger)
        self.writer.transport.abort()

    async def pause(self) -> None:
        """The whole delay: asyncio's clock ticks at 15.6 ms on Windows, and its sleep ends a tick early."""
        until = time.perf_counter() + self.arguments.delay_s
        while (left := until - time.perf_counter()) > 0:
            await asyncio.sleep(left)


async def none(connection: Connection, message: bytes) -> bool:
    connection.writer.write(message)
    return True


async def drop_a_byte(connection: Connection, message: bytes) -> bool:
    connection.writer.write(message[:-1])
    return True


async def drop_a_byte_inside(connection: Connection, message: bytes) -> bool:
    connection.writer.write(message[: len(message) // 2] + message[len(message) // 2 + 1 :])
    return True


async def change_a_byte(connection: Connection, message: bytes) -> bool:
    connection.writer.write(message[:-1] + bytes((message[-1] ^ 1,)))
    return True


async def answer_late(connection: Connection, message: bytes) -> bool:
    await connection.pause()
    connection.writer.write(message)
    return True


waiting: list[tuple[Connection, bytes]] = []


async def swap(connection: Connection, message: bytes) -> bool:
    """The echoes of two connections, exchanged."""
    if not waiting or waiting[0][0] is connection:
        waiting.append((connection, message))
        return True
    other, others_message = waiting.pop()
    other.writer.write(message)
    connection.writer.write(others_message)
    return True


async def answer_twice(connection: Connection, message: bytes) -> bool:
    connection.writer.write(message + message)
    return True


async def answer_the_previous(connection: Connection, message: bytes) -> bool:
    connection.writer.write(connection.previous)
    return True


async def close_early(connection: Connection, message: bytes) -> bool:
    connection.writer.write(message[: len(message) // 2])
    connection.writer.close()
    return False


async def reset(connection: Connection, message: bytes) -> bool:
    connection.reset()
    return False


async def never_answer(connection: Connection, message: bytes) -> bool:
    return True


async def stall_all(connection: Connection, message: bytes) -> bool:
    """The whole server stands still for a while, once."""
    if not waiting:
        waiting.append((connection, message))
        time.sleep(connection.arguments.delay_s)  # everything, on purpose
    connection.writer.write(message)
    return True


FAULTS: dict[str, Fault] = {
    fault.__name__.replace("_", "-"): fault
    for fault in (
        none,
        drop_a_byte,
        drop_a_byte_inside,
        change_a_byte,
        answer_late,
        swap,
        answer_twice,
        answer_the_previous,
        close_early,
        reset,
        never_answer,
        stall_all,
    )
}


def raise_descriptor_limit() -> None:
    if sys.platform == "win32":
        return
    import resource

    _, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))


async def serve(arguments: argparse.Namespace) -> None:
    fault = FAULTS[arguments.fault]

    async def client(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.get_extra_info("socket").setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        connection = Connection(reader, writer, arguments)
        served = 0
        try:
            while True:
                message = await reader.readexactly(arguments.message_bytes)
                answer = none if served < arguments.good else fault
                served += 1
                if not await answer(connection, message):
                    return
                connection.previous = message
                await writer.drain()
        except (asyncio.IncompleteReadError, ConnectionError, asyncio.CancelledError):
            pass  # of the client, or of this server
        finally:
            writer.close()

    server = await asyncio.start_server(client, "127.0.0.1", 0, backlog=1024)
    print(server.sockets[0].getsockname()[1], flush=True)
    await asyncio.get_running_loop().run_in_executor(None, sys.stdin.read)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("fault", choices=FAULTS)
    parser.add_argument("--message-bytes", type=int, default=64)
    parser.add_argument("--good", type=int, default=3)
    parser.add_argument("--delay-s", type=float, default=0.02)
    arguments = parser.parse_args()
    raise_descriptor_limit()
    # The loop that Windows has by default ends a stream in order before it closes, which hides the reset; the
    # other holds 512 connections.
    selects = WINDOWS and arguments.fault == "reset"
    with asyncio.Runner(loop_factory=asyncio.SelectorEventLoop if selects else None) as runner:
        runner.run(serve(arguments))


if __name__ == "__main__":
    main()
