"""Clients that load a node: plain sockets and threads, so that a test controls each byte."""

from __future__ import annotations

import json
import socket
import threading
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Self

if TYPE_CHECKING:
    from collections.abc import Callable


@dataclass(frozen=True)
class Acknowledged:
    """A write that was answered with 201."""

    key: str
    value: bytes
    index: int
    version: int


class Connection:
    """One kept-alive connection. An end of the connection in the middle of an answer is an OSError."""

    def __init__(self, port: int, timeout: float = 20) -> None:
        self.socket = socket.create_connection(("127.0.0.1", port), timeout=timeout)
        self.socket.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        self._buffer = b""
        self._last = b""

    def request(self, method: str, path: str, body: bytes = b"", *headers: str) -> tuple[int, bytes]:
        lines = [f"{method} {path} HTTP/1.1", "Host: test", f"Content-Length: {len(body)}", *headers, "", ""]
        self.socket.sendall("\r\n".join(lines if body or method != "GET" else lines[:2] + lines[3:]).encode() + body)
        return self.answer()

    def answer(self) -> tuple[int, bytes]:
        head, _, self._buffer = self._until(b"\r\n\r\n").partition(b"\r\n\r\n")
        self._last = head
        fields = dict(line.lower().split(b": ", 1) for line in head.split(b"\r\n")[1:])
        length = int(fields[b"content-length"])
        while len(self._buffer) < length:
            self._receive()
        body, self._buffer = self._buffer[:length], self._buffer[length:]
        return int(head.split(b" ", 2)[1]), body

    def close(self) -> None:
        self.socket.close()

    def _until(self, end: bytes) -> bytes:
        while end not in self._buffer:
            self._receive()
        return self._buffer

    def _receive(self) -> None:
        data = self.socket.recv(65536)
        if not data:
            raise ConnectionResetError(f"the connection ended after {self._last!r}")
        self._buffer += data

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()


class Writers:
    """Threads that put unique keys, one after another each, until the node is gone or they are told to stop."""

    def __init__(self, port: int, count: int, prefix: str) -> None:
        self.acknowledged: list[Acknowledged] = []
        self.refused: list[tuple[int, Any]] = []
        self.enough = threading.Event()
        self._grown = threading.Condition()
        self._threads = [
            threading.Thread(target=self._write, args=(port, f"{prefix}/{number}"), daemon=True)
            for number in range(count)
        ]
        for thread in self._threads:
            thread.start()

    def wait_for(self, count: int, still: Callable[[], bool] = lambda: True) -> None:
        """Until so many writes were answered."""
        with self._grown:
            assert self._grown.wait_for(lambda: len(self.acknowledged) >= count or not still(), timeout=60)

    def join(self) -> None:
        for thread in self._threads:
            thread.join(60)
            assert not thread.is_alive()

    def _write(self, port: int, name: str) -> None:
        try:
            with Connection(port) as connection:
                number = 0
                while not self.enough.is_set():
                    key, value = f"{name}/{number}", f"value of {name} {number}".encode()
                    status, body = connection.request("PUT", f"/{key}", value)
                    if status == 201:
                        receipt = json.loads(body)
                        self._note(Acknowledged(key, value, receipt["index"], receipt["version"]))
                    else:
                        self.refused.append((status, json.loads(body)))
                    number += 1
        except OSError:
            return  # the node is gone, which is what these tests are about

    def _note(self, done: Acknowledged) -> None:
        with self._grown:
            self.acknowledged.append(done)
            self._grown.notify_all()
