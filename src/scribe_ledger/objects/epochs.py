"""Whose signatures a store's checkpoints must bear: the key in ``scribe.json``, and after it that of every epoch.

An epoch begins by a create-only object, so of two promotions at once one wins. Each handover must hold by itself and
follow from the one before; then the newest key signs for the log, and the keys before it only up to their last head.
A checkpoint that an old node published later than that is passed over: its entries are not in this ledger.

A network may err: what was read wrong is read once more, and only what is wrong twice is wrong in the store.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

from scribe_ledger.errors import (
    ConfigurationError,
    Corruption,
    Forbidden,
    SerializationError,
    VerificationError,
    counted,
)
from scribe_ledger.merkle.checkpoint import Checkpoint
from scribe_ledger.merkle.handover import Handover
from scribe_ledger.merkle.note import Verifier
from scribe_ledger.objects.identity import StoreIdentity, read_identity
from scribe_ledger.objects.paths import (
    CHECKPOINT,
    CHECKPOINTS,
    EPOCHS,
    IDENTITY,
    checkpoint_path,
    epoch_path,
    parse_checkpoint_path,
    parse_epoch_path,
)
from scribe_ledger.objects.rereading import twice

if TYPE_CHECKING:
    from scribe_ledger.objects.store import ObjectStore

_HINT = "restore the object from a copy of the store"


class Superseded(Forbidden):
    """Somebody else goes on with this ledger, or has gone further: from here it must not be written."""


class Lineage(NamedTuple):
    """The keys of one store's ledger, oldest first."""

    identity: StoreIdentity
    keys: tuple[Verifier, ...]
    """One for each epoch."""
    handovers: tuple[Handover, ...]
    """The one at ``epoch - 1`` began that epoch."""

    @property
    def epoch(self) -> int:
        return len(self.handovers)

    @property
    def key(self) -> Verifier:
        """The one that signs now."""
        return self.keys[-1]

    def end_of(self, epoch: int) -> int | None:
        """The size at which an epoch ended; None for the present one."""
        return self.handovers[epoch].head.size if epoch < self.epoch else None

    def epoch_of(self, checkpoint: Checkpoint) -> int | None:
        """Which epoch's key has signed; None if the origin is of no epoch that is known."""
        for epoch, key in enumerate(self.keys):
            if key.name == checkpoint.origin:
                checkpoint.verify(key)
                return epoch
        return None

    def check_pinned(self, public_key: str) -> None:
        """Refuses a store that a caller who knows one of its keys has no reason to believe."""
        pinned = Verifier.parse(public_key)
        if pinned not in self.keys:
            raise VerificationError(
                f"the store's ledger has the key {self.key}, not {pinned}",
                hint="it is another ledger, or somebody has put another key there",
            )
        for handover in self.handovers[self.keys.index(pinned) :]:
            if not handover.is_endorsed:
                raise VerificationError(
                    f"epoch {handover.epoch} was begun without the key {handover.after}, which says nothing of it",
                    hint=f"if its operator vouches for it, give the key of that epoch: {handover.key}",
                )


def read_lineage(store: ObjectStore) -> Lineage | None:
    """Whose store it is, and all of its epochs, every signature checked; None if it is nobody's."""
    return twice(lambda: _read_lineage(store))


def _read_lineage(store: ObjectStore) -> Lineage | None:
    identity = read_identity(store)
    return None if identity is None else lineage_of(store, identity)


def lineage_of(store: ObjectStore, identity: StoreIdentity) -> Lineage:
    """The epochs of the ledger that ``scribe.json`` names, each read once."""
    try:
        keys = [Verifier.parse(identity.vkey)]
    except SerializationError as error:
        raise _wrong(store, IDENTITY, f"its key cannot be read: {error.message}") from error
    if keys[0].name != identity.origin:
        raise _wrong(store, IDENTITY, f"it is of {identity.origin!r}, and has the key of {keys[0].name!r}")
    handovers: list[Handover] = []
    for epoch in range(1, _newest_epoch(store) + 1):
        handover = _read_handover(store, epoch, identity.ledger_id, keys[-1])
        if handovers and handover.head.size < handovers[-1].head.size:
            raise _wrong(store, epoch_path(epoch), "it begins before the epoch before it")
        handovers.append(handover)
        keys.append(handover.key)
    return Lineage(identity, tuple(keys), tuple(handovers))


def newest_checkpoint(store: ObjectStore, lineage: Lineage, *, beyond: int = 0) -> Checkpoint | None:
    """The largest head that the ledger's present key answers for; None if nothing was archived yet.

    Only checkpoints of sizes ``beyond`` are looked for, so that who knows the earlier ones need not list them again. An
    object that is missing although another refers to it is an error that names it: a shorter log would look whole.
    """
    return twice(lambda: _newest_checkpoint(store, lineage, beyond))


def _newest_checkpoint(store: ObjectStore, lineage: Lineage, beyond: int) -> Checkpoint | None:
    newest = lineage.handovers[-1].first if lineage.handovers else None
    listed = store.list(CHECKPOINTS, after=checkpoint_path(beyond) if beyond else "")
    sizes = sorted(size for found in listed if (size := parse_checkpoint_path(found.path)) is not None)
    while sizes and (newest is None or sizes[-1] > newest.size):
        found = _read_checkpoint(store, lineage, sizes.pop())
        if found is not None and found.origin == lineage.key.name:
            newest = found
    _check_copy(store, lineage, max(beyond, 0 if newest is None else newest.size))
    return newest


def read_checkpoint(store: ObjectStore, lineage: Lineage, size: int) -> Checkpoint | None:
    """The checkpoint of one size, checked; None if there is none, or it is by a key whose epoch had ended."""
    return twice(lambda: _read_checkpoint(store, lineage, size))


def _read_checkpoint(store: ObjectStore, lineage: Lineage, size: int) -> Checkpoint | None:
    path = checkpoint_path(size)
    content = store.get(path)
    if content is None:
        return None
    try:
        checkpoint = Checkpoint.parse(content.decode())
        epoch = lineage.epoch_of(checkpoint)
    except UnicodeDecodeError as error:
        raise _wrong(store, path, "it is no text") from error
    except VerificationError as error:
        raise _wrong(store, path, str(error)) from error
    if epoch is None:
        raise _wrong(
            store, path, f"it is of {checkpoint.origin!r}, which is neither {lineage.identity.origin!r} nor an epoch"
        )
    if checkpoint.size != size:
        raise _wrong(store, path, f"it is a checkpoint of {counted(checkpoint.size)}")
    end = lineage.end_of(epoch)
    return None if end is not None and size > end else checkpoint


def put_handover(store: ObjectStore, handover: Handover) -> None:
    """Begins an epoch, or raises ``Superseded`` where somebody else has begun it. Repeating it is allowed."""
    path = epoch_path(handover.epoch)
    if store.put_bytes(path, handover.text.encode()):
        return
    if handover.key not in (_key_at(store, path), _key_at(store, path)):
        raise Superseded(
            f"somebody else has begun epoch {handover.epoch} of this ledger: {store.place(path)}",
            hint="one promotion wins: serve the ledger that was promoted, and remove this folder",
        )


def _key_at(store: ObjectStore, path: str) -> Verifier | None:
    try:
        return Handover.parse((store.get(path) or b"").decode()).key
    except (VerificationError, UnicodeDecodeError):
        return None


def _newest_epoch(store: ObjectStore) -> int:
    return max((parse_epoch_path(found.path) or 0 for found in store.list(EPOCHS)), default=0)


def _read_handover(store: ObjectStore, epoch: int, ledger_id: str, before: Verifier) -> Handover:
    path = epoch_path(epoch)
    content = store.get(path)
    if content is None:
        raise Corruption(f"{store.place(path)} is missing, and a later epoch is there", hint=_HINT)
    try:
        handover = Handover.parse(content.decode())
        handover.verify(before)
    except UnicodeDecodeError as error:
        raise _wrong(store, path, "it is no text") from error
    except VerificationError as error:
        raise _wrong(store, path, str(error)) from error
    if (handover.epoch, handover.ledger_id) != (epoch, ledger_id):
        raise _wrong(store, path, f"it is the handover to epoch {handover.epoch} of the ledger {handover.ledger_id}")
    return handover


def _check_copy(store: ObjectStore, lineage: Lineage, newest_size: int) -> None:
    """The copy for tile clients is written last: what it was copied from must be there."""
    content = store.get(CHECKPOINT)
    if content is None:
        return
    try:
        copy = Checkpoint.parse(content.decode())
        copy.verify(lineage.key)
    except (VerificationError, UnicodeDecodeError):
        return  # nobody's authority: it may be of an earlier epoch, and a damaged one is found by fsck
    path = checkpoint_path(copy.size)
    if copy.size > newest_size and store.stat(path) is None:  # or it came since the others were listed
        raise Corruption(
            f"{store.place(path)} is missing: {CHECKPOINT!r} was copied from it",
            hint=f"restore it from a copy, or copy {CHECKPOINT!r} there: it has the ledger's signature",
        )


def _wrong(store: ObjectStore, path: str, what: str) -> Corruption:
    return Corruption(f"{store.place(path)} is not what this ledger put there: {what}", hint=_HINT)


def required_lineage(store: ObjectStore) -> Lineage:
    """The same for who must find a ledger there."""
    lineage = read_lineage(store)
    if lineage is None:
        used = next(iter(store.list("")), None)
        raise ConfigurationError(
            f"{store.url} holds no ledger: scribe.json is missing" + ("" if used is None else ", though objects are"),
            hint="check the URL" if used is None else "restore scribe.json from a copy of the store",
        )
    return lineage
