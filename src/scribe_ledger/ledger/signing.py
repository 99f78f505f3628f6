"""Checkpoints and proofs of one ledger: what leaves it under its name.

No checkpoint leaves before its size is committed and synced and the head file holds it, so that the ledger can never
open shorter than what it signed. Opening checks that promise.

A ledger with its key signs any size. One that was restored has no key, and gives what was signed and published before.
That of a cluster's member is signed by its node alone, which is compared with the others: without it, it signs nothing
beyond its head.
"""

from __future__ import annotations

import threading
from typing import TYPE_CHECKING

from scribe_ledger.errors import Corruption, Forbidden, VerificationError, counted
from scribe_ledger.ledger.belonging import signed_by_cluster
from scribe_ledger.ledger.folder import HEAD, Head
from scribe_ledger.merkle.checkpoint import Checkpoint, sign_checkpoint
from scribe_ledger.merkle.proof import verify_consistency
from scribe_ledger.merkle.prooftext import ConsistencyProof, HistoryProof, Inclusion, Proof, history_pieces
from scribe_ledger.objects.paths import checkpoint_path

if TYPE_CHECKING:
    from collections.abc import Iterator

    from scribe_ledger.ledger.belonging import Belonging
    from scribe_ledger.ledger.folder import DataFolder, Identity
    from scribe_ledger.ledger.machine import Machine
    from scribe_ledger.ledger.reads import Reader
    from scribe_ledger.ledger.records import Spot
    from scribe_ledger.merkle.note import Signer, Verifier
    from scribe_ledger.objects.store import ObjectStore

CHECKPOINTS_REMEMBERED = 64


def open_signing(
    folder: DataFolder,
    identity: Identity,
    machine: Machine,
    reader: Reader,
    objects: ObjectStore,
    belonging: Belonging | None,
) -> Proving:
    """The checkpoints and proofs of the ledger in a folder, with its key or without.

    ``belonging`` is that of a member's folder which its node has not opened.
    """
    if identity.read_only:
        head = Head(folder.path / HEAD, folder.verifier_of(identity))
        return Published(head, machine, reader, objects, is_complete=not folder.restoring)
    signer = folder.load_key_of(identity)
    head = Head(folder.path / HEAD, signer.verifier)
    if belonging is not None:
        return Stopped(belonging, signer, head, machine, reader)
    return Signing(signer, head, machine, reader)


def read_only() -> Forbidden:
    """What a restored ledger answers to whoever wants to write."""
    return Forbidden(
        "this ledger was restored from its archive and is read-only: it has no key to sign with",
        hint="`scribe restore --promote` gives it a key of its own and begins its next epoch",
    )


class Proving:
    """Proofs under whatever checkpoints there are."""

    def __init__(self, head: Head, machine: Machine, reader: Reader, *, is_complete: bool = True) -> None:
        self.head = head
        self._machine = machine
        self._reader = reader
        self._lock = threading.Lock()
        self._known: dict[int, Checkpoint] = {}
        if is_complete:
            try:
                self.check_head()
            except BaseException:
                head.close()
                raise

    @property
    def verifier(self) -> Verifier:
        return self.head.verifier

    def checkpoint(self, size: int) -> Checkpoint:
        """The signed checkpoint of a committed size."""
        known = self._known.get(size)
        if known is not None:
            return known
        with self._lock:
            checkpoint = self._find(size)
            if len(self._known) >= CHECKPOINTS_REMEMBERED:
                self._known.clear()
            self._known[size] = checkpoint
            return checkpoint

    def _find(self, size: int) -> Checkpoint:
        raise NotImplementedError

    def prove(self, spot: Spot, checkpoint: Checkpoint) -> Proof:
        hashes = self._machine.nodes.inclusion(spot.index, checkpoint.size)
        return Proof(spot.index, self._reader.leaf_bytes(spot), tuple(hashes), checkpoint)

    def prove_history(self, spot: Spot, checkpoint: Checkpoint) -> HistoryProof:
        return HistoryProof(tuple(self.iter_history(spot, checkpoint.size)), checkpoint)

    def history_pieces(self, spot: Spot, checkpoint: Checkpoint) -> Iterator[str]:
        return history_pieces(self.iter_history(spot, checkpoint.size), checkpoint)

    def iter_history(self, spot: Spot, size: int) -> Iterator[Inclusion]:
        """One version of a key after the other, newest first, each proven under the root at ``size``."""
        found: Spot | None = spot
        while found is not None:
            hashes = self._machine.nodes.inclusion(found.index, size)
            inclusion = Inclusion(found.index, self._reader.leaf_bytes(found), tuple(hashes))
            yield inclusion
            leaf = inclusion.leaf
            found = None if leaf.previous is None else self._reader.spot(leaf.key, found.index, found.version - 1)

    def prove_consistency(self, old_size: int, new_size: int) -> ConsistencyProof:
        return ConsistencyProof(old_size, new_size, tuple(self._machine.nodes.consistency(old_size, new_size)))

    def close(self) -> None:
        self.head.close()

    def check_head(self) -> None:
        """Refuses a ledger that is shorter than, or differs from, what it once signed."""
        head = self.head.checkpoint
        size = self._machine.committed.size
        if head.size > size:
            raise Corruption(
                f"the ledger has {counted(size)}, but once signed a checkpoint of {head.size}: this is an older copy,"
                " or synced writes were lost",
                hint="restore the newer copy; starting from this one would fork the log",
            )
        if self._machine.nodes.root(head.size) != head.root:
            raise Corruption(
                f"the ledger's root at {counted(head.size)} is not the one that it once signed",
                hint="run `scribe fsck`; restore this folder from a copy",
            )


class Signing(Proving):
    """With the ledger's key."""

    def __init__(self, signer: Signer, head: Head, machine: Machine, reader: Reader) -> None:
        self._signer = signer
        super().__init__(head, machine, reader)

    def _find(self, size: int) -> Checkpoint:
        """The newest one is in the head file before it is returned."""
        checkpoint = sign_checkpoint(self._signer, size, self._machine.nodes.root(size))
        self.head.record(checkpoint)
        return checkpoint


class Stopped(Signing):
    """A member's, without its node, which nobody compares with the others: it goes no further than what was signed."""

    def __init__(self, belonging: Belonging, signer: Signer, head: Head, machine: Machine, reader: Reader) -> None:
        self._belonging = belonging
        super().__init__(signer, head, machine, reader)

    def _find(self, size: int) -> Checkpoint:
        """Up to the head, and only what the head begins with."""
        head, nodes = self.head.checkpoint, self._machine.nodes
        root = nodes.root(size)
        if size > head.size:
            raise signed_by_cluster(self._belonging, size, root, head.size)
        try:
            verify_consistency(size, head.size, root, head.root, nodes.consistency(size, head.size))
        except VerificationError as error:
            raise Corruption(
                f"the ledger's root at {counted(size)} is not what its newest checkpoint, of {head.size}, begins with",
                hint="run `scribe fsck`; another member of the cluster has it",
            ) from error
        return super()._find(size)


class Published(Proving):
    """Without it: the head that the ledger was restored to, and what the store has of earlier sizes."""

    def __init__(
        self, head: Head, machine: Machine, reader: Reader, objects: ObjectStore, *, is_complete: bool = True
    ) -> None:
        self._objects = objects
        super().__init__(head, machine, reader, is_complete=is_complete)

    def checkpoint(self, size: int) -> Checkpoint:
        """The head at once, without waiting for whoever asks the store for another."""
        return self.head.checkpoint if size == self.head.checkpoint.size else super().checkpoint(size)

    def _find(self, size: int) -> Checkpoint:
        path = checkpoint_path(size)
        content = self._objects.get(path)
        if content is None:
            raise self._unsigned(size)
        try:
            checkpoint = Checkpoint.parse(content.decode())
            if checkpoint.origin != self.verifier.name:
                raise self._unsigned(size)  # that of an earlier epoch
            checkpoint.verify(self.verifier)
        except (VerificationError, UnicodeDecodeError) as error:
            raise Corruption(f"{self._objects.place(path)} is no checkpoint of this ledger: {error}") from error
        if (checkpoint.size, checkpoint.root) != (size, self._machine.nodes.root(size)):
            raise Corruption(f"{self._objects.place(path)} has another root than this ledger at that size")
        return checkpoint

    def _unsigned(self, size: int) -> Forbidden:
        return Forbidden(
            f"there is no signed checkpoint of {counted(size)}, and this restored ledger has no key to sign one",
            hint=f"ask for size {self.head.checkpoint.size}, the newest, or promote the ledger",
        )
