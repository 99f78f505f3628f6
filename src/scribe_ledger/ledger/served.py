"""``ServedLedger``: a ledger with what a node needs of it beyond the library's face.

The parts of a write that wait in different threads, reads that make no entries, the log as tile clients read it, and a
say in the moment of a commit. Applications use ``Ledger``; nothing here is promised to them.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, ClassVar, NamedTuple, TypeAlias

from scribe_ledger.errors import ConfigurationError, InvalidRequest, counted
from scribe_ledger.ledger.cache import EVERY_KEY
from scribe_ledger.ledger.commands import archived_commands, key_bytes, keys_of
from scribe_ledger.ledger.folder import SPOOL
from scribe_ledger.ledger.latest import LatestReader
from scribe_ledger.ledger.ledger import Ledger
from scribe_ledger.ledger.proposing import Proposer
from scribe_ledger.ledger.records import U64
from scribe_ledger.ledger.sequencer import Replayed
from scribe_ledger.ledger.store import Table
from scribe_ledger.merkle.leaf import timestamps_of
from scribe_ledger.objects.blobs import Blob

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
    from pathlib import Path

    from scribe_ledger.errors import ScribeError
    from scribe_ledger.ledger.cold import ColdValues
    from scribe_ledger.ledger.commands import Command, Key
    from scribe_ledger.ledger.folder import Identity
    from scribe_ledger.ledger.manifest import Change, Difference, Manifest, Replaced
    from scribe_ledger.ledger.proposing import Submit
    from scribe_ledger.ledger.replicated import ReplicatedMachine
    from scribe_ledger.ledger.store import Store
    from scribe_ledger.merkle.checkpoint import Checkpoint
    from scribe_ledger.merkle.tree import Edge
    from scribe_ledger.model import Entry
    from scribe_ledger.objects.blobs import SpooledBlob, Spooler
    from scribe_ledger.objects.identity import StoreIdentity
    from scribe_ledger.objects.store import ObjectStore
    from scribe_ledger.objects.uploads import Uploads
    from scribe_ledger.segments.columns import Group

AroundCommit: TypeAlias = "Callable[[Sequence[bytes], Callable[[], object]], object]"
"""Called with the keys of a batch that is durable and not visible yet; it must call the second argument, once.
``EVERY_KEY`` is a sequence without keys that stands for all of them."""


class Pending(NamedTuple):
    """What is committed and not archived."""

    entries: int
    bytes: int
    """Of leaves and inline values."""
    since: int
    """When the oldest of them was written, in milliseconds since 1970; 0 if there is none."""


class ServedLedger(Ledger):
    """Opened like any ledger."""

    def __init__(self, *parts: Any, **options: Any) -> None:
        self.must_not_sign: Callable[[], ScribeError | None] = lambda: None
        """Why the ledger's key signs nothing here now. Asked from any thread."""
        super().__init__(*parts, **options)
        self._around_commit: AroundCommit | None = None
        self._reclaimed = 0
        """The values below this index take no room any more, as far as this process has seen to it."""
        self.latest = LatestReader(self._store, self._machine).read
        """A key's latest leaf and small value together; None where there is more to say."""

    # --- writing -----------------------------------------------------------------------------------------------

    def begin_value(self) -> Spooler:
        """Receives a value in pieces as they come; ``keep_value`` takes what its ``finish`` answers."""
        self._check_open()
        return self._blobs.begin(self._inline_max)

    def keep_value(self, received: bytes | SpooledBlob) -> bytes | Blob:
        """Makes a received value durable if it is a blob; then it may be put."""
        return received if isinstance(received, bytes) else self._keep(received)

    @property
    def state_machine(self) -> ReplicatedMachine:
        """What the cluster drives. Only a ``MemberLedger`` has it."""
        if self._replicated is None:
            raise ConfigurationError("this ledger was opened to order its writes itself")
        return self._replicated

    def connect(self, submit: Submit, *, seconds: float | None = None) -> None:
        """Where a replicated ledger's writes go, and how long one may wait. Until then they are ``Unavailable``."""
        if not isinstance(self._sequencer, Proposer):
            raise ConfigurationError("this ledger was opened to order its writes itself")
        self._sequencer.connect(submit, seconds=seconds)

    def checkpoint(self, at: int | None = None) -> Checkpoint:
        refusal = self.must_not_sign()
        if refusal is not None:
            raise refusal.again()
        return super().checkpoint(at)

    def on_commit(self, around: AroundCommit) -> None:
        """Lets a cache outside forget what a commit changes, in one step with the commit. There is one such place."""
        self._around_commit = around

    # --- reading -----------------------------------------------------------------------------------------------

    def open_chunks(self, entry: Entry, start: int, stop: int) -> Iterator[bytes]:
        """Part of an entry's large value in pieces, each checked before it is given."""
        self._check_open()
        return self._blobs.iter_chunks(entry.sha256, entry.size, entry.chunk_root, start=start, stop=stop)

    def walk(
        self, prefix: bytes, *, start: bytes | None, reverse: bool, as_of: int
    ) -> Iterator[tuple[bytes, Entry | None]]:
        """``scan`` with every key on the way, and None where it has no live entry: there may be millions in a row."""
        self._check_open()
        return self._reader.walk(
            self._size_as_of(as_of),
            prefix=prefix and key_bytes(prefix),
            start=key_bytes(start) if start else None,
            reverse=reverse,
        )

    def stream_history_proof(self, key: Key, version: int | None, under: Checkpoint) -> Iterator[str]:
        """The text of ``prove_history`` in pieces, in constant memory whatever the number of versions."""
        return self._prove(lambda spot, _: self._signing.history_pieces(spot, under), key, version, under.size)

    @property
    def published(self) -> Checkpoint:
        """The newest checkpoint that ever left. It never goes back."""
        return self._signing.head.checkpoint

    def audit_path(self, index: int, size: int) -> list[bytes]:
        """The hashes that lead from an entry up to the root at a size."""
        return self._machine.nodes.inclusion(index, size)

    @property
    def edge(self) -> Edge:
        """The right edge of the committed tree, from which it can be grown elsewhere."""
        return self._machine.committed.edge

    def root(self, size: int) -> bytes:
        """The root of the tree at a committed size, unsigned."""
        self._check_open()
        return self._machine.nodes.root(size)

    def tile(self, level: int, index: int, width: int) -> bytes:
        """The first hashes of a tile of the tree, joined."""
        self._check_open()
        return self._machine.nodes.tile(level, index, width)

    def leaves(self, start: int, stop: int) -> list[bytes]:
        """The encoded leaves from ``start`` to before ``stop``."""
        self._check_open()
        if not 0 <= start <= stop <= self.size:
            raise InvalidRequest(f"the ledger has {counted(self.size)}, {start} to {stop} were asked for")
        return self._reader.leaves(start, stop)

    # --- the archive -------------------------------------------------------------------------------------------

    @property
    def identity(self) -> Identity:
        return self._identity

    @property
    def objects(self) -> ObjectStore:
        """Where large values and archived entries are."""
        return self._objects

    @property
    def hot_store(self) -> Store:
        """What copies are made of."""
        return self._store

    @property
    def spool(self) -> Path:
        """A folder for temporary files, on the disk of the data folder."""
        return self._folder.path / SPOOL

    @property
    def uploads(self) -> Uploads:
        """Which large values this folder has uploaded."""
        return self._uploads

    @property
    def cold(self) -> ColdValues:
        return self._cold

    @property
    def manifest(self) -> Manifest:
        return self._machine.committed.manifest

    def manifest_difference(self, since: int) -> Difference:
        """What changed in the manifest after a version of it."""
        self._check_open()
        return self._machine.manifest_table.difference(self.manifest, since)

    def sealed_ends(self) -> list[int]:
        """Where each segment ended that was ever sealed. It reads all changes of the manifest."""
        return list(self._machine.manifest_table.sealed_ends(self.manifest.version))

    def replaced_segments(self) -> list[Replaced]:
        """Segments that are no longer live, and whose objects may still be there."""
        return list(self._machine.manifest_table.replaced())

    def removals(self) -> dict[bytes, int]:
        """Large values that nothing refers to, between the two steps of their removal; each with the ledger's time of
        its first step, or of the last one if there were several."""
        return self._machine.manifest_table.removals()

    def change_manifest(self, change: Change) -> Manifest:
        """Durable on return; ``Conflict`` if the state has no place for it."""
        return self._sequencer.change_manifest(change)

    def adopt_store(self) -> StoreIdentity:
        """Makes sure that the object store is this ledger's own, and claims one that is nobody's."""
        self._check_open()
        return self._adopt_store()

    def forget_store(self) -> None:
        """Whoever needs the object store next asks it anew whose it is. Waits for one who does just now."""
        with self._adopting:
            self._adopted = None

    def check_store(self) -> None:
        """Raises ``Superseded`` where the object store says that this ledger has gone on elsewhere."""
        self._check_open()
        self._check_store()

    @property
    def pending(self) -> Pending:
        """What is not archived yet."""
        state = self._machine.committed
        archived = state.manifest.archived_size
        since = self.entry_at(archived).timestamp if archived < state.size else 0
        return Pending(state.size - archived, state.log_bytes - state.manifest.archived_bytes, since)

    def groups(self, start: int, stop: int) -> Iterator[Group]:
        """The entries from ``start``, where a group begins, to before ``stop``, in the groups that they lie in."""
        self._check_open()
        return self._reader.groups(start, stop)

    @property
    def evicted(self) -> int:
        """Values of entries below this index are in the archive only."""
        return self._machine.evicted

    def evict(self, stop: int) -> None:
        """Drops the values of archived entries below ``stop`` from this machine. Their objects must have been read."""
        self._check_open()
        self._sequencer.evict(stop)

    def reclaim(self) -> None:
        """Gives the room of evicted values back to the disk now. It may take seconds; others go on meanwhile."""
        self._check_open()
        evicted = self.evicted
        self._store.reclaim(Table.VALUES, U64.pack(evicted))
        self._reclaimed = evicted

    @property
    def reclaimable(self) -> bool:
        """Whether evicted values may still take room on the disk."""
        return self.evicted > self._reclaimed

    def refers_to_blob(self, digest: bytes) -> bool:
        """Whether an entry has that large value."""
        return self._refers_to(digest)

    def large_values(self, after: bytes = b"") -> Iterator[Blob]:
        """Every large value that an entry has, once each, in the order of digests after one."""
        self._check_open()
        for digest, first in self._machine.blobs.scan(after):
            if digest != after:
                entry = self.entry_at(int.from_bytes(first, "big"))
                yield Blob(digest, entry.size, entry.chunk_root)

    def refuse_writes(self, error: ScribeError) -> None:
        """From now on every write raises this; reads go on."""
        self._sequencer.refuse(error)

    def take_over(
        self, leaves: Sequence[bytes], leaf_hashes: Sequence[bytes], config_values: Mapping[int, bytes]
    ) -> None:
        """Appends entries that a segment has, from their leaves; their values stay there.

        Each must follow from the entries before it. ``config_values`` has the values of config entries, by index.
        """
        self._check_open()
        batch = Replayed(archived_commands(leaves, config_values), timestamps_of(leaves), leaf_hashes, True)
        self._sequencer.replay(batch, first=self.size)

    # --- state -------------------------------------------------------------------------------------------------

    @property
    def moment(self) -> object:
        """What is committed now, to be compared by identity: the same object means that nothing was committed since."""
        return self._machine.committed

    @property
    def last_sync_seconds(self) -> float:
        """How long the last sync took; 0 before the first."""
        return self._sequencer.last_sync_seconds

    @property
    def failure(self) -> ScribeError | None:
        """Why writes are refused until the ledger is opened again, or None while they are not."""
        return self._sequencer.failure

    def _publish(self, units: Iterable[Sequence[Command]]) -> None:
        around = self._around_commit
        if around is None:
            super()._publish(units)
            return
        keys = keys_of(units)
        self._cache.commit(keys, lambda: around(keys, self._machine.commit))

    def _publish_all(self) -> None:
        around = self._around_commit
        if around is None:
            super()._publish_all()
            return
        self._cache.commit(EVERY_KEY, lambda: around(EVERY_KEY, self._machine.commit))


class MemberLedger(ServedLedger):
    """That of a member of a cluster: what is written goes there, and comes back to be applied."""

    _is_replicated: ClassVar[bool] = True
