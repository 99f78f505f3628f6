"""What one member was given by another, read: header, entries, records of the manifest, trailer.

``Reading`` goes through the pieces for whoever does something with them: ``proving`` looks at all of it and writes
nothing, ``taking`` writes. It holds them to what both ask: that they follow on what there is, and that they lead to
the root, the counts and the manifest that were named. What a single entry must be is ``growth``'s.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from hashlib import sha256
from typing import TYPE_CHECKING, Any, NamedTuple

from scribe_ledger.errors import Corruption, SerializationError, VerificationError
from scribe_ledger.ledger import machine as machines
from scribe_ledger.ledger import manifest, pieces, records
from scribe_ledger.ledger.growth import Entries
from scribe_ledger.ledger.records import U64
from scribe_ledger.merkle.tree import edge_root

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from scribe_ledger.ledger.machine import State
    from scribe_ledger.ledger.manifest import Manifest
    from scribe_ledger.ledger.pieces import Group
    from scribe_ledger.ledger.policy import Policy


class Header(NamedTuple):
    start: int
    stop: int
    root: bytes
    position: int
    membership: bytes
    manifest_start: int


class Trailer(NamedTuple):
    state: bytes
    policy: Policy
    evicted: int
    manifest_digest: bytes


class Reading(ABC):
    """One snapshot on its way in."""

    def __init__(self, header: Header, before: State) -> None:
        size = before.size
        if not header.start <= size <= header.stop or before.manifest.version < header.manifest_start:
            raise VerificationError(
                f"what was given follows on {header.start} entries up to {header.stop}, and there are {size}"
            )
        self.header = header
        self.records: list[tuple[bytes, bytes]] = []
        """Of the manifest, which is written whole."""

    def read(self, following: Iterable[bytes]) -> None:
        """All pieces after the header."""
        try:
            for piece in following:
                if self._add(piece):
                    return
        except SerializationError as error:
            raise unreadable(error) from error
        raise VerificationError("what was given ends before its last piece")

    def _add(self, piece: bytes) -> bool:
        """One piece; whether it was the last."""
        kind = piece[:1]
        if kind == pieces.ENTRIES:
            size = self.state.size
            groups = []
            for group in pieces.decode_groups(piece):
                entries = _lacking(group, self.header.start, size)
                if entries is not None:
                    groups.append(entries)
            if groups:
                self.add_entries(groups)
        elif kind == pieces.MANIFEST:
            self.records += pieces.decode_records(piece)
        elif kind == pieces.TRAILER:
            self.finish(_decode_trailer(piece))
            return True
        else:
            raise SerializationError("a piece of a snapshot is of an unknown kind")
        return False

    @property
    @abstractmethod
    def state(self) -> State:
        """What the entries so far lead to."""

    @abstractmethod
    def add_entries(self, groups: Sequence[Entries]) -> None: ...

    @abstractmethod
    def finish(self, trailer: Trailer) -> None: ...

    def check_end(self, trailer: Trailer) -> State:
        """The state with the position that was named, if it is the one that was named."""
        state, header = self.state, self.header
        if state.size != header.stop or edge_root(state.edge) != header.root:
            raise VerificationError(
                f"after {state.size} entries the root is {edge_root(state.edge).hex()}, and should be"
                f" {header.root.hex()} after {header.stop}"
            )
        after = state._replace(position=header.position)
        if after.encode() != _at_position(trailer.state, header.position):
            raise VerificationError("the entries do not add up to what the giver has counted")
        self._check_manifest(state.manifest, trailer.manifest_digest)
        return after

    def _check_manifest(self, before: Manifest, named: bytes) -> None:
        digest, version = before.digest, before.version
        for key, record in self.records:
            made = manifest.version_of_change(key)
            if made > version:
                if made != version + 1:
                    raise VerificationError(f"the change to version {version + 1} of the manifest is missing")
                digest, version = sha256(digest + record).digest(), made
        if digest != named:
            raise VerificationError(f"the changes do not lead to the manifest of version {version} that was named")


def read_header(piece: bytes) -> Header:
    """``VerificationError`` for what is none."""
    try:
        return _decode_header(piece)
    except SerializationError as error:
        raise unreadable(error) from error


def unreadable(error: SerializationError) -> VerificationError:
    return VerificationError(f"what was given cannot be read: {error.message}")


def _lacking(group: Group, start: int, size: int) -> Entries | None:
    """The entries of a group that are not there yet."""
    try:
        leaves = records.unpack(group.leaves)
        values = records.unpack(group.values) if group.values is not None else None
    except Corruption as error:
        raise SerializationError(error.message) from error
    if not leaves or (values is not None and len(values) != len(leaves)):
        raise SerializationError("a group has no leaves, or other values than leaves")
    known = size - group.first
    if known >= len(leaves) or group.first + len(leaves) <= start:
        return None
    if known <= 0:
        return Entries(group.first, leaves, values, group.requests, group.leaves, group.values)
    requests = group.requests[known:]
    return Entries.packed(size, leaves[known:], None if values is None else values[known:], requests)


def _decode_header(piece: bytes) -> Header:
    fields = _fields_of(piece, pieces.HEADER)
    try:
        root, membership = bytes.fromhex(fields["root"]), bytes.fromhex(fields["membership"])
        numbers = fields["start"], fields["stop"], fields["position"], fields["manifest_start"]
    except (KeyError, TypeError, ValueError) as error:
        raise SerializationError("the header of what was given cannot be read") from error
    if not all(isinstance(number, int) and 0 <= number < 1 << 63 for number in numbers):
        raise SerializationError("the header of what was given has numbers that are none")
    start, stop, position, manifest_start = numbers
    return Header(start, stop, root, position, membership, manifest_start)


def _decode_trailer(piece: bytes) -> Trailer:
    fields = _fields_of(piece, pieces.TRAILER)
    try:
        policy = machines.decode_policy(fields["policy"].encode())
        state, digest = bytes.fromhex(fields["state"]), bytes.fromhex(fields["manifest_digest"])
        evicted = int(fields["evicted"])
    except (KeyError, TypeError, ValueError, AttributeError, Corruption) as error:
        raise SerializationError("the end of what was given cannot be read") from error
    if not 0 <= evicted < 1 << 63:
        raise SerializationError("the end of what was given has numbers that are none")
    return Trailer(state, policy, evicted, digest)


def _fields_of(piece: bytes, kind: bytes) -> dict[str, Any]:
    if piece[:1] != kind:
        raise SerializationError("what was given does not begin with its header")
    return pieces.decode_fields(piece[1:])


def _at_position(state: bytes, position: int) -> bytes:
    """A state record with another position."""
    return state[:2] + U64.pack(position) + state[10:]
