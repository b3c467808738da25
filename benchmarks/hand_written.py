"""Echo loops as one would write them by hand: no options, no counters, no slow readers, no errors.

    python benchmarks/hand_written.py epoll 9000

They are what the models in Python are held against: what a model does beyond this (a contract, bounded
memory, counting) must cost less than one can measure. `iocpbench run benchmarks/hand-written.toml` does that.
"""

import asyncio
import select
import selectors
import socket
import sys
import threading
from typing import Any

BUFFER_BYTES = 4096


def listen(port: int) -> socket.socket:
    listener = socket.create_server(("127.0.0.1", port), backlog=4096)
    listener.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)  # handed down to what it accepts
    return listener


def threads(port: int) -> None:
    listener = listen(port)
    threading.stack_size(256 * 1024)

    def echo(connection: socket.socket) -> None:
        with connection:
            while data := connection.recv(BUFFER_BYTES):
                connection.sendall(data)

    while True:
        connection, _ = listener.accept()
        threading.Thread(target=echo, args=(connection,), daemon=True).start()


def select_(port: int) -> None:
    listener = listen(port)
    watched = {listener.fileno()}
    connections: dict[int, socket.socket] = {}
    while True:
        for fd in select.select(watched, (), ())[0]:
            if fd in connections:
                connection = connections[fd]
                data = connection.recv(BUFFER_BYTES)
                if data:
                    connection.send(data)
                else:
                    watched.remove(fd)
                    connections.pop(fd).close()
            else:
                connection, _ = listener.accept()
                connections[connection.fileno()] = connection
                watched.add(connection.fileno())


def poll(port: int) -> None:
    _registered(port, select.poll(), select.POLLIN)


def epoll(port: int) -> None:
    _registered(port, select.epoll(), select.EPOLLIN)


def _registered(port: int, poller: Any, events: int) -> None:
    listener = listen(port)
    poller.register(listener.fileno(), events)
    connections: dict[int, socket.socket] = {}
    while True:
        for fd, _ in poller.poll():
            if fd in connections:
                connection = connections[fd]
                data = connection.recv(BUFFER_BYTES)
                if data:
                    connection.send(data)
                else:
                    poller.unregister(fd)
                    connections.pop(fd).close()
            else:
                connection, _ = listener.accept()
                connections[connection.fileno()] = connection
                poller.register(connection.fileno(), events)


def selectors_(port: int) -> None:
    listener = listen(port)
    selector = selectors.DefaultSelector()
    selector.register(listener, selectors.EVENT_READ)
    while True:
        for key, _ in selector.select():
            connection = key.fileobj
            if connection is listener:
                accepted, _ = listener.accept()
                selector.register(accepted, selectors.EVENT_READ)
                continue
            data = connection.recv(BUFFER_BYTES)
            if data:
                connection.send(data)
            else:
                selector.unregister(connection)
                connection.close()


def asyncio_streams(port: int) -> None:
    async def echo(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        while data := await reader.read(BUFFER_BYTES):
            writer.write(data)
            await writer.drain()
        writer.close()

    async def main() -> None:
        await (await asyncio.start_server(echo, sock=listen(port), backlog=4096)).serve_forever()

    asyncio.run(main())


class EchoProtocol(asyncio.Protocol):
    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self.transport = transport

    def data_received(self, data: bytes) -> None:
        self.transport.write(data)


def asyncio_protocol(port: int) -> None:
    async def main() -> None:
        server = await asyncio.get_running_loop().create_server(EchoProtocol, sock=listen(port), backlog=4096)
        await server.serve_forever()

    asyncio.run(main())


LOOPS = {
    "threads": threads,
    "select": select_,
    "poll": poll,
    "epoll": epoll,
    "selectors": selectors_,
    "asyncio_streams": asyncio_streams,
    "asyncio_protocol": asyncio_protocol,
}

if __name__ == "__main__":
    LOOPS[sys.argv[1]](int(sys.argv[2]))
