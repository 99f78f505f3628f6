"""The schema of a segment and the constants of its format. ``docs/reference/formats.md`` has it in words.

A point read needs ``index`` and ``value`` only. They stand last and side by side, so that one range of the file holds
both. A column that no row may leave out is required, and takes no bytes for saying so.
"""

from __future__ import annotations

from functools import cache
from typing import TYPE_CHECKING

from scribe_ledger.model import Kind

if TYPE_CHECKING:
    import pyarrow as pa

FORMAT_VERSION = 1
FOOTER_KEY = "scribe"
"""The key of our own JSON among the metadata of the Parquet footer."""
GROUP_ROWS = 8192
GROUP_VALUE_BYTES = 1 << 20
"""A row group holds at most so many bytes of values, or one value that is larger."""
GROUP_LEAF_BYTES = 4 << 20
"""The same for its leaves: what bounds the memory of a reader where keys or metadata are large."""

KIND_NAMES = {Kind.PUT: "put", Kind.DELETE: "delete", Kind.CONFIG: "config"}
POINT_COLUMNS = ("index", "value")
DICTIONARY_COLUMNS = ["kind", "version", "timestamp", "previous", "content_type", "size"]
STATISTICS_COLUMNS = ["key", "version", "timestamp", "index"]
DIGEST_COLUMNS = ("sha256", "chunk_root", "leaf_hash")
"""Never compressed: there is nothing to gain."""


@cache
def schema() -> pa.Schema:
    import pyarrow as pa

    return pa.schema(
        [
            pa.field("kind", pa.string(), nullable=False),
            pa.field("key", pa.binary(), nullable=False),
            pa.field("version", pa.uint64(), nullable=False),
            pa.field("timestamp", pa.timestamp("ms", tz="UTC"), nullable=False),
            pa.field("previous", pa.uint64()),
            pa.field("content_type", pa.string(), nullable=False),
            pa.field("metadata", pa.map_(pa.string(), pa.string()), nullable=False),
            pa.field("size", pa.uint64(), nullable=False),
            pa.field("sha256", pa.binary(32), nullable=False),
            pa.field("chunk_root", pa.binary(32)),
            pa.field("leaf_hash", pa.binary(32), nullable=False),
            pa.field("index", pa.uint64(), nullable=False),
            pa.field("value", pa.binary()),
        ]
    )
