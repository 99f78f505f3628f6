"""The row of large values: up and down through one connection, and what memory a node gains by it."""

from __future__ import annotations

import os
from hashlib import sha256
from itertools import repeat
from statistics import median
from typing import TYPE_CHECKING

from scribe_ledger.bench.http.load import NODE
from scribe_ledger.bench.http.servers import start_node
from scribe_ledger.bench.http.wire import PIECE_BYTES, Connection
from scribe_ledger.bench.timing import rate
from scribe_ledger.errors import Corruption

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from scribe_ledger.bench.http.scale import Scale
    from scribe_ledger.bench.timing import Measured

WRITTEN, HASHED = "file, written and synced", "SHA-256 in one thread"
_MB = 1_000_000


def large(work: Path, scale: Scale) -> dict[str, Measured]:
    """PUT and GET of a value of a gibibyte, and in the last pass of two; memory is the node's highest in all of it."""
    sizes = [scale.large_bytes] * (scale.passes - 1) + [2 * scale.large_bytes]
    rates: dict[str, list[float]] = {NODE: [], WRITTEN: [], HASHED: []}
    down: list[float] = []
    with start_node(work / "node") as node, Connection(node.port) as connection:
        before, _ = node.memory_mib()
        for number, size in enumerate(sizes):
            pieces = list(_pieces(size))
            rates[NODE].append(_upload(connection, f"/large-{number}", size, pieces))
            down.append(_download(connection, f"/large-{number}", size))
            rates[WRITTEN].append(_write(work / "file", size, pieces))
            rates[HASHED].append(_hash(size, pieces))
        _, highest = node.memory_mib()
    beside = {name: median(found) for name, found in rates.items() if name != NODE}
    details = {"bytes_of_each_pass": sizes, "mib_before": round(before, 1), "mib_at_most": round(highest, 1)}
    return {
        "large.up": {"figure": median(rates[NODE]), "beside": beside, "blocks": rates},
        "large.down": {"figure": median(down), "beside": {}, "blocks": {NODE: down}},
        "large.memory": {"figure": highest - before, "beside": {}, "details": details},
    }


def _pieces(size: int) -> Iterator[memoryview]:
    """A value that no other pass has: the first piece is its own, and the rest comes again and again."""
    piece = memoryview(os.urandom(PIECE_BYTES))
    yield memoryview(os.urandom(PIECE_BYTES))
    yield from repeat(piece, size // PIECE_BYTES - 1)


def _upload(connection: Connection, path: str, size: int, pieces: list[memoryview]) -> float:
    return rate(size, lambda: connection.upload(path, size, pieces)) / _MB


def _download(connection: Connection, path: str, size: int) -> float:
    received: list[int] = []
    figure = rate(size, lambda: received.append(connection.download(path)))
    if received != [size]:
        raise Corruption(f"{size} bytes were put, and {received} came back")
    return figure / _MB


def _write(path: Path, size: int, pieces: list[memoryview]) -> float:
    def write() -> None:
        with path.open("wb", buffering=0) as file:
            for piece in pieces:
                file.write(piece)
            os.fdatasync(file.fileno())

    figure = rate(size, write) / _MB
    path.unlink()
    return figure


def _hash(size: int, pieces: list[memoryview]) -> float:
    def run() -> None:
        digest = sha256()
        for piece in pieces:
            digest.update(piece)

    return rate(size, run) / _MB
