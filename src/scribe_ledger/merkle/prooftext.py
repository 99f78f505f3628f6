"""Proofs as text that stands alone: a file, a message or a column is enough to check them, years later and offline.

``Proof`` is a C2SP tlog-proof (https://c2sp.org/tlog-proof) whose extra data is the leaf, so that any tile-log tool can
check it; the other two are in the same manner. There is one text for each proof: ``parse`` refuses every other
spelling, and ``str(X.parse(text)) == text``. Parsing proves nothing; ``scribe_ledger.verify`` does.
"""

from __future__ import annotations

from binascii import b2a_base64
from dataclasses import dataclass
from functools import cached_property
from itertools import takewhile
from typing import TYPE_CHECKING, Any, NamedTuple, TypeVar

from scribe_ledger.errors import SerializationError, VerificationError
from scribe_ledger.merkle.checkpoint import Checkpoint
from scribe_ledger.merkle.leaf import Leaf, decode_leaf
from scribe_ledger.merkle.text import decode_base64, decode_hashes, encode_base64, parse_decimal

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator

_T = TypeVar("_T")

PROOF_HEADER = "c2sp.org/tlog-proof@v1"
HISTORY_HEADER = "scribe-ledger/history-proof@v1"
CONSISTENCY_HEADER = "scribe-ledger/consistency-proof@v1"
MAX_HASHES = 64
"""No tree with 64-bit indexes is higher; a longer list is refused before it is decoded."""


class Inclusion(NamedTuple):
    """One leaf with its place and audit path, under a checkpoint that is given elsewhere."""

    index: int  # type: ignore[assignment]  # the field, not the method of tuple
    leaf_bytes: bytes
    hashes: tuple[bytes, ...]

    @property
    def leaf(self) -> Leaf:
        return _decode(self.leaf_bytes)


@dataclass(frozen=True)
class Proof:
    """Shows that one entry is in the log that a checkpoint is the head of."""

    index: int
    leaf_bytes: bytes
    hashes: tuple[bytes, ...]
    checkpoint: Checkpoint

    @classmethod
    def parse(cls, text: str) -> Proof:
        reader = _Reader(text, PROOF_HEADER)
        inclusion = reader.take_inclusion()
        return cls(*inclusion, reader.take_checkpoint())

    @cached_property
    def leaf(self) -> Leaf:
        """The entry that is proven, decoded when first asked for."""
        return _decode(self.leaf_bytes)

    def to_json(self) -> dict[str, Any]:
        """The proof in parts, bytes in lower-case hex."""
        return {
            "root_hash": self.checkpoint.root.hex(),
            "siblings": [sibling.hex() for sibling in self.hashes],
            "index": self.index,
            "tree_size": self.checkpoint.size,
            "leaf": self.leaf_bytes.hex(),
        }

    def __str__(self) -> str:
        return proof_text(self.index, self.leaf_bytes, self.hashes, self.checkpoint)


@dataclass(frozen=True)
class HistoryProof:
    """Shows all versions of a key from one entry back to its first, newest first, under one checkpoint."""

    entries: tuple[Inclusion, ...]
    checkpoint: Checkpoint

    @classmethod
    def parse(cls, text: str) -> HistoryProof:
        reader = _Reader(text, HISTORY_HEADER)
        entries = [reader.take_inclusion()]
        while reader.has_more():
            entries.append(reader.take_inclusion())
        return cls(tuple(entries), reader.take_checkpoint())

    def proofs(self) -> list[Proof]:
        """The same as proofs that stand alone, newest first."""
        return [Proof(*entry, self.checkpoint) for entry in self.entries]

    def __str__(self) -> str:
        return "".join(history_pieces(self.entries, self.checkpoint))


@dataclass(frozen=True)
class ConsistencyProof:
    """Shows that the log at one size begins with all of the log at an earlier size, given a checkpoint of each."""

    old_size: int
    new_size: int
    hashes: tuple[bytes, ...]

    @classmethod
    def parse(cls, text: str) -> ConsistencyProof:
        reader = _Reader(text, CONSISTENCY_HEADER)
        old_size, new_size = reader.take_number("old"), reader.take_number("new")
        hashes = reader.take_hashes()
        reader.finish()
        return cls(old_size, new_size, hashes)

    def __str__(self) -> str:
        return f"{CONSISTENCY_HEADER}\nold {self.old_size}\nnew {self.new_size}\n{_hash_lines(self.hashes)}"


def proof_text(index: int, leaf_bytes: bytes, hashes: Iterable[bytes], checkpoint: Checkpoint) -> str:
    """The text of a ``Proof``, for those who make so many that an object for each is too much."""
    return f"{PROOF_HEADER}\n{_inclusion_text(index, leaf_bytes, hashes)}\n{checkpoint.text}"


def history_pieces(entries: Iterable[Inclusion], checkpoint: Checkpoint) -> Iterator[str]:
    """The text of a ``HistoryProof`` in pieces, made as the entries come: a key may have more versions than fit."""
    yield f"{HISTORY_HEADER}\n"
    for entry in entries:
        yield _inclusion_text(*entry)
    yield f"\n{checkpoint.text}"


def _decode(leaf_bytes: bytes) -> Leaf:
    try:
        return decode_leaf(leaf_bytes)
    except SerializationError as error:
        raise VerificationError(f"the leaf in the proof is malformed: {error}") from error


def _inclusion_text(index: int, leaf_bytes: bytes, hashes: Iterable[bytes]) -> str:
    return f"extra {encode_base64(leaf_bytes)}\nindex {index}\n{_hash_lines(hashes)}"


def _hash_lines(hashes: Iterable[bytes]) -> str:
    return b"".join([b2a_base64(value) for value in hashes]).decode()


class _Reader:
    """Takes a proof text apart from top to bottom: lines up to the empty one, then the checkpoint."""

    def __init__(self, text: str, header: str) -> None:
        if not text.startswith(header + "\n"):
            raise VerificationError(f"the text does not begin as a proof of this kind: {header}")
        head, separator, self._checkpoint = text.partition("\n\n")
        if not separator and head.endswith("\n"):
            head = head[:-1]  # without a checkpoint the last line ends the text
        elif not separator:
            raise VerificationError("the proof is cut off in the middle of a line")
        self._has_checkpoint = bool(separator)
        self._lines = head.split("\n")
        self._at = 1

    def has_more(self) -> bool:
        return self._at < len(self._lines)

    def take_inclusion(self) -> Inclusion:
        leaf_bytes = self._take("extra", decode_base64)
        return Inclusion(self.take_number("index"), leaf_bytes, self.take_hashes())

    def take_number(self, word: str) -> int:
        return self._take(word, parse_decimal)

    def take_hashes(self) -> tuple[bytes, ...]:
        """All lines of one word, which is what tells a hash from a field."""
        lines = self._lines[self._at : self._at + MAX_HASHES + 1]
        if " " in "".join(lines):
            lines = [*takewhile(lambda line: " " not in line, lines)]
        self._at += len(lines)
        if len(lines) > MAX_HASHES:
            raise VerificationError(f"the proof has {len(lines)} hashes, more than any tree needs")
        try:
            return decode_hashes(lines)
        except ValueError as error:
            raise VerificationError(f"the proof is malformed: {error}") from error

    def take_checkpoint(self) -> Checkpoint:
        self._check_all_taken()
        if not self._has_checkpoint:
            raise VerificationError("the proof has no checkpoint")
        return Checkpoint.parse(self._checkpoint)

    def finish(self) -> None:
        self._check_all_taken()
        if self._has_checkpoint:
            raise VerificationError("the proof goes on after its last hash")

    def _take(self, word: str, decode: Callable[[str], _T]) -> _T:
        line = self._lines[self._at] if self.has_more() else ""
        if not line.startswith(f"{word} "):
            raise VerificationError(f"the proof has {line[:40]!r} where its {word} line should stand")
        self._at += 1
        try:
            return decode(line[len(word) + 1 :])
        except ValueError as error:
            raise VerificationError(f"the {word} line of the proof is malformed: {error}") from error

    def _check_all_taken(self) -> None:
        if self.has_more():
            raise VerificationError(f"the proof has a line too many: {self._lines[self._at][:40]!r}")
