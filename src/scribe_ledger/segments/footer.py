"""``Footer``: what a segment says of itself, JSON among the metadata of its Parquet footer.

Its directory of row groups is our own, because the statistics of Parquet are cut or left out where keys are long.
"""

from __future__ import annotations

import json
from base64 import b64decode, b64encode
from bisect import bisect_right
from typing import TYPE_CHECKING, Any, NamedTuple

from scribe_ledger.merkle.hashing import HASH_BYTES
from scribe_ledger.segments.faults import broken
from scribe_ledger.segments.schema import FOOTER_KEY, FORMAT_VERSION, schema

if TYPE_CHECKING:
    from collections.abc import Mapping

    import pyarrow as pa

    from scribe_ledger.segments.segment import Segment

Place = tuple[bytes, int]
"""Where a row stands in the order of a file: its key, and minus its index, so that newer entries come first."""


class Footer(NamedTuple):
    ledger_id: str
    first_index: int
    last_index: int
    count: int  # type: ignore[assignment]  # the field, not the method of tuple
    merkle_root: bytes
    places: list[Place]
    """Of the first row of each row group."""

    def row_group_of(self, key: bytes, index: int) -> int:
        """The only row group that can hold this entry; -1 if none can."""
        return bisect_right(self.places, (key, -index)) - 1

    def encode(self) -> str:
        fields = {
            "format_version": FORMAT_VERSION,
            "ledger_id": self.ledger_id,
            "first_index": self.first_index,
            "last_index": self.last_index,
            "count": self.count,
            "merkle_root": self.merkle_root.hex(),
            "row_groups": [{"key": b64encode(key).decode(), "index": -inverted} for key, inverted in self.places],
        }
        return json.dumps(fields, separators=(",", ":"))


def decode_footer(path: str, metadata: Mapping[bytes, bytes] | None, *, row_groups: int, rows: int) -> Footer:
    """The footer of an object, if it agrees with itself and with the Parquet metadata beside it."""
    text = (metadata or {}).get(FOOTER_KEY.encode())
    if text is None:
        raise broken(path, f"its footer has no metadata under {FOOTER_KEY!r}")
    try:
        fields = json.loads(text)
        version = fields["format_version"]
        footer = _footer_of(fields) if version == FORMAT_VERSION else None
    except (KeyError, TypeError, ValueError) as error:
        raise broken(path, f"its footer cannot be read: {error!r}") from error
    if footer is None:
        raise broken(path, f"its format version {version} is unknown; a newer version may have written it")
    agrees = (
        len(footer.places) == row_groups
        and footer.count == rows == footer.last_index - footer.first_index + 1
        and len(footer.merkle_root) == HASH_BYTES
        and all(first < second for first, second in zip(footer.places, footer.places[1:], strict=False))
    )
    if not agrees:
        raise broken(path, "its footer contradicts itself")
    return footer


def check_schema(path: str, found: pa.Schema) -> None:
    """Raise Corruption unless the columns are those of a segment, each of its type."""
    if not found.equals(schema(), check_metadata=False):
        raise broken(path, "its columns are not those of a segment")


def check_footer(path: str, footer: Footer, *, ledger_id: str | None, segment: Segment | None) -> None:
    """Raise Corruption unless the footer is of this ledger, and is what the manifest says of the segment."""
    if ledger_id is not None and footer.ledger_id != ledger_id:
        raise broken(path, f"it is of the ledger {footer.ledger_id}, not of {ledger_id}")
    if segment is None:
        return
    said = (segment.first_index, segment.last_index, segment.count)
    if said != (footer.first_index, footer.last_index, footer.count) or segment.merkle_root not in (
        b"",  # only its name is known
        footer.merkle_root,
    ):
        raise broken(path, "its footer has another range or root than the manifest says")


def _footer_of(fields: dict[str, Any]) -> Footer:
    return Footer(
        ledger_id=str(fields["ledger_id"]),
        first_index=int(fields["first_index"]),
        last_index=int(fields["last_index"]),
        count=int(fields["count"]),
        merkle_root=bytes.fromhex(fields["merkle_root"]),
        places=[(b64decode(group["key"], validate=True), -int(group["index"])) for group in fields["row_groups"]],
    )
