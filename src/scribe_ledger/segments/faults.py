"""What can be wrong with a segment, in the same words wherever it is found: the object is always named."""

from __future__ import annotations

import contextlib
from typing import TYPE_CHECKING

from scribe_ledger.errors import Corruption

if TYPE_CHECKING:
    from collections.abc import Iterator

    from scribe_ledger.objects.store import ObjectStore

HINT = "`scribe fsck` says what else is wrong; restore the object from a copy, or from another node's data"


class SegmentMissing(Corruption):
    """The store has no such object. It may have been compacted and retired: look again under the newest manifest."""


def missing(store: ObjectStore, path: str) -> SegmentMissing:
    return SegmentMissing(
        f"the segment {store.place(path)} is not in the object store",
        hint=f"is this the ledger's store? Else name that: --object-store, or [storage] object_store. {HINT}",
    )


def broken(path: str, what: str) -> Corruption:
    return Corruption(f"the segment {path} is corrupt: {what}", hint=HINT)


@contextlib.contextmanager
def parquet_errors(path: str, what: str) -> Iterator[None]:
    """Turn what Arrow says of bytes that it cannot read, a wrong page checksum among it, into Corruption."""
    import pyarrow as pa

    try:
        yield
    except (pa.ArrowException, OSError, ValueError, MemoryError) as error:
        raise broken(path, f"{what} cannot be read: {error}") from error
