"""``Description``: what a snapshot says of itself, the same on disk (``meta.json``) and on the wire (the header)."""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import Any, NamedTuple

import orjson

from scribe_ledger.consensus.membership import Membership
from scribe_ledger.errors import Corruption, SerializationError

FORMAT = 1
FULL, INCREMENTAL = "full", "incremental"
MAX_FILES = 100_000
_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,99}")
_ID = re.compile(r"[0-9]{20}-[0-9a-f]{16}")
_LEDGER_ID = re.compile(r"[0-9a-f]{32}")


class File(NamedTuple):
    """A file of a snapshot."""

    name: str
    size: int
    sha256: bytes


@dataclass(frozen=True, slots=True)
class Description:
    """Its position, root and membership are those of the same moment."""

    snapshot_id: str
    """The position, in 20 digits, and random digits: two copies of one position have other files."""
    kind: str
    ledger_id: str
    position: int
    term: int
    """Of Raft's entry at the position."""
    size: int
    """Entries of the ledger."""
    root: bytes
    manifest_version: int
    manifest_digest: bytes
    membership: bytes
    """The record, as of this position and term."""
    files: tuple[File, ...]
    made_at: int
    """Milliseconds since 1970."""

    @property
    def total_bytes(self) -> int:
        return sum(file.size for file in self.files)

    def to_json(self) -> dict[str, Any]:
        return {
            "format": FORMAT,
            "id": self.snapshot_id,
            "kind": self.kind,
            "ledger_id": self.ledger_id,
            "position": self.position,
            "term": self.term,
            "size": self.size,
            "root": self.root.hex(),
            "manifest_version": self.manifest_version,
            "manifest_digest": self.manifest_digest.hex(),
            "made_at": self.made_at,
            "bytes": self.total_bytes,
            "membership": orjson.loads(self.membership),
            "files": [{"name": each.name, "bytes": each.size, "sha256": each.sha256.hex()} for each in self.files],
        }

    def encode(self) -> bytes:
        return orjson.dumps(self.to_json(), option=orjson.OPT_INDENT_2 | orjson.OPT_APPEND_NEWLINE)

    @classmethod
    def decode(cls, text: bytes) -> Description:
        """Reads it strictly: names of files become paths. ``SerializationError`` for what is none."""
        try:
            fields = orjson.loads(text)
            if fields["format"] != FORMAT:
                raise SerializationError(
                    f"the snapshot has format {fields['format']!r:.20}, this program reads {FORMAT}",
                    hint="use the same version of scribe-ledger on all nodes",
                )
            found = cls(
                fields["id"],
                fields["kind"],
                fields["ledger_id"],
                fields["position"],
                fields["term"],
                fields["size"],
                bytes.fromhex(fields["root"]),
                fields["manifest_version"],
                bytes.fromhex(fields["manifest_digest"]),
                orjson.dumps(fields["membership"]),
                tuple(File(each["name"], each["bytes"], bytes.fromhex(each["sha256"])) for each in fields["files"]),
                fields["made_at"],
            )
            found._check()
        except (KeyError, TypeError, ValueError, Corruption) as error:
            raise SerializationError(f"the description of a snapshot cannot be read: {error}") from error
        return found

    def _check(self) -> None:
        membership = Membership.decode(self.membership)
        if (membership.index, membership.term) != (self.position, self.term):
            raise ValueError("its membership is of another position")
        if self.kind not in (FULL, INCREMENTAL) or not _LEDGER_ID.fullmatch(self.ledger_id):
            raise ValueError(f"the kind is {self.kind!r:.20}, the ledger's id {self.ledger_id!r:.40}")
        if not _ID.fullmatch(self.snapshot_id) or int(self.snapshot_id[:20]) != self.position:
            raise ValueError(f"{self.snapshot_id!r:.60} is no id at position {self.position}")
        names = [file.name for file in self.files]
        if len(set(names)) != len(names) or not 1 <= len(names) <= MAX_FILES:
            raise ValueError("it has no files, too many, or one twice")
        for name in names:
            if not _NAME.fullmatch(name):
                raise ValueError(f"{name!r:.60} is no name of a file")
        numbers = [self.position, self.term, self.size, self.manifest_version, self.made_at]
        for number in (*numbers, *(file.size for file in self.files)):
            if type(number) is not int or not 0 <= number < 1 << 64:
                raise ValueError(f"{number!r:.40} is no count")
        if any(len(digest) != 32 for digest in (self.root, self.manifest_digest, *(f.sha256 for f in self.files))):
            raise ValueError("a digest has not 32 bytes")
