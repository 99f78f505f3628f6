"""``Ledger``: the embedded ledger, in your process, over one data folder.

It puts the parts together and adds no rules of its own: commands are checked in ``commands``, judged in ``machine``,
ordered and synced in ``sequencer``; reads are in ``reads``, signing in ``signing``. Every method may be called from
any thread.
"""

from __future__ import annotations

import io
import logging
import secrets
import threading
from collections.abc import Iterable
from pathlib import Path
from typing import IO, TYPE_CHECKING, Any, BinaryIO, ClassVar, Self, TypeVar, Unpack

from scribe_ledger.errors import (
    ConfigurationError,
    InvalidRequest,
    LedgerClosed,
    NotFound,
    StorageError,
    TooLarge,
    Unavailable,
    counted,
)
from scribe_ledger.ledger import check, check_archive, commands, machine
from scribe_ledger.ledger.batch import Batch
from scribe_ledger.ledger.belonging import read_belonging, written_by_cluster
from scribe_ledger.ledger.cache import EVERY_KEY, ValueCache
from scribe_ledger.ledger.cold import ColdValues
from scribe_ledger.ledger.commands import Columns, Key, columns_of, key_bytes, keys_of, natural, prefix_bytes, required
from scribe_ledger.ledger.copying import copy_ledger
from scribe_ledger.ledger.folder import (
    OBJECTS,
    SPOOL,
    STORE,
    UPLOADS,
    DataFolder,
    Identity,
    check_name,
    system_clock,
)
from scribe_ledger.ledger.forking import keep_from_children
from scribe_ledger.ledger.guard import Standing, Superseded, check_standing
from scribe_ledger.ledger.machine import Machine
from scribe_ledger.ledger.manifest import Adopt
from scribe_ledger.ledger.policy import Policy
from scribe_ledger.ledger.proposing import Proposer
from scribe_ledger.ledger.reads import Reader
from scribe_ledger.ledger.replicated import ReplicatedMachine
from scribe_ledger.ledger.rocks import RocksStore
from scribe_ledger.ledger.sequencer import Sequencer
from scribe_ledger.ledger.signing import open_signing, read_only
from scribe_ledger.ledger.tiles import TileSource
from scribe_ledger.model import CHUNK_BYTES, Entry, Kind, Receipt, show_key
from scribe_ledger.objects.blobs import BlobStore
from scribe_ledger.objects.folder import FolderStore
from scribe_ledger.objects.identity import claim, not_that_store, read_identity
from scribe_ledger.objects.spool import pieces_of
from scribe_ledger.objects.uploads import Uploads

if TYPE_CHECKING:
    import os
    from collections.abc import Callable, Iterator, Mapping, Sequence

    from scribe_ledger.ledger.commands import Command, PutOptions, Value
    from scribe_ledger.ledger.machine import Outcome
    from scribe_ledger.ledger.records import Spot
    from scribe_ledger.ledger.store import Store
    from scribe_ledger.ledger.transfer.rows import Row
    from scribe_ledger.merkle.checkpoint import Checkpoint
    from scribe_ledger.merkle.prooftext import ConsistencyProof, HistoryProof, Proof
    from scribe_ledger.objects.blobs import Blob, SpooledBlob
    from scribe_ledger.objects.identity import StoreIdentity
    from scribe_ledger.objects.store import ObjectStore

_P = TypeVar("_P")
_log = logging.getLogger(__name__)

MAX_BATCH_ENTRIES = 100_000
MAX_BATCH_BYTES = 64 << 20
"""Of one atomic batch in the library; a node's own limits (``[api]``) are lower."""
DURABILITIES = ("full", "relaxed")


class Ledger:
    """An append-only key-value ledger in a folder. Open one with ``Ledger.open`` and close it when done."""

    _is_replicated: ClassVar[bool] = False
    """Whether a cluster puts its writes in order, and not this ledger itself."""

    def __init__(
        self,
        folder: DataFolder,
        identity: Identity,
        store: Store,
        *,
        clock: Callable[[], int],
        durability: str,
        flush_interval_ms: int,
        max_cache_size: int,
        cache_capacity: int,
        cold_cache_size: int,
        inline_max: int,
        objects: ObjectStore,
        owns_objects: bool,
    ) -> None:
        self._folder = folder
        self._clock = clock
        self._identity = identity
        self._store = store
        self._inline_max = inline_max
        self._durability = durability
        self._closed = False
        self._closing = threading.Lock()
        tiles = TileSource(store)
        self._machine = Machine(store, tiles.fetch)
        self._objects = objects
        self._owns_objects = owns_objects
        self._blobs = BlobStore(
            objects, folder.path / SPOOL, store_id=lambda: self._machine.committed.manifest.store_id
        )
        self._uploads = Uploads(folder.path / SPOOL / UPLOADS)
        self._adopting = threading.Lock()
        self._adopted: StoreIdentity | None = None
        self._guarded = False
        self._cold = ColdValues(
            self._machine,
            objects,
            ledger_id=identity.ledger_id,
            cache_bytes=cold_cache_size,
            folder=folder.path / SPOOL,
        )
        self._reader = Reader(store, self._blobs, self._cold)
        self._cache: ValueCache[bytes] = ValueCache(capacity_bytes=max_cache_size, capacity_entries=cache_capacity)
        self._caching = max_cache_size > 0 and cache_capacity > 0
        self._hit = self._cache.hit
        belonging = None if self._is_replicated else read_belonging(folder.path)
        self._signing = open_signing(folder, identity, self._machine, self._reader, objects, belonging)
        self._replicated = (
            ReplicatedMachine(store, self._machine, publish=self._publish, publish_all=self._publish_all)
            if self._is_replicated
            else None
        )
        self._sequencer: Sequencer | Proposer
        if self._replicated is not None:
            self._sequencer = Proposer(self._replicated)
        else:
            self._sequencer = Sequencer(
                self._machine,
                store,
                clock=clock,
                on_commit=self._publish,
                durability=durability,
                flush_interval_ms=flush_interval_ms,
            )
            if belonging is not None:
                self._sequencer.refuse(written_by_cluster(belonging))
        if identity.read_only and not folder.restoring:
            self._sequencer.refuse(read_only())
        keep_from_children(self)

    @classmethod
    def open(
        cls,
        path: str | os.PathLike[str],
        *,
        name: str = "",
        create: bool = True,
        overwrite: str | None = None,
        deletes: str | None = None,
        durability: str = "full",
        flush_interval_ms: int = 200,
        max_cache_size: int = 256 << 20,
        cache_capacity: int = 100_000,
        cold_cache_size: int | None = None,
        inline_max: int = 256 << 10,
        object_store: ObjectStore | str = "",
        clock: Callable[[], int] = system_clock,
        open_store: Callable[[Path], Store] = RocksStore,
    ) -> Self:
        """Opens the ledger in a folder, and creates it if there is none and ``create`` allows.

        ``name`` (the origin), ``overwrite`` and ``deletes`` are set at creation; later they may be left out, and must
        agree if they are given. ``durability="relaxed"`` acknowledges before the sync, which follows within
        ``flush_interval_ms``. ``inline_max`` is the size above which a value is kept as an object of its own, in
        ``object_store``: a URL such as ``s3://bucket/prefix``, or the folder's own ``objects``. ``max_cache_size`` is
        for values and for row groups of the archive, half each, unless ``cold_cache_size`` says what the latter get.
        """
        if durability not in DURABILITIES:
            raise ConfigurationError(f"the durability {durability!r} is unknown", hint="full or relaxed")
        if cls._is_replicated and durability != "full":
            raise ConfigurationError("a cluster does not take relaxed durability", hint="leave it at full")
        _check_numbers(
            flush_interval_ms=flush_interval_ms,
            max_cache_size=max_cache_size,
            cache_capacity=cache_capacity,
            cold_cache_size=cold_cache_size or 0,
            inline_max=inline_max,
        )
        if cold_cache_size is None:
            cold_cache_size = max_cache_size // 2
            max_cache_size -= cold_cache_size
        wanted = {name: value for name, value in (("overwrite", overwrite), ("deletes", deletes)) if value is not None}
        policy = Policy().changed(wanted)
        check_name(name)
        _check_objects(object_store)
        folder = DataFolder(Path(path), create=create)
        store: Store | None = None
        objects: ObjectStore | None = None
        try:
            objects = _open_objects(object_store, folder.path / OBJECTS)
            identity = folder.load_identity() if folder.exists else folder.create_identity(name, clock=clock)
            store = open_store(folder.path / STORE)
            if not folder.exists:
                machine.create(store, policy)
                folder.create_head(folder.create_key(identity.origin))
                folder.save_identity(identity)
            ledger = cls(
                folder,
                identity,
                store,
                clock=clock,
                durability=durability,
                flush_interval_ms=flush_interval_ms,
                max_cache_size=max_cache_size,
                cache_capacity=cache_capacity,
                cold_cache_size=cold_cache_size,
                inline_max=inline_max,
                objects=objects,
                owns_objects=objects is not object_store,
            )
        except BaseException:
            if objects is not None and objects is not object_store:
                objects.close()
            if store is not None:
                store.close()
            folder.close()
            raise
        try:
            _check_agrees(ledger, name, wanted)
        except BaseException:
            ledger.close()
            raise
        return ledger

    # --- writing -----------------------------------------------------------------------------------------------

    def put(
        self,
        key: Key,
        value: Value,
        *,
        content_type: str = "",
        metadata: Mapping[str, str] | None = None,
        if_absent: bool = False,
        if_index: int | None = None,
        if_version: int | None = None,
        request_id: str | bytes | None = None,
        dedupe: bool = True,
    ) -> Receipt:
        """Stores a value, as a new version if the key has one, and returns when it is durable.

        The same content as the latest version appends nothing, unless ``dedupe`` is False. A ``request_id`` makes a
        retry safe: it gets the first receipt. A condition that does not hold raises ``PreconditionFailed``.
        """
        command = commands.put(
            key,
            value,
            content_type=content_type,
            metadata=metadata,
            if_absent=if_absent,
            if_index=if_index,
            if_version=if_version,
            request_id=request_id,
            dedupe=dedupe,
        )
        return self.write([command])[0]

    def put_stream(self, key: Key, reader: BinaryIO | Iterable[bytes], **options: Unpack[PutOptions]) -> Receipt:
        """``put`` for a value of any size, from a binary file or chunks of bytes, in constant memory."""
        command = commands.put(key, b"", **options)
        self._check_open()
        return self.write([commands.with_value(command, self._receive(reader))])[0]

    def put_many(self, pairs: Iterable[tuple[Key, Value]]) -> Sequence[Receipt]:
        """Puts many pairs in one atomic batch: consecutive indexes, all or nothing, one sync."""
        return self.write(commands.put_many(pairs))

    def delete(
        self,
        key: Key,
        *,
        metadata: Mapping[str, str] | None = None,
        if_index: int | None = None,
        if_version: int | None = None,
        request_id: str | bytes | None = None,
    ) -> Receipt:
        """Appends a tombstone: the key is gone for ``get``, its versions stay. ``NotFound`` where there is no value."""
        command = commands.delete(
            key,
            metadata=metadata,
            if_index=if_index,
            if_version=if_version,
            request_id=request_id,
        )
        return self.write([command])[0]

    def batch(self) -> Batch:
        """Collects puts and deletes, and writes them as one atomic batch when the ``with`` block ends well."""
        return Batch(self)

    def configure(self, *, overwrite: str | None = None, deletes: str | None = None) -> Receipt:
        """Changes the ledger's policies by a config entry, which everybody who reads the log can see."""
        changes = {"overwrite": overwrite, "deletes": deletes}
        wanted = {name: value for name, value in changes.items() if value is not None}
        Policy().changed(wanted)
        if not wanted:
            raise InvalidRequest("no policy was named", hint="overwrite or deletes")
        return self.write([commands.configure(wanted)])[0]

    def write(self, unit: Sequence[Command]) -> Sequence[Receipt]:
        """Writes prepared commands as one atomic batch."""
        if not unit:
            self._check_open()
            return []
        if not self._guarded:
            self.guard()
        return self._sequencer.write(self.prepare(unit))

    def guard(self) -> None:
        """Asks the object store, once, whether this folder may still write; ``write`` does so before its first.

        An older copy of a folder, or one that a promotion has replaced, refuses writes from then on. A store that does
        not answer cannot say so: writing goes on, and whoever archives will ask again.
        """
        self._check_open()
        with self._adopting:
            if self._guarded:
                return
            self._guarded = True
            try:
                self._objects.check()
                self._check_store()
            except Superseded as error:
                self._sequencer.refuse(error)
            except (ConfigurationError, StorageError, Unavailable) as error:
                _log.warning("the object store could not be asked whether this folder may write: %s", error)

    def _root_at(self, size: int) -> bytes:
        return self._machine.nodes.root(size)

    def _check_store(self) -> None:
        """Raises ``Superseded`` where the object store says that this ledger has gone on elsewhere."""
        manifest = self._machine.committed.manifest
        ours = Standing(
            self._identity.ledger_id,
            self._identity.epoch,
            self.public_key,
            lambda: self.size,
            manifest.store_id,
            manifest.archived_size,
            self._root_at,
            is_member=self._replicated is not None,
        )
        check_standing(self._objects, ours)

    def import_verbatim(self, rows: Iterable[Row], progress: Callable[[int], None] | None = None) -> int:
        """Fills this ledger, which must be empty, with another's entries as they are; how many.

        Indexes, timestamps and leaves stay, hence the root; the origin is this ledger's. ``transfer`` reads the rows.
        """
        from scribe_ledger.ledger.transfer.verbatim import VerbatimImporter

        self._check_open()
        return VerbatimImporter(self._sequencer, self._blobs, self.size, progress=progress).run(rows)

    def write_all(self, units: Sequence[Sequence[Command]]) -> list[Outcome]:
        """Writes several prepared units with one sync, each of them atomic; receipts or the error of each."""
        return self._sequencer.write_all(units)

    def prepare(self, unit: Sequence[Command]) -> Sequence[Command]:
        """The unit with its large values stored as blobs, ready for ``write_all``. It blocks if there are any."""
        self._check_open()
        if len(unit) > 1:
            _check_batch(columns_of(unit), self._inline_max)
        return [self._with_blob(command) for command in unit] if self.needs_blob(unit) else unit

    def needs_blob(self, unit: Sequence[Command]) -> bool:
        """Whether a value in the unit is too large to travel with its command."""
        if len(unit) == 1:
            return self._is_large(unit[0])
        return max(columns_of(unit).sizes) > self._inline_max and any(map(self._is_large, unit))

    def flush(self) -> None:
        """Makes every acknowledged write durable now; in ``full`` durability they already are."""
        self._check_open()
        self._sequencer.flush()

    # --- reading -----------------------------------------------------------------------------------------------

    def get(self, key: Key, *, version: int | None = None, as_of: int | None = None) -> bytes | None:
        """The value of a key: its latest, one version, or as of a tree size. None if absent or deleted."""
        try:
            value = self._hit(key)
        except (TypeError, ValueError):  # a key object without a hash: a bytearray, a writable memoryview
            value = None
        if value is not None and version is None and as_of is None:
            return value
        return self._get(key, version, as_of)

    def cached(self, key: Key) -> bytes | None:
        """The key's latest value if it is in the cache; never waits."""
        try:
            return self._hit(key)
        except (TypeError, ValueError):
            return None

    def _get(self, key: Key, version: int | None, as_of: int | None) -> bytes | None:
        name = key_bytes(key)
        if self._closed:
            self._check_open()
        if version is not None or as_of is not None:
            spot = self._spot(name, version, as_of)
            return None if spot is None or spot.deleted else self._reader.value(spot)
        if not self._caching:
            return self._reader.latest_value(name, self._machine.committed.size)
        hashable: str | bytes = key if isinstance(key, str) else name
        value = self._cache.promote(hashable)
        if value is None:
            seen = self._machine.committed
            value = self._reader.latest_value(name, seen.size)
            if value is not None:
                self._cache.fill(hashable, name, value, lambda: self._machine.committed is seen and not self._closed)
        return value

    def get_many(self, keys: Iterable[Key]) -> list[bytes | None]:
        """The latest values of many keys, all as of the same moment."""
        self._check_open()
        if isinstance(keys, Key) or not isinstance(keys, Iterable):
            raise InvalidRequest(f"the keys are {type(keys).__name__}", hint='several keys, such as ["a", "b"]')
        return self._reader.latest_values([*map(key_bytes, keys)], self._machine.committed.size)

    def entry(self, key: Key, *, version: int | None = None, as_of: int | None = None) -> Entry | None:
        """All about a key's latest entry (a delete too), one version, or as of a tree size. None if there is none."""
        name = key_bytes(key)
        spot = self._spot(name, version, as_of)
        return None if spot is None else self._reader.entry(spot, name)

    def entry_at(self, index: int) -> Entry:
        """The entry at one place of the log."""
        required(index, "index")
        self._check_open()
        if index >= self.size:
            raise NotFound(f"there is no entry {index}, the ledger has {self.size}")
        return self._reader.entry_at(index)

    def open_value(self, key: Key, *, version: int | None = None, as_of: int | None = None) -> IO[bytes] | None:
        """The value as a seekable binary file, large ones in constant memory. None if absent or deleted."""
        spot = self._spot(key_bytes(key), version, as_of)
        if spot is None or spot.deleted:
            return None
        if not spot.in_blob:
            return io.BytesIO(self._reader.value(spot))
        return io.BufferedReader(self._reader.open_blob(spot), CHUNK_BYTES)

    def history(self, key: Key, *, as_of: int | None = None) -> Iterator[Entry]:
        """All versions of a key, newest first, deletes included."""
        self._check_open()
        return self._reader.history(key_bytes(key), self._size_as_of(as_of))

    def scan(
        self,
        prefix: Key = b"",
        *,
        start: Key | None = None,
        limit: int | None = None,
        reverse: bool = False,
        as_of: int | None = None,
    ) -> Iterator[Entry]:
        """The latest live entries in key order, from ``start`` (included) on."""
        natural(limit, "limit")
        self._check_open()
        entries = self._reader.scan(
            self._size_as_of(as_of),
            prefix=prefix_bytes(prefix),
            start=None if start in (None, "", b"") else key_bytes(start, "start"),
            reverse=reverse,
        )
        return entries if limit is None else _first(entries, limit)

    def log(self, start: int = 0, stop: int | None = None) -> Iterator[Entry]:
        """Entries in log order, from ``start`` to before ``stop``, or to what is committed now."""
        required(start, "start")
        natural(stop, "stop")
        self._check_open()
        size = self._machine.committed.size
        return self._reader.log(start, size if stop is None else min(stop, size))

    # --- proving -----------------------------------------------------------------------------------------------

    @property
    def public_key(self) -> str:
        """The key that checks this ledger's signatures, in the text form of C2SP signed notes."""
        return str(self._signing.verifier)

    def checkpoint(self, at: int | None = None) -> Checkpoint:
        """The signed head of the log: size, root, origin; or what it was at an earlier size.

        ``Forbidden`` where nothing new may be signed: a restored ledger, or the folder of a cluster's member, whose
        node signs. What was signed before is given there too.
        """
        self._check_open()
        size = self._size_as_of(at, "at")
        self._sequencer.flush_before_signing()
        return self._signing.checkpoint(size)

    def prove(self, key: Key, version: int | None = None, at: int | None = None) -> Proof:
        """A self-contained proof that the key's entry is in the log, at the size ``at`` or the present one."""
        return self._prove(self._signing.prove, key, version, at)

    def prove_history(self, key: Key, version: int | None = None, at: int | None = None) -> HistoryProof:
        """A proof of all of a key's versions, from one back to the first."""
        return self._prove(self._signing.prove_history, key, version, at)

    def prove_consistency(self, old_size: int, new_size: int | None = None) -> ConsistencyProof:
        """A proof that the log at ``new_size`` begins with all of the log at ``old_size``."""
        required(old_size, "old_size")
        self._check_open()
        return self._signing.prove_consistency(old_size, self._size_as_of(new_size, "new_size"))

    def _prove(self, make: Callable[[Spot, Checkpoint], _P], key: Key, version: int | None, at: int | None) -> _P:
        name = key_bytes(key)
        checkpoint = self.checkpoint(at)
        spot = self._spot(name, version, checkpoint.size)
        if spot is None:
            which = "" if version is None else f" version {version} of"
            when = "" if at is None else f" at size {at}"
            raise NotFound(f"there is no{which} key {show_key(name)}{when}")
        return make(spot, checkpoint)

    # --- looking after -----------------------------------------------------------------------------------------

    @property
    def path(self) -> Path:
        return self._folder.path

    @property
    def origin(self) -> str:
        """The ledger's name in its checkpoints."""
        return self._identity.origin

    @property
    def ledger_id(self) -> str:
        return self._identity.ledger_id

    @property
    def size(self) -> int:
        """How many entries are committed."""
        return self._machine.committed.size

    @property
    def closed(self) -> bool:
        return self._closed

    @property
    def policy(self) -> Policy:
        return self._machine.committed_policy

    def verify(self, progress: Callable[[int, int], None] | None = None, *, archive: bool = True) -> check.Report:
        """Recomputes everything from the entries, and says what differs. ``progress(done, total)`` is called often.

        ``archive=False`` leaves out what lies in the object store and is archived.
        """
        self._check_open()
        place = check_archive.Place(self._objects, self.ledger_id, self._folder.path / SPOOL) if archive else None
        return check.verify(self._store, self._machine, self._blobs, self._signing.head, progress, archive=place)

    def snapshot(self, path: str | os.PathLike[str]) -> Path:
        """A consistent copy in a new folder that opens as a ledger, with its key: keep it as safe as the original."""
        self._check_open()
        if self._sequencer.frozen is not None:
            raise self._sequencer.frozen
        archived = self._machine.committed.manifest.archived_size
        return copy_ledger(self._folder.path, self._store, Path(path), published=archived)

    def stats(self) -> dict[str, Any]:
        """Counts and sizes, for people and metrics."""
        self._check_open()
        state = self._machine.committed
        entries, size = self._sequencer.queued
        return {
            "ledger_id": self.ledger_id,
            "origin": self.origin,
            "entries": state.size,
            "keys": state.keys,
            "live_keys": state.live,
            "value_bytes": state.value_bytes,
            "last_timestamp": state.timestamp,
            "storage_bytes": {
                "hot": self._store.disk_bytes(),
                "blobs": state.blob_bytes,
                "archive": sum(segment.size for segment in state.manifest.segments),
            },
            "archive": {
                "manifest_version": state.manifest.version,
                "archived_size": state.manifest.archived_size,
                "segments": len(state.manifest.segments),
                "pending_bytes": state.log_bytes - state.manifest.archived_bytes,
                "evicted_size": self._machine.evicted,
            },
            "cache": {"entries": self._cache.entries, "bytes": self._cache.used_bytes},
            "queue": {"entries": entries, "bytes": size},
            "batches": self._sequencer.batches,
            "syncs": self._sequencer.syncs,
            "durability": self._durability,
            "policy": self.policy._asdict(),
            "writable": self._sequencer.failure is None,
        }

    def close(self) -> None:
        """Finishes what was accepted, syncs and lets the folder go. Idempotent."""
        with self._closing:
            if not self._closed:
                self._closed = True
                self._close()

    def _close(self) -> None:
        try:
            self._sequencer.close()
        finally:
            self._cache.clear()
            self._signing.close()
            try:
                self._store.close()
            except StorageError:
                if self._sequencer.failure is None:  # otherwise every writer was told
                    raise
            finally:
                if self._owns_objects:
                    self._objects.close()
                self._folder.close()

    def leave_to_parent(self) -> None:
        """In a forked child: closed, without finishing anything."""
        self._closed = True
        self._closing = threading.Lock()
        self._hit = ValueCache[bytes](capacity_bytes=0, capacity_entries=0).hit
        self._sequencer.leave_to_parent()
        self._signing.head.leave_to_parent()
        self._folder.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def __repr__(self) -> str:
        state = "closed" if self._closed else counted(self.size)
        return f"<Ledger {self.origin} in {self.path}: {state}>"

    # --- helpers -----------------------------------------------------------------------------------------------

    def _spot(self, name: bytes, version: int | None, as_of: int | None) -> Spot | None:
        natural(version, "version", least=1)
        self._check_open()
        return self._reader.spot(name, self._size_as_of(as_of), version)

    def _size_as_of(self, size: int | None, name: str = "as_of") -> int:
        committed = self._machine.committed.size
        natural(size, name)
        if size is None:
            return committed
        if size > committed:
            raise InvalidRequest(f"{name} is {size}, and the ledger has {counted(committed)}")
        return size

    def _receive(self, reader: BinaryIO | Iterable[bytes]) -> bytes | Blob:
        spooled = self._blobs.spool(_pieces(reader), self._inline_max)
        if isinstance(spooled, bytes):
            return spooled
        with spooled:
            return self._keep(spooled)

    def _keep(self, spooled: SpooledBlob) -> Blob:
        """Makes a large value durable in the object store."""
        self._adopt_store()
        self._uploads.note(spooled.blob.sha256, system_clock())
        begun = self._machine.committed.manifest.version
        # A folder takes the value again at no cost, which heals a damaged file; an upload is spared if it can be.
        known = None if self._objects.is_local else self._refers_to
        return self._blobs.keep(spooled, is_referenced=known)._replace(begun=begun)

    def _refers_to(self, digest: bytes) -> bool:
        return self._machine.blobs.get(digest) is not None

    def _adopt_store(self) -> StoreIdentity:
        """Makes sure, once, that the object store is the one that this ledger's objects are in."""
        with self._adopting:
            if self._adopted is None:
                self._adopted = self._claim_store()
            return self._adopted

    def _claim_store(self) -> StoreIdentity:
        wanted = self._machine.committed.manifest.store_id
        found = read_identity(self._objects)
        if found is None and wanted:
            raise not_that_store(self._objects, wanted)
        if found is None:
            found = claim(
                self._objects,
                ledger_id=self.ledger_id,
                origin=self.origin,
                vkey=self.public_key,
                created=self._clock(),
                policies=self.policy.choices(),
                randbytes=secrets.token_bytes,
            )
        if found.ledger_id != self.ledger_id or wanted not in ("", found.store_id):
            raise ConfigurationError(
                f"{self._objects.url} holds the objects of {found.origin} (ledger {found.ledger_id}, store"
                f" {found.store_id}), and this ledger is {self.ledger_id}" + (f", store {wanted}" if wanted else ""),
                hint="give every ledger a bucket, or a prefix of one, of its own",
            )
        if not wanted:
            self._sequencer.change_manifest(Adopt(found.store_id))
        return found

    def _publish(self, units: Iterable[Sequence[Command]]) -> None:
        self._cache.commit(keys_of(units), self._machine.commit)

    def _publish_all(self) -> None:
        """The same where nobody knows which keys have changed."""
        self._cache.commit(EVERY_KEY, self._machine.commit)

    def _with_blob(self, command: Command) -> Command:
        if command.value is None or not self._is_large(command):
            return command
        with self._blobs.begin(inline_max=0) as spooler:
            spooler.write(command.value)
            with spooler.finish_spooled() as spooled:
                return commands.with_value(command, self._keep(spooled))

    def _is_large(self, command: Command) -> bool:
        return command.size > self._inline_max and command.kind is Kind.PUT and command.value is not None

    def _check_open(self) -> None:
        if self._closed:
            raise LedgerClosed("the ledger is closed")


def _check_objects(wanted: ObjectStore | str) -> None:
    """Whether it can be a store, before anything is made for it."""
    if isinstance(wanted, str) and wanted:
        from scribe_ledger.objects.opening import check_store_url

        check_store_url(wanted)


def _open_objects(wanted: ObjectStore | str, default: Path) -> ObjectStore:
    if not isinstance(wanted, str):
        return wanted
    if not wanted:
        return FolderStore(default)
    from scribe_ledger.objects.opening import StoreOptions, open_object_store

    return open_object_store(wanted, StoreOptions())


def _pieces(reader: BinaryIO | Iterable[bytes]) -> Iterator[bytes]:
    if not hasattr(reader, "read") and not hasattr(reader, "__iter__"):
        raise InvalidRequest(f"the value is {type(reader).__name__}", hint="give a binary file, or pieces of bytes")
    for piece in pieces_of(reader):
        if not isinstance(piece, bytes | bytearray | memoryview):
            raise InvalidRequest(f"a piece of the value is {type(piece).__name__}", hint="open the file as binary")
        yield piece


def _first(entries: Iterator[Entry], limit: int) -> Iterator[Entry]:
    for _, entry in zip(range(limit), entries, strict=False):
        yield entry


def _check_batch(columns: Columns, inline_max: int) -> None:
    count = len(columns.keys)
    if count > MAX_BATCH_ENTRIES:
        raise TooLarge(f"the batch has {count} operations", hint=f"at most {MAX_BATCH_ENTRIES}; write several")
    size = sum(map(len, columns.tails)) + sum([size for size in columns.sizes if size <= inline_max])
    if size > MAX_BATCH_BYTES:
        raise TooLarge(f"the batch has {size} bytes", hint=f"at most {MAX_BATCH_BYTES}; write several, or put_stream")


def _check_numbers(**settings: int) -> None:
    for name, number in settings.items():
        try:
            required(number, name)
        except InvalidRequest as error:
            raise ConfigurationError(error.message, hint=error.hint) from None


def _check_agrees(ledger: Ledger, name: str, wanted: Mapping[str, str]) -> None:
    if name and name not in (ledger.origin, ledger._identity.base_name):  # a promotion adds to it
        raise ConfigurationError(
            f"the ledger in {ledger.path} is named {ledger.origin!r}, not {name!r}",
            hint="a name is given once, at creation; leave it out, or name another folder",
        )
    for setting, value in wanted.items():
        current = getattr(ledger.policy, setting)
        if current != value:
            raise ConfigurationError(
                f"the ledger in {ledger.path} has {setting} = {current!r}, not {value!r}",
                hint="policies are ledger state: change them with `Ledger.configure`, which records the change",
            )
