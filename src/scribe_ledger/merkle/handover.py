"""Handovers: the signed text by which a log that lost its key goes on under a new one.

A handover stands between two epochs of one ledger. It carries the last head that the old key signed, the new key, and
that same head signed by the new key. The new key signs the whole; the old key too, if the operator still has it. Its
first line holds spaces, which no origin may, so that no signature of a handover is ever one of a checkpoint.

What the old key's signature adds, and what it means where it is missing, is said at ``verify.epoch``.
"""

from __future__ import annotations

import re
from dataclasses import dataclass

from scribe_ledger.errors import InvalidRequest, SerializationError, VerificationError
from scribe_ledger.merkle.checkpoint import Checkpoint, sign_checkpoint
from scribe_ledger.merkle.note import Note, Signer, Verifier, sign_note

HEADER = "scribe-ledger epoch v1"
MAX_EPOCH = 10**10 - 1
_EPOCH_OF = re.compile(r"(\S+)/e([1-9][0-9]{0,9})")
_FIELDS = re.compile(rf"{HEADER}\nledger ([0-9a-f]{{32}})\nepoch ([1-9][0-9]{{0,9}})\nkey (\S+)\nafter (\S+)")


@dataclass(frozen=True, slots=True)
class Handover:
    """The beginning of one epoch; ``text`` is the whole signed note."""

    ledger_id: str
    epoch: int
    key: Verifier
    """The key of the new epoch, whose name is the new origin."""
    after: Verifier
    """The key of the epoch before."""
    head: Checkpoint
    """The last head of the epoch before. The log goes on from there."""
    first: Checkpoint
    """The same size and root under the new origin."""
    text: str

    @classmethod
    def parse(cls, text: str) -> Handover:
        """Reads a handover strictly, without checking any signature."""
        body = Note.parse(text).body
        try:
            fields, *checkpoints = body.removesuffix("\n").split("\n\n")
            found = _FIELDS.fullmatch(fields)
            if found is None or len(checkpoints) != 4:
                raise ValueError("its fields are not those of a handover")
            ledger_id, epoch, key, after = found.groups()
            head, first = ("\n\n".join(checkpoints[at : at + 2]) + "\n" for at in (0, 2))
            return cls(
                ledger_id,
                int(epoch),
                Verifier.parse(key),
                Verifier.parse(after),
                Checkpoint.parse(head),
                Checkpoint.parse(first),
                text,
            )
        except (ValueError, SerializationError) as error:
            raise VerificationError(f"the handover is malformed: {error}") from error

    def verify(self, old: Verifier) -> None:
        """Every signature that must be there holds: the old key's on its last head, the new one's on the whole."""
        if self.after != old:
            raise VerificationError(f"the handover is from the key {self.after}, not from {old}")
        if self.key.name != next_origin(old.name, self.epoch - 1):
            raise VerificationError(f"the handover from {old.name!r} to epoch {self.epoch} is to {self.key.name!r}")
        self.head.verify(old)
        self.first.verify(self.key)
        if (self.head.size, self.head.root) != (self.first.size, self.first.root):
            raise VerificationError(f"epoch {self.epoch} does not begin where the one before it ended")
        note = Note.parse(self.text)
        note.verify(self.key)
        if self.is_endorsed:
            note.verify(old)
        for signature in note.signatures:  # nobody else signs one: another is an altered line of these two
            if not signature.is_by(self.key) and not signature.is_by(old):
                raise VerificationError(f"the handover has a signature by {signature.name!r}, which is neither key")
        if Handover.parse(self.text) != self:
            raise VerificationError("the handover's fields are not those of its text")

    @property
    def is_endorsed(self) -> bool:
        """Whether there is a line by the old key; ``verify`` has checked it."""
        return any(signature.is_by(self.after) for signature in Note.parse(self.text).signatures)

    def __str__(self) -> str:
        return self.text


def sign_handover(
    ledger_id: str, epoch: int, head: Checkpoint, *, after: Verifier, new: Signer, old: Signer | None = None
) -> Handover:
    """The handover to an epoch; ``old`` is the old key, where it is at hand."""
    if not 1 <= epoch <= MAX_EPOCH:
        raise InvalidRequest(f"there is no epoch {epoch}")
    if old is not None and old.verifier != after:
        raise InvalidRequest(f"the key {old.verifier} is not {after}", hint="give the key of the epoch that ends")
    first = sign_checkpoint(new, head.size, head.root)
    fields = f"{HEADER}\nledger {ledger_id}\nepoch {epoch}\nkey {new.verifier}\nafter {after}\n"
    note = sign_note(f"{fields}\n{head.text}\n{first.text}", *([new] if old is None else [new, old]))
    handover = Handover.parse(str(note))
    handover.verify(after)
    return handover


def base_origin(origin: str, epoch: int) -> str:
    """The ledger's name without that of its epoch."""
    return origin.removesuffix(f"/e{epoch}") if epoch else origin


def may_be_later(origin: str, than: str) -> bool:
    """Whether an origin looks like that of a later epoch of the same name."""
    name = _EPOCH_OF.fullmatch(origin)
    return name is not None and origin != than and than in (name[1], f"{name[1]}/e{int(name[2]) - 1}")


def next_origin(origin: str, epoch: int) -> str:
    """The origin of the epoch that follows one."""
    return f"{base_origin(origin, epoch)}/e{epoch + 1}"
