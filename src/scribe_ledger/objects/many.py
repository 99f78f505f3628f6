"""Many small objects put at once, in whatever way is fast for the kind of store."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from typing import TYPE_CHECKING

from scribe_ledger.objects.folder import FolderStore

if TYPE_CHECKING:
    from collections.abc import Sequence

    from scribe_ledger.objects.store import ObjectStore

PUT_THREADS = 8
"""Requests under way at once, in a store that is far away. Its own ``pool_size`` holds too."""


def put_many(store: ObjectStore, objects: Sequence[tuple[str, bytes]]) -> list[str]:
    """Stores all of them, durable on return, and gives the paths where an object existed already.

    All are in memory, and in a folder each takes an open file: the caller keeps them to some dozens. After an error
    some are stored and some are not.
    """
    if isinstance(store, FolderStore):
        return store.put_many(objects)
    if len(objects) <= 1:
        return [path for path, content in objects if not store.put_bytes(path, content)]
    with ThreadPoolExecutor(min(PUT_THREADS, len(objects)), thread_name_prefix="scribe-put") as threads:
        created = threads.map(lambda each: store.put_bytes(*each), objects)
        return [path for (path, _), new in zip(objects, created, strict=True) if not new]
