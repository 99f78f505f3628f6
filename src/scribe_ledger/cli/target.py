"""``Target``: what a ledger must offer to be commanded. A folder does; a node behind a URL will do so the same way."""

from __future__ import annotations

from pathlib import Path
from typing import IO, TYPE_CHECKING, Any, BinaryIO, NamedTuple, Protocol

from scribe_ledger.errors import ConfigurationError

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


class Target(Protocol):
    """The methods have the names, arguments, answers and errors of ``scribe_ledger.Ledger``."""

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


def open_target(place: Place, *, create: bool, name: str) -> Target:
    """Opens what is at the place. ``name`` is the origin of a ledger that this creates."""
    if place.url is not None:
        raise ConfigurationError(
            "this version of scribe does not reach a ledger over a URL yet",
            hint="name its folder with --data, or remove --url and the variable SCRIBE_URL",
        )
    from scribe_ledger.ledger.ledger import Ledger

    assert place.data is not None
    return Ledger.open(Path(place.data), create=create, name=name)
