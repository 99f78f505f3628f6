"""What a client knows of the log, and what it therefore refuses to believe. No I/O, no clock.

Owns the remembered head (the largest checkpoint that was shown to extend all earlier ones) and, for keys used lately,
the newest entry seen. Invariants: the head only ever grows, by checkpoints that the ledger's key signed and a
consistency proof links to the head before; nothing is remembered that was not proven, but for receipts, which are the
node's word and are held against the next proof.

Requests overlap, so an answer is judged by what was known when it was *asked for*: that is its ``Stance``. An answer
may then come under a head beside the one remembered by now. Such a head is a ``Gap`` that one more proof must close.

Not for several logs: one ``Trust`` is for one public key.
"""

from __future__ import annotations

import threading
from collections import OrderedDict
from dataclasses import dataclass
from typing import TYPE_CHECKING, NamedTuple

from scribe_ledger import verify
from scribe_ledger.errors import SerializationError, VerificationError, counted
from scribe_ledger.merkle.hashing import ZERO_HASH, hash_leaf
from scribe_ledger.merkle.leaf import HEADER, Leaf, encode_leaf
from scribe_ledger.merkle.note import Verifier
from scribe_ledger.merkle.proof import verify_consistency
from scribe_ledger.merkle.prooftext import ConsistencyProof
from scribe_ledger.model import Kind, show_key

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence

    from scribe_ledger.merkle.checkpoint import Checkpoint
    from scribe_ledger.model import Receipt

KEYS_REMEMBERED = 10_000
_TAKEN_AWAY = "entries were taken away, or this is an old copy"


class Seen(NamedTuple):
    """The newest entry of a key that this client has met."""

    index: int  # type: ignore[assignment]  # the field, not the method of tuple
    version: int
    leaf_hash: bytes


class Stance(NamedTuple):
    """What was known when a question was asked."""

    head: Checkpoint | None
    seen: Seen | None
    after: int | None
    """The latest index that the log must have."""

    @property
    def since(self) -> int | None:
        return None if self.head is None else self.head.size


class Gap(NamedTuple):
    """Two heads, both good by themselves, that a consistency proof must still join."""

    old: Checkpoint
    new: Checkpoint
    behind: bool
    """Whether it is the remembered head that is the newer one."""


@dataclass(frozen=True, slots=True)
class Wanted:
    """What an entry was asked for by."""

    key: bytes
    version: int | None = None
    as_of: int | None = None
    index: int | None = None

    @property
    def latest(self) -> bool:
        return self.version is self.as_of is self.index is None


class Trust:
    """The memory of one client about one log. Safe to share between threads."""

    def __init__(
        self,
        public_key: str,
        *,
        remembered: Checkpoint | None = None,
        keys_remembered: int = KEYS_REMEMBERED,
        cosigners: Sequence[str] = (),
        quorum: int | None = None,
    ) -> None:
        """With ``cosigners``, of which ``quorum`` are enough, nothing is believed that they have not cosigned."""
        verifier = Verifier.parse(public_key.strip())
        self.public_key = str(verifier)
        self.origin = verifier.name
        self._head = None if remembered is None else self.signed(remembered.text)
        self._seen: OrderedDict[bytes, Seen] = OrderedDict()
        self._keys_remembered = keys_remembered
        self._after: int | None = None
        self._cosigners = tuple(cosigners)
        self._quorum = quorum
        self._cosigned = -1
        """Size of the largest head in the chain of those remembered that a quorum has cosigned."""
        self._lock = threading.Lock()

    @property
    def head(self) -> Checkpoint | None:
        """The remembered head."""
        return self._head

    def stance(self, key: bytes = b"") -> Stance:
        head = self._head
        size = -1 if head is None else head.size - 1
        after = size if self._after is None else max(size, self._after)
        return Stance(head, self._seen.get(key), after if after >= 0 else None)

    def seen(self, key: bytes) -> Seen | None:
        """The newest entry of a key that was met."""
        return self._seen.get(key)

    # --- heads -------------------------------------------------------------------------------------------------

    def signed(self, text: str) -> Checkpoint:
        """A checkpoint that the ledger's key signed; each text is checked once."""
        return verify.checkpoint(text, public_key=self.public_key)

    def needs_cosigned(self, head: Checkpoint) -> bool:
        """Whether a head that was shown to be of this log is larger than what the cosigners have vouched for."""
        if not self._cosigners or head.size <= self._cosigned:
            return False
        try:
            self.cosigned(head.text, head)
        except VerificationError:
            return True
        self.have_cosigned(head)
        return False

    def cosigned(self, text: str, head: Checkpoint) -> Checkpoint:
        """A checkpoint that covers ``head`` and that enough cosigners have signed. ``join`` it, then say so."""
        found = verify.checkpoint(text, public_key=self.public_key, cosigners=self._cosigners, quorum=self._quorum)
        if found.size < head.size:
            raise VerificationError(f"the node shows a log of {counted(head.size)}, cosigned are {found.size}")
        return found

    def have_cosigned(self, head: Checkpoint) -> None:
        with self._lock:
            self._cosigned = max(self._cosigned, head.size)

    def follow(self, text: str, consistency: str | None, stance: Stance) -> tuple[Checkpoint, Gap | None]:
        """Judges the head of an answer to a question about the present, and remembers it if it is newer.

        With a ``Gap`` the head is not linked to the remembered one yet: get that proof and ``close`` the gap.
        """
        known = self._head
        if known is not None and known.text == text:
            self.check_fresh(known, stance)
            return known, None
        head = self.signed(text)
        self.check_fresh(head, stance)
        if stance.head is not None:
            self._check_follows(stance.head, head, consistency)
        return head, self._advance(stance.head, head)

    def check_fresh(self, head: Checkpoint, stance: Stance) -> None:
        """The head covers what was known when it was asked for.

        The question said what that is, so an honest node that lags has waited for it, or refused to answer.
        """
        if stance.head is not None and head.size < stance.head.size:
            raise VerificationError(
                f"the node shows a log of {counted(head.size)}, and it had {stance.head.size} before", hint=_TAKEN_AWAY
            )
        if stance.after is not None and head.size <= stance.after:
            raise VerificationError(
                f"the node shows a log of {counted(head.size)}, which lacks the entry {stance.after} that it has",
                hint=_TAKEN_AWAY,
            )

    def link(self, head: Checkpoint) -> Gap | None:
        """The same for a signed head of any size, such as one that was asked for by its size."""
        return self._advance(None, head)

    def close(self, gap: Gap, consistency: str) -> Gap | None:
        """Judges the proof that joins two heads. The head may have moved on meanwhile: then there is one more gap."""
        self._check_consistency(gap.old, gap.new, consistency)
        return None if gap.behind else self._advance(gap.old, gap.new)

    def _advance(self, proven_from: Checkpoint | None, head: Checkpoint) -> Gap | None:
        """``head`` is known to extend ``proven_from``, if that is given."""
        with self._lock:
            known = self._head
            if known is None or (known is proven_from and head.size > known.size):
                self._head = head
                return None
        if known.size == head.size:
            if known.root != head.root:
                raise _forked(known, head)
            return None
        return Gap(known, head, behind=False) if known.size < head.size else Gap(head, known, behind=True)

    def _check_follows(self, known: Checkpoint, head: Checkpoint, consistency: str | None) -> None:
        if head.size == known.size:
            if head.root != known.root:
                raise _forked(known, head)
        elif known.size:
            if consistency is None:
                raise VerificationError(f"the node does not prove that its log extends the one of size {known.size}")
            self._check_consistency(known, head, consistency)

    def _check_consistency(self, old: Checkpoint, new: Checkpoint, text: str) -> None:
        proof = ConsistencyProof.parse(text)
        if (proof.old_size, proof.new_size) != (old.size, new.size):
            raise VerificationError(
                f"the consistency proof is from {proof.old_size} to {proof.new_size}, not {old.size} to {new.size}"
            )
        verify_consistency(old.size, new.size, old.root, new.root, proof.hashes)

    # --- entries -----------------------------------------------------------------------------------------------

    def check_entry(self, leaf: Leaf, leaf_hash: bytes, wanted: Wanted, seen: Seen | None) -> None:
        """The proven entry is what was asked for, and does not contradict what was seen. Remembers it.

        ``seen`` is what was known of the key when it was asked for.
        """
        if (
            leaf.key != wanted.key
            or (wanted.version is not None and leaf.version != wanted.version)
            or (wanted.index is not None and leaf.index != wanted.index)
            or (wanted.as_of is not None and leaf.index >= wanted.as_of)
        ):
            raise _not_wanted(leaf, wanted)
        if seen is not None:
            self._check_not_older(leaf, wanted, seen)
        self._see(leaf.key, Seen(leaf.index, leaf.version, leaf_hash))

    def check_absent(self, wanted: Wanted, seen: Seen | None) -> None:
        """The node says that there is no such entry; nobody can prove that, but we may know better."""
        if seen is None:
            return
        known = wanted.latest
        known |= wanted.as_of is not None and seen.index < wanted.as_of and wanted.version is None
        known |= wanted.version is not None and wanted.as_of is None and wanted.version <= seen.version
        known |= wanted.index == seen.index
        if known:
            raise VerificationError(
                f"the node says that {show_key(wanted.key)} is not there, and entry {seen.index} of it was seen before"
            )

    def check_receipts(self, commands: Sequence[Sent], receipts: Sequence[Receipt], stance: Stance) -> None:
        """The receipts say what was sent, and stand where a write made now can stand. Remembers them."""
        if len(receipts) != len(commands):
            raise VerificationError(f"the node gives {len(receipts)} receipts for {len(commands)} operations")
        newest = -1
        known = -1 if stance.after is None else stance.after
        for command, receipt in zip(commands, receipts, strict=True):
            if receipt.created and receipt.index <= max(newest, known):
                raise VerificationError(
                    f"the node says it appended entry {receipt.index} of {show_key(command.key)}, "
                    f"and the log was longer before",
                )
            self._check_receipt(command, receipt)
            newest = max(newest, receipt.index)
        with self._lock:
            self._after = max(newest, -1 if self._after is None else self._after)

    def _check_receipt(self, command: Sent, receipt: Receipt) -> None:
        check_digest(command, receipt)
        command.check_condition(receipt)
        seen = self._seen.get(command.key)
        for previous in command.possible_previous(receipt, seen):
            if receipt.leaf_hash not in map(hash_leaf, command.possible_leaves(receipt, previous)):
                raise VerificationError(
                    f"the receipt of {show_key(command.key)} has a leaf hash that is not that of what was sent"
                )
        self._see(command.key, Seen(receipt.index, receipt.version, receipt.leaf_hash))

    def _check_not_older(self, leaf: Leaf, wanted: Wanted, seen: Seen) -> None:
        at_least = wanted.latest or (wanted.as_of is not None and wanted.version is None and seen.index < wanted.as_of)
        if at_least and leaf.index < seen.index:
            raise VerificationError(
                f"the node answers with version {leaf.version} of {show_key(leaf.key)}, version {seen.version} was seen"
            )

    def _see(self, key: bytes, found: Seen) -> None:
        """Remembers the newer; two entries of one key contradict each other unless both counts order them alike."""
        with self._lock:
            known = self._seen.get(key)
            if known is not None:
                same = (found.index == known.index) + (found.version == known.version)
                if same == 2 and found.leaf_hash == known.leaf_hash:
                    self._seen.move_to_end(key)
                    return
                if same or (found.index < known.index) != (found.version < known.version):
                    raise VerificationError(
                        f"entry {found.index}, version {found.version} of {show_key(key)}, contradicts "
                        f"entry {known.index}, version {known.version}, which was seen before"
                    )
            if known is None or found.index > known.index:
                self._seen[key] = found
                self._seen.move_to_end(key)
                if len(self._seen) > self._keys_remembered:
                    self._seen.popitem(last=False)


@dataclass(frozen=True, slots=True)
class Sent:
    """What a write asked for: all of its leaf that the caller decides."""

    kind: Kind
    key: bytes
    tail: bytes
    size: int
    sha256: bytes
    chunk_root: Callable[[], bytes]
    """What the leaf holds if the node keeps the value as a large one."""
    if_index: int | None = None
    if_version: int | None = None

    def check_condition(self, receipt: Receipt) -> None:
        """A new entry stands where its conditions let it stand. ``if_index`` shows in the leaf hash besides."""
        if not receipt.created:
            return
        if self.if_version is not None and receipt.version != self.if_version + 1:
            raise VerificationError(
                f"the node says it wrote version {receipt.version} of {show_key(self.key)}, "
                f"which was to follow version {self.if_version}"
            )
        if self.if_index is not None and receipt.version == 1:
            raise VerificationError(
                f"the node says it wrote the first version of {show_key(self.key)}, "
                f"which was to follow entry {self.if_index}"
            )

    def possible_previous(self, receipt: Receipt, seen: Seen | None) -> list[int | None]:
        """The index of the key's entry before, as a list of none or one: it is not always known."""
        if receipt.version == 1:
            return [None]
        if receipt.created and self.if_index is not None:
            return [self.if_index]
        return [seen.index] if seen is not None and seen.version == receipt.version - 1 else []

    def possible_leaves(self, receipt: Receipt, previous: int | None) -> Iterator[bytes]:
        """The leaf with this value kept inline, and as a large one: which it is, the node's settings say."""
        plain = Leaf(
            self.kind,
            receipt.index,
            receipt.timestamp,
            receipt.version,
            previous,
            self.size,
            self.sha256,
            ZERO_HASH,
            self.key,
            "",
            {},
        )
        header = encode_leaf(plain)[: HEADER.size]
        yield header + self.tail
        if self.kind is Kind.PUT and self.size:
            yield header[: -len(ZERO_HASH)] + self.chunk_root() + self.tail


def check_digest(command: Sent, receipt: Receipt) -> None:
    """What the node stored is what was sent. This needs no key."""
    if receipt.sha256 != command.sha256:
        raise VerificationError(f"the node stored other bytes for {show_key(command.key)} than were sent")


def _not_wanted(leaf: Leaf, wanted: Wanted) -> VerificationError:
    name = show_key(wanted.key)
    if leaf.key != wanted.key:
        return VerificationError(f"the node answers for {show_key(leaf.key)}, asked for {name}")
    if wanted.version is not None and leaf.version != wanted.version:
        return VerificationError(f"the node answers with version {leaf.version} of {name}, not {wanted.version}")
    if wanted.as_of is not None:
        return VerificationError(f"the node answers with entry {leaf.index} for {name} as of size {wanted.as_of}")
    return VerificationError(f"the node answers with entry {leaf.index} for {name}, not {wanted.index}")


def _forked(known: Checkpoint, head: Checkpoint) -> VerificationError:
    return VerificationError(
        f"two different logs of {counted(head.size)} are signed by {known.origin!r}",
        hint="the log was forked; keep both checkpoints, they are the evidence",
    )


def as_verification(error: SerializationError) -> VerificationError:
    """An answer without shape proves nothing, which is a failure of the proof."""
    return VerificationError(f"the answer cannot be checked: {error.message}", hint=error.hint)
