"""Restoring a data folder from an object store alone.

The store says whose ledger it is and shows the newest head that was signed; segments give the entries up to there, and
the tree that they make must have the signed root. The result is read-only, since nobody has the key: what the lost
machine had accepted and not archived yet is gone, and it may have signed some of that. ``promotion`` begins anew.

While it is under way the folder is no ledger, and says so. Everything on the way is durable, so the same call goes on
after an interrupt or a crash; a folder that is finished is opened like any ledger, with the same object store.
"""

from __future__ import annotations

from shutil import rmtree
from typing import TYPE_CHECKING, NamedTuple

import orjson

from scribe_ledger.archive.footers import outvoted_by_segments
from scribe_ledger.archive.heads import newest_head
from scribe_ledger.archive.large_values import check_large_values
from scribe_ledger.archive.promotion import promote as promote_folder
from scribe_ledger.archive.refilling import Progress, Refill
from scribe_ledger.errors import ConfigurationError, Corruption, NotFound, StorageError
from scribe_ledger.ledger import machine
from scribe_ledger.ledger.folder import (
    IDENTITY,
    RESTORING,
    STORE,
    DataFolder,
    Identity,
    system_clock,
    write_durably,
)
from scribe_ledger.ledger.manifest import Adopt
from scribe_ledger.ledger.policy import Policy
from scribe_ledger.ledger.rocks import RocksStore
from scribe_ledger.ledger.served import ServedLedger
from scribe_ledger.ledger.store import Table
from scribe_ledger.objects.durable import storage_errors, sync_directory
from scribe_ledger.objects.epochs import Lineage, required_lineage
from scribe_ledger.objects.paths import IDENTITY as CLAIM
from scribe_ledger.objects.paths import SEGMENTS
from scribe_ledger.segments.memory import give_back

if TYPE_CHECKING:
    from pathlib import Path

    from scribe_ledger.config import Config
    from scribe_ledger.merkle.checkpoint import Checkpoint
    from scribe_ledger.merkle.note import Signer
    from scribe_ledger.objects.store import ObjectStore

__all__ = ["Progress", "Restored", "restore", "restore_if_needed"]

_FORMAT = 1


class Restored(NamedTuple):
    """What a restore came to."""

    ledger_id: str
    origin: str
    public_key: str
    epoch: int
    read_only: bool
    size: int
    """How far it reaches: what was accepted after this many entries, and not archived, is gone."""
    timestamp: int
    """Of the last entry, in milliseconds since 1970; 0 if there is none."""
    checkpoint: Checkpoint
    """The head that everything was checked against; after a promotion the same under the new key."""
    repeated: bool = False
    """It was restored, or promoted and is the store's ledger, before: nothing was done, and it may be that more was
    written since."""


def quiet(_part: str, _done: int, _total: int) -> None:
    """Progress that nobody sees."""


def restore(
    store: ObjectStore,
    path: Path,
    *,
    progress: Progress = quiet,
    promote: bool = False,
    public_key: str = "",
    old_key: Signer | None = None,
    check_values: bool = True,
) -> Restored:
    """Rebuilds the ledger of a store in a folder that is empty, or where the same was begun before or is done.

    ``public_key`` is a key of that ledger that the caller knows; without it the store's own word counts.
    ``check_values=False`` leaves out reading the values: sizes, and the digests of whole segments, are always checked.
    ``promote`` lets the ledger take writes again, in a new epoch; ``old_key`` is its lost key, if somebody has it.
    Raises Corruption that names the first object that is missing, altered or foreign.
    """
    lineage = required_lineage(store)
    if public_key:
        lineage.check_pinned(public_key)
    if (path / IDENTITY).exists() and not (path / RESTORING).exists():
        if _is_done(path, store, lineage, promote=promote):
            return _describe(store, path)._replace(repeated=True)
    else:
        try:
            _rebuild(store, path, lineage, check_values=check_values, progress=progress)
        finally:
            give_back()  # the process may go on as a node
    if promote:
        promote_folder(store, path, old_key=old_key)
    return _describe(store, path)


def restore_if_needed(config: Config, *, progress: Progress = quiet) -> Restored | None:
    """Restores the folder of a node that has no ledger yet, if its store holds one; None where there is nothing to do.

    It raises where that cannot be known, since a new ledger beside the old one's archive would be a second one.
    """
    from scribe_ledger.objects.identity import read_identity
    from scribe_ledger.objects.opening import store_of

    path = config.data_dir
    if (path / IDENTITY).exists() and not (path / RESTORING).exists():
        return None
    if not config.has_explicit_object_store and not (path / "objects").is_dir():
        return None
    store = store_of(config)
    try:
        if read_identity(store) is None and not (path / RESTORING).exists():
            return None
        if not config.has_explicit_object_store:
            raise ConfigurationError(
                f"{path} holds no ledger, but {store.url} is the archive of one",
                hint=f"restore it: `scribe restore --from {store.url} --data {path}`; or move that folder away",
            )
        return restore(store, path, progress=progress)
    finally:
        store.close()


def _is_done(path: Path, store: ObjectStore, lineage: Lineage, *, promote: bool) -> bool:
    """Whether what is asked for is done. False if it can be; raises where there is nothing to do here."""
    folder = DataFolder(path, create=False)
    try:
        identity = folder.load_identity()
        key = None if identity.read_only else folder.load_key_of(identity).verifier
    finally:
        folder.close()
    if identity.ledger_id != lineage.identity.ledger_id:
        raise StorageError(
            f"{path} holds another ledger, {identity.origin!r}", hint="name an empty folder, or a new one"
        )
    if identity.read_only:
        return not promote
    done = f"{path} was promoted already" if identity.epoch else f"{path} holds this ledger already, with its own key"
    if key != lineage.key:  # a promotion into a new folder would fence whoever serves it now
        raise StorageError(
            f"{done}, as {identity.origin!r}; but {store.url} goes on as {lineage.key.name!r}",
            hint=f"serve the folder that was promoted to epoch {lineage.epoch}",
        )
    if not identity.epoch or not promote:
        raise StorageError(done, hint="there is nothing to restore: start the node on it")
    return True


# --- rebuilding ------------------------------------------------------------------------------------------------


def _rebuild(store: ObjectStore, path: Path, lineage: Lineage, *, check_values: bool, progress: Progress) -> None:
    head = newest_head(store, lineage)
    if head is None or head.size == 0:
        raise NotFound(f"nothing of {lineage.identity.origin!r} is archived in {store.url}: there is no checkpoint yet")
    _check_ledger_id(store, lineage)
    work = _Work(store, path, lineage, head, check_values, progress)
    unfit: dict[str, Corruption] = {}
    if not _fill(work, unfit):
        while not _fill(work, unfit, anew=True):
            pass


def _check_ledger_id(store: ObjectStore, lineage: Lineage) -> None:
    """Before any segment is blamed for what ``scribe.json`` says."""
    named = outvoted_by_segments(store, lineage, store.list(SEGMENTS))
    if named:
        raise Corruption(
            f"{store.place(CLAIM)} says that the ledger is {lineage.identity.ledger_id}, and all segments are of"
            f" {named}",
            hint="restore the object from a copy of the store",
        )


def _policy_of(store: ObjectStore, lineage: Lineage) -> Policy:
    """Those of when the store was claimed. What the log says of them later it says again while it is taken over."""
    try:
        return Policy().changed(lineage.identity.policies)
    except ConfigurationError as error:
        raise Corruption(
            f"{store.place(CLAIM)} has policies that this program does not know: {error.message}",
            hint="restore the object from a copy; if a later version of Scribe Ledger wrote it, use that version",
        ) from error


class _Work(NamedTuple):
    """What a folder is filled with, and how."""

    store: ObjectStore
    path: Path
    lineage: Lineage
    head: Checkpoint
    check_values: bool
    progress: Progress


def _fill(work: _Work, unfit: dict[str, Corruption], *, anew: bool = False) -> bool:
    """False if segments were found unfit, and others in their place must be taken from the beginning, ``anew``."""
    store, lineage, head = work.store, work.lineage, work.head
    folder = DataFolder(work.path, create=True, restoring=True)
    try:
        mark = _Mark.begin(folder, store, lineage)
        if anew:
            with storage_errors("remove", folder.path / STORE):
                rmtree(folder.path / STORE)
        ledger = _open_half(folder, store, lineage, head)
    except BaseException:
        folder.close()
        raise
    with ledger:
        if not ledger.manifest.store_id:
            ledger.change_manifest(Adopt(lineage.identity.store_id))
        refill = Refill(ledger, store, lineage, head, check_values=work.check_values, progress=work.progress)
        if not refill.run(unfit):
            return False
        _check_still_there(ledger, store)
        for reached in check_large_values(ledger, mark.checked, read_them=work.check_values, progress=work.progress):
            mark.note(reached)
        folder.save_identity(ledger.identity)
        mark.remove()
    return True


class _Mark:
    """The file that makes a folder no ledger yet, and remembers how far that is."""

    def __init__(self, path: Path, fields: dict[str, str]) -> None:
        self._path = path
        self._fields = fields

    @classmethod
    def begin(cls, folder: DataFolder, store: ObjectStore, lineage: Lineage) -> _Mark:
        identity = lineage.identity
        path = folder.path / RESTORING
        fields = {"ledger_id": identity.ledger_id, "store_id": identity.store_id, "url": store.url, "checked": ""}
        with storage_errors("read", path):
            before = path.read_bytes() if path.exists() else None
        if before is None:
            mark = cls(path, fields)
            mark._write()
            return mark
        try:
            found = orjson.loads(before)
            told = {name: str(found[name]) for name in fields}
        except (ValueError, KeyError, TypeError) as error:
            raise Corruption(f"{path} cannot be read", hint="remove the folder, and restore it again") from error
        if (told["ledger_id"], told["store_id"]) != (identity.ledger_id, identity.store_id):
            raise ConfigurationError(
                f"{folder.path} is half restored from {told['url']}, which is not the store in {store.url}",
                hint="name that store, or an empty folder",
            )
        return cls(path, told)

    @property
    def checked(self) -> bytes:
        """Large values up to this digest were found good."""
        return bytes.fromhex(self._fields["checked"])

    def note(self, checked: bytes) -> None:
        self._fields["checked"] = checked.hex()
        self._write()

    def remove(self) -> None:
        """From here on the folder is a ledger."""
        with storage_errors("remove", self._path):
            self._path.unlink()
            sync_directory(self._path.parent)

    def _write(self) -> None:
        with storage_errors("write", self._path):
            write_durably(self._path, orjson.dumps({"format": _FORMAT, **self._fields}, option=orjson.OPT_INDENT_2))


def _open_half(folder: DataFolder, store: ObjectStore, lineage: Lineage, head: Checkpoint) -> ServedLedger:
    """The ledger as far as it was taken over. Its head is the one that it is to have."""
    told = lineage.identity
    identity = Identity(
        told.ledger_id, lineage.key.name, told.created, lineage.epoch, read_only=True, public_key=str(lineage.key)
    )
    hot = RocksStore(folder.path / STORE)
    try:
        if hot.table(Table.META).get(machine.STATE_KEY) is None:
            machine.create(hot, _policy_of(store, lineage))
        folder.write_head(head)
        return ServedLedger(
            folder,
            identity,
            hot,
            clock=system_clock,
            durability="full",
            flush_interval_ms=0,
            max_cache_size=0,
            cache_capacity=0,
            cold_cache_size=0,
            inline_max=0,
            objects=store,
            owns_objects=False,
        )
    except BaseException:
        hot.close()
        raise


def _check_still_there(ledger: ServedLedger, store: ObjectStore) -> None:
    """Between two runs somebody may have merged what the first had taken over."""
    for segment in ledger.manifest.segments:
        if store.stat(segment.path) is None and store.stat(segment.path) is None:  # asked twice: a network may err
            raise Corruption(
                f"the segment {segment.path} was there when the restore began, and is gone",
                hint="if another node merged it meanwhile, remove the folder and restore it again",
            )


def _describe(store: ObjectStore, path: Path) -> Restored:
    with ServedLedger.open(path, create=False, object_store=store, max_cache_size=0, cache_capacity=0) as ledger:
        identity, size = ledger.identity, ledger.size
        last = ledger.entry_at(size - 1).timestamp if size else 0
        return Restored(
            identity.ledger_id,
            identity.origin,
            ledger.public_key,
            identity.epoch,
            identity.read_only,
            size,
            last,
            ledger.published,
        )
