"""`iocpbench client`: the chapter's echo client."""

import socket
import sys
from typing import Annotated

import typer

from bench.commands.output import parse_target
from bench.errors import Exit, UserError

TIMEOUT_S = 10.0
MODEL = "iocp" if sys.platform == "win32" else "epoll"  # in a hint


def client(
    target: Annotated[str, typer.Argument(metavar="HOST:PORT", help="An echo server.")],
) -> None:
    """Send each line that you type, and print the echo once the whole of it is back; q or Q ends it.

    Example: iocpbench client 127.0.0.1:9000
    """
    address = parse_target(target)
    try:
        connection = socket.create_connection(address, TIMEOUT_S)
    except OSError as error:
        raise UserError(
            f"no connection to {target}: {error.strerror or error}; start a server: iocpbench serve {MODEL}",
            Exit.FAILED,
        ) from error
    with connection:
        try:
            _converse(connection)
        except OSError as error:
            raise UserError(f"{target} is gone: {error.strerror or error}", Exit.FAILED) from error


def _converse(connection: socket.socket) -> None:
    is_typed = sys.stdin.isatty()
    while True:
        if is_typed:
            print("message (q to quit): ", end="", flush=True)
        line = sys.stdin.readline()
        message = line.rstrip("\n")
        if not line or message in ("q", "Q"):
            return
        if message:
            print(_echo(connection, message.encode()).decode(errors="replace"), flush=True)


def _echo(connection: socket.socket, message: bytes) -> bytes:
    """TCP is a stream: one send may come back in several pieces, so read until all of it is there."""
    connection.sendall(message)
    echo = b""
    while len(echo) < len(message):
        piece = connection.recv(len(message) - len(echo))
        if not piece:
            raise ConnectionResetError(None, "it closed the connection")
        echo += piece
    return echo
