"""The manifest: which segments hold the archived part of the log. It is ledger state, changed by commands.

A change is judged here from the state alone, so that every replica comes to the same manifest, and written in one
atomic write with everything that follows from it. The manifest is a directory: whether a segment's rows are the leaves
of the tree is for those who read it. ``docs/design/0011-cold-tier.md`` says why a removal takes two steps.

In memory a manifest is immutable, and small: one object per segment. In the store's table ``manifest``::

    m                     the head: version, archived size, store, digest, archived bytes
    s <u64 first index>   a live segment
    c <u64 version>       the change that made this version
    r <segment id>        a segment that was replaced, and when; or that is being removed
    b <digest>            a large value that is being removed, and since when; or the version at which it was gone
"""

from __future__ import annotations

from bisect import bisect_right
from hashlib import sha256
from itertools import takewhile
from typing import TYPE_CHECKING, Any, NamedTuple, TypeAlias

import orjson

from scribe_ledger.errors import Conflict, Corruption, InvalidRequest, SerializationError, counted
from scribe_ledger.ledger.records import U64
from scribe_ledger.ledger.store import Store, Table
from scribe_ledger.segments.segment import Segment

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from scribe_ledger.ledger.store import WriteBatch

FORMAT = 1
DIGESTS_REMEMBERED = 256
"""Of earlier versions."""
_HEAD = b"m"
_LIVE, _CHANGE, _REPLACED, _BLOB = b"s", b"c", b"r", b"b"


class Adopt(NamedTuple):
    """From now on this ledger's objects are in that store."""

    store_id: str


class Archive(NamedTuple):
    """New segments: after the archived end, or in the place of exactly those they replace."""

    base_version: int
    """The version that the command was built on. Whether it still holds is judged by what it names."""
    added: tuple[Segment, ...]
    replaced: tuple[str, ...] = ()


class Retire(NamedTuple):
    """Objects that are about to be deleted: replaced segments, and large values that no entry refers to."""

    segments: tuple[str, ...] = ()
    blobs: tuple[bytes, ...] = ()


class Retired(NamedTuple):
    """The same objects are gone."""

    segments: tuple[str, ...] = ()
    blobs: tuple[bytes, ...] = ()


Change: TypeAlias = Adopt | Archive | Retire | Retired


class Replaced(NamedTuple):
    """A segment that is no longer live, and whose object may still be there."""

    segment: Segment
    since: int
    """The ledger's time when it was replaced, in milliseconds."""
    being_removed: bool


class Difference(NamedTuple):
    """What changed between two versions of the manifest."""

    added: list[Segment]
    removed: list[str]


class Manifest(NamedTuple):
    """One version of it."""

    version: int
    archived_size: int
    """All entries below this index are in segments."""
    store_id: str
    """The store that was adopted; empty before the first."""
    digest: bytes
    """A running hash over all changes: two replicas at one version have the same."""
    archived_bytes: int
    """Bytes of leaves and values in the live segments."""
    segments: tuple[Segment, ...]
    starts: tuple[int, ...]
    """Their first indexes."""

    def find(self, index: int) -> Segment | None:
        """The segment with this entry."""
        at = bisect_right(self.starts, index) - 1
        return self.segments[at] if at >= 0 and index < self.archived_size else None

    def to_json(self) -> dict[str, Any]:
        return {
            "version": self.version,
            "archived_size": self.archived_size,
            "store_id": self.store_id,
            "segments": [segment.to_json() for segment in self.segments],
        }


EMPTY = Manifest(0, 0, "", bytes(32), 0, (), ())


class ManifestTable:
    """The manifest in a store. One thread at a time may change it; any may read."""

    def __init__(self, store: Store) -> None:
        self._table = store.table(Table.MANIFEST)
        self._digests: dict[int, bytes] = {}

    def load(self) -> Manifest:
        record = self._table.get(_HEAD)
        if record is None:
            return EMPTY
        head = _decode(record)
        segments = tuple(Segment.from_json(fields) for _, fields in self._scan(_LIVE))
        try:
            return Manifest(
                version=head["version"],
                archived_size=head["archived_size"],
                store_id=head["store_id"],
                digest=bytes.fromhex(head["digest"]),
                archived_bytes=head["archived_bytes"],
                segments=segments,
                starts=tuple(segment.first_index for segment in segments),
            )
        except (KeyError, TypeError, ValueError) as error:
            raise Corruption("the head of the manifest cannot be read") from error

    def holds(self, manifest: Manifest) -> bool:
        """Whether the records of the head and of the live segments are, to the byte, those of this version."""
        live = {_LIVE + U64.pack(segment.first_index): _encode(segment.to_json()) for segment in manifest.segments}
        found = dict(takewhile(lambda item: item[0].startswith(_LIVE), self._table.scan(_LIVE)))
        head = _encode(_head_to_json(manifest)) if manifest.version else None
        return self._table.get(_HEAD) == head and found == live

    def apply(self, write: WriteBatch, before: Manifest, change: Change, *, size: int, timestamp: int) -> Manifest:
        """Judges a change against the manifest, and writes what follows. ``size`` is how many entries there are."""
        fields = change_to_json(change)
        if isinstance(change, Adopt):
            after = _adopt(before, change)
        elif isinstance(change, Archive):
            after = self._archive(write, before, change, size, timestamp)
        elif isinstance(change, Retire):
            self._retire(write, change, timestamp)
            after = before
        else:
            self._retired(write, before, change)
            after = before
        version = before.version + 1
        after = after._replace(version=version, digest=sha256(before.digest + _encode(fields)).digest())
        write.put(Table.MANIFEST, _CHANGE + U64.pack(version), _encode(fields))
        write.put(Table.MANIFEST, _HEAD, _encode(_head_to_json(after)))
        return after

    # --- what has changed --------------------------------------------------------------------------------------

    def changes(self, after: int, upto: int) -> Iterator[Change]:
        """The changes that made the versions from the one after ``after`` to ``upto``."""
        for expected, (key, fields) in enumerate(self._scan(_CHANGE, U64.pack(after + 1)), after + 1):
            if expected > upto:
                return
            if key != U64.pack(expected):
                raise Corruption(f"the change to version {expected} of the manifest is missing")
            yield change_from_json(fields)

    def digest_at(self, manifest: Manifest, version: int) -> bytes:
        """The digest that a version had. The first question about an old one reads all changes up to it."""
        if version == manifest.version:
            return manifest.digest
        if not 0 <= version < manifest.version:
            raise InvalidRequest(f"the manifest has version {manifest.version}, {version} was asked for")
        known = self._digests
        digest = known.get(version)
        if digest is None:
            start = max((earlier for earlier in known.copy() if earlier < version), default=0)
            digest = known.get(start, EMPTY.digest)
            if len(known) >= DIGESTS_REMEMBERED:
                known.clear()
            for at in range(start + 1, version + 1):
                record = self._table.get(_CHANGE + U64.pack(at))
                if record is None:
                    raise Corruption(f"the change to version {at} of the manifest is missing")
                digest = sha256(digest + record).digest()
            known[version] = digest
        return digest

    def difference(self, manifest: Manifest, since: int) -> Difference:
        """What was added and removed after version ``since``; what came and went in between is in neither."""
        if since > manifest.version:
            raise InvalidRequest(f"since is {since}, and the manifest has version {manifest.version}")
        added: dict[str, Segment] = {}
        removed: list[str] = []
        for change in self.changes(since, manifest.version):
            if isinstance(change, Archive):
                removed += [segment_id for segment_id in change.replaced if added.pop(segment_id, None) is None]
                added |= {segment.segment_id: segment for segment in change.added}
        return Difference(list(added.values()), removed)

    def sealed_ends(self, upto: int) -> Iterator[int]:
        """Where each segment ended that was sealed up to version ``upto``, those that were merged since too."""
        for change in self.changes(0, upto):
            if isinstance(change, Archive) and not change.replaced:
                yield from (segment.stop for segment in change.added)

    def replaced(self) -> Iterator[Replaced]:
        """The segments that are no longer live and not known to be gone."""
        for _, fields in self._scan(_REPLACED):
            yield Replaced(Segment.from_json(fields["segment"]), fields["since"], fields["being_removed"])

    def removals(self) -> dict[bytes, int]:
        """Large values that are being removed, each with the ledger's time when it was last named, in milliseconds."""
        return {digest: fields.get("since", 0) for digest, fields in self._scan(_BLOB) if fields["gone"] is None}

    def may_store(self, digest: bytes, begun: int) -> bool:
        """Whether a large value is sure to be there: nothing removed it since its upload, begun at that version."""
        record = self._table.get(_BLOB + digest)
        if record is None:
            return True
        gone = _decode(record)["gone"]
        return gone is not None and gone <= begun

    # --- judging -----------------------------------------------------------------------------------------------

    def _archive(self, write: WriteBatch, before: Manifest, change: Archive, size: int, timestamp: int) -> Manifest:
        _check_neighbours(change.added)
        first, stop = change.added[0].first_index, change.added[-1].stop
        if change.replaced:
            place = _place_of(before, change.replaced)
            gone = before.segments[place]
            if (first, stop) != (gone[0].first_index, gone[-1].stop):
                raise Conflict(f"segments of entries {first} to {stop} cannot replace those of others")
            for segment in gone:
                write.delete(Table.MANIFEST, _LIVE + U64.pack(segment.first_index))
                write.put(Table.MANIFEST, *_replaced_record(Replaced(segment, timestamp, being_removed=False)))
        else:
            if first != before.archived_size:
                raise Conflict(f"the archive ends at entry {before.archived_size}, and a segment begins at {first}")
            if stop > size:
                raise Conflict(f"the ledger has {counted(size)}, and a segment ends at {stop}")
            place, gone = slice(len(before.segments), len(before.segments)), ()
        for segment in change.added:
            write.put(Table.MANIFEST, _LIVE + U64.pack(segment.first_index), _encode(segment.to_json()))
        segments = (*before.segments[: place.start], *change.added, *before.segments[place.stop :])
        grown = sum(segment.log_bytes for segment in change.added) - sum(segment.log_bytes for segment in gone)
        return before._replace(
            archived_size=max(before.archived_size, stop),
            archived_bytes=before.archived_bytes + grown,
            segments=segments,
            starts=tuple(segment.first_index for segment in segments),
        )

    def _retire(self, write: WriteBatch, change: Retire, timestamp: int) -> None:
        for segment_id in change.segments:
            replaced = self._find_replaced(segment_id)
            write.put(Table.MANIFEST, *_replaced_record(replaced._replace(being_removed=True)))
        for digest in change.blobs:
            write.put(Table.MANIFEST, _BLOB + digest, _encode({"gone": None, "since": timestamp}))

    def _retired(self, write: WriteBatch, before: Manifest, change: Retired) -> None:
        for segment_id in change.segments:
            if not self._find_replaced(segment_id).being_removed:
                raise Conflict(f"nobody said that the segment {segment_id} would be removed")
            write.delete(Table.MANIFEST, _REPLACED + segment_id.encode())
        for digest in change.blobs:
            write.put(Table.MANIFEST, _BLOB + digest, _encode({"gone": before.version + 1}))

    def _find_replaced(self, segment_id: str) -> Replaced:
        record = self._table.get(_REPLACED + segment_id.encode())
        if record is None:
            raise Conflict(f"the segment {segment_id} was not replaced, so it cannot be removed")
        fields = _decode(record)
        return Replaced(Segment.from_json(fields["segment"]), fields["since"], fields["being_removed"])

    def _scan(self, prefix: bytes, start: bytes = b"") -> Iterator[tuple[bytes, dict[str, Any]]]:
        for key, record in self._table.scan(prefix + start):
            if not key.startswith(prefix):
                return
            yield key[len(prefix) :], _decode(record)


def version_of_change(key: bytes) -> int:
    """The version that the change under this key of the table made; 0 for any other record."""
    return int.from_bytes(key[1:], "big") if key[:1] == _CHANGE else 0


def live_ranges() -> Iterator[tuple[bytes, bytes]]:
    """Start and stop of the keys of all records but the changes."""
    for prefix in (_HEAD, _LIVE, _REPLACED, _BLOB):
        yield prefix, bytes([prefix[0] + 1])


def _adopt(before: Manifest, change: Adopt) -> Manifest:
    if before.store_id not in ("", change.store_id):
        raise Conflict(f"the objects of this ledger are in the store {before.store_id}, not in {change.store_id}")
    return before._replace(store_id=change.store_id)


def _check_neighbours(segments: Sequence[Segment]) -> None:
    if not segments:
        raise Conflict("no segment is named")
    following = segments[0].first_index
    for segment in segments:
        if segment.first_index != following or segment.count != segment.stop - segment.first_index or segment.count < 1:
            raise Conflict(f"the segment {segment.segment_id} does not follow on the one before it")
        following = segment.stop


def _place_of(manifest: Manifest, segment_ids: Sequence[str]) -> slice:
    """Where those segments stand, which must be live and neighbours."""
    names = [segment.segment_id for segment in manifest.segments]
    if segment_ids[0] not in names:
        raise Conflict(f"the segment {segment_ids[0]} is not live: somebody else has replaced it")
    start = names.index(segment_ids[0])
    if tuple(names[start : start + len(segment_ids)]) != tuple(segment_ids):
        raise Conflict("the segments to be replaced are not live neighbours: somebody else has replaced some")
    return slice(start, start + len(segment_ids))


# --- how it is written -----------------------------------------------------------------------------------------


def change_to_json(change: Change) -> dict[str, Any]:
    if isinstance(change, Adopt):
        return {"format": FORMAT, "kind": "adopt", "store_id": change.store_id}
    if isinstance(change, Archive):
        return {
            "format": FORMAT,
            "kind": "segment",
            "base_version": change.base_version,
            "added": [segment.to_json() for segment in change.added],
            "replaced": list(change.replaced),
        }
    return {
        "format": FORMAT,
        "kind": "retire" if isinstance(change, Retire) else "retired",
        "segments": list(change.segments),
        "blobs": [digest.hex() for digest in change.blobs],
    }


def change_from_json(fields: dict[str, Any]) -> Change:
    try:
        kind = fields["kind"]
        if fields["format"] != FORMAT:
            raise SerializationError(f"a change of the manifest has format {fields['format']}")
        if kind == "adopt":
            return Adopt(fields["store_id"])
        if kind == "segment":
            added = tuple(Segment.from_json(each) for each in fields["added"])
            return Archive(fields["base_version"], added, tuple(fields["replaced"]))
        segments, blobs = tuple(fields["segments"]), tuple(bytes.fromhex(digest) for digest in fields["blobs"])
        if kind not in ("retire", "retired"):
            raise SerializationError(f"a change of the manifest is of an unknown kind: {kind}")
        return Retire(segments, blobs) if kind == "retire" else Retired(segments, blobs)
    except (KeyError, TypeError, ValueError) as error:
        raise SerializationError(f"a change of the manifest cannot be read: {error!r}") from error


def _head_to_json(manifest: Manifest) -> dict[str, Any]:
    return {
        "format": FORMAT,
        "version": manifest.version,
        "archived_size": manifest.archived_size,
        "store_id": manifest.store_id,
        "digest": manifest.digest.hex(),
        "archived_bytes": manifest.archived_bytes,
    }


def _replaced_record(replaced: Replaced) -> tuple[bytes, bytes]:
    fields = {**replaced._asdict(), "segment": replaced.segment.to_json()}
    return _REPLACED + replaced.segment.segment_id.encode(), _encode(fields)


def _encode(fields: dict[str, Any]) -> bytes:
    return orjson.dumps(fields, option=orjson.OPT_SORT_KEYS)


def _decode(record: bytes) -> dict[str, Any]:
    try:
        fields = orjson.loads(record)
    except ValueError as error:
        raise Corruption("a record of the manifest cannot be read", hint="run `scribe fsck`") from error
    if not isinstance(fields, dict):
        raise Corruption("a record of the manifest cannot be read", hint="run `scribe fsck`")
    return fields
