"""What a segment is written through: a Parquet writer with our settings, over a file that is hashed as it grows."""

from __future__ import annotations

from hashlib import sha256
from typing import TYPE_CHECKING, BinaryIO, Literal

from scribe_ledger.errors import InvalidRequest
from scribe_ledger.segments.ending import with_digest
from scribe_ledger.segments.schema import DICTIONARY_COLUMNS, DIGEST_COLUMNS, STATISTICS_COLUMNS, schema

if TYPE_CHECKING:
    import pyarrow as pa
    import pyarrow.parquet as pq

    from scribe_ledger.objects.temporary import TemporaryFile

Compression = Literal["zstd", "gzip"] | None

ZSTD_LEVELS = (1, 1, 1, 2, 2, 3, 3, 6, 9, 15)
"""What our levels 0 to 9 are for zstd: 6 is its default of 3, and 9 as slow as the best of gzip."""
GZIP_LEVELS = (1, 1, 2, 3, 4, 5, 6, 7, 8, 9)
BUFFER_BYTES = 1 << 20


def parquet_writer(sink: pa.NativeFile | BinaryIO, compression: Compression, level: int) -> pq.ParquetWriter:
    import pyarrow.parquet as pq

    if compression not in ("zstd", "gzip", None) or not 0 <= level <= 9:
        raise InvalidRequest(f"there is no compression {compression!r} of level {level}")
    names = [name for name in schema().names if name != "metadata" and name not in DIGEST_COLUMNS]
    names += ["metadata.key_value.key", "metadata.key_value.value"]
    levels = ZSTD_LEVELS if compression == "zstd" else GZIP_LEVELS
    codecs = {**dict.fromkeys(names, compression or "none"), **dict.fromkeys(DIGEST_COLUMNS, "none")}
    return pq.ParquetWriter(
        sink,
        schema(),
        version="2.6",
        compression=codecs,
        compression_level=dict.fromkeys(names, levels[level]) if compression else None,
        use_dictionary=DICTIONARY_COLUMNS,
        write_statistics=STATISTICS_COLUMNS,
        write_page_index=True,
        write_page_checksum=True,
        store_schema=False,
    )


def buffered(sink: Sink) -> pa.NativeFile:
    """What the writer is given: page by page it would ask for the interpreter's lock, which others want as well."""
    import pyarrow as pa

    return pa.BufferedOutputStream(pa.PythonFile(sink, mode="w"), BUFFER_BYTES)


class Sink:
    """Where the Parquet writer writes: the file, its digest and its size."""

    closed = False

    def __init__(self, file: TemporaryFile) -> None:
        self._file = file
        self._held: bytearray | None = None
        self.sha256 = sha256()
        self.size = 0

    def write(self, data: bytes) -> int:
        if self._held is not None:
            self._held += data
        else:
            self._file.write(data)
            self.sha256.update(data)
            self.size += len(data)
        return len(data)

    def hold_back(self) -> None:
        """Keep what is written from here on, the page index and the footer, until ``release``."""
        self._held = bytearray()

    def release(self) -> None:
        held, self._held = bytes(self._held or b""), None
        self.write(with_digest(held))

    def tell(self) -> int:
        return self.size + len(self._held or b"")

    def flush(self) -> None:
        """Nothing is buffered."""

    def writable(self) -> bool:
        return True

    def readable(self) -> bool:
        return False

    def seekable(self) -> bool:
        return False

    def close(self) -> None:
        """The file stays open: its owner closes it."""
