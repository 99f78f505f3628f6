"""Checkpoints and proofs of one ledger: what leaves it under its name.

No checkpoint leaves before its size is committed and synced and the head file holds it, so that the ledger can never
open shorter than what it signed. Opening checks that promise.
"""

from __future__ import annotations

import threading
from typing import TYPE_CHECKING

from scribe_ledger.errors import Corruption
from scribe_ledger.merkle.checkpoint import Checkpoint, sign_checkpoint
from scribe_ledger.merkle.prooftext import ConsistencyProof, HistoryProof, Inclusion, Proof, history_pieces

if TYPE_CHECKING:
    from collections.abc import Iterator

    from scribe_ledger.ledger.folder import Head
    from scribe_ledger.ledger.machine import Machine
    from scribe_ledger.ledger.reads import Reader
    from scribe_ledger.ledger.records import Spot
    from scribe_ledger.merkle.note import Signer, Verifier

CHECKPOINTS_REMEMBERED = 64


class Signing:
    def __init__(self, signer: Signer, head: Head, machine: Machine, reader: Reader) -> None:
        self._signer = signer
        self.head = head
        self._machine = machine
        self._reader = reader
        self._lock = threading.Lock()
        self._signed: dict[int, Checkpoint] = {}
        try:
            self._check_head()
        except BaseException:
            head.close()
            raise

    @property
    def verifier(self) -> Verifier:
        return self._signer.verifier

    def checkpoint(self, size: int) -> Checkpoint:
        """The signed checkpoint of a committed size. The newest one is in the head file before it is returned."""
        known = self._signed.get(size)
        if known is not None:
            return known
        with self._lock:
            checkpoint = sign_checkpoint(self._signer, size, self._machine.nodes.root(size))
            self.head.record(checkpoint)
            if len(self._signed) >= CHECKPOINTS_REMEMBERED:
                self._signed.clear()
            self._signed[size] = checkpoint
            return checkpoint

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

    def _check_head(self) -> None:
        """Refuses a ledger that is shorter than, or differs from, what it once signed."""
        head = self.head.checkpoint
        size = self._machine.committed.size
        if head.size > size:
            raise Corruption(
                f"the ledger has {size} entries, but once signed a checkpoint of {head.size}: this is an older copy,"
                " or synced writes were lost",
                hint="restore the newer copy; starting from this one would fork the log",
            )
        if self._machine.nodes.root(head.size) != head.root:
            raise Corruption(
                f"the ledger's root at {head.size} entries is not the one that it once signed",
                hint="run `scribe fsck`; restore this folder from a copy",
            )
