"""Random entries of an agreed log, and a look at all that a store holds: for tests of the replicated machine."""

from __future__ import annotations

import random
from typing import TYPE_CHECKING, NamedTuple

from scribe_ledger.ledger import commands, wire
from scribe_ledger.ledger.machine import EVICTED_KEY
from scribe_ledger.ledger.manifest import Adopt, Archive, Change, Retire, Retired
from scribe_ledger.ledger.store import Table
from scribe_ledger.objects.blobs import Blob
from scribe_ledger.segments.segment import Segment

if TYPE_CHECKING:
    from collections.abc import Sequence

    from scribe_ledger.ledger.commands import Command
    from scribe_ledger.ledger.replicated import Outcome, ReplicatedMachine
    from scribe_ledger.ledger.store import Store

KEYS = [b"a", b"b", b"c", b"\xffbinary", b"k" * 300]


class Record(NamedTuple):
    """An entry of the log: units, or the record of the members."""

    position: int
    timestamp: int
    units: Sequence[Sequence[Command] | Change | bytes]
    membership: bytes = b""

    @property
    def encoded(self) -> list[bytes]:
        return [encoded(unit) for unit in self.units]

    def apply(self, machine: ReplicatedMachine, *, local: bool = False) -> list[object]:
        """What each unit is told, in words that can be compared."""
        if self.membership:
            machine.set_membership(self.position, self.membership)
            return []
        own = self.units if local and not any(isinstance(unit, bytes) for unit in self.units) else None
        outcomes = machine.apply(self.position, self.timestamp, self.encoded, own)
        return [told(outcome) for outcome in outcomes]


def encoded(unit: Sequence[Command] | Change | bytes) -> bytes:
    if isinstance(unit, bytes):
        return unit
    if isinstance(unit, Adopt | Archive | Retire | Retired):
        return wire.encode_change(unit)
    return wire.encode_unit(unit)


def told(outcome: Outcome) -> object:
    if isinstance(outcome, Exception):
        return type(outcome), outcome.message, outcome.operation
    return outcome if isinstance(outcome, tuple) else list(outcome)


def program(seed: int, entries: int = 60) -> list[Record]:
    """Every kind of command and of change, retries, refusals, gaps between positions."""
    dice = random.Random(seed)
    found: list[Record] = []
    position, size = 0, 0
    sent: list[Command] = []
    archived = 0
    for _ in range(entries):
        position += dice.choice((1, 1, 1, 2, 5))
        timestamp = 1000 + dice.randrange(100)
        choice = dice.random()
        if choice < 0.05:
            found.append(Record(position, timestamp, (), membership=b"members at %d" % position))
        elif choice < 0.2:
            change = _change(dice, archived, size)
            if isinstance(change, Archive) and change.added and change.added[0].first_index == archived:
                archived = change.added[-1].stop
            found.append(Record(position, timestamp, (change,)))
        elif choice < 0.25:
            found.append(Record(position, timestamp, (b"", b"\x01\x03junk", wire.encode_change(Adopt("mixed")))))
        else:
            units = [_unit(dice, sent) for _ in range(dice.choice((1, 1, 2, 5)))]
            size += 1  # at the most one is sure to be new: see ``_unit``
            found.append(Record(position, timestamp, units))
    return found


def _unit(dice: random.Random, sent: list[Command]) -> list[Command]:
    unit = [_command(dice, sent) for _ in range(dice.choice((1, 1, 1, 3, 40)))]
    sent += unit
    return unit


def _command(dice: random.Random, sent: list[Command]) -> Command:
    choice = dice.random()
    if choice < 0.1 and sent:
        again = dice.choice(sent[-200:])
        if dice.random() < 0.2:  # the same request id for another command
            return commands.put(again.key or b"a", b"another")._replace(request=again.request)
        return again
    key = dice.choice(KEYS) if choice < 0.6 else b"key %d" % dice.randrange(500)
    request = f"request {dice.randrange(10**9)}" if dice.random() < 0.6 else None
    if choice < 0.17:
        return commands.delete(key, request_id=request)
    if choice < 0.18:
        return commands.configure({"overwrite": dice.choice(("version", "version", "forbid"))})
    value: bytes | Blob = dice.randbytes(dice.choice((0, 8, 128, 3000)))
    if choice < 0.25:
        value = Blob(bytes([dice.randrange(5)]) * 32, 1 << 20, b"\1" * 32, begun=dice.randrange(5))
    return commands.put(
        key,
        value,
        content_type=dice.choice(("", "", "text/plain")),
        metadata=dice.choice((None, {"team": "red"})),
        if_absent=dice.random() < 0.05,
        if_version=dice.choice((0, 1, 2)) if dice.random() < 0.05 else None,
        request_id=request,
        dedupe=dice.random() < 0.7,
    )


def _change(dice: random.Random, archived: int, size: int) -> Change:
    choice = dice.random()
    if choice < 0.2:
        return Adopt(dice.choice(("one", "one", "two")))
    if choice < 0.6 and size > archived:
        return Archive(0, (segment(archived, dice.randrange(archived, size) + 1),))
    if choice < 0.7:
        return Archive(0, (segment(0, max(archived, 1), name="joined"),), (f"0-{archived}",))
    digests = tuple(bytes([dice.randrange(8)]) * 32 for _ in range(2))
    return Retire((), digests) if choice < 0.85 else Retired((), digests)


def segment(first: int, stop: int, *, name: str = "") -> Segment:
    """What the manifest is told of a segment that nobody reads."""
    name = name or f"{first}-{stop}"
    return Segment(
        segment_id=name,
        first_index=first,
        last_index=stop - 1,
        min_key=b"",
        max_key=b"\xff",
        count=stop - first,
        size=1000,
        log_bytes=10 * (stop - first),
        path=f"segments/{name}.parquet",
        sha256=bytes(32),
        merkle_root=bytes(32),
        timestamp=0,
    )


def tables(store: Store, *, values: bool = True) -> dict[Table, dict[bytes, bytes]]:
    """All that the store holds but what is this machine's own affair."""
    found = {table: dict(store.table(table).scan()) for table in Table if values or table is not Table.VALUES}
    found[Table.META].pop(EVICTED_KEY, None)
    return found
