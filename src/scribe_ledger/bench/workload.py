"""What is written and how much: keys of 16 bytes, values of 128, and the sizes of a run.

Keys are unique, in no order, and made again from their place alone, so that a later process can read what an earlier
one wrote. Values are random bytes, which no compression makes smaller.
"""

from __future__ import annotations

import os
from dataclasses import dataclass
from random import Random
from typing import TYPE_CHECKING, TypeAlias

if TYPE_CHECKING:
    from collections.abc import Iterator

BATCH = 500
KEY_BYTES = 16
VALUE_BYTES = 128
THREADS = 64

Pairs: TypeAlias = list[tuple[str, bytes]]
RawPairs: TypeAlias = list[tuple[bytes, bytes]]


@dataclass(frozen=True)
class Sizes:
    """How much a run of any benchmark measures."""

    entries: int = 1_000_000
    """In the large ledger."""


@dataclass(frozen=True)
class Scale(Sizes):
    """How much one run of ``scribe bench local`` measures. A *block* is what is timed at once; a figure is the median
    of its blocks. ``entries`` is also the versions of the key that has many; growth goes to four times that.
    """

    segments: int = 10
    """Blocks of batched writes; together they write ``entries``."""
    blocks: int = 11
    cached_reads: int = 200_000
    stored_reads: int = 5_000
    first_reads: int = 50_000
    """Before proofs and old versions are measured: what is small is warm after a few reads, what is large is not."""
    proofs: int = 1_000
    puts: int = 400
    puts_a_thread: int = 60


FULL = Scale()
QUICK = Scale(
    entries=20_000,
    segments=2,
    blocks=3,
    cached_reads=5_000,
    stored_reads=500,
    first_reads=1_000,
    proofs=100,
    puts=50,
    puts_a_thread=5,
)
BIG, BIG_RAW = "big", "big-raw"
"""The large ledger, and the same pairs in the raw engine."""
KEPT = frozenset({BIG, BIG_RAW})
"""What later jobs of a run read; all else that a job leaves is removed with it."""
CACHED_KEYS = 20_000
"""The keys that cached reads go round in: well within the default cache."""
SMALL_LEDGER = 10_000
"""Entries in the ledger that proofs at full size are compared with."""
FEW_VERSIONS = 10


def keys_of_batch(batch: int) -> list[str]:
    """The keys of the batch with this number, in the order in which they are written."""
    text = Random(batch).randbytes(BATCH * KEY_BYTES // 2).hex()
    return [text[at : at + KEY_BYTES] for at in range(0, len(text), KEY_BYTES)]


def keys_of(entries: int) -> list[str]:
    """All keys of a ledger of that many entries."""
    return [key for batch in range(batches_in(entries)) for key in keys_of_batch(batch)]


def values(count: int) -> list[bytes]:
    data = os.urandom(count * VALUE_BYTES)
    return [data[at : at + VALUE_BYTES] for at in range(0, len(data), VALUE_BYTES)]


def pairs_of_batch(batch: int) -> Pairs:
    return list(zip(keys_of_batch(batch), values(BATCH), strict=True))


def batches(first: int, count: int) -> Iterator[Pairs]:
    """``count`` batches from the one with number ``first`` on."""
    return map(pairs_of_batch, range(first, first + count))


def batches_in(entries: int) -> int:
    """How many batches hold at least that many entries; never none."""
    return max(-(-entries // BATCH), 1)


def raw(pairs: Pairs) -> RawPairs:
    """The same pairs as the raw engine takes them: encoding keys is the ledger's work, not the engine's."""
    return [(key.encode(), value) for key, value in pairs]


def drawn(keys: list[str], count: int, random: Random) -> list[str]:
    """Keys drawn uniformly, with repetition."""
    return random.choices(keys, k=count)
