"""Whose signatures a store's checkpoints must bear: the key in ``scribe.json``, and after it that of every epoch.

An epoch begins by a create-only object, so of two promotions at once one wins. Each handover must hold by itself and
follow from the one before; then the newest key signs for the log, and the keys before it only up to their last head.
A checkpoint that an old node published later than that is passed over: its entries are not in this ledger.

A network may err: what was read wrong is read once more, and only what is wrong twice is wrong in the store. And a
listing proves nothing by what it lacks: an answer that is none reads as an empty one. So the epoch after the last is
asked for by name, and a listing of checkpoints must have those that are known to be there.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple, TypeVar

from scribe_ledger.errors import (
    ConfigurationError,
    Corruption,
    Forbidden,
    SerializationError,
    Unavailable,
    VerificationError,
    counted,
)
from scribe_ledger.merkle.checkpoint import Checkpoint
from scribe_ledger.merkle.handover import Handover, may_be_later
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
    from collections.abc import Callable

    from scribe_ledger.objects.store import ObjectStore

_T = TypeVar("_T")

_HINT = "restore the object from a copy of the store"


class Superseded(Forbidden):
    """Somebody else goes on with this ledger, or has gone further: from here it must not be written."""


class Unlisted(Unavailable):
    """A listing lacks an object that is there. What else it lacks, nobody knows."""

    newest: Checkpoint | None = None
    """The largest head that was found all the same: its signature counts, whatever a listing says."""


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
    """The epochs of the ledger that ``scribe.json`` names, each read once, and one that is not there.

    The listing shows only that one in between is missing: that there is no later one, the store must say of its name.
    """
    try:
        keys = [Verifier.parse(identity.vkey)]
    except SerializationError as error:
        raise _wrong(store, IDENTITY, f"its key cannot be read: {error.message}") from error
    if keys[0].name != identity.origin:
        raise _wrong(store, IDENTITY, f"it is of {identity.origin!r}, and has the key of {keys[0].name!r}")
    handovers: list[Handover] = []
    listed = _newest_listed_epoch(store)
    while (handover := _read_handover(store, len(keys), identity.ledger_id, keys[-1])) is not None:
        if handovers and handover.head.size < handovers[-1].head.size:
            raise _wrong(store, epoch_path(handover.epoch), "it begins before the epoch before it")
        handovers.append(handover)
        keys.append(handover.key)
    if len(keys) <= listed:
        raise Corruption(f"{store.place(epoch_path(len(keys)))} is missing, and a later epoch is there", hint=_HINT)
    return Lineage(identity, tuple(keys), tuple(handovers))


def newest_checkpoint(store: ObjectStore, lineage: Lineage, *, since: int = 0) -> Checkpoint | None:
    """The largest head that the ledger's present key answers for; None if nothing was archived yet.

    Only checkpoints from the size ``since`` on are listed: who has archived that far need not list the earlier ones
    again. An object that is missing although another refers to it is an error that names it: a shorter log would look
    whole. ``Unlisted`` where one is there that the listing lacks: the one of ``since``, or what ``checkpoint`` is a
    copy of.
    """
    return look_again(lambda: _newest_checkpoint(store, lineage, since))


def look_again(look: Callable[[], _T]) -> _T:
    """The second answer where the first rests on a listing that lacks something, which may have come meanwhile."""
    try:
        return twice(look)
    except Unlisted:
        return twice(look)


def unlisted(store: ObjectStore, found: Checkpoint, newest: Checkpoint | None) -> Unlisted:
    """That a checkpoint is there, and not in the listing whose largest was ``newest``."""
    error = Unlisted(
        f"{store.place(checkpoint_path(found.size))} is there, and the store's listing lacks it",
        hint="nothing is believed of such a listing; try again, and see what stands between here and the store",
    )
    error.newest = found if newest is None or newest.size < found.size else newest
    return error


def _newest_checkpoint(store: ObjectStore, lineage: Lineage, since: int) -> Checkpoint | None:
    newest = lineage.handovers[-1].first if lineage.handovers else None
    copied = _copied_size(store, lineage)  # before the listing, which must have what it was copied from
    listed = store.list(CHECKPOINTS, after=checkpoint_path(since - 1) if since else "")
    sizes = sorted(size for found in listed if (size := parse_checkpoint_path(found.path)) is not None)
    lacking = {size for size in (since, copied) if size >= max(since, 1)}.difference(sizes)
    while sizes and (newest is None or sizes[-1] > newest.size):
        path = checkpoint_path(sizes[-1])
        content = store.get(path)
        if content is None:
            raise Corruption(f"{store.place(path)} is listed, and cannot be read", hint=_HINT)
        found = _check_checkpoint(store, lineage, sizes.pop(), content)
        if found is not None and found.origin == lineage.key.name:
            newest = found
    for size in sorted(lacking, reverse=True):
        there = _read_checkpoint(store, lineage, size)
        if there is not None:
            raise unlisted(store, there, newest)
        if size == copied and (newest is None or newest.size < size):
            raise Corruption(
                f"{store.place(checkpoint_path(size))} is missing: {CHECKPOINT!r} was copied from it",
                hint=f"restore it from a copy, or copy {CHECKPOINT!r} there: it has the ledger's signature",
            )
    return newest


def _copied_size(store: ObjectStore, lineage: Lineage) -> int:
    """How far the present key has published, by the copy for tile clients; 0 where that proves nothing.

    It is written last, so what it was copied from must be there.
    """
    try:
        copy = Checkpoint.parse((store.get(CHECKPOINT) or b"").decode())
        epoch = lineage.epoch_of(copy)
    except (VerificationError, UnicodeDecodeError):
        return 0  # nobody's authority: a damaged one is found by fsck
    if epoch is None and may_be_later(copy.origin, lineage.key.name):
        raise Corruption(
            f"{store.place(epoch_path(lineage.epoch + 1))} is missing: {CHECKPOINT!r} is of {copy.origin!r}", hint=_HINT
        )
    return copy.size if epoch == lineage.epoch else 0


def read_checkpoint(store: ObjectStore, lineage: Lineage, size: int) -> Checkpoint | None:
    """The checkpoint of one size, checked; None if there is none, or it is by a key whose epoch had ended."""
    return twice(lambda: _read_checkpoint(store, lineage, size))


def _read_checkpoint(store: ObjectStore, lineage: Lineage, size: int) -> Checkpoint | None:
    content = store.get(checkpoint_path(size))
    return None if content is None else _check_checkpoint(store, lineage, size, content)


def _check_checkpoint(store: ObjectStore, lineage: Lineage, size: int, content: bytes) -> Checkpoint | None:
    """None if it is by a key whose epoch had ended."""
    path = checkpoint_path(size)
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


def _newest_listed_epoch(store: ObjectStore) -> int:
    return max((parse_epoch_path(found.path) or 0 for found in store.list(EPOCHS)), default=0)


def _read_handover(store: ObjectStore, epoch: int, ledger_id: str, before: Verifier) -> Handover | None:
    """The handover to an epoch, checked; None if there is none."""
    path = epoch_path(epoch)
    content = store.get(path)
    if content is None:
        return None
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


def _wrong(store: ObjectStore, path: str, what: str) -> Corruption:
    return Corruption(f"{store.place(path)} is not what this ledger put there: {what}", hint=_HINT)


def required_lineage(store: ObjectStore) -> Lineage:
    """The same for who must find a ledger there."""
    lineage = read_lineage(store) or read_lineage(store)  # a network may err
    if lineage is None:
        used = next(iter(store.list("")), None)
        raise ConfigurationError(
            f"{store.url} holds no ledger: scribe.json is missing" + ("" if used is None else ", though objects are"),
            hint="check the URL" if used is None else "restore scribe.json from a copy of the store",
        )
    return lineage
