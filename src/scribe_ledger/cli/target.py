"""``Target``: what a ledger must offer to be commanded. A folder does, and a node behind a URL does the same.

``local`` and ``remote`` are the two; which it is, only ``open_target`` asks, and commands that only a node can answer.
"""

from __future__ import annotations

from pathlib import Path
from typing import IO, TYPE_CHECKING, Any, BinaryIO, ClassVar, NamedTuple, Protocol

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence

    from scribe_ledger.ledger.check import Report
    from scribe_ledger.ledger.commands import Command
    from scribe_ledger.ledger.transfer.rows import Row
    from scribe_ledger.merkle.checkpoint import Checkpoint
    from scribe_ledger.merkle.prooftext import ConsistencyProof, HistoryProof, Proof
    from scribe_ledger.model import Entry, Receipt


class Place(NamedTuple):
    """A folder or a URL."""

    data: str | None = None
    url: str | None = None
    public_key: str | None = None
    """Of the ledger at the URL: its text, or a file that holds it. Reads are verified with it."""
    trust: str | None = None
    """The file that remembers the last checkpoint of the ledger at the URL."""
    object_store: str | None = None
    """The URL of the store with the folder's archive, if it was typed."""


class Target(Protocol):
    """The methods have the names, arguments, answers and errors of ``scribe_ledger.Ledger``, but for the last ones."""

    import_bytes: ClassVar[int]
    """About how much an import writes in one batch."""

    def put(
        self,
        key: bytes,
        value: bytes,
        *,
        content_type: str = "",
        metadata: Mapping[str, str] | None = None,
        if_absent: bool = False,
        if_index: int | None = None,
        if_version: int | None = None,
        request_id: str | None = None,
        dedupe: bool = True,
    ) -> Receipt: ...
    def put_stream(
        self,
        key: bytes,
        reader: BinaryIO | Iterable[bytes],
        *,
        content_type: str = "",
        metadata: Mapping[str, str] | None = None,
        if_absent: bool = False,
        if_index: int | None = None,
        if_version: int | None = None,
        request_id: str | None = None,
        dedupe: bool = True,
    ) -> Receipt: ...
    def delete(
        self,
        key: bytes,
        *,
        metadata: Mapping[str, str] | None = None,
        if_index: int | None = None,
        if_version: int | None = None,
        request_id: str | None = None,
    ) -> Receipt: ...
    def write(self, unit: Sequence[Command]) -> Sequence[Receipt]: ...
    def import_verbatim(self, rows: Iterable[Row], progress: Callable[[int], None] | None = None) -> int: ...

    def open_value(self, key: bytes, *, version: int | None = None, as_of: int | None = None) -> IO[bytes] | None: ...
    def entry(self, key: bytes, *, version: int | None = None, as_of: int | None = None) -> Entry | None: ...
    def history(self, key: bytes, *, as_of: int | None = None) -> Iterator[Entry]: ...
    def scan(
        self,
        prefix: bytes = b"",
        *,
        start: bytes | None = None,
        limit: int | None = None,
        reverse: bool = False,
        as_of: int | None = None,
    ) -> Iterator[Entry]: ...
    def log(self, start: int = 0, stop: int | None = None) -> Iterator[Entry]: ...

    def checkpoint(self, at: int | None = None) -> Checkpoint: ...
    def prove(self, key: bytes, version: int | None = None, at: int | None = None) -> Proof: ...
    def prove_history(self, key: bytes, version: int | None = None, at: int | None = None) -> HistoryProof: ...
    def prove_consistency(self, old_size: int, new_size: int | None = None) -> ConsistencyProof: ...

    @property
    def public_key(self) -> str: ...
    @property
    def origin(self) -> str: ...
    @property
    def size(self) -> int: ...
    def stats(self) -> dict[str, Any]: ...
    def verify(self, progress: Callable[[int, int], None] | None = None) -> Report: ...
    def close(self) -> None: ...

    def log_with_values(self, start: int = 0, stop: int | None = None) -> Iterator[Entry]:
        """``log`` for who will look at the values."""
        ...

    def scan_with_values(self) -> Iterator[Entry]:
        """``scan`` of all keys for who will look at the values."""
        ...

    def leaves(self, start: int, stop: int) -> list[bytes]:
        """Encoded leaves from ``start``, a multiple of 256, to before ``stop``: at most 256."""
        ...

    def show_manifest(self, since: int | None = None) -> dict[str, Any]:
        """The segments in the archive, in the form of ``GET /v1/manifest``."""
        ...

    def archive_now(self) -> dict[str, Any]:
        """Seals and uploads all that is committed; answers in the form of ``POST /v1/archive``."""
        ...


class Node(Target, Protocol):
    """What a node can do beyond that. The methods are those of ``scribe_ledger.client.Client``."""

    def watch(self, prefix: bytes = b"", *, start: int | None = None) -> Iterator[Entry]: ...
    def cluster_status(self) -> dict[str, Any]: ...
    def cluster_members(self) -> list[dict[str, Any]]: ...
    def cluster_join(self, node_id: int, address: str) -> dict[str, Any]: ...
    def cluster_leave(self, node_id: int) -> dict[str, Any]: ...
    def cluster_transfer(self, node_id: int) -> dict[str, Any]: ...
    def cluster_replace(self, node_id: int, raft_id: str | None = None) -> dict[str, Any]: ...
    def cluster_snapshot(self) -> dict[str, Any]: ...
    def cluster_snapshots(self) -> list[dict[str, Any]]: ...
    def health(self) -> dict[str, Any]: ...


def open_target(place: Place, *, create: bool, name: str) -> Target:
    """Opens what is at the place. ``name`` is the origin of a ledger that this creates."""
    if place.url is not None:
        return open_node(place, name=name)
    from scribe_ledger.cli.local import LocalTarget

    assert place.data is not None
    return LocalTarget.open_at(Path(place.data), place.object_store, create=create, name=name)


def open_node(place: Place, *, name: str = "") -> Node:
    """The ledger at a URL. It is never created; a ``name`` must be its name."""
    from scribe_ledger.cli.remote import open_remote

    return open_remote(place, name=name)
