"""A small segment with every byte changed and every length cut: refused, or read as if nothing had happened."""

from __future__ import annotations

from hashlib import sha256
from typing import TYPE_CHECKING, Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from tests.segments.example import LEDGER, CountingStore, Log

from scribe_ledger.errors import Corruption
from scribe_ledger.segments.checking import check_segment
from scribe_ledger.segments.ending import with_digest
from scribe_ledger.segments.reading import ColdReader
from scribe_ledger.segments.scanning import open_segment
from scribe_ledger.segments.schema import schema

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from scribe_ledger.segments.segment import Segment

pytestmark = [pytest.mark.storage, pytest.mark.no_cover]


def small_log() -> Log:
    log = Log()
    log.configure(b'{"deletes":"tombstone"}')
    log.put(b"a", b"first")
    log.put(b"b", b"", content_type="text/plain")
    log.put(b"a", b"second", metadata={"team": "red"})
    log.put(b"c", b"large", blob_size=300_000)
    log.delete(b"b")
    return log


@pytest.fixture
def store(tmp_path: Path) -> CountingStore:
    return CountingStore(tmp_path / "store")


def replace(store: CountingStore, segment: Segment, content: bytes) -> None:
    path = store.root / segment.path
    path.chmod(0o600)
    path.write_bytes(content)


def harmed(content: bytes) -> list[bytes]:
    """Every byte with one bit changed, and what is left of the file when it is cut."""
    flipped = [content[:at] + bytes([byte ^ 1 << at % 8]) + content[at + 1 :] for at, byte in enumerate(content)]
    return flipped + [content[:size] for size in [*range(0, len(content), 7), *range(len(content) - 64, len(content))]]


def test_cold_read_of_a_harmed_object_is_right_or_refused(store: CountingStore, tmp_path: Path) -> None:
    log = small_log()
    with log.seal(tmp_path, compression=None) as sealed:
        content, segment = sealed.path.read_bytes(), sealed.segment
        assert store.put_file(segment.path, sealed.path)
    inline = [written for written in log.entries if written.value is not None]
    refused = unseen = 0
    complaints = set()
    for wrong in harmed(content):
        replace(store, segment, wrong)
        reader = ColdReader(store, LEDGER, cache_bytes=1 << 20)
        for leaf, value in inline:
            try:
                found = reader.value(segment, leaf.key, leaf.index)
            except Corruption as error:
                complaints.add(error.message)
                refused += 1
                continue
            # what the caller does next; the value itself is right even before
            assert sha256(found).digest() == leaf.sha256
            assert found == value
            unseen += 1
    assert refused > len(content)
    assert all(segment.path in complaint for complaint in complaints)
    assert unseen  # changes in columns that a point read does not fetch


def test_scan_of_a_harmed_object_is_right_or_refused(tmp_path: Path) -> None:
    log = small_log()
    with log.seal(tmp_path) as sealed:
        content, segment = sealed.path.read_bytes(), sealed.segment
    refused = 0
    complaints = set()
    for wrong in harmed(content):
        with pytest.raises(Corruption, match=segment.path):
            check_segment(wrong, segment, ledger_id=LEDGER)
        try:
            with open_segment(wrong, segment, ledger_id=LEDGER) as opened:
                for rows in opened.rows():
                    assert rows.leaves == log.leaves()
        except Corruption as error:
            complaints.add(error.message)
            refused += 1
    assert refused > len(content) // 2
    assert all(segment.path in complaint for complaint in complaints)


# --- wrong on purpose: whole files whose checksums hold --------------------------------------------------------


def rewritten(content: bytes, change: Callable[[pa.Table], pa.Table]) -> bytes:
    table = pq.read_table(pa.BufferReader(content))
    metadata = pq.read_metadata(pa.BufferReader(content)).metadata
    sink = pa.BufferOutputStream()
    with pq.ParquetWriter(sink, schema(), write_page_checksum=True, store_schema=False) as writer:
        writer.write_table(change(table).cast(schema()))
        writer.add_key_value_metadata({"scribe": metadata[b"scribe"]})
    return with_digest(bytes(sink.getvalue()))


def with_column(name: str, change: Callable[[list[Any]], list[Any]]) -> Callable[[pa.Table], pa.Table]:
    def apply(table: pa.Table) -> pa.Table:
        at = table.schema.get_field_index(name)
        values = change(table.column(name).to_pylist())
        return table.set_column(at, schema().field(name), pa.array(values, schema().field(name).type))

    return apply


def renamed(segment: Segment, content: bytes) -> Segment:
    """The description that a forger of the object would give it."""
    digest = sha256(content)
    name = f"{segment.segment_id[:41]}-{digest.hexdigest()}"
    return segment._replace(segment_id=name, path=f"segments/{name}.parquet", size=len(content), sha256=digest.digest())


@pytest.mark.parametrize(
    ("change", "complaint"),
    [
        (with_column("value", lambda values: [*values[:1], b"forged", *values[2:]]), "does not match its digest"),
        (with_column("value", lambda values: [*values[:1], None, *values[2:]]), "has no value"),
        (with_column("value", lambda values: [b"" if value is None else value for value in values]), "has a value"),
        (with_column("leaf_hash", lambda hashes: [*hashes[1:], hashes[0]]), "leaf hash|merkle_root"),
        (with_column("timestamp", lambda times: [times[1], *times[1:]]), "leaf hash"),
        (with_column("kind", lambda kinds: [*kinds[:1], "redact", *kinds[2:]]), "kind 'redact'"),
        (with_column("content_type", lambda types: [*types[:1], "\n", *types[2:]]), "content type"),
        (with_column("index", lambda indexes: [indexes[1], *indexes[1:]]), "out of order|indexes|directory"),
        (lambda table: table.take([1, 0, 2, 3, 4, 5]), "out of order"),
        (lambda table: table.slice(1), "contradicts"),
    ],
    ids=["value", "no value", "a value", "hashes", "time", "kind", "type", "index", "order", "cut"],
)  # fmt: skip
def test_a_forged_file_is_refused(tmp_path: Path, change: Callable[[pa.Table], pa.Table], complaint: str) -> None:
    with small_log().seal(tmp_path) as sealed:
        content, segment = sealed.path.read_bytes(), sealed.segment
    same = rewritten(content, lambda table: table)
    check_segment(same, renamed(segment, same), ledger_id=LEDGER)
    forged = rewritten(content, change)
    with pytest.raises(Corruption, match=complaint):
        check_segment(forged, renamed(segment, forged), ledger_id=LEDGER)
