"""Checkpoints: the signed head of the log, after C2SP tlog-checkpoint, and cosignatures on it, after tlog-cosignature.

A checkpoint is a signed note of origin, size and root, signed by the log's key, whose name is the origin. Cosigners add
lines that say when they had checked the same head. Extension lines are carried, and mean nothing here.

``text`` is the truth of a checkpoint. ``verify`` reads it again, so fields that disagree with it do not pass.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache

from scribe_ledger.errors import InvalidRequest, VerificationError
from scribe_ledger.merkle.hashing import HASH_BYTES
from scribe_ledger.merkle.note import COSIGNATURE_V1, Note, Signature, Signer, Verifier, sign_note
from scribe_ledger.merkle.text import decode_hash, encode_base64, parse_decimal

_SIGNATURE_BYTES = 64
_TIMESTAMP_BYTES = 8
_MAX_TIMESTAMP = (1 << 63) - 1


@dataclass(frozen=True, slots=True)
class Checkpoint:
    """The head of a log at one size; ``text`` is the whole signed note."""

    origin: str
    size: int
    root: bytes
    text: str

    @classmethod
    def parse(cls, text: str) -> Checkpoint:
        """Reads a checkpoint strictly, without checking any signature."""
        return _parse(text)

    @property
    def note(self) -> Note:
        return Note.parse(self.text)

    def verify(self, verifier: Verifier) -> None:
        """The log's own key has signed this head, under its own origin."""
        self.note.verify(verifier)
        if Checkpoint.parse(self.text) != self:
            raise VerificationError("the checkpoint's fields are not those of its text")
        if self.origin != verifier.name:
            raise VerificationError(f"the checkpoint is of {self.origin!r}, the key of {verifier.name!r}")

    def __str__(self) -> str:
        return self.text


@lru_cache(maxsize=64)  # pure, and thousands of proofs come under one checkpoint
def _parse(text: str) -> Checkpoint:
    body = Note.parse(text).body
    try:
        origin, size, root, *extensions = body.removesuffix("\n").split("\n")
        if not origin or not all(extensions):
            raise ValueError("it has an empty line")
        return Checkpoint(origin, parse_decimal(size), decode_hash(root), text)
    except ValueError as error:
        raise VerificationError(f"the checkpoint is malformed: {error}") from error


def sign_checkpoint(signer: Signer, size: int, root: bytes) -> Checkpoint:
    """The head of the log whose origin is the signer's name. The caller answers for its being consistent."""
    if not 0 <= size < 1 << 64 or len(root) != HASH_BYTES:
        raise InvalidRequest(f"a tree of {size} entries with a root of {len(root)} bytes has no checkpoint")
    note = sign_note(f"{signer.name}\n{size}\n{encode_base64(root)}\n", signer)
    return Checkpoint(signer.name, size, root, str(note))


def cosign(checkpoint: Checkpoint, signer: Signer, timestamp: int) -> Checkpoint:
    """The checkpoint with the signer's cosignature, in place of an older one; ``timestamp`` in seconds."""
    if not 0 <= timestamp <= _MAX_TIMESTAMP:
        raise InvalidRequest(f"{timestamp} is not a timestamp of a cosignature")
    note, cosigner = checkpoint.note, signer.cosigner
    blob = timestamp.to_bytes(_TIMESTAMP_BYTES, "big") + signer.sign(_cosigned_message(timestamp, note.body))
    others = [signature for signature in note.signatures if not signature.is_by(cosigner)]
    cosigned = Note(note.body, (*others, Signature(cosigner.name, cosigner.key_id, blob)))
    return Checkpoint.parse(str(cosigned))


def verify_cosignature(checkpoint: Checkpoint, cosigner: Verifier) -> int:
    """Requires a good cosignature of this cosigner and gives its timestamp, in seconds; the latest of several."""
    if cosigner.algorithm != COSIGNATURE_V1:
        raise VerificationError(f"the key {cosigner} is not for cosignatures")
    note = checkpoint.note
    return max(_timestamp(signature, note.body, cosigner) for signature in note.signatures_by(cosigner))


def _timestamp(signature: Signature, body: str, cosigner: Verifier) -> int:
    stamp, bare = signature.blob[:_TIMESTAMP_BYTES], signature.blob[_TIMESTAMP_BYTES:]
    timestamp = int.from_bytes(stamp, "big")
    if (
        len(bare) != _SIGNATURE_BYTES
        or timestamp > _MAX_TIMESTAMP
        or not cosigner.check(_cosigned_message(timestamp, body), bare)
    ):
        raise VerificationError(f"the cosignature by {cosigner.name!r} is not valid")
    return timestamp


def _cosigned_message(timestamp: int, body: str) -> bytes:
    return f"cosignature/v1\ntime {timestamp}\n{body}".encode()
