"""Receipts of a batch, kept as columns and made into objects when looked at: most callers read none or one of them."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from itertools import repeat
from typing import overload

from scribe_ledger.model import Receipt


class Batch:
    """The columns of one applied batch."""

    __slots__ = ("_digests", "_first", "_hashes", "_timestamp", "_versions")

    def __init__(self, first: int, timestamp: int) -> None:
        self._first = first
        self._timestamp = timestamp
        self._versions: Sequence[int] = ()
        self._digests: Sequence[bytes] = ()
        self._hashes: Sequence[bytes] = ()

    def fill(self, versions: Sequence[int], digests: Sequence[bytes], hashes: Sequence[bytes]) -> None:
        self._versions, self._digests, self._hashes = versions, digests, hashes

    def receipt(self, place: int, *, created: bool) -> Receipt:
        return Receipt(
            self._first + place,
            self._versions[place],
            self._timestamp,
            self._digests[place],
            self._hashes[place],
            created,
        )

    def created(self, places: range) -> Iterator[Receipt]:
        """The receipts of entries that stand together, without a look at each."""
        start, stop = places.start, places.stop
        columns = (self._versions[start:stop], repeat(self._timestamp), self._digests[start:stop])
        indexes, hashes = range(self._first + start, self._first + stop), self._hashes[start:stop]
        return map(Receipt._make, zip(indexes, *columns, hashes, repeat(True)))


class Receipts(Sequence[Receipt]):
    """The receipts of one unit, in the order of its commands."""

    __slots__ = ("_batch", "_places")

    def __init__(self, batch: Batch, places: Sequence[int | Receipt]) -> None:
        self._batch = batch
        self._places = places

    def __len__(self) -> int:
        return len(self._places)

    @overload
    def __getitem__(self, at: int) -> Receipt: ...
    @overload
    def __getitem__(self, at: slice) -> Receipts: ...
    def __getitem__(self, at: int | slice) -> Receipt | Receipts:
        if isinstance(at, slice):
            return Receipts(self._batch, self._places[at])
        place = self._places[at]
        if isinstance(place, Receipt):
            return place
        return self._batch.receipt(place, created=True) if place >= 0 else self._batch.receipt(~place, created=False)

    def __iter__(self) -> Iterator[Receipt]:
        places = self._places
        return self._batch.created(places) if isinstance(places, range) else map(self.__getitem__, range(len(places)))

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Sequence) and list(self) == list(other)

    __hash__ = None  # type: ignore[assignment]

    def __repr__(self) -> str:
        return f"<{len(self)} receipts>"
