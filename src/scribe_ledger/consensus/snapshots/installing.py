"""Installs what ``fetching`` has brought, so that a process that dies at any point finishes it at its next start.

The mark ``incoming/ready`` says that all of it is here; it is removed when all is done. A *full* snapshot is installed
before the ledger is opened, by moving folders: the old store aside, the new one to its place. Each move is one rename,
and where the folders are says what is left to do. An *incremental* one is taken by the open state machine, which skips
what it has already. Identity, key, head, node key and Raft's log stay as they are.

Before anything of a snapshot reaches the store it must prove to lead to what its description says; a full one did so
before it was marked. One that does not, or that the disk has changed since, is removed: ``Refused``. The ledger is then
as it was, and another can be fetched.
"""

from __future__ import annotations

import contextlib
import fcntl
import os
from typing import TYPE_CHECKING, NamedTuple

from scribe_ledger.consensus.snapshots.copies import STORE
from scribe_ledger.consensus.snapshots.description import FULL, Description
from scribe_ledger.consensus.snapshots.files import describe_file, read_description, remove_tree
from scribe_ledger.consensus.snapshots.spool import read_spool
from scribe_ledger.errors import Corruption, LedgerLocked, ScribeError, StorageError, VerificationError
from scribe_ledger.objects.durable import storage_errors, sync_directory

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

    from scribe_ledger.consensus.snapshots.copies import Copies
    from scribe_ledger.consensus.statemachine import Outline, StateMachine

INCOMING, FILES, READY, OLD, LOCK = "incoming", "files", "ready", "old", "lock"


REMOVED = "it was removed, and another one is fetched where one is needed"


class Refused(VerificationError):
    """A snapshot is not what it says, or is damaged. It is removed, and nothing of it was written."""


class Installed(NamedTuple):
    """What the ledger has now."""

    kind: str
    position: int
    term: int
    size: int
    membership: bytes

    @classmethod
    def of(cls, description: Description) -> Installed:
        return cls(description.kind, description.position, description.term, description.size, description.membership)


def ready(data_dir: Path) -> Description | None:
    """What was fetched wholly and is to be installed; None if there is nothing."""
    mark = data_dir / INCOMING / READY
    return read_description(mark) if mark.exists() else None


def finish_installation(
    data_dir: Path, copies: Copies, *, step: Callable[[str], object] = lambda _: None
) -> Installed | None:
    """Installs a full snapshot that is ready. At start, before the ledger is opened and before anything else.

    None if there is none, also where an incremental one is ready: that needs the ledger, see ``install_incremental``.
    ``Refused`` if it was removed instead: the ledger is the one that it would have replaced.
    """
    incoming = data_dir / INCOMING
    if not incoming.exists():
        return None
    with _locked(data_dir):
        description = _description(data_dir)
        if description is None:
            _clear_old(data_dir)
            return None
        if description.kind != FULL:
            return None
        if (incoming / FILES).exists():
            try:
                _check_files(incoming / FILES, description)
            except StorageError as error:
                raise _discarded(data_dir, error) from error
            check_head(data_dir, copies, description)
            step("checked")
            _move_in(data_dir, step)
        _remove_mark(incoming)
        step("unmarked")
        remove_tree(incoming)
        step("removed")
        return Installed.of(description)


def install_incremental(
    machine: StateMachine, data_dir: Path, *, step: Callable[[str], object] = lambda _: None
) -> Installed | None:
    """Gives an incremental snapshot that is ready to the state machine, to which nothing may be applied meanwhile.

    At start, and also while the node runs: then in a thread. None if there is none. Takes as long as it is large.
    ``Refused`` if it was removed instead, and nothing taken.
    """
    incoming = data_dir / INCOMING
    try:
        description = ready(data_dir)
        if description is None or description.kind == FULL:
            return None
        _check_files(incoming / FILES, description)
    except StorageError as error:
        raise _not_to_be_taken(machine, data_dir, error) from error
    path = incoming / FILES / description.files[0].name
    try:
        outline = machine.prove(read_spool(path))
        if outline is not None:
            check_outline(description, outline)
    except VerificationError as error:
        raise _not_to_be_taken(machine, data_dir, error) from error
    step("proven")
    machine.take(read_spool(path))
    step("taken")
    machine.flush()
    step("flushed")
    _remove_mark(incoming)
    step("unmarked")
    remove_tree(incoming)
    return Installed.of(description)


def check_outline(description: Description, outline: Outline) -> None:
    """What a snapshot leads to is what it says: that, and no more, was vouched for."""
    found, told = outline.extent, description
    if (found.size, found.root) != (told.size, told.root):
        raise VerificationError(
            f"the snapshot says {told.size} entries with the root {told.root.hex()}, "
            f"and holds {found.size} with {found.root.hex()}"
        )
    manifest = (found.manifest_version, found.manifest_digest) == (told.manifest_version, told.manifest_digest)
    if not manifest or (outline.position, outline.membership) != (told.position, told.membership):
        raise VerificationError(f"the snapshot of position {told.position} does not hold what it says")


def check_head(data_dir: Path, copies: Copies, description: Description) -> None:
    """This node must not come back with fewer entries than it has signed."""
    signed = copies.signed_size(data_dir)
    if signed > description.size:
        raise Corruption(
            f"{data_dir} has signed a checkpoint of {signed} entries, and the snapshot has {description.size}",
            hint="entries that were signed are missing in the cluster: stop, and look for the node that has them",
        )


def _description(data_dir: Path) -> Description | None:
    """Of what is ready. One that cannot be read is left to ``install_incremental``, unless the moving had begun."""
    try:
        return ready(data_dir)
    except Corruption as error:
        incoming = data_dir / INCOMING
        if (incoming / OLD).exists() or not (incoming / FILES).exists():
            raise _discarded(data_dir, error) from error
        return None


def _check_files(files: Path, description: Description) -> None:
    for file in description.files:
        if not (files / file.name).is_file() or describe_file(files / file.name) != file:
            raise Corruption(f"{files / file.name} is not what was fetched: the disk has lost or changed it")


def _discarded(data_dir: Path, error: ScribeError) -> Refused:
    """Removes what is ready, the mark first, and brings the old store back if that was moved aside."""
    _remove_mark(data_dir / INCOMING)
    _clear_old(data_dir)
    remove_tree(data_dir / INCOMING)
    return Refused(error.message, hint=REMOVED)


def _not_to_be_taken(machine: StateMachine, data_dir: Path, error: ScribeError) -> ScribeError:
    """``Refused``, unless a part of it was taken when it still was what had been fetched."""
    if not machine.taken_in_part:
        return _discarded(data_dir, error)
    return Corruption(
        f"{data_dir} has entries of another member in part, and the rest is damaged: {error.message}",
        hint="remove this member, wipe its data folder, and let it join again",
    )


def _move_in(data_dir: Path, step: Callable[[str], object]) -> None:
    incoming, store = data_dir / INCOMING, data_dir / STORE
    with storage_errors("install a snapshot in", data_dir):
        if store.exists():
            if (incoming / OLD).exists():
                raise StorageError(
                    f"{store} and {incoming / OLD} both exist", hint="somebody has moved them: look which is newer"
                )
            store.rename(incoming / OLD)
            step("moved aside")
            sync_directory(incoming)
            sync_directory(data_dir)
        (incoming / FILES).rename(store)
        step("moved in")
        sync_directory(data_dir)
        sync_directory(incoming)
        step("synced")


def _clear_old(data_dir: Path) -> None:
    """Without the mark the old store is either rubbish, or still what the ledger has: somebody took the mark away."""
    old, store = data_dir / INCOMING / OLD, data_dir / STORE
    if store.exists():
        remove_tree(old)
    elif old.exists():
        with storage_errors("move back", old):
            old.rename(store)
            sync_directory(data_dir)


def _remove_mark(incoming: Path) -> None:
    with storage_errors("remove", incoming / READY):
        (incoming / READY).unlink()
        sync_directory(incoming)


@contextlib.contextmanager
def _locked(data_dir: Path) -> Iterator[None]:
    """The lock under which the ledger, too, holds its folder."""
    with storage_errors("lock", data_dir):
        descriptor = os.open(data_dir / LOCK, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o644)
    try:
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError as error:
            raise LedgerLocked(f"the ledger in {data_dir} is open in another process") from error
        yield
    finally:
        os.close(descriptor)
