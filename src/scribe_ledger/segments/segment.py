"""``Segment``: what the manifest says of one segment. Plain data, with its JSON form, the one that users see."""

from __future__ import annotations

from base64 import b64decode, b64encode
from typing import Any, NamedTuple

from scribe_ledger.errors import SerializationError
from scribe_ledger.objects.paths import range_of_segment_path, segment_id_of_path


class Segment(NamedTuple):
    """A segment that is complete, whether or not it is in a store or in a manifest."""

    segment_id: str
    """``<first 20 digits>-<last 20 digits>-<sha256 hex>``: the name of its object."""
    first_index: int
    last_index: int
    min_key: bytes
    max_key: bytes
    count: int  # type: ignore[assignment]  # the field, not the method of tuple
    size: int
    """Bytes of the object."""
    log_bytes: int
    """Bytes of the leaves and inline values in it, which is what it takes in the hot store."""
    path: str
    sha256: bytes
    """Of the object."""
    merkle_root: bytes
    """RFC 6962 root over the leaf hashes in file order."""
    timestamp: int
    """Milliseconds since 1970 of its last entry."""

    @classmethod
    def of_listing(cls, path: str, size: int) -> Segment | None:
        """What can be told of an object without reading it; None if it has no segment's name. Its root is empty."""
        named = range_of_segment_path(path)
        if named is None:
            return None
        first, last, digest = named
        return cls(
            segment_id=segment_id_of_path(path),
            first_index=first,
            last_index=last,
            min_key=b"",
            max_key=b"",
            count=last - first + 1,
            size=size,
            log_bytes=0,
            path=path,
            sha256=digest,
            merkle_root=b"",
            timestamp=0,
        )

    @property
    def stop(self) -> int:
        """The index after its last."""
        return self.last_index + 1

    def to_json(self) -> dict[str, Any]:
        return {
            "segment_id": self.segment_id,
            "first_index": self.first_index,
            "last_index": self.last_index,
            **_key_to_json("min_key", self.min_key),
            **_key_to_json("max_key", self.max_key),
            "count": self.count,
            "size": self.size,
            "log_bytes": self.log_bytes,
            "path": self.path,
            "sha256": self.sha256.hex(),
            "merkle_root": self.merkle_root.hex(),
            "timestamp": self.timestamp,
        }

    @classmethod
    def from_json(cls, fields: dict[str, Any]) -> Segment:
        try:
            return cls(
                segment_id=str(fields["segment_id"]),
                first_index=int(fields["first_index"]),
                last_index=int(fields["last_index"]),
                min_key=_key_from_json("min_key", fields),
                max_key=_key_from_json("max_key", fields),
                count=int(fields["count"]),
                size=int(fields["size"]),
                log_bytes=int(fields["log_bytes"]),
                path=str(fields["path"]),
                sha256=bytes.fromhex(fields["sha256"]),
                merkle_root=bytes.fromhex(fields["merkle_root"]),
                timestamp=int(fields["timestamp"]),
            )
        except (KeyError, TypeError, ValueError) as error:
            raise SerializationError(f"the description of a segment cannot be read: {error!r}") from error


def _key_to_json(name: str, key: bytes) -> dict[str, str]:
    """Text where the key is text, as everywhere in the API. It may be empty: system entries have no key."""
    try:
        return {name: key.decode()}
    except UnicodeDecodeError:
        return {f"{name}_base64": b64encode(key).decode()}


def _key_from_json(name: str, fields: dict[str, Any]) -> bytes:
    if name in fields:
        return str(fields[name]).encode()
    return b64decode(fields[f"{name}_base64"], validate=True)
