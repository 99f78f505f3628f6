"""Checking proofs, offline and alone: the whole of what a reader needs who trusts one public key and nothing else.

Pure code without I/O that imports no storage, server or client. Whatever does not hold raises VerificationError, whose
message names it. What the ledger's key vouches for is exactly: this entry stands at this place of the log at this size.
A proof shows presence and what came before, never that an entry is its key's latest.
"""

from __future__ import annotations

from collections.abc import Iterable
from functools import lru_cache
from hashlib import sha256
from itertools import pairwise
from typing import TYPE_CHECKING, TypeVar

from scribe_ledger.errors import InvalidRequest, VerificationError
from scribe_ledger.merkle.checkpoint import Checkpoint, verify_cosignature
from scribe_ledger.merkle.chunks import chunk_digests, chunk_root
from scribe_ledger.merkle.handover import Handover, may_be_later
from scribe_ledger.merkle.hashing import ZERO_HASH, hash_leaf
from scribe_ledger.merkle.note import Verifier
from scribe_ledger.merkle.proof import verify_consistency, verify_inclusion
from scribe_ledger.merkle.prooftext import ConsistencyProof, HistoryProof, Inclusion, Proof
from scribe_ledger.model import Kind

if TYPE_CHECKING:
    from scribe_ledger.merkle.leaf import Leaf

_Parsable = TypeVar("_Parsable", Proof, HistoryProof, ConsistencyProof, Checkpoint, Handover, Verifier)
_NOUNS: dict[type, str] = {Checkpoint: "checkpoint", Handover: "handover", Verifier: "public key"}
CHECKPOINTS_REMEMBERED = 64
"""How many verified checkpoints are kept, so that many proofs under one checkpoint cost one signature check."""


def inclusion(
    proof: Proof | str,
    value: bytes | str | None = None,
    *,
    public_key: Verifier | str,
    key: bytes | str | None = None,
    version: int | None = None,
    cosigners: Iterable[Verifier | str] = (),
    quorum: int | None = None,
) -> Leaf:
    """Verifies one entry and gives its leaf.

    ``value``, ``key`` and ``version`` are compared with the entry where they are given. ``cosigners`` are keys of which
    ``quorum`` must have signed the checkpoint too; all of them, unless it says otherwise.
    """
    proof = _parsed(Proof, proof)
    head = checkpoint(proof.checkpoint, public_key=public_key, cosigners=cosigners, quorum=quorum)
    leaf = _included(proof, head)
    if key is not None and leaf.key != (wanted := _to_bytes(key, "key")):
        raise VerificationError(f"the proof is for the key {leaf.key[:80]!r}, not {wanted[:80]!r}")
    if version is not None and leaf.version != version:
        raise VerificationError(f"the proof is for version {leaf.version}, not {version}")
    if value is not None:
        matches(leaf, value)
    return leaf


def history(
    proof: HistoryProof | str,
    *,
    public_key: Verifier | str,
    key: bytes | str | None = None,
    cosigners: Iterable[Verifier | str] = (),
    quorum: int | None = None,
) -> list[Leaf]:
    """Verifies a key's history without gaps, from the proven entry back to version 1; the leaves, newest first."""
    proof = _parsed(HistoryProof, proof)
    head = checkpoint(proof.checkpoint, public_key=public_key, cosigners=cosigners, quorum=quorum)
    leaves = [_included(entry, head) for entry in proof.entries]
    if not leaves:
        raise VerificationError("the history is empty")
    if key is not None and leaves[0].key != (wanted := _to_bytes(key, "key")):
        raise VerificationError(f"the history is of the key {leaves[0].key[:80]!r}, not {wanted[:80]!r}")
    for newer, older in pairwise(leaves):
        if older.key != newer.key or older.version != newer.version - 1 or older.index != newer.previous:
            raise VerificationError(
                f"the history breaks after version {newer.version}: entry {older.index} is not the one before it"
            )
    if leaves[-1].version != 1:
        raise VerificationError(f"the history ends at version {leaves[-1].version}, not at 1")
    return leaves


def consistency(
    proof: ConsistencyProof | str,
    old_checkpoint: Checkpoint | str,
    new_checkpoint: Checkpoint | str,
    *,
    public_key: Verifier | str,
) -> None:
    """Verifies that the log of the new checkpoint begins with that of the old one, entry for entry."""
    proof = _parsed(ConsistencyProof, proof)
    old = checkpoint(old_checkpoint, public_key=public_key)
    new = checkpoint(new_checkpoint, public_key=public_key)
    if (proof.old_size, proof.new_size) != (old.size, new.size):
        raise VerificationError(
            f"the proof is from size {proof.old_size} to {proof.new_size}, "
            f"the checkpoints are of size {old.size} and {new.size}"
        )
    verify_consistency(old.size, new.size, old.root, new.root, proof.hashes)


def checkpoint(
    signed: Checkpoint | str,
    *,
    public_key: Verifier | str,
    cosigners: Iterable[Verifier | str] = (),
    quorum: int | None = None,
) -> Checkpoint:
    """Verifies a head of the log: signed by the ledger's key under its own origin, and by enough cosigners."""
    text = signed if isinstance(signed, str) else _parsed(Checkpoint, signed).text
    head = _signed_by_log(text, public_key if isinstance(public_key, str) else str(_to_verifier(public_key)))
    # The text is what was signed; fields beside it that say otherwise are a forgery or a bug.
    if not isinstance(signed, str) and signed != head:
        raise VerificationError("the checkpoint's fields are not those of its text")
    wanted = _to_verifiers(cosigners)
    if wanted or quorum is not None:
        _require_cosigners(text, wanted, quorum)
    return head


def epoch(
    handover: Handover | str, *, old_public_key: Verifier | str, new_public_key: Verifier | str | None = None
) -> Handover:
    """Verifies the way across from a key that was lost to the key of the ledger's next epoch; ``.key`` is that key.

    What is proven in any case: the old key signed ``head``, and whoever holds the new key says that its log begins with
    exactly those entries, in ``first``. A consistency proof from ``first`` to any later checkpoint then shows that
    nothing of what the old key had signed up to that size is gone. Heads that the old key signed beyond it are not
    taken over: those entries were lost, or were never archived.

    Why the new key may be believed: if the old key has signed the handover too, whoever trusted the old key has its
    word. If it has not, since it was lost, no signature says that the new key is the operator's: anybody who can write
    to the store could have made it. Then this refuses, unless ``new_public_key`` says which key the operator told you.
    """
    handover = _parsed(Handover, handover)
    handover.verify(_to_verifier(old_public_key))
    if new_public_key is not None:
        if handover.key != _to_verifier(new_public_key):
            raise VerificationError(f"the handover is to the key {handover.key}, not to {new_public_key}")
    elif not handover.is_endorsed:
        raise VerificationError(
            f"the old key has not signed the handover to epoch {handover.epoch}: it says nothing of the new key",
            hint=f"ask the operator whether the new key is {handover.key}, and give it as new_public_key",
        )
    return handover


def matches(leaf: Leaf, value: bytes | str) -> None:
    """Verifies that these bytes are the value of an entry."""
    value = _to_bytes(value, "value")
    if leaf.kind is Kind.DELETE:
        raise VerificationError(f"entry {leaf.index} is a delete and has no value")
    if len(value) != leaf.size:
        raise VerificationError(f"the value has {len(value)} bytes, entry {leaf.index} says {leaf.size}")
    if sha256(value).digest() != leaf.sha256:
        raise VerificationError(f"the value's SHA-256 is not that of entry {leaf.index}")
    if leaf.chunk_root != ZERO_HASH and chunk_root(chunk_digests(value)) != leaf.chunk_root:
        raise VerificationError(f"the value's chunk root is not that of entry {leaf.index}")


def _included(entry: Proof | Inclusion, head: Checkpoint) -> Leaf:
    leaf = entry.leaf
    if leaf.index != entry.index:
        raise VerificationError(f"the proof is for entry {entry.index}, its leaf says {leaf.index}")
    verify_inclusion(entry.index, head.size, hash_leaf(entry.leaf_bytes), head.root, entry.hashes)
    return leaf


@lru_cache(maxsize=CHECKPOINTS_REMEMBERED)
def _signed_by_log(text: str, public_key: str) -> Checkpoint:
    head, key = Checkpoint.parse(text), Verifier.parse(public_key)
    try:
        head.verify(key)
    except VerificationError as error:
        if may_be_later(head.origin, key.name):
            error.hint = f"the ledger may go on as {head.origin}: check the handover to that epoch, then use its key"
        raise
    return head


def _require_cosigners(text: str, cosigners: list[Verifier], quorum: int | None) -> None:
    # Counted by public key: one cosigner under two names is still one witness.
    known = {cosigner.public_key for cosigner in cosigners}
    required = len(known) if quorum is None else quorum
    if not isinstance(required, int) or not 0 <= required <= len(known):
        raise InvalidRequest(f"a quorum of {required} cannot be had of {len(known)} cosigners")
    signed = {cosigner.public_key for cosigner in cosigners if _signed_by_cosigner(text, str(cosigner))}
    if len(signed) < required:
        names = ", ".join([str(cosigner) for cosigner in cosigners if cosigner.public_key not in signed])
        raise VerificationError(
            f"{len(signed)} cosigners signed the checkpoint, {required} are required", hint=f"missing: {names}"
        )


@lru_cache(maxsize=4 * CHECKPOINTS_REMEMBERED)
def _signed_by_cosigner(text: str, cosigner: str) -> bool:
    """False where there is no line by the cosigner; a line that is not valid is an error."""
    head, verifier = Checkpoint.parse(text), Verifier.parse(cosigner)
    if not any(signature.is_by(verifier) for signature in head.note.signatures):
        return False
    verify_cosignature(head, verifier)
    return True


def _parsed(form: type[_Parsable], given: _Parsable | str) -> _Parsable:
    if isinstance(given, str):
        return form.parse(given)
    if not isinstance(given, form):
        what = _NOUNS.get(form, "proof")
        raise InvalidRequest(f"the {what} is {type(given).__name__}", hint=f"give a {form.__name__}, or its text")
    return given


def _to_verifiers(keys: Iterable[Verifier | str]) -> list[Verifier]:
    # A text is a sequence of letters: one key alone must not be taken for many, nor an empty one for none.
    if isinstance(keys, str | Verifier) or not isinstance(keys, Iterable):
        raise InvalidRequest(f"the cosigners are {type(keys).__name__}", hint="give a list of verifier keys")
    return [_to_verifier(key) for key in keys]


def _to_verifier(key: Verifier | str) -> Verifier:
    return _parsed(Verifier, key)


def _to_bytes(data: bytes | str, what: str) -> bytes:
    try:
        return data.encode() if isinstance(data, str) else bytes(memoryview(data))
    except UnicodeEncodeError as error:
        raise InvalidRequest(f"the {what} is not valid Unicode", hint=f"give the {what} as bytes") from error
    except TypeError as error:
        raise InvalidRequest(f"the {what} is {type(data).__name__}", hint="give bytes or text") from error
