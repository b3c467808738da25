"""Somebody's server that has never heard of iocpbench, with one thing wrong.

    python stranger.py HOST PORT FAULT

It doesn't know that the end of its stdin means the end.
"""

import itertools
import os
import signal
import socket
import sys
import threading
import time

GOOD = 15  # messages in all before those that fail later do: ten connections are just open by then
served = itertools.count(1)


def echo(connection: socket.socket, fault: str) -> None:
    if fault == "greets":
        connection.sendall(b"welcome\r\n")
    while data := connection.recv(4096):
        is_later = next(served) > GOOD
        if fault == "hangs-up":
            break
        if fault == "shouts":
            data = data.translate(bytes(byte ^ 1 for byte in range(256)))
        if fault == "shouts-later" and is_later:
            data = data[:-1] + bytes((data[-1] ^ 1,))
        if fault == "closes-later" and is_later:
            break
        if fault == "dies-later" and is_later:
            os._exit(3)
        if fault != "says-nothing":
            connection.sendall(data)
    connection.close()


def main(host: str, port: int, fault: str) -> None:
    if fault == "exits":
        sys.exit("no licence")
    if fault == "exits-silently":
        os._exit(7)
    if fault == "never-listens":
        time.sleep(60)
    if fault == "hangs-at-stop":
        signal.signal(signal.SIGTERM, signal.SIG_IGN)
    if fault == "listens-elsewhere":
        port = 0
    listener = socket.create_server((host, port), backlog=1024)
    while True:
        connection, _ = listener.accept()
        threading.Thread(target=echo, args=(connection, fault), daemon=True).start()


main(sys.argv[1], int(sys.argv[2]), sys.argv[3])
