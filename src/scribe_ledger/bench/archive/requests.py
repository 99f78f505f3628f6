"""The job that puts, gets, lists and deletes objects on the S3 server, through our store and through bare obstore.

Blocks of the two take turns. Both send the same requests from one thread: create-only puts of one part, whole objects,
one object a delete, a listing. What ours adds is its slots, the check of every answer, and what is ready to try again.
"""

from __future__ import annotations

import os
from functools import partial
from time import process_time
from typing import TYPE_CHECKING, NamedTuple, Protocol

from scribe_ledger.bench.archive.scale import OBJECT_BYTES, OPERATIONS
from scribe_ledger.bench.phases import profiled
from scribe_ledger.bench.timing import alternate, measured, rate

if TYPE_CHECKING:
    from obstore.store import ObjectStore as Client

    from scribe_ledger.bench.archive.scale import Task
    from scribe_ledger.bench.timing import Measured
    from scribe_ledger.objects.store import ObjectStore

OURS, BARE = "our store", "bare obstore"
_IN_ORDER = ("put", "get", "list", "delete")


class Access(Protocol):
    """Each checks what it gets as far as a program must."""

    def put(self, path: str, content: bytes) -> None: ...
    def get(self, path: str, content: bytes) -> None: ...
    def delete(self, path: str, content: bytes) -> None: ...
    def list(self, path: str, content: bytes) -> None: ...


class Ours(NamedTuple):
    store: ObjectStore

    def put(self, path: str, content: bytes) -> None:
        assert self.store.put_bytes(path, content)

    def get(self, path: str, content: bytes) -> None:
        found = self.store.get(path)
        assert found is not None
        assert len(found) == len(content)

    def delete(self, path: str, content: bytes) -> None:
        self.store.delete(path)

    def list(self, path: str, content: bytes) -> None:
        assert all(listed.size == len(content) for listed in self.store.list(_listed(path)))


class Bare(NamedTuple):
    client: Client

    def put(self, path: str, content: bytes) -> None:
        import obstore

        obstore.put(self.client, path, content, mode="create", use_multipart=False)

    def get(self, path: str, content: bytes) -> None:
        import obstore

        assert len(obstore.get(self.client, path).bytes().to_bytes()) == len(content)

    def delete(self, path: str, content: bytes) -> None:
        import obstore

        obstore.delete(self.client, path)

    def list(self, path: str, content: bytes) -> None:
        import obstore

        pages = obstore.list(self.client, _listed(path), chunk_size=1000)
        assert all(meta["size"] == len(content) for page in pages for meta in page)


def objects(task: Task) -> dict[str, Measured]:
    assert task.s3 is not None
    store, bare = task.s3.open(), task.s3.open_bare()
    lines: dict[str, Measured] = {}
    try:
        for size, length in OBJECT_BYTES.items():
            found = _of_size({OURS: Ours(store), BARE: Bare(bare)}, size, length, task)
            lines |= {f"objects.{size}.{operation}": found[operation] for operation in OPERATIONS}
    finally:
        store.close()
    return lines


def _of_size(clients: dict[str, Access], size: str, length: int, task: Task) -> dict[str, Measured]:
    """The lines of one size: every block puts objects of its own, which are then got, and deleted last."""
    scale, content = task.scale, os.urandom(length)
    for number in range(scale.listed):
        clients[BARE].put(f"{_listed(size)}/{number:04d}", content)
    for client in clients.values():
        client.list(size, content)  # connects, which is no part of any block

    cpu: dict[str, dict[str, float]] = {operation: dict.fromkeys(clients, 0.0) for operation in _IN_ORDER}

    def block(operation: str, name: str, number: int) -> float:
        act = getattr(clients[name], operation)
        folder = f"{size}/{'ours' if name == OURS else 'bare'}/{number}"
        paths = [f"{folder}/{each}" for each in range(scale.requests)]
        started = process_time()
        try:
            return rate(len(paths), lambda: [act(path, content) for path in paths])
        finally:
            cpu[operation][name] += process_time() - started

    figures = {
        operation: alternate(
            scale.request_blocks, lambda number: number, {name: partial(block, operation, name) for name in clients}
        )
        for operation in _IN_ORDER
    }
    done = scale.requests * scale.request_blocks
    used = {
        operation: {name: round(seconds / done * 1e6, 1) for name, seconds in each.items()}
        for operation, each in cpu.items()
    }
    profiles = {
        operation: profiled(partial(block, operation, OURS, scale.request_blocks))
        for operation in (_IN_ORDER if task.profile else ())
    }
    return {
        operation: measured(
            blocks,
            OURS,
            cpu_us_of_the_client=used[operation],
            objects=scale.listed if operation == "list" else None,
            profile=profiles.get(operation),
        )
        for operation, blocks in figures.items()
    }


def _listed(path: str) -> str:
    """The folder that listings of this size list."""
    return f"listed/{path.partition('/')[0]}"
