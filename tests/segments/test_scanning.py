from __future__ import annotations

from hashlib import sha256
from typing import TYPE_CHECKING, Any

import pytest
from hypothesis import HealthCheck, given, settings
from tests.segments.example import LEDGER, CountingStore, Log, logs, many

from scribe_ledger.errors import Corruption, Unavailable
from scribe_ledger.merkle.hashing import hash_leaf
from scribe_ledger.model import Kind
from scribe_ledger.segments.checking import check_segment
from scribe_ledger.segments.ending import with_digest
from scribe_ledger.segments.scanning import SegmentMissing, download, open_segment

if TYPE_CHECKING:
    from pathlib import Path

    from scribe_ledger.segments.segment import Segment

pytestmark = pytest.mark.storage


def sealed_bytes(log: Log, folder: Path) -> tuple[bytes, Segment]:
    with log.seal(folder) as sealed:
        return sealed.path.read_bytes(), sealed.segment


@settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(log=logs())
def test_whatever_is_sealed_comes_back(tmp_path: Path, log: Log) -> None:
    content, segment = sealed_bytes(log, tmp_path)
    check_segment(content, segment, ledger_id=LEDGER)
    leaves: list[bytes] = []
    hashes: list[bytes] = []
    values: list[bytes | None] = []
    configs: list[bytes | None] = []
    with open_segment(content, segment, ledger_id=LEDGER) as opened:
        for rows in opened.rows(with_values=True, batch_rows=7):
            assert rows.first_index == log.first_index + len(leaves)
            leaves += rows.leaves
            hashes += rows.leaf_hashes
            assert rows.values is not None
            values += rows.values
        for rows in opened.rows(with_values="config"):
            assert rows.values is not None
            configs += rows.values
        assert all(rows.values is None for rows in opened.rows())
        in_order = opened.values()
    assert leaves == log.leaves()
    assert hashes == [*map(hash_leaf, leaves)]
    assert values == [written.value for written in log.entries]
    assert configs == [written.value if written.leaf.kind is Kind.CONFIG else None for written in log.entries]
    assert [in_order.value(written.leaf.index) for written in log.entries] == [each.value for each in log.entries]
    assert in_order.run(log.first_index, segment.stop) == [written.value for written in log.entries]


def test_config_values_come_from_later_row_groups_too(tmp_path: Path) -> None:
    log = Log()
    for number in range(9000):
        log.configure(b"%d" % number)
    log.put(b"a", b"not this one")
    content, segment = sealed_bytes(log, tmp_path)
    with open_segment(content, segment) as opened:
        assert len(opened.row_group_sizes()) == 2
        found = [value for rows in opened.rows(with_values="config") for value in rows.values or []]
    assert found == [b"%d" % number for number in range(9000)] + [None]


def test_a_key_with_versions_over_many_row_groups_comes_back(tmp_path: Path) -> None:
    log = many(20_000, keys=1)
    content, segment = sealed_bytes(log, tmp_path)
    check_segment(content, segment)
    with open_segment(content, segment) as opened:
        assert len(opened.row_group_sizes()) == 3
        assert [leaf for rows in opened.rows() for leaf in rows.leaves] == log.leaves()


# --- from a store --------------------------------------------------------------------------------------------


def test_download_brings_the_object_and_removes_it_again(tmp_path: Path) -> None:
    store = CountingStore(tmp_path / "store")
    spool = tmp_path / "spool"
    spool.mkdir()
    log = many(100)
    segment = store.keep(log.seal(tmp_path))
    with download(store, segment, spool) as file:
        assert file.path.parent == spool
        assert sha256(file.path.read_bytes()).digest() == segment.sha256
    assert [*spool.iterdir()] == []


def test_download_asks_for_pieces(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    store = CountingStore(tmp_path / "store")
    segment = store.keep(many(100).seal(tmp_path))
    monkeypatch.setattr("scribe_ledger.segments.scanning.DOWNLOAD_BYTES", 1000)
    with download(store, segment, tmp_path) as file:
        assert file.path.stat().st_size == segment.size
    assert max(stop - start for _, start, stop in store.reads) <= 1001
    assert len(store.reads) == -(-segment.size // 1000)


@pytest.mark.parametrize("harm", ["flip", "cut", "grow"])
def test_download_of_another_object_is_refused_with_its_name(tmp_path: Path, harm: str) -> None:
    store = CountingStore(tmp_path / "store")
    segment = store.keep(many(100).seal(tmp_path))
    path = store.root / segment.path
    content = bytearray(path.read_bytes())
    content[100] ^= 1 if harm == "flip" else 0
    path.chmod(0o600)
    path.write_bytes(content[:-1] if harm == "cut" else content + b"x" * (harm == "grow"))
    with pytest.raises(Corruption, match=segment.path):
        download(store, segment, tmp_path)
    assert not [*tmp_path.glob("*.partial")]


def test_download_of_what_is_gone_says_missing_and_of_a_store_that_is_down_says_that(tmp_path: Path) -> None:
    store = CountingStore(tmp_path / "store")
    segment = store.keep(many(3).seal(tmp_path))
    store.failure = Unavailable("the bucket is down")
    with pytest.raises(Unavailable, match="the bucket is down"):
        download(store, segment, tmp_path)
    store.failure = None
    assert store.delete(segment.path)
    with pytest.raises(SegmentMissing, match=segment.path):
        download(store, segment, tmp_path)
    assert not [*tmp_path.glob("*.partial")]


# --- what is wrong is refused --------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("field", "value"),
    [
        ("first_index", 1),
        ("last_index", 7),
        ("count", 8),
        ("size", 7),
        ("log_bytes", 7),
        ("min_key", b"x"),
        ("max_key", b"x"),
        ("sha256", bytes(32)),
        ("merkle_root", bytes(32)),
        ("timestamp", 7),
        ("segment_id", "another"),
        ("path", "segments/another.parquet"),
    ],
)
def test_a_segment_that_the_manifest_describes_otherwise_is_refused(tmp_path: Path, field: str, value: Any) -> None:
    content, segment = sealed_bytes(many(5), tmp_path)
    check_segment(content, segment)
    with pytest.raises(Corruption, match="segments/"):
        check_segment(content, segment._replace(**{field: value}))


def test_a_segment_of_another_ledger_is_refused(tmp_path: Path) -> None:
    content, segment = sealed_bytes(many(5), tmp_path)
    with pytest.raises(Corruption, match="of the ledger"):
        open_segment(content, segment, ledger_id="another")


def test_any_parquet_file_is_no_segment(tmp_path: Path) -> None:
    import pyarrow as pa
    import pyarrow.parquet as pq

    pq.write_table(pa.table({"index": [1]}), tmp_path / "foreign.parquet")
    content = (tmp_path / "foreign.parquet").read_bytes()
    with pytest.raises(Corruption, match="checksum"):
        open_segment(tmp_path / "foreign.parquet")
    with pytest.raises(Corruption, match="columns"):
        open_segment(with_digest(content))
    for cut in (b"", b"text", content[-8:]):
        with pytest.raises(Corruption, match=r"end as a Parquet|longer than the object"):
            open_segment(cut)
