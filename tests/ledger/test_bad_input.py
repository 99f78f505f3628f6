"""Bad input: one clear error of the right kind, and nothing has changed, in the ledger or in its folder."""

from __future__ import annotations

import io
import shutil
import threading
from typing import TYPE_CHECKING, Any

import pytest
from tests.ledger.opening import open_on

from scribe_ledger import Ledger
from scribe_ledger.errors import (
    ConfigurationError,
    Corruption,
    InvalidRequest,
    LedgerClosed,
    NotFound,
    ScribeError,
    StorageError,
    TooLarge,
)
from scribe_ledger.ledger import commands
from scribe_ledger.ledger import ledger as limits
from scribe_ledger.ledger.memory import MemoryStore
from scribe_ledger.ledger.store import Table

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

pytestmark = pytest.mark.storage


@pytest.fixture
def store() -> MemoryStore:
    return MemoryStore()


@pytest.fixture
def ledger(store: MemoryStore, tmp_path: Path) -> Iterator[Ledger]:
    with open_on(store, tmp_path / "ledger", inline_max=1000) as ledger:
        ledger.put("key", b"value")
        ledger.checkpoint()
        yield ledger


@pytest.fixture
def unchanged(store: MemoryStore, ledger: Ledger) -> Iterator[None]:
    """Nothing may have happened by the end of the test."""

    def state() -> object:
        files = {
            path.relative_to(ledger.path): path.read_bytes()
            for path in sorted(ledger.path.rglob("*"))
            if path.is_file()
        }
        return {table: dict(store.table(table).records) for table in Table}, files, store.unsynced

    before = state()
    yield
    assert state() == before
    assert ledger.put("afterwards", b"").index == 1
    assert ledger.verify().ok


def check(error: ScribeError, kind: type[ScribeError]) -> None:
    assert type(error) is kind
    assert error.message
    assert "\n" not in error.message
    assert len(error.message) < 300
    assert error.message in str(error)


class Stranger:
    """Neither text nor bytes nor anything else that is taken."""


BAD_KEYS: list[tuple[Any, type[ScribeError]]] = [
    ("", InvalidRequest),
    (b"", InvalidRequest),
    (bytearray(), InvalidRequest),
    ("\ud800", InvalidRequest),
    (None, InvalidRequest),
    (7, InvalidRequest),
    (True, InvalidRequest),
    (["key"], InvalidRequest),
    ({"key": 1}, InvalidRequest),
    (Stranger(), InvalidRequest),
    ("k" * 4097, TooLarge),
    ("ü" * 2049, TooLarge),
    (b"k" * 100_000, TooLarge),
]

WITH_KEY: dict[str, Callable[[Ledger, Any], object]] = {
    "put": lambda ledger, key: ledger.put(key, b""),
    "put_stream": lambda ledger, key: ledger.put_stream(key, io.BytesIO(b"x" * 5000)),
    "put_many": lambda ledger, key: ledger.put_many([("good", b""), (key, b"")]),
    "delete": lambda ledger, key: ledger.delete(key),
    "batch.put": lambda ledger, key: batch_of(ledger, lambda batch: batch.put(key, b"")),
    "batch.delete": lambda ledger, key: batch_of(ledger, lambda batch: batch.delete(key)),
    "get": lambda ledger, key: ledger.get(key),
    "get version": lambda ledger, key: ledger.get(key, version=1),
    "get_many": lambda ledger, key: ledger.get_many(["key", key]),
    "entry": lambda ledger, key: ledger.entry(key),
    "open_value": lambda ledger, key: ledger.open_value(key),
    "history": lambda ledger, key: ledger.history(key),
    "prove": lambda ledger, key: ledger.prove(key),
    "prove_history": lambda ledger, key: ledger.prove_history(key),
}


def batch_of(ledger: Ledger, use: Callable[[Any], object]) -> None:
    with ledger.batch() as batch:
        batch.put("good", b"")
        use(batch)


@pytest.mark.usefixtures("unchanged")
@pytest.mark.parametrize("name", WITH_KEY)
def test_a_bad_key_is_refused_by(name: str, ledger: Ledger) -> None:
    for key, kind in BAD_KEYS:
        with pytest.raises(ScribeError) as raised:
            WITH_KEY[name](ledger, key)
        check(raised.value, kind)


@pytest.mark.usefixtures("unchanged")
def test_a_bad_prefix_or_start_is_refused_by_scan(ledger: Ledger) -> None:
    for key, kind in BAD_KEYS:
        if key in ("", b"", None):  # these mean: from the beginning
            continue
        for arguments in ({"prefix": key}, {"start": key}):
            with pytest.raises(ScribeError) as raised:
                ledger.scan(**arguments)
            check(raised.value, kind)


def test_a_writable_view_is_a_key(ledger: Ledger) -> None:
    for key in (bytearray(b"key"), memoryview(bytearray(b"key")), memoryview(b"key")):
        assert ledger.get(key) == b"value"
        assert ledger.cached(key) in (None, b"value")


@pytest.mark.usefixtures("unchanged")
def test_bad_values_are_refused(ledger: Ledger) -> None:
    for value in (None, 5, 1.5, True, ["v"], {"a": b""}, Stranger(), "\udfff"):
        bad: Any = value
        for use in (
            lambda bad=bad: ledger.put("k", bad),
            lambda bad=bad: ledger.put_many([("a", b""), ("k", bad)]),
            lambda bad=bad: batch_of(ledger, lambda batch: batch.put("k", bad)),
        ):
            with pytest.raises(ScribeError) as raised:
                use()
            check(raised.value, InvalidRequest)


@pytest.mark.usefixtures("unchanged")
def test_bad_streams_are_refused(ledger: Ledger) -> None:
    streams: list[Any] = [None, 5, "text", [1, 2], ["text"], io.StringIO("text"), Stranger(), [b"x" * 2000, None]]
    for stream in streams:
        with pytest.raises(ScribeError) as raised:
            ledger.put_stream("k", stream)
        check(raised.value, InvalidRequest)


@pytest.mark.usefixtures("unchanged")
def test_a_stream_that_breaks_off_leaves_nothing(ledger: Ledger) -> None:
    def stream() -> Iterator[bytes]:
        yield b"x" * 5000
        raise OSError("the line broke")

    with pytest.raises(OSError, match="the line broke"):
        ledger.put_stream("k", stream())


BAD_OPTIONS: list[tuple[dict[str, Any], type[ScribeError]]] = [
    ({"metadata": {"a": "x" * 8192}}, TooLarge),
    ({"metadata": {f"name-{number}": "x" * 50 for number in range(200)}}, TooLarge),
    ({"metadata": {"a": 5}}, InvalidRequest),
    ({"metadata": {"a": None}}, InvalidRequest),
    ({"metadata": {b"a": "b"}}, InvalidRequest),
    ({"metadata": {"": "b"}}, InvalidRequest),
    ({"metadata": {"a b": "c"}}, InvalidRequest),
    ({"metadata": {"ä": "c"}}, InvalidRequest),
    ({"metadata": {"a": "b", "A": "c"}}, InvalidRequest),
    ({"metadata": {"a": "line\nbreak"}}, InvalidRequest),
    ({"metadata": {"a": "\ud800"}}, InvalidRequest),
    ({"metadata": ["a"]}, InvalidRequest),
    ({"metadata": "a"}, InvalidRequest),
    ({"if_index": -1}, InvalidRequest),
    ({"if_index": 1 << 64}, InvalidRequest),
    ({"if_index": "0"}, InvalidRequest),
    ({"if_index": True}, InvalidRequest),
    ({"if_version": -1}, InvalidRequest),
    ({"if_version": 1.0}, InvalidRequest),
    ({"if_version": False}, InvalidRequest),
    ({"request_id": ""}, InvalidRequest),
    ({"request_id": "r" * 256}, InvalidRequest),
    ({"request_id": 5}, InvalidRequest),
    ({"request_id": "\ud800"}, InvalidRequest),
]
BAD_PUT_OPTIONS: list[tuple[dict[str, Any], type[ScribeError]]] = [
    *BAD_OPTIONS,
    ({"content_type": "t" * 256}, TooLarge),
    ({"content_type": "text/plain\n"}, InvalidRequest),
    ({"content_type": "text/ü"}, InvalidRequest),
    ({"content_type": b"text/plain"}, InvalidRequest),
    ({"content_type": None}, InvalidRequest),
    ({"if_absent": "yes"}, InvalidRequest),
    ({"if_absent": 1}, InvalidRequest),
    ({"if_absent": None}, InvalidRequest),
    ({"dedupe": "no"}, InvalidRequest),
    ({"dedupe": 0}, InvalidRequest),
]


@pytest.mark.usefixtures("unchanged")
@pytest.mark.parametrize(("options", "kind"), BAD_PUT_OPTIONS)
def test_bad_options_are_refused_by_puts(options: dict[str, Any], kind: type[ScribeError], ledger: Ledger) -> None:
    uses: list[Callable[[], object]] = [
        lambda: ledger.put("key", b"other", **options),
        lambda: ledger.put("key", b"x" * 5000, **options),
        lambda: ledger.put_stream("key", [b"x" * 5000], **options),
        lambda: batch_of(ledger, lambda batch: batch.put("key", b"other", **options)),
    ]
    for use in uses:
        with pytest.raises(ScribeError) as raised:
            use()
        check(raised.value, kind)


@pytest.mark.usefixtures("unchanged")
@pytest.mark.parametrize(("options", "kind"), BAD_OPTIONS)
def test_bad_options_are_refused_by_deletes(options: dict[str, Any], kind: type[ScribeError], ledger: Ledger) -> None:
    for use in (
        lambda: ledger.delete("key", **options),
        lambda: batch_of(ledger, lambda batch: batch.delete("key", **options)),
    ):
        with pytest.raises(ScribeError) as raised:
            use()
        check(raised.value, kind)


NO_NUMBERS: list[Any] = [-1, 1 << 64, 1.0, "1", b"1", True, False, [], Stranger()]


@pytest.mark.usefixtures("unchanged")
@pytest.mark.parametrize("number", [0, *NO_NUMBERS])
def test_what_is_no_version_is_refused(number: Any, ledger: Ledger) -> None:
    for use in (
        lambda: ledger.get("key", version=number),
        lambda: ledger.entry("key", version=number),
        lambda: ledger.open_value("key", version=number),
        lambda: ledger.prove("key", version=number),
        lambda: ledger.prove_history("key", version=number),
    ):
        with pytest.raises(ScribeError) as raised:
            use()
        check(raised.value, InvalidRequest)


@pytest.mark.usefixtures("unchanged")
@pytest.mark.parametrize("number", [2, 1 << 40, *NO_NUMBERS])
def test_what_is_no_size_of_the_ledger_is_refused(number: Any, ledger: Ledger) -> None:
    assert ledger.get("key") == b"value"  # in the cache, too
    for use in (
        lambda: ledger.get("key", as_of=number),
        lambda: ledger.entry("key", as_of=number),
        lambda: ledger.open_value("key", as_of=number),
        lambda: ledger.history("key", as_of=number),
        lambda: ledger.scan(as_of=number),
        lambda: ledger.checkpoint(at=number),
        lambda: ledger.prove("key", at=number),
        lambda: ledger.prove_history("key", at=number),
        lambda: ledger.prove_consistency(0, number),
        lambda: ledger.prove_consistency(number),
    ):
        with pytest.raises(ScribeError) as raised:
            use()
        check(raised.value, InvalidRequest)


@pytest.mark.usefixtures("unchanged")
@pytest.mark.parametrize("number", NO_NUMBERS)
def test_what_is_no_count_or_place_is_refused(number: Any, ledger: Ledger) -> None:
    for use in (
        lambda: ledger.scan(limit=number),
        lambda: ledger.log(number),
        lambda: ledger.log(0, number),
        lambda: ledger.entry_at(number),
    ):
        with pytest.raises(ScribeError) as raised:
            use()
        check(raised.value, InvalidRequest)


@pytest.mark.usefixtures("unchanged")
def test_numbers_that_must_be_there_are_asked_for(ledger: Ledger) -> None:
    missing: Any = None
    for use in (
        lambda: ledger.log(missing),
        lambda: ledger.entry_at(missing),
        lambda: ledger.prove_consistency(missing),
    ):
        with pytest.raises(ScribeError) as raised:
            use()
        check(raised.value, InvalidRequest)


@pytest.mark.usefixtures("unchanged")
def test_what_is_not_there_is_not_found(ledger: Ledger) -> None:
    for use in (
        lambda: ledger.entry_at(1),
        lambda: ledger.entry_at((1 << 64) - 1),
        lambda: ledger.delete("absent"),
        lambda: ledger.prove("absent"),
        lambda: ledger.prove("key", version=2),
        lambda: ledger.prove("key", at=0),
        lambda: ledger.prove_history("absent"),
    ):
        with pytest.raises(ScribeError) as raised:
            use()
        check(raised.value, NotFound)
    assert ledger.get("absent") is None
    assert ledger.entry("absent") is None
    assert ledger.open_value("absent") is None
    assert list(ledger.history("absent")) == list(ledger.log(5)) == list(ledger.log(5, 3)) == []
    assert ledger.get("key", version=(1 << 64) - 1) is None


@pytest.mark.usefixtures("unchanged")
def test_put_many_takes_pairs_only(ledger: Ledger) -> None:
    for pairs in (None, 5, [("a",)], [("a", b"", b"")], [5], [("a", b""), None]):
        bad: Any = pairs
        with pytest.raises(ScribeError) as raised:
            ledger.put_many(bad)
        check(raised.value, InvalidRequest)


@pytest.mark.usefixtures("unchanged")
def test_too_large_batches_are_refused_whole(ledger: Ledger, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(limits, "MAX_BATCH_ENTRIES", 10)
    monkeypatch.setattr(limits, "MAX_BATCH_BYTES", 5000)
    uses: list[Callable[[], object]] = [
        lambda: ledger.put_many([(f"{number}", b"") for number in range(11)]),
        lambda: ledger.put_many([(f"{number}", b"x" * 900) for number in range(6)]),
        lambda: ledger.put_many([(f"{number}", b"x" * 2000) for number in range(11)]),
        lambda: ledger.put_many([("large", b"x" * 2000), *((f"{number}", b"x" * 900) for number in range(6))]),
    ]
    for use in uses:
        with pytest.raises(ScribeError) as raised:
            use()
        check(raised.value, TooLarge)


def test_large_values_do_not_count_for_a_batch(ledger: Ledger, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(limits, "MAX_BATCH_BYTES", 5000)
    receipts = ledger.put_many([(f"{number}", b"%d" % number * 4000) for number in range(5)])
    assert [receipt.index for receipt in receipts] == [1, 2, 3, 4, 5]


@pytest.mark.usefixtures("unchanged")
def test_an_error_inside_a_batch_writes_nothing(ledger: Ledger) -> None:
    with pytest.raises(ZeroDivisionError):
        batch_of(ledger, lambda _: 1 // 0)


@pytest.mark.usefixtures("unchanged")
def test_unknown_policies_are_refused(ledger: Ledger) -> None:
    options: list[dict[str, Any]] = [
        {"overwrite": "maybe"},
        {"overwrite": "tombstone"},
        {"deletes": "version"},
        {"deletes": True},
        {"overwrite": 5, "deletes": "forbid"},
    ]
    for changes in options:
        with pytest.raises(ScribeError) as raised:
            ledger.configure(**changes)
        check(raised.value, ConfigurationError)
    with pytest.raises(InvalidRequest, match="no policy was named"):
        ledger.configure()


# --- opening ---------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "options",
    [
        {"durability": "none"},
        {"durability": ""},
        {"durability": None},
        {"overwrite": "never"},
        {"deletes": "version"},
        {"overwrite": 1},
        {"flush_interval_ms": -1},
        {"flush_interval_ms": "200"},
        {"flush_interval_ms": None},
        {"max_cache_size": -1},
        {"max_cache_size": 1.5},
        {"cache_capacity": True},
        {"inline_max": -1},
        {"inline_max": None},
    ],
)
def test_impossible_settings_are_refused_before_anything_is_made(options: dict[str, Any], tmp_path: Path) -> None:
    with pytest.raises(ScribeError) as raised:
        open_on(MemoryStore(), tmp_path / "ledger", **options)
    check(raised.value, ConfigurationError)
    assert not (tmp_path / "ledger").exists()


@pytest.mark.parametrize(
    "name", ["two words", "plus+sign", "line\nbreak", "n" * 256, "\ud800", 5, None, b"name", "tab\t"]
)
def test_what_cannot_be_a_name_is_refused_and_another_may_follow(name: Any, tmp_path: Path) -> None:
    store = MemoryStore()
    with pytest.raises(ScribeError) as raised:
        open_on(store, tmp_path, name=name)
    check(raised.value, ConfigurationError)
    with open_on(store, tmp_path, name="good") as ledger:
        assert ledger.origin == "good"
        assert ledger.put("k", b"").index == 0


@pytest.mark.parametrize("options", [{"name": "other"}, {"overwrite": "forbid"}, {"deletes": "forbid"}])
@pytest.mark.parametrize("durability", ["full", "relaxed"])
def test_settings_that_disagree_with_the_ledger_are_refused(
    options: dict[str, str], durability: str, tmp_path: Path
) -> None:
    store = MemoryStore()
    with open_on(store, tmp_path, name="this"):
        pass
    threads = threading.active_count()
    with pytest.raises(ScribeError) as raised:
        open_on(store, tmp_path, durability=durability, **options)
    check(raised.value, ConfigurationError)
    assert threading.active_count() == threads
    with open_on(store, tmp_path, name="this", overwrite="version", deletes="tombstone") as ledger:
        assert ledger.origin == "this"


def test_what_is_no_store_is_refused_before_anything_is_made(tmp_path: Path) -> None:
    for url in ("ftp://x", "s3://", "file://host/folder", "s3://bucket?key=x", "/folder"):
        with pytest.raises(ConfigurationError):
            Ledger.open(tmp_path / "new", object_store=url)
        assert not (tmp_path / "new").exists()


def spoil_key(folder: Path) -> None:
    (folder / "ledger.key").unlink()


def spoil_store(folder: Path) -> None:
    shutil.rmtree(folder / "store")


def spoil_identity(folder: Path) -> None:
    (folder / "ledger.json").write_bytes(b"")


@pytest.mark.parametrize(
    ("spoil", "named"),
    [(spoil_key, "ledger.key is missing"), (spoil_store, "missing from its store"), (spoil_identity, "ledger.json")],
)
def test_a_folder_that_has_lost_a_part_says_what_helps(
    spoil: Callable[[Path], None], named: str, tmp_path: Path
) -> None:
    Ledger.open(tmp_path).close()
    spoil(tmp_path)
    with pytest.raises(Corruption, match=named) as caught:
        Ledger.open(tmp_path)
    assert "from a copy" in caught.value.hint


def test_messages_say_what_was_meant(ledger: Ledger, tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    beyond = 1 << 64
    cases: list[tuple[Callable[[], object], str]] = [
        (lambda: ledger.put("k", b"", request_id="\ud800"), "the request id is not valid Unicode"),
        (lambda: ledger.scan(None), "the prefix is NoneType"),  # type: ignore[arg-type]
        (lambda: ledger.scan(start=5), "the start is int"),  # type: ignore[arg-type]
        (lambda: ledger.get("k", as_of=beyond), f"as_of is {beyond} .*from 0 to {beyond - 1}"),
        (lambda: ledger.get("k", version=beyond), f"version is {beyond} .*from 1 to {beyond - 1}"),
        (lambda: ledger.get("k", as_of=10**5000), "as_of is a number of 16610 bits"),
        (lambda: Ledger.open(tmp_path / "file"), "file is not a folder"),
        (lambda: Ledger.open(tmp_path / "new", name="a b"), r"neither spaces nor \+"),
    ]
    for call, said in cases:
        with pytest.raises(ScribeError, match=said):
            call()


def test_there_must_be_a_ledger_where_none_may_be_created(tmp_path: Path) -> None:
    with pytest.raises(StorageError, match="there is no ledger"):
        Ledger.open(tmp_path / "none", create=False)
    assert not (tmp_path / "none").exists()


# --- closed ----------------------------------------------------------------------------------------------------


def public_uses(ledger: Ledger, folder: Path) -> dict[str, Callable[[], object]]:
    return {
        "put": lambda: ledger.put("key", b""),
        "put a large value": lambda: ledger.put("key", b"x" * 5000),
        "put_stream": lambda: ledger.put_stream("key", [b"x" * 5000]),
        "put_many": lambda: ledger.put_many([("key", b"")]),
        "put_many of none": lambda: ledger.put_many([]),
        "delete": lambda: ledger.delete("key"),
        "batch": lambda: batch_of(ledger, lambda batch: batch.delete("key")),
        "empty batch": lambda: ledger.batch().__exit__(None),
        "configure": lambda: ledger.configure(deletes="forbid"),
        "write": lambda: ledger.write([commands.put("key", b"")]),
        "prepare": lambda: ledger.prepare([commands.put("key", b"")]),
        "guard": ledger.guard,
        "write_all": lambda: ledger.write_all([[commands.put("key", b"")]]),
        "import_verbatim": lambda: ledger.import_verbatim([]),
        "flush": ledger.flush,
        "get": lambda: ledger.get("key"),
        "get version": lambda: ledger.get("key", version=1),
        "get_many": lambda: ledger.get_many(["key"]),
        "entry": lambda: ledger.entry("key"),
        "entry_at": lambda: ledger.entry_at(0),
        "open_value": lambda: ledger.open_value("key"),
        "history": lambda: ledger.history("key"),
        "scan": ledger.scan,
        "log": ledger.log,
        "checkpoint": ledger.checkpoint,
        "prove": lambda: ledger.prove("key"),
        "prove_history": lambda: ledger.prove_history("key"),
        "prove_consistency": lambda: ledger.prove_consistency(0),
        "verify": ledger.verify,
        "snapshot": lambda: ledger.snapshot(folder / "copy"),
        "stats": ledger.stats,
    }


KNOWN_WITHOUT_THE_STORE = {"open", "close", "cached", "lead", "needs_blob", "leave_to_parent"}
PROPERTIES = {"closed", "path", "origin", "ledger_id", "size", "policy", "public_key"}


@pytest.mark.parametrize("on_rocks", [False, True])
def test_a_closed_ledger_says_so_to_every_method(tmp_path: Path, *, on_rocks: bool) -> None:
    path = tmp_path / "ledger"
    ledger = Ledger.open(path, inline_max=1000) if on_rocks else open_on(MemoryStore(), path, inline_max=1000)
    ledger.put("key", b"value")
    assert ledger.get("key") == b"value"
    listings = [ledger.scan(), ledger.log(), ledger.history("key")]
    ledger.close()
    files = sorted(tmp_path.rglob("*"))
    for use in public_uses(ledger, tmp_path).values():
        with pytest.raises(ScribeError) as raised:
            use()
        check(raised.value, LedgerClosed)
    for listing in listings:
        with pytest.raises(LedgerClosed):
            next(listing)
    assert ledger.cached("key") is None
    assert sorted(tmp_path.rglob("*")) == files
    ledger.close()
    assert "closed" in repr(ledger)
    assert ledger.size == 1
    with Ledger.open(path) if on_rocks else open_on(ledger._store, path) as again:
        assert again.get("key") == b"value"


def test_no_public_method_is_left_out_here(ledger: Ledger, tmp_path: Path) -> None:
    named = {name.split()[0] for name in public_uses(ledger, tmp_path)} - {"empty"}
    methods = {name for name in dir(Ledger) if not name.startswith("_")}
    assert methods <= named | KNOWN_WITHOUT_THE_STORE | PROPERTIES
