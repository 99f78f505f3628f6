from __future__ import annotations

import json
from hashlib import sha256
from typing import TYPE_CHECKING, Any

import pyarrow.parquet as pq
import pytest
from tests.segments.example import LEDGER, Log, many

from scribe_ledger.errors import InvalidRequest, SerializationError, StorageError
from scribe_ledger.merkle.hashing import hash_leaf
from scribe_ledger.merkle.tree import root_of
from scribe_ledger.segments.columns import Group
from scribe_ledger.segments.schema import GROUP_ROWS, GROUP_VALUE_BYTES
from scribe_ledger.segments.segment import Segment
from scribe_ledger.segments.writing import gather, seal

if TYPE_CHECKING:
    from pathlib import Path

pytestmark = pytest.mark.storage


def test_segment_describes_what_was_sealed(tmp_path: Path) -> None:
    log = Log(first_index=7)
    log.configure(b"{}")
    log.put(b"b", b"one")
    log.put(b"a", b"two", content_type="text/plain", metadata={"team": "red"})
    log.put(b"b", b"three")
    log.delete(b"a")
    with log.seal(tmp_path) as sealed:
        content = sealed.path.read_bytes()
    in_file_order = [log.entries[at].leaf.hash() for at in (0, 4, 2, 3, 1)]
    digest = sha256(content)
    assert sealed.segment == Segment(
        segment_id=f"{7:020d}-{11:020d}-{digest.hexdigest()}",
        first_index=7,
        last_index=11,
        min_key=b"",
        max_key=b"b",
        count=5,
        size=len(content),
        log_bytes=sum(map(len, log.leaves())) + len(b"{}" + b"one" + b"two" + b"three"),
        path=f"segments/{7:020d}-{11:020d}-{digest.hexdigest()}.parquet",
        sha256=digest.digest(),
        merkle_root=root_of(in_file_order),
        timestamp=log.entries[-1].leaf.timestamp,
    )


def test_file_goes_when_it_is_closed_and_nothing_else_stays(tmp_path: Path) -> None:
    with many(3).seal(tmp_path) as sealed:
        assert [sealed.path] == [*tmp_path.iterdir()]
    assert [*tmp_path.iterdir()] == []


def test_a_moved_file_stays_where_it_went(tmp_path: Path) -> None:
    with many(3).seal(tmp_path) as sealed:
        sealed.path.rename(tmp_path / "kept")
    assert [*tmp_path.iterdir()] == [tmp_path / "kept"]


def test_same_entries_give_the_same_bytes_however_they_are_grouped(tmp_path: Path) -> None:
    log = many(3000)
    names = set()
    for size in (1, 64, 3000):
        with seal(gather(log.groups(size)), ledger_id=LEDGER, folder=tmp_path) as sealed:
            names.add(sealed.segment.segment_id)
    assert len(names) == 1


def test_row_groups_keep_within_rows_and_bytes(tmp_path: Path) -> None:
    log = many(2 * GROUP_ROWS + 1, value_bytes=1)
    for _ in range(5):
        log.put(b"large", bytes(GROUP_VALUE_BYTES // 2))
    log.put(b"larger", bytes(3 * GROUP_VALUE_BYTES))
    for _ in range(1200):
        log.put(b"m" * 4096, b"")
    with log.seal(tmp_path) as sealed:
        file = pq.ParquetFile(sealed.path)
        sizes = []
        for number in range(file.num_row_groups):
            group = file.read_row_group(number, columns=["key", "value"])
            sizes.append((len(group), sum(len(value.as_py() or b"") for value in group.column("value"))))
            assert sum(len(key.as_py()) for key in group.column("key")) <= 5 << 20
    assert max(rows for rows, _ in sizes) == GROUP_ROWS
    assert all(size <= GROUP_VALUE_BYTES or rows == 1 for rows, size in sizes)
    assert (1, 3 * GROUP_VALUE_BYTES) in sizes
    assert len(sizes) == 8


def footer_of(path: Path) -> dict[str, Any]:
    found: dict[str, Any] = json.loads(pq.read_metadata(path).metadata[b"scribe"])
    return found


def test_footer_is_what_the_format_says(tmp_path: Path) -> None:
    log = Log()
    log.put(b"a", b"1")
    with log.seal(tmp_path) as sealed:
        assert footer_of(sealed.path) == {
            "format_version": 1,
            "ledger_id": LEDGER,
            "first_index": 0,
            "last_index": 0,
            "count": 1,
            "merkle_root": hash_leaf(log.leaves()[0]).hex(),
            "row_groups": [{"key": "YQ==", "index": 0}],
        }


def test_every_page_has_a_checksum_and_there_is_a_page_index(tmp_path: Path) -> None:
    with many(100).seal(tmp_path) as sealed:
        group = pq.read_metadata(sealed.path).row_group(0)
        content = bytearray(sealed.path.read_bytes())
    assert all(group.column(at).has_offset_index for at in range(group.num_columns))
    for at in range(group.num_columns):
        column = group.column(at)
        flipped = content.copy()
        flipped[column.data_page_offset + column.total_compressed_size - 1 - _dictionary_bytes(column)] ^= 1
        (tmp_path / "flipped").write_bytes(flipped)
        with pytest.raises(OSError, match=r"checksum|CRC|crc"):
            pq.read_table(tmp_path / "flipped", page_checksum_verification=True)


def _dictionary_bytes(column: Any) -> int:
    """``total_compressed_size`` counts the dictionary page, which stands before the data."""
    return int(column.data_page_offset - column.dictionary_page_offset) if column.dictionary_page_offset else 0


@pytest.mark.parametrize(("compression", "level"), [("zstd", 0), ("zstd", 9), ("gzip", 0), ("gzip", 9), (None, 6)])
def test_codec_and_level_decide_the_size_and_nothing_else(tmp_path: Path, compression: Any, level: int) -> None:
    log = many(500)
    with log.seal(tmp_path, compression=compression, level=level) as sealed:
        value = pq.read_metadata(sealed.path).row_group(0).column(13)
        assert value.path_in_schema == "value"
        assert value.compression == {"zstd": "ZSTD", "gzip": "GZIP", None: "UNCOMPRESSED"}[compression]
        assert (value.total_compressed_size < value.total_uncompressed_size / 4) is (compression is not None)
        table = pq.read_table(sealed.path).sort_by("index")
    assert table.column("value").to_pylist() == [written.value for written in log.entries]


def test_pace_is_called_between_pieces(tmp_path: Path) -> None:
    calls: list[str] = []
    columns = gather(many(5000).groups(), pace=lambda: calls.append("gathered"))
    with seal(columns, ledger_id=LEDGER, folder=tmp_path, pace=lambda: calls.append("written")):
        pass
    assert min(map(calls.count, ("gathered", "written"))) >= 5


@pytest.mark.parametrize(
    ("groups", "error"),
    [
        ([], InvalidRequest),
        ([*many(10).groups(5)[1:], *many(10).groups(5)[:1]], InvalidRequest),
        ([*many(10).groups(5)[:1], *many(10).groups(5)[:1]], InvalidRequest),
        ([many(10).groups(10)[0]._replace(first_index=1)], SerializationError),
        ([many(10).groups(10)[0]._replace(values=[b""])], SerializationError),
        ([Group(0, [b"\2" + many(1).leaves()[0][1:]], [b""])], SerializationError),
        ([Group(0, [b"\1\1\5\0" + many(1).leaves()[0][4:]], [b""])], SerializationError),
        ([Group(0, [b"short"], [b""])], SerializationError),
    ],
    ids=["nothing", "backwards", "twice", "shifted", "values missing", "format", "kind", "cut"],
)
def test_what_is_no_range_of_a_log_is_refused_and_leaves_no_file(
    tmp_path: Path, groups: list[Group], error: type[Exception]
) -> None:
    with pytest.raises(error):
        seal(gather(groups), ledger_id=LEDGER, folder=tmp_path)
    assert [*tmp_path.iterdir()] == []


@pytest.mark.parametrize(("compression", "level"), [("snappy", 6), ("zstd", 10), ("gzip", -1)])
def test_unknown_compression_is_refused(tmp_path: Path, compression: str, level: int) -> None:
    with pytest.raises(InvalidRequest, match=compression):
        many(1).seal(tmp_path, compression=compression, level=level)
    assert [*tmp_path.iterdir()] == []


def test_a_disk_that_is_full_is_an_error_that_says_so_and_leaves_no_file(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    import errno
    import os

    def full(descriptor: int, data: object) -> int:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    monkeypatch.setattr("scribe_ledger.objects.temporary.write_all", full)
    with pytest.raises(StorageError, match="No space left"):
        many(10).seal(tmp_path)
    assert [*tmp_path.iterdir()] == []
