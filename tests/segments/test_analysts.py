"""A segment is a plain Parquet file to those who know nothing of this program."""

from __future__ import annotations

import datetime
from typing import TYPE_CHECKING

import duckdb
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from tests.segments.example import Log

from scribe_ledger.ledger.transfer import parquet as export
from scribe_ledger.segments.schema import schema

if TYPE_CHECKING:
    from pathlib import Path

pytestmark = pytest.mark.storage


@pytest.fixture
def files(tmp_path: Path) -> Path:
    """Two segments, in a folder of their own."""
    for first, compression in ((0, "zstd"), (6, "gzip")):
        log = Log(first)
        log.configure(b"{}")
        log.put(b"model/a", b'{"loss": 0.5}', content_type="application/json", metadata={"team": "red", "run": "7"})
        log.put(b"model/b", b"\0\xff")
        log.put(b"model/a", b'{"loss": 0.25}', content_type="application/json")
        log.put(b"weights", b"", blob_size=1 << 20)
        log.delete(b"model/b")
        with log.seal(tmp_path, compression=compression) as sealed:
            sealed.path.rename(tmp_path / f"{first}.parquet")
    return tmp_path


def test_duckdb_answers_questions(files: Path) -> None:
    with duckdb.connect() as database:
        database.execute("SET TimeZone = 'UTC'")
        entries = f"read_parquet('{files}/*.parquet')"
        kinds = database.sql(f"SELECT kind, count(*) FROM {entries} GROUP BY kind ORDER BY kind").fetchall()
        assert kinds == [("config", 2), ("delete", 2), ("put", 8)]
        latest = database.sql(
            f"SELECT decode(key), version, json_extract(decode(value), '$.loss')::DOUBLE, content_type FROM {entries}"
            " WHERE content_type = 'application/json'"
            " QUALIFY row_number() OVER (PARTITION BY key ORDER BY index DESC) = 1"
        ).fetchall()
        assert latest == [("model/a", 2, 0.25, "application/json")]
        fields = database.sql(
            "SELECT metadata['team'], previous, size, epoch_ms(timestamp), hex(sha256) = upper(sha256(value))"
            f" FROM {entries} WHERE index = 1"
        ).fetchall()
        assert fields == [("red", None, 13, 1_700_000_000_001, True)]
        large = database.sql(
            f"SELECT value IS NULL, chunk_root IS NOT NULL, size FROM {entries} WHERE index = 10"
        ).fetchall()
        assert large == [(True, True, 1 << 20)]


def test_pyarrow_alone_reads_it_and_prunes_by_statistics(files: Path) -> None:
    table = pq.read_table(files / "0.parquet", filters=[("key", "==", b"model/a")], page_checksum_verification=True)
    assert table.column("index").to_pylist() == [3, 1]
    assert table.column("metadata").to_pylist() == [[], [("run", "7"), ("team", "red")]]
    time = table.column("timestamp").to_pylist()[0]
    assert time == datetime.datetime.fromtimestamp(1_700_000_000.003, tz=datetime.UTC)
    group = pq.read_metadata(files / "0.parquet").row_group(0)
    statistics = {group.column(at).path_in_schema: group.column(at).statistics for at in range(group.num_columns)}
    assert (statistics["key"].min, statistics["key"].max) == (b"", b"weights")
    assert (statistics["index"].min, statistics["index"].max) == (0, 5)
    assert statistics["value"] is None


def test_columns_are_those_of_an_export_without_parts() -> None:
    exported = {field.name: field.type for field in export.SCHEMA if field.name != "part"}
    assert {field.name: field.type for field in schema()} == exported
    assert [field.name for field in schema()][-2:] == ["index", "value"]
    assert pa.types.is_binary(schema().field("value").type)
