"""Who owns a store, and which of its checkpoints are signed by that owner: ``scribe.json``, epochs and checkpoints."""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

from scribe_ledger.archive.check_tree import Signed
from scribe_ledger.errors import ConfigurationError, Corruption, ScribeError
from scribe_ledger.merkle.checkpoint import Checkpoint
from scribe_ledger.merkle.note import Verifier
from scribe_ledger.objects import paths
from scribe_ledger.objects.identity import StoreIdentity, read_identity

if TYPE_CHECKING:
    from collections.abc import Iterator

    from scribe_ledger.archive.check_report import Report
    from scribe_ledger.objects.store import ObjectStore


class Owner(NamedTuple):
    """Whose store it is, as far as that can be told."""

    identity: StoreIdentity | None
    verifiers: dict[str, Verifier]
    """Of all epochs, by origin."""


def check_owner(store: ObjectStore, report: Report, public_key: str) -> Owner:
    """``public_key`` is one that the caller trusts: it must be that of the store, or of one of its epochs."""
    identity = _identity(store, report)
    verifiers: dict[str, Verifier] = {}
    if identity is not None:
        report.ledger_id, report.origin = identity.ledger_id, identity.origin
        _trust(verifiers, identity.vkey, identity.origin, paths.IDENTITY, report)
    for path, origin, vkey in _epochs(store, report, verifiers):
        _trust(verifiers, vkey, origin, path, report)
    if public_key and public_key not in map(str, verifiers.values()):
        report.fault(paths.IDENTITY, "it does not name the public key that was given, nor does an epoch")
        pinned = Verifier.parse(public_key)
        verifiers = {pinned.name: pinned}
    return Owner(identity, verifiers)


def check_checkpoints(store: ObjectStore, owner: Owner, report: Report) -> list[Signed]:
    """The checkpoints whose signatures hold, in the order of their sizes."""
    found: list[Signed] = []
    for listed in store.list(paths.CHECKPOINTS):
        size = paths.parse_checkpoint_path(listed.path)
        if size is None:
            continue  # named as foreign, with all that is
        report.counts.checkpoints += 1
        checkpoint = read_checkpoint(store, listed.path, owner, report)
        if checkpoint is None:
            continue
        if checkpoint.size == size:
            found.append(Signed(size, checkpoint.root, listed.path))
        else:
            report.fault(listed.path, f"it is of {checkpoint.size} entries, and not of those in its name")
    _check_copy(store, owner, found, report)
    return found


def read_checkpoint(store: ObjectStore, path: str, owner: Owner, report: Report) -> Checkpoint | None:
    """The checkpoint, if it is one and signed by the owner; else a fault, and None."""
    content = store.get(path)
    if content is None:
        report.fault(path, "missing")
        return None
    try:
        checkpoint = Checkpoint.parse(content.decode())
        if owner.verifiers and checkpoint.origin not in owner.verifiers:
            report.fault(path, f"it is of {checkpoint.origin!r}, whose store this is not")
            return None
        if owner.verifiers:
            checkpoint.verify(owner.verifiers[checkpoint.origin])
    except (ScribeError, UnicodeDecodeError) as error:
        report.fault(path, error.message if isinstance(error, ScribeError) else "it is no text")
        return None
    return checkpoint


def _check_copy(store: ObjectStore, owner: Owner, found: list[Signed], report: Report) -> None:
    """``checkpoint`` is nobody's authority, but tile clients begin with it."""
    if store.stat(paths.CHECKPOINT) is None:
        if found:
            report.warn(paths.CHECKPOINT, "missing: tile clients look for it")
        return
    copy = read_checkpoint(store, paths.CHECKPOINT, owner, report)
    if copy is None or not found:
        return
    if (copy.size, copy.root) not in {(signed.size, signed.root) for signed in found}:
        report.fault(paths.CHECKPOINT, "it is none of the checkpoints in the store")
    elif copy.size < found[-1].size:
        report.warn(paths.CHECKPOINT, f"it is behind: of {copy.size} entries, and {found[-1].size} are published")


def _identity(store: ObjectStore, report: Report) -> StoreIdentity | None:
    try:
        identity = read_identity(store)
    except Corruption as error:
        report.fault(paths.IDENTITY, error.message.removeprefix(f"{store.place(paths.IDENTITY)} "))
        return None
    if identity is None:
        report.fault(paths.IDENTITY, "missing: nothing says whose store this is")
    return identity


def _trust(verifiers: dict[str, Verifier], vkey: str, origin: str, path: str, report: Report) -> None:
    try:
        verifier = Verifier.parse(vkey)
        if verifier.name != origin:
            raise ConfigurationError(f"its key is of {verifier.name!r}, and its origin {origin!r}")
    except ScribeError as error:
        report.fault(path, error.message)
        return
    verifiers[origin] = verifier


def _epochs(store: ObjectStore, report: Report, verifiers: dict[str, Verifier]) -> Iterator[tuple[str, str, str]]:
    """Path, origin and key of each epoch that is there. What an epoch is, ``epochs`` knows."""
    del verifiers
    for listed in store.list(paths.EPOCHS):
        if paths.parse_epoch_path(listed.path) is not None:
            report.fault(listed.path, "epochs cannot be checked yet")
            yield from ()
