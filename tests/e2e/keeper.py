"""A process in a network namespace: takes connections of a socket that it was given, and carries them to a port there.

It is run by itself, without the packages of this project: ``keeper.py DESCRIPTOR HOST PORT``, until it is killed.
"""

import contextlib
import os
import socket
import sys
import threading

PIECE_BYTES = 64 << 10


def pump(source: socket.socket, target: socket.socket) -> None:
    """Until either end has had enough; then neither hears any more."""
    with contextlib.suppress(OSError):
        while piece := source.recv(PIECE_BYTES):
            target.sendall(piece)
    for each in (source, target):
        with contextlib.suppress(OSError):
            each.shutdown(socket.SHUT_RDWR)


def carry(client: socket.socket, host: str, port: int) -> None:
    with client, contextlib.suppress(OSError), socket.create_connection((host, port)) as node:
        for each in (client, node):
            each.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        back = threading.Thread(target=pump, args=(node, client))
        back.start()
        pump(client, node)
        back.join()


def watch_parent() -> None:
    """Nobody is there to kill it any more: its standard input ended."""
    sys.stdin.read()
    os._exit(0)


def main(descriptor: int, host: str, port: int) -> None:
    threading.Thread(target=watch_parent, daemon=True).start()
    with socket.socket(fileno=descriptor) as taken:
        while True:
            client, _ = taken.accept()
            threading.Thread(target=carry, args=(client, host, port), daemon=True).start()


if __name__ == "__main__":
    main(int(sys.argv[1]), sys.argv[2], int(sys.argv[3]))
