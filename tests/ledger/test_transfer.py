"""Export and import: what leaves one ledger arrives in another, entry for entry if asked for, or not at all."""

from __future__ import annotations

import base64
import contextlib
import io
import itertools
import json
import os
from typing import TYPE_CHECKING, Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from scribe_ledger.errors import (
    Conflict,
    Forbidden,
    NotFound,
    ScribeError,
    SerializationError,
    TooLarge,
    VerificationError,
)
from scribe_ledger.ledger.ledger import Ledger
from scribe_ledger.ledger.memory import MemoryStore
from scribe_ledger.ledger.transfer import ndjson, parquet, rows, verbatim
from scribe_ledger.ledger.transfer.exporting import export_entries
from scribe_ledger.ledger.transfer.importing import BATCH_ENTRIES, Counts, Importer
from scribe_ledger.merkle.hashing import ZERO_HASH
from scribe_ledger.model import Kind

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

    from scribe_ledger.ledger.transfer.rows import Row

pytestmark = pytest.mark.storage

FORMATS = ("ndjson", "parquet")
by_format = pytest.mark.parametrize("form", FORMATS)


def open_ledger(path: Path, **options: Any) -> Ledger:
    return Ledger.open(path, open_store=lambda _: MemoryStore(), **options)


def write(ledger: Ledger, file: Path, entries: Any = None) -> Path:
    make = ndjson.NdjsonWriter if file.suffix == ".ndjson" else parquet.ParquetWriter
    with file.open("wb") as output, make(output) as writer:
        export_entries(ledger, ledger.log() if entries is None else entries, writer)
    return file


def read(file: Path) -> Iterator[Row]:
    if file.suffix == ".parquet":
        yield from parquet.read_parquet(file)
        return
    with file.open("rb") as source:
        yield from ndjson.read_ndjson(source)


def lines(*documents: object) -> io.BytesIO:
    return io.BytesIO(b"".join(json.dumps(document).encode() + b"\n" for document in documents))


def same(source: Ledger, copy: Ledger) -> None:
    """Entry for entry, value for value; and the copy is sound in itself."""
    assert (copy.size, copy.checkpoint().root) == (source.size, source.checkpoint().root)
    for theirs, ours in zip(source.log(), copy.log(), strict=True):
        assert (ours.to_json(), ours.chunk_root, ours.value) == (theirs.to_json(), theirs.chunk_root, theirs.value)
    counts = ("entries", "keys", "live_keys", "value_bytes", "last_timestamp")
    assert [copy.stats()[name] for name in counts] == [source.stats()[name] for name in counts]
    assert copy.verify().ok


# --- verbatim --------------------------------------------------------------------------------------------------

KEYS = st.one_of(
    st.sampled_from(
        [b"a", b"b", b"\xff\xfe", "prénom".encode(), b"\x00", b"line\nbreak", b'"quoted\\"', b"\xed\xa0\x80"]
    ),
    st.binary(min_size=1, max_size=40),
)
VALUES = st.one_of(
    st.sampled_from([b"", b"v", b"text", b"\xff", b'{"value_base64":"x"}', b"x" * 100, b"y" * 5000]),
    st.binary(max_size=200),
)
METADATA = st.dictionaries(
    st.text("abcxyz-_!|", min_size=1, max_size=8), st.text(st.characters(exclude_categories=["Cc", "Cs"])), max_size=3
)
CONTENT_TYPES = st.sampled_from(["", "text/plain", "application/json; charset=utf-8"])
OPERATIONS = st.one_of(
    st.tuples(st.just("put"), KEYS, VALUES, CONTENT_TYPES, METADATA, st.booleans()),
    st.tuples(st.just("delete"), KEYS, METADATA),
    st.tuples(st.just("configure"), st.sampled_from(["overwrite", "deletes"]), st.booleans()),
    st.tuples(st.just("batch"), st.lists(st.tuples(KEYS, VALUES), max_size=5)),
)
POLICIES = {"overwrite": ("version", "forbid"), "deletes": ("tombstone", "forbid")}


def perform(ledger: Ledger, operation: Any) -> None:
    match operation:
        case "put", key, value, content_type, metadata, dedupe:
            ledger.put(key, value, content_type=content_type, metadata=metadata, dedupe=dedupe)
        case "delete", key, metadata:
            ledger.delete(key, metadata=metadata)
        case "configure", policy, strict:
            ledger.configure(**{policy: POLICIES[policy][strict]})
        case "batch", pairs:
            ledger.put_many(pairs)


@pytest.mark.no_cover
@settings(max_examples=40, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    operations=st.lists(OPERATIONS, max_size=25),
    steps=st.lists(st.integers(0, 3), min_size=1, max_size=5),
    inline_max=st.sampled_from([0, 99, 1 << 20]),
    strict=st.booleans(),
)
@by_format
def test_a_verbatim_copy_is_the_same_log(
    tmp_path: Path, form: str, operations: list[Any], steps: list[int], inline_max: int, strict: bool
) -> None:
    folder = tmp_path / os.urandom(4).hex()
    folder.mkdir()
    clock = itertools.accumulate(itertools.cycle(steps), initial=1000).__next__
    with open_ledger(folder / "source", clock=clock, inline_max=inline_max) as source:
        for operation in operations:
            with contextlib.suppress(NotFound, Forbidden):
                perform(source, operation)
        file = write(source, folder / f"file.{form}")
        with open_ledger(folder / "copy", name="copy", overwrite=POLICIES["overwrite"][strict]) as copy:
            assert copy.import_verbatim(read(file)) == source.size
            same(source, copy)
            assert copy.origin == "copy"


@by_format
def test_large_values_are_streamed_and_stay_what_they_were(tmp_path: Path, form: str) -> None:
    large, moderate = os.urandom(rows.STREAMED_BYTES * 2 + 17), os.urandom(5 << 20)
    with open_ledger(tmp_path / "source", inline_max=6 << 20) as source:
        source.put("blob", large)
        source.put("inline", moderate)
        source.put("small", b"v")
        source.put("blob", b"small now")
        file = write(source, tmp_path / f"file.{form}")
        with open_ledger(tmp_path / "copy", inline_max=10) as copy:
            copy.import_verbatim(read(file))
            same(source, copy)
            entries = list(copy.log())
            assert [entry.chunk_root != ZERO_HASH for entry in entries] == [True, False, False, False]
        with open_ledger(tmp_path / "appended") as other:
            assert Importer(other).run(read(file)) == Counts(rows=4, appended=4)
            assert other.get("blob", version=1) == large
            assert other.get("inline") == moderate


@by_format
def test_a_verbatim_copy_takes_many_rounds(tmp_path: Path, form: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(verbatim, "ROUND_ENTRIES", 7)
    monkeypatch.setattr(parquet, "GROUP_ROWS", 11)
    monkeypatch.setattr(parquet, "READ_ROWS", 3)
    told: list[int] = []
    with open_ledger(tmp_path / "source", clock=itertools.count(1000, 5).__next__) as source:
        for number in range(60):
            source.put(f"key {number % 13}", f"value {number}")
        file = write(source, tmp_path / f"file.{form}")
        with open_ledger(tmp_path / "copy") as copy:
            copy.import_verbatim(read(file), told.append)
            same(source, copy)
            copy.put("after", b"wards")
            assert copy.verify().ok
    assert told == [*range(7, 60, 7), 60]


def test_what_was_imported_is_there_after_reopening(tmp_path: Path) -> None:
    with open_ledger(tmp_path / "source") as source:
        source.put_many([(f"k{number}", b"v") for number in range(300)])
        source.configure(overwrite="forbid")
        file = write(source, tmp_path / "file.ndjson")
        with Ledger.open(tmp_path / "copy") as copy:
            copy.import_verbatim(read(file))
        with Ledger.open(tmp_path / "copy", create=False) as copy:
            same(source, copy)
            with pytest.raises(Forbidden):
                copy.put("k1", b"other")


def test_verbatim_is_for_empty_ledgers(tmp_path: Path) -> None:
    with open_ledger(tmp_path / "source") as source:
        source.put("a", b"1")
        file = write(source, tmp_path / "file.ndjson")
        with pytest.raises(Conflict, match="has 1 entry"):
            source.import_verbatim(read(file))
        assert source.size == 1


def test_verbatim_stops_if_somebody_else_writes(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(verbatim, "ROUND_ENTRIES", 1)
    with open_ledger(tmp_path / "source") as source, open_ledger(tmp_path / "copy") as copy:
        source.put("a", b"1")
        source.put("b", b"2")

        def interfering() -> Iterator[Row]:
            for number, row in enumerate(read(file)):
                if number:
                    copy.put("theirs", b"3")
                yield row

        file = write(source, tmp_path / "file.ndjson")
        with pytest.raises(Conflict, match="somebody else"):
            copy.import_verbatim(interfering())
        assert [entry.key for entry in copy.log()] == [b"a", b"theirs"]
        assert copy.verify().ok


def changed(name: str, value: object) -> Callable[[list[dict[str, Any]]], None]:
    def change(documents: list[dict[str, Any]]) -> None:
        documents[2][name] = value

    return change


def swapped(documents: list[dict[str, Any]]) -> None:
    documents[1], documents[2] = documents[2], documents[1]


def left_out(documents: list[dict[str, Any]]) -> None:
    del documents[2]


def forged(**fields: object) -> Callable[[list[dict[str, Any]]], None]:
    """A row that is consistent in itself: its leaf hash is that of its fields."""

    def change(documents: list[dict[str, Any]]) -> None:
        documents[2] |= fields
        del documents[2]["leaf_hash"]
        documents[2]["leaf_hash"] = ""
        (row,) = ndjson.read_ndjson(lines(documents[2] | {"leaf_hash": bytes(32).hex()}))
        assert row.leaf is not None
        documents[2]["leaf_hash"] = row.leaf.hash().hex()

    return change


@pytest.mark.parametrize(
    ("change", "error", "match"),
    [
        (changed("value", "other"), SerializationError, "line 3: the value"),
        (changed("sha256", bytes(32).hex()), SerializationError, "line 3"),
        (changed("timestamp", 1), SerializationError, "leaf hash"),
        (changed("leaf_hash", bytes(32).hex()), SerializationError, "leaf hash"),
        (changed("index", 7), SerializationError, "entry 7 where entry 2"),
        (changed("metadata", {"A": "b"}), SerializationError, "leaf hash"),
        (changed("metadata", {"a b": "c"}), SerializationError, "line 3"),
        (changed("leaf_hash", None), SerializationError, "all fields"),
        (changed("content_type", "text/plain"), SerializationError, "leaf hash"),
        (changed("kind", "delete"), SerializationError, "a delete has no value"),
        (swapped, SerializationError, "entry 2 where entry 1"),
        (left_out, SerializationError, "entry 3 where entry 2"),
        (forged(version=5, previous=1), VerificationError, "entry 2 does not follow"),
        (forged(timestamp=1), VerificationError, "entry 2 does not follow"),
        (forged(chunk_root=bytes(31).hex() + "01"), SerializationError, "chunk root"),
    ],
)
def test_a_row_that_does_not_hold_stops_a_verbatim_import(
    tmp_path: Path, change: Callable[[list[dict[str, Any]]], None], error: type[ScribeError], match: str
) -> None:
    with open_ledger(tmp_path / "source", clock=itertools.count(1000).__next__) as source:
        for value in (b"1", b"2", b"3", b"4"):
            source.put("key", value)
        documents = [json.loads(line) for line in write(source, tmp_path / "file.ndjson").read_bytes().splitlines()]
        change(documents)
        with open_ledger(tmp_path / "copy") as copy:
            with pytest.raises(error, match=match) as caught:
                copy.import_verbatim(ndjson.read_ndjson(lines(*documents)))
            assert copy.size == 0  # all rows are of one round
            assert "remove the folder" not in caught.value.hint
            assert copy.verify().ok
            copy.put("after", b"wards")


# --- appending -------------------------------------------------------------------------------------------------


@by_format
def test_appending_keeps_contents_and_counts(tmp_path: Path, form: str) -> None:
    with open_ledger(tmp_path / "source") as source, open_ledger(tmp_path / "other") as other:
        source.put("a", b"1", content_type="text/plain", metadata={"team": "red"})
        source.put(b"\xff", b"\xff")
        source.put("a", b"2")
        source.configure(overwrite="version")
        source.delete("a", metadata={"why": "because"})
        other.put(b"\xff", b"\xff")
        file = write(source, tmp_path / f"file.{form}")
        assert Importer(other).run(read(file)) == Counts(rows=5, appended=3, unchanged=1, skipped=1)
        assert [entry.value for entry in other.history("a")] == [b"", b"2", b"1"]
        first = other.entry("a", version=1)
        assert first is not None
        assert (first.content_type, first.metadata) == ("text/plain", {"team": "red"})
        assert next(other.history("a")).metadata == {"why": "because"}
        assert Importer(other, dedupe=False).run(itertools.islice(read(file), 1, 2)).appended == 1


@by_format
def test_the_latest_values_make_a_ledger_without_its_past(tmp_path: Path, form: str) -> None:
    with open_ledger(tmp_path / "source") as source, open_ledger(tmp_path / "other") as other:
        source.put_many([("c", b"1"), ("a", b"1"), ("b", b"1")])
        source.put("a", b"2")
        source.delete("b")
        file = write(source, tmp_path / f"file.{form}", source.scan())
        assert Importer(other).run(read(file)) == Counts(rows=2, appended=2)
        assert [(entry.key, entry.value) for entry in other.log()] == [(b"a", b"2"), (b"c", b"1")]
        assert Importer(other).run(read(file)) == Counts(rows=2, unchanged=2)


def test_deletes_of_what_is_not_there_are_passed_over(tmp_path: Path) -> None:
    with open_ledger(tmp_path / "ledger") as ledger:
        ledger.put("there", b"v")
        counts = Importer(ledger).run(
            ndjson.read_ndjson(
                lines(
                    {"kind": "delete", "key": "absent"},
                    {"kind": "delete", "key": "there"},
                    {"kind": "delete", "key": "there"},
                    {"key": "new", "value": "v"},
                    {"kind": "delete", "key": "new"},
                )
            )
        )
        assert counts == Counts(rows=5, appended=3, skipped=2)
        assert [*ledger.scan()] == []


@pytest.mark.parametrize(
    ("document", "match"),
    [
        ("not json", "not a JSON object"),
        ([], "not a JSON object"),
        ({"value": "v"}, "the key is missing"),
        ({"key": "", "value": "v"}, "the key is missing"),
        ({"key": 7, "value": "v"}, "the key is not text"),
        ({"key": "k"}, "the value is missing"),
        ({"key": "k", "value": 7}, "the value is not text"),
        ({"key": "k", "value": "v", "value_base64": "dg=="}, "both"),
        ({"key": "k", "key_base64": "aw==", "value": "v"}, "both"),
        ({"key": "k", "value_base64": "d"}, "not base64"),
        ({"key": "k", "value_base64": "dg==="}, "not base64"),
        ({"key": "k", "value": "\ud800"}, "not valid Unicode"),
        ({"key": "k", "value": "v", "kind": "epoch"}, "no kind 'epoch'"),
        ({"key": "k", "value": "v", "kind": 1}, "kind is not text"),
        ({"key": "k", "value": "v", "content-type": "x"}, "'content-type' is not known"),
        ({"key": "k", "value": "v", "content_type": "\n"}, "content type"),
        ({"key": "k", "value": "v", "metadata": {"a": 1}}, "metadata"),
        ({"key": "k", "value": "v", "metadata": [1]}, "metadata"),
        ({"key": "k", "value": "v", "metadata": {"a b": "c"}}, "metadata name"),
        ({"key": "k", "value": "v", "sha256": "zz"}, "digest in hex"),
        ({"kind": "config", "key": "k", "value": "{}"}, "no key"),
        ({"kind": "delete", "key": "k", "value": "v"}, "a delete has no value"),
    ],
)
def test_a_malformed_row_is_named_and_nothing_of_its_batch_written(
    tmp_path: Path, document: object, match: str
) -> None:
    good = [{"key": f"k{number}", "value": "v"} for number in range(BATCH_ENTRIES + 3)]
    with open_ledger(tmp_path / "ledger") as ledger:
        importer = Importer(ledger)
        with pytest.raises(ScribeError, match=match) as caught:
            importer.run(ndjson.read_ndjson(lines(*good, document)))
        assert caught.value.message.startswith(f"line {len(good) + 1}: ")
        assert caught.value.kind in {"serialization", "invalid"}
        assert ledger.size == importer.counts.rows == BATCH_ENTRIES
        assert importer.counts == Counts(rows=BATCH_ENTRIES, appended=BATCH_ENTRIES)
        resumed = Importer(ledger)
        resumed.run(ndjson.read_ndjson(lines(*good)), skip=importer.counts.rows)
        assert ledger.size == len(good)


def test_rows_are_refused_by_the_limits_of_a_ledger(tmp_path: Path) -> None:
    with open_ledger(tmp_path / "ledger") as ledger:
        with pytest.raises(TooLarge, match="line 1: the key has 4097 bytes"):
            Importer(ledger).run(ndjson.read_ndjson(lines({"key": "k" * 4097, "value": "v"})))
        ledger.configure(overwrite="forbid")
        with pytest.raises(Forbidden):
            Importer(ledger).run(ndjson.read_ndjson(lines({"key": "k", "value": "1"}, {"key": "k", "value": "2"})))
        assert ledger.size == 1


# --- NDJSON ----------------------------------------------------------------------------------------------------


def test_ndjson_is_ascii_with_text_where_it_can_be(tmp_path: Path) -> None:
    with open_ledger(tmp_path / "source", clock=lambda: 1000) as source:
        source.put("prénom", "valeur\u2028é", content_type="text/plain", metadata={"team": "rouge é"})
        source.put(b"\xff", b"\x00\xff")
        source.delete(b"\xff")
        source.put("long", b"x" * (ndjson.TEXT_BYTES + 1))
        text = write(source, tmp_path / "file.ndjson").read_text(encoding="ascii")
    first, second, third, fourth = [json.loads(line) for line in text.splitlines()]
    assert (first["key"], first["value"], first["metadata"]) == ("prénom", "valeur\u2028é", {"team": "rouge é"})
    assert (second["key_base64"], second["value_base64"]) == ("/w==", "AP8=")
    assert third.keys() == second.keys() - {"value_base64"}
    assert list(fourth)[-1] == "value_base64"


def long_line(head: str, value: bytes, tail: str) -> io.BytesIO:
    return io.BytesIO(head.encode() + base64.b64encode(value) + tail.encode())


@pytest.mark.parametrize("size", [100, 101, 102, 3000])
@pytest.mark.parametrize("line_bytes", [80, 81, 82, 83, 127])
def test_a_line_of_any_length_is_read_in_pieces(monkeypatch: pytest.MonkeyPatch, size: int, line_bytes: int) -> None:
    monkeypatch.setattr(ndjson, "LINE_BYTES", line_bytes)
    value = os.urandom(size)
    head = '{"key": "k", "metadata": {"value_base64": "no"}, "value_base64" : "'
    for tail in ('"}', '"}\n', '" } \r\n', '"}\n{"key":"next","value":"v"}\n'):
        found = []
        for row in ndjson.read_ndjson(long_line(head, value, tail)):
            assert row.metadata in ({"value_base64": "no"}, {})
            found.append((row.place, row.key, row.value if isinstance(row.value, bytes) else b"".join(row.value)))
        assert found == [("line 1", b"k", value), ("line 2", b"next", b"v")][: 1 + tail.count("next")]


@pytest.mark.parametrize("encoding", ["utf-16", "utf-16-le", "utf-16-be", "utf-32", "latin-1"])
def test_text_that_is_not_utf8_is_said_to_be_none(encoding: str) -> None:
    with pytest.raises(SerializationError, match=r"line 1: it is not UTF-8"):
        list(ndjson.read_ndjson(io.BytesIO('{"key":"é","value":"v"}\n'.encode(encoding))))


def test_a_byte_order_mark_of_utf8_is_passed_over() -> None:
    (row,) = ndjson.read_ndjson(io.BytesIO('{"key":"é","value":"v"}\n'.encode("utf-8-sig")))
    assert row.key == "é".encode()


def test_a_value_nobody_wants_is_passed_over(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(ndjson, "LINE_BYTES", 64)
    text = long_line('{"key":"k","value_base64":"', bytes(500), '"}\n{"key":"next","value":"v"}\n')
    assert [row.key for row in ndjson.read_ndjson(text)] == [b"k", b"next"]


@pytest.mark.parametrize(
    ("text", "match"),
    [
        (b'{"key":"k","value":"' + b"x" * 200 + b'"}\n', "longer than"),
        (b'{"key":"k","value":"v","value_base64":"' + b"AAAA" * 50 + b'"}\n', "both"),
        (b'{"key":"k","value_base64":"' + b"AAAA" * 50 + b'","size":1}\n', "something follows"),
        (b'{"key":"k","value_base64":"' + b"AAAA" * 50, "the file ends"),
        (b'{"key":"k","value_base64":"' + b"AAAA" * 50 + b'A"}\n', "not base64"),
        (b'{"key":"k","value_base64":"' + b"AAA=" + b"AAAA" * 50 + b'"}\n', "base64"),
        (b'{"key":"k","value_base64":"' + b"AA*A" * 50 + b'"}\n', "not base64"),
        (b'{"key":"k","value_base64":"' + b"AAAA" * 20 + b"\nAAAA" * 30 + b'"}\n', "not base64"),
    ],
)
def test_a_long_line_that_is_malformed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, text: bytes, match: str
) -> None:
    monkeypatch.setattr(ndjson, "LINE_BYTES", 64)
    with open_ledger(tmp_path / "ledger") as ledger:
        with pytest.raises(SerializationError, match=match) as caught:
            Importer(ledger).run(ndjson.read_ndjson(io.BytesIO(text)))
        assert caught.value.message.startswith("line 1: ")
        assert ledger.size == 0


def test_a_streamed_value_that_is_not_its_digest_is_not_written(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with open_ledger(tmp_path / "source") as source:
        source.put("k", bytes(rows.STREAMED_BYTES + 1))
        text = write(source, tmp_path / "file.ndjson").read_bytes()
    monkeypatch.setattr(ndjson, "LINE_BYTES", 1 << 20)
    damaged = io.BytesIO(text.replace(b"AAAA", b"AAAB", 1))
    with open_ledger(tmp_path / "ledger") as ledger:
        with pytest.raises(SerializationError, match="line 1: the value does not have"):
            Importer(ledger).run(ndjson.read_ndjson(damaged))
        assert ledger.size == 0


# --- Parquet ---------------------------------------------------------------------------------------------------


def test_parquet_reads_as_a_table(tmp_path: Path) -> None:
    with open_ledger(tmp_path / "source", clock=lambda: 1_700_000_000_000) as source:
        source.put("a", b"1", metadata={"team": "red"})
        source.delete("a")
        table = pq.read_table(write(source, tmp_path / "file.parquet"))
    first, second = table.to_pylist()
    assert (first["key"], first["value"], first["metadata"]) == (b"a", b"1", [("team", "red")])
    assert first["timestamp"].isoformat() == "2023-11-14T22:13:20+00:00"
    assert (second["kind"], second["previous"], second["value"]) == ("delete", 0, None)
    assert table.schema.field("timestamp").type == pa.timestamp("ms", tz="UTC")


def test_parquet_cells_and_row_groups_stay_small(tmp_path: Path) -> None:
    with open_ledger(tmp_path / "source") as source:
        source.put("large", bytes(3 * parquet.GROUP_BYTES))
        file = pq.ParquetFile(write(source, tmp_path / "file.parquet"))
    assert file.num_row_groups >= 3
    parts = file.read(["part", "value"]).to_pylist()
    assert [row["part"] for row in parts] == list(range(len(parts)))
    assert max(len(row["value"]) for row in parts) == rows.STREAMED_BYTES


def table(tmp_path: Path, **columns: Any) -> Path:
    pq.write_table(pa.table(columns), tmp_path / "file.parquet")
    return tmp_path / "file.parquet"


def test_parquet_of_other_programs_is_appended(tmp_path: Path) -> None:
    metadata = pa.array([{"team": "red", "size": None}, None], pa.struct({"team": pa.string(), "size": pa.string()}))
    file = table(tmp_path, key=["a", "b"], value=pa.array(["1", "2"]).dictionary_encode(), metadata=metadata)
    with open_ledger(tmp_path / "ledger") as ledger:
        assert Importer(ledger).run(read(file)).appended == 2
        assert [(entry.key, entry.value, entry.metadata) for entry in ledger.log()] == [
            (b"a", b"1", {"team": "red"}),
            (b"b", b"2", {}),
        ]


@pytest.mark.parametrize(
    ("columns", "match"),
    [
        ({"key": ["k", None], "value": ["v", "w"]}, "row 2: the key is missing"),
        ({"key": ["k"], "value": [7]}, "row 1: the column value"),
        ({"key": ["k"], "worth": ["v"]}, "row 1: the field 'worth'"),
        ({"key": ["k"]}, "row 1: the value is missing"),
        ({"key": ["k"], "value": ["v"], "part": [1]}, "row 1: it is part"),
        ({"key": ["k", "k"], "value": ["v", "w"], "part": [0, 2]}, "row 2: it is not part 1"),
        ({"key": ["k", "k"], "value": ["v", "w"], "part": [0, 1], "index": [0, 1]}, "row 2: it is not part 1"),
    ],
)
def test_parquet_that_is_malformed_is_named(tmp_path: Path, columns: dict[str, Any], match: str) -> None:
    with open_ledger(tmp_path / "ledger") as ledger:
        with pytest.raises(SerializationError, match=match):
            Importer(ledger).run(read(table(tmp_path, **columns)))
        assert ledger.size == 0


def test_what_is_not_parquet_is_refused(tmp_path: Path) -> None:
    (tmp_path / "file.parquet").write_bytes(b"no")
    with pytest.raises(SerializationError, match="cannot be read as Parquet"):
        list(read(tmp_path / "file.parquet"))


def test_kinds_of_rows_are_those_of_entries() -> None:
    for kind in (Kind.PUT, Kind.DELETE):
        row = rows.make_row("line 1", {"key": b"k", "kind": kind.name.lower(), "value": b""})
        assert (row.kind, row.leaf) == (kind, None)
