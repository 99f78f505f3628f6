"""Signatures of members under the ledger's checkpoints, so that a client can require a quorum of them.

- ``NodeHead``, on every member: gives this node's signature line under a checkpoint by the ledger's key whose root it
  has computed itself, never below the size of its last one, with times that never go back. What it last signed is on
  disk before the line is given, so a crash forgets nothing that left.
- ``Cosigning``: the leader asks the members and has a checkpoint when a quorum of the voters, itself included, has
  signed. Callers that come while a round is under way share the next one, so each gets a checkpoint of a moment after
  its call. The other members ask the leader.

Nothing is taken on trust: a line counts if it verifies under the key that the record of members has for that voter.
"""

from __future__ import annotations

import asyncio
import os
import struct
import threading
import zlib
from typing import TYPE_CHECKING, NamedTuple

import orjson

from scribe_ledger.errors import (
    ConsensusError,
    Corruption,
    ScribeError,
    SerializationError,
    StorageError,
    Unavailable,
    VerificationError,
)
from scribe_ledger.merkle.checkpoint import Checkpoint, cosign, verify_cosignature
from scribe_ledger.merkle.note import COSIGNATURE_V1, Note, Verifier
from scribe_ledger.objects.durable import storage_errors, sync_directory

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable
    from pathlib import Path

    from scribe_ledger.consensus.membership import Membership
    from scribe_ledger.merkle.note import Signer

NODE_HEAD = "node.head"
DEADLINE_SECONDS = 2.0
_MAGIC = b"SLNH"
_SLOT = struct.Struct(">4sHQ32sQ")
"""magic, format, size, root, time of signing in seconds; then a CRC-32"""
_FORMAT = 1
_SLOT_BYTES = 512
"""A sector, so that a torn write cannot touch the other slot."""


class Signed(NamedTuple):
    """What a node has cosigned last."""

    size: int
    root: bytes
    timestamp: int


class NodeHead:
    """Two slots, written in turn and in place: a torn one leaves the other. Used from any thread."""

    def __init__(
        self,
        path: Path,
        signer: Signer,
        *,
        create: bool,
        ledger_key: Callable[[], Verifier],
        root_at: Callable[[int], bytes],
        flush: Callable[[], object],
        clock: Callable[[], int],
    ) -> None:
        """``create`` where this node has never cosigned; otherwise a file that is missing is ``Corruption``.

        ``root_at`` raises for a size that the ledger does not have. ``flush`` makes the ledger durable, because what is
        signed must not be lost. ``clock`` is in milliseconds since 1970.
        """
        self._path = path
        self._signer = signer
        self._ledger_key = ledger_key
        self._root_at = root_at
        self._flush = flush
        self._clock = clock
        self._lock = threading.Lock()
        with storage_errors("open", path):
            if not path.exists():
                if not create:
                    raise _lost(path, "is missing")
                fresh = path.with_name(path.name + ".new")
                fresh.write_bytes(_encode(Signed(0, bytes(32), 0)))
                fresh.rename(path)
            self._file = os.open(path, os.O_RDWR | os.O_DSYNC | os.O_CLOEXEC)
            os.fsync(self._file)
            sync_directory(path.parent)
            content = os.pread(self._file, 2 * _SLOT_BYTES, 0)
        slots = [_decode(content[:_SLOT_BYTES]), _decode(content[_SLOT_BYTES:])]
        known = [slot for slot in slots if slot is not None]
        if not known:
            self.close()
            raise _lost(path, "cannot be read")
        self.last = max(known, key=lambda slot: (slot.size, slot.timestamp))
        self._next = 1 if slots[0] == self.last else 0

    def cosign(self, checkpoint: Checkpoint) -> str:
        """This node's signature line. ``VerificationError`` if it has another root, or signed a larger size before."""
        checkpoint.verify(self._ledger_key())
        with self._lock:
            if checkpoint.size < self.last.size:
                raise VerificationError(
                    f"this node has cosigned {self.last.size} entries, and cosigns {checkpoint.size} no more"
                )
            root = self._root_at(checkpoint.size)
            if root != checkpoint.root or (checkpoint.size == self.last.size > 0 and root != self.last.root):
                raise VerificationError(
                    f"the checkpoint of {checkpoint.size} entries has the root {checkpoint.root.hex()}, "
                    f"this node has {root.hex()}",
                    hint="the ledgers of two members differ: look at /health of each",
                )
            self._flush()
            timestamp = max(self._clock() // 1000, self.last.timestamp)
            self._record(Signed(checkpoint.size, checkpoint.root, timestamp))
            return _line_of(cosign(checkpoint, self._signer, timestamp), self._signer.cosigner)

    def close(self) -> None:
        with self._lock:
            if self._file >= 0:
                os.close(self._file)
                self._file = -1

    def _record(self, signed: Signed) -> None:
        if self._file < 0:
            raise StorageError(f"{self._path} is closed")
        if signed == self.last:
            return
        with storage_errors("write", self._path):
            written = os.pwrite(self._file, _encode(signed), self._next * _SLOT_BYTES)
        if written != _SLOT_BYTES:
            raise StorageError(f"the disk took only {written} bytes of {self._path}")
        self.last = signed
        self._next ^= 1


class Cosigning:
    """One for a node. Lives in the event loop; what waits for a disk runs in threads."""

    def __init__(
        self,
        head: NodeHead,
        raft_id: int,
        *,
        membership: Callable[[], Membership],
        leader: Callable[[], int],
        checkpoint: Callable[[], Checkpoint],
        ledger_key: Callable[[], Verifier],
        reach: Callable[[], Awaitable[None]],
        ask: Callable[[int, bytes], Awaitable[bytes]],
        trouble: Callable[[], ScribeError | None] = lambda: None,
        deadline_seconds: float = DEADLINE_SECONDS,
    ) -> None:
        """``checkpoint`` signs what is committed now with the ledger's key, and may wait for a disk. ``reach`` waits
        until this node has applied what is committed. ``ask`` sends a member a request that its ``answer`` gets.
        ``trouble``: why nothing is signed here any more."""
        self._head = head
        self._raft_id = raft_id
        self._membership = membership
        self._leader = leader
        self._checkpoint = checkpoint
        self._ledger_key = ledger_key
        self._reach = reach
        self._ask = ask
        self._trouble = trouble
        self._deadline_seconds = deadline_seconds
        self._round: asyncio.Task[Checkpoint] | None = None
        self._next: asyncio.Task[Checkpoint] | None = None
        self.last: Checkpoint | None = None
        """The newest with a quorum that this node has seen."""
        self.refusals: dict[int, ScribeError] = {}
        """Why a voter did not sign in the last round; empty for those that did, or were not needed."""

    async def newest(self) -> Checkpoint:
        """A checkpoint with a quorum, of a moment after the call. ``Unavailable`` if it does not come in time."""
        self._check_signs()
        leader = self._leader()
        if leader == self._raft_id:
            return await self._shared_round()
        if not leader:
            raise ConsensusError("the cluster has no leader at the moment", hint="ask again")
        try:
            async with asyncio.timeout(2 * self._deadline_seconds):
                reply = await self._ask(leader, orjson.dumps({"newest": True}))
        except TimeoutError as error:
            raise Unavailable("the leader did not give a cosigned checkpoint in time", hint="ask again") from error
        return self._keep(self._quorum_signed(_field(reply, "checkpoint")))

    async def answer(self, request: bytes) -> bytes:
        """To the other end of ``ask``."""
        self._check_signs()
        text = _field(request, "cosign", optional=True)
        if text:
            checkpoint = Checkpoint.parse(text)
            await self._reach()
            self._check_signs()
            line = await asyncio.to_thread(self._head.cosign, checkpoint)
            return orjson.dumps({"line": line})
        if self._leader() != self._raft_id:
            raise ConsensusError("this node does not lead any more", hint="ask again")
        return orjson.dumps({"checkpoint": (await self._shared_round()).text})

    def _check_signs(self) -> None:
        trouble = self._trouble()
        if trouble is not None:
            raise trouble.again()

    async def close(self) -> None:
        """Ends the rounds under way; their callers get ``CancelledError``."""
        tasks = [task for task in (self._round, self._next) if task is not None]
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)

    # --- rounds ------------------------------------------------------------------------------------------------

    async def _shared_round(self) -> Checkpoint:
        if self._next is None:
            self._next = asyncio.ensure_future(self._follow(self._round))
        return await asyncio.shield(self._next)  # a caller that leaves does not end the others' round

    async def _follow(self, running: asyncio.Task[Checkpoint] | None) -> Checkpoint:
        """Begins when the round under way has ended; who comes from then on needs another."""
        if running is not None:
            await asyncio.wait({running})
        self._round, self._next = self._next, None
        try:
            return await self._collect()
        finally:
            if self._round is asyncio.current_task():
                self._round = None

    async def _collect(self) -> Checkpoint:
        self._check_signs()
        checkpoint = await asyncio.to_thread(self._checkpoint)
        membership = self._membership()
        if self.last is not None and self.last.size == checkpoint.size and self._signers(self.last, membership):
            return self.last
        self.refusals = {}
        lines = {asyncio.ensure_future(self._line(voter, checkpoint)): voter for voter in membership.voters}
        waiting = set(lines)
        loop = asyncio.get_running_loop()
        until = loop.time() + self._deadline_seconds
        signed, count = checkpoint, 0
        try:
            while waiting and count < membership.quorum and (left := until - loop.time()) > 0:
                done, waiting = await asyncio.wait(waiting, timeout=left, return_when=asyncio.FIRST_COMPLETED)
                for task in done:
                    try:
                        signed = self._with_line(signed, task.result(), lines[task], membership)
                        count += 1
                    except ScribeError as error:
                        self.refusals[lines[task]] = error
        finally:
            for task in waiting:
                task.cancel()
            await asyncio.gather(*waiting, return_exceptions=True)
        if count < membership.quorum:
            raise self._too_few(checkpoint, count, membership)
        return self._keep(signed)

    async def _line(self, voter: int, checkpoint: Checkpoint) -> str:
        if voter == self._raft_id:
            return await asyncio.to_thread(self._head.cosign, checkpoint)
        return _field(await self._ask(voter, orjson.dumps({"cosign": checkpoint.text})), "line")

    def _with_line(self, checkpoint: Checkpoint, line: str, voter: int, membership: Membership) -> Checkpoint:
        """The checkpoint with one line more, which must be exactly this voter's."""
        body, signatures = checkpoint.note
        found = Note.parse(f"{body}\n{line}").signatures
        verifier = _cosigner(membership, voter)
        if len(found) != 1 or not found[0].is_by(verifier):
            raise VerificationError(f"the line of member {voter} is not by the key {verifier}")
        verify_cosignature(Checkpoint.parse(str(Note(body, found))), verifier)
        return Checkpoint.parse(str(Note(body, (*signatures, *found))))

    def _too_few(self, checkpoint: Checkpoint, count: int, membership: Membership) -> Unavailable:
        reasons = "; ".join(f"member {voter}: {error.message}" for voter, error in sorted(self.refusals.items()))
        error = Unavailable(
            f"{count} of the {membership.quorum} voters that are needed have cosigned {checkpoint.size} entries in time"
            + (f": {reasons}" if reasons else ""),
            hint="ask again; /cluster/members says who is reachable",
        )
        error.__cause__ = next(iter(self.refusals.values()), None)
        return error

    def _quorum_signed(self, text: str) -> Checkpoint:
        """What the leader gave, checked."""
        checkpoint = Checkpoint.parse(text)
        checkpoint.verify(self._ledger_key())
        if not self._signers(checkpoint, self._membership()):
            raise VerificationError(f"the leader's checkpoint of {checkpoint.size} entries has no quorum of cosigners")
        return checkpoint

    def _signers(self, checkpoint: Checkpoint, membership: Membership) -> bool:
        """Whether enough of the voters of now have signed it."""
        good = 0
        for voter in membership.voters:
            try:
                verify_cosignature(checkpoint, _cosigner(membership, voter))
                good += 1
            except VerificationError:
                continue
        return good >= membership.quorum

    def _keep(self, checkpoint: Checkpoint) -> Checkpoint:
        if self.last is None or checkpoint.size >= self.last.size:
            self.last = checkpoint
        return checkpoint


def _cosigner(membership: Membership, raft_id: int) -> Verifier:
    info = membership.members.get(raft_id)
    try:
        key = Verifier.parse(info.node_key if info is not None else "")
    except SerializationError as error:
        raise VerificationError(f"the record of members has no key of member {raft_id}") from error
    return Verifier(key.name, key.public_key, COSIGNATURE_V1)


def _line_of(checkpoint: Checkpoint, cosigner: Verifier) -> str:
    return str(checkpoint.note.signatures_by(cosigner)[-1])


def _field(message: bytes, name: str, *, optional: bool = False) -> str:
    try:
        fields = orjson.loads(message)
        found = fields.get(name, "") if optional else fields[name]
        if not isinstance(found, str):
            raise TypeError(f"{name} is no text")
    except (ValueError, KeyError, TypeError, AttributeError) as error:
        raise SerializationError(f"a message about cosignatures cannot be read: {error}") from error
    return found


def _encode(signed: Signed) -> bytes:
    record = _SLOT.pack(_MAGIC, _FORMAT, *signed)
    return (record + zlib.crc32(record).to_bytes(4, "big")).ljust(_SLOT_BYTES, b"\0")


def _decode(slot: bytes) -> Signed | None:
    """None for a torn slot, or one that was never written."""
    record, checksum = slot[: _SLOT.size], slot[_SLOT.size : _SLOT.size + 4]
    if len(slot) < _SLOT_BYTES or zlib.crc32(record).to_bytes(4, "big") != checksum:
        return None
    magic, form, *fields = _SLOT.unpack(record)
    return Signed(*fields) if (magic, form) == (_MAGIC, _FORMAT) else None


def _lost(path: Path, what: str) -> Corruption:
    return Corruption(
        f"{path} {what}",
        hint="it shows that this node's ledger is not an old copy: restore it, or replace the node by a new one",
    )
