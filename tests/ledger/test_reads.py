"""Reads: nothing unsynced is ever seen, the past is one look-up away, and damage is never passed over in silence."""

from __future__ import annotations

import threading
from typing import TYPE_CHECKING, Any

import pytest
from tests.ledger.opening import Clock, open_on

from scribe_ledger import Ledger
from scribe_ledger.errors import (
    Conflict,
    Corruption,
    InvalidRequest,
    LedgerClosed,
    NotFound,
    PreconditionFailed,
    ScribeError,
    StorageError,
)
from scribe_ledger.ledger import commands, records
from scribe_ledger.ledger.memory import MemoryStore
from scribe_ledger.ledger.reads import Reader, prefix_end
from scribe_ledger.ledger.records import U64
from scribe_ledger.ledger.store import Table

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

    from scribe_ledger import Entry

pytestmark = pytest.mark.storage

LARGE = b"large value " * 50


@pytest.fixture
def store() -> MemoryStore:
    return MemoryStore()


@pytest.fixture
def ledger(store: MemoryStore, tmp_path: Path) -> Iterator[Ledger]:
    with open_on(store, tmp_path / "ledger", inline_max=500) as ledger:
        yield ledger


# --- the gap between a write and its sync ----------------------------------------------------------------------


def shown(entry: Entry | None) -> object:
    return None if entry is None else (entry.to_json(), entry.value)


def attempt(use: Callable[[], object]) -> object:
    try:
        return use()
    except ScribeError as error:
        return error.kind, error.message


def everything(ledger: Ledger) -> dict[str, object]:
    """What a reader can learn of the ledger, by every public way."""
    keys: list[str | bytes] = ["old", b"old", "deleted", "absent", "new", "large", "many 3", "retried"]
    seen: dict[str, object] = {"size": ledger.size, "policy": ledger.policy}
    for key in keys:
        seen |= {
            f"get {key!r}": ledger.get(key),
            f"cached {key!r}": ledger.cached(key) if key in ("old", b"old") else None,
            f"entry {key!r}": shown(ledger.entry(key)),
            f"history {key!r}": [shown(entry) for entry in ledger.history(key)],
            f"versions {key!r}": [ledger.get(key, version=version) for version in range(1, 5)],
            f"past {key!r}": [ledger.get(key, as_of=size) for size in range(ledger.size + 1)],
            f"beyond {key!r}": attempt(lambda key=key: ledger.get(key, as_of=ledger.size + 1)),  # type: ignore[misc]
            f"proof {key!r}": attempt(lambda key=key: str(ledger.prove(key))),  # type: ignore[misc]
            f"second {key!r}": attempt(lambda key=key: str(ledger.prove(key, version=2))),  # type: ignore[misc]
            f"history proof {key!r}": attempt(lambda key=key: str(ledger.prove_history(key))),  # type: ignore[misc]
        }
    stats = ledger.stats()
    for part in ("storage_bytes", "cache", "queue", "batches", "syncs"):
        del stats[part]
    return seen | {
        "get_many": ledger.get_many(keys),
        "scan": [shown(entry) for entry in ledger.scan()],
        "backwards": [shown(entry) for entry in ledger.scan(reverse=True)],
        "log": [shown(entry) for entry in ledger.log()],
        "end of log": [shown(entry) for entry in ledger.log(ledger.size, ledger.size + 5)],
        "entry at": attempt(lambda: ledger.entry_at(ledger.size)),
        "checkpoint": ledger.checkpoint().text,
        "later checkpoint": attempt(lambda: ledger.checkpoint(at=ledger.size + 1)),
        "consistency": str(ledger.prove_consistency(1)),
        "stats": stats,
        "verified": ledger.verify(),
    }


def begin(ledger: Ledger) -> None:
    ledger.put("old", b"1", metadata={"a": "b"})
    ledger.put("deleted", b"1")
    ledger.delete("deleted")
    ledger.put("retried", b"1", request_id="r")
    ledger.put("first large", LARGE * 2)  # the store of large values is adopted with the first of them


def change(ledger: Ledger) -> None:
    """Of every kind, in one batch and hence one sync."""
    with ledger.batch() as batch:
        batch.put("old", b"2")
        batch.put("old", b"3")
        batch.put("deleted", b"back")
        batch.put("new", b"1")
        batch.delete("new")
        batch.put("large", LARGE)
        batch.put("retried", b"2")
        batch.delete("retried")
        for number in range(300):
            batch.put(f"many {number}", b"")


CHANGES: list[Callable[[Ledger], object]] = [
    change,
    lambda ledger: ledger.put("old", b"2"),
    lambda ledger: ledger.put("new", b"1"),
    lambda ledger: ledger.put("large", LARGE),
    lambda ledger: ledger.delete("old"),
    lambda ledger: ledger.put_many([(f"many {number}", b"") for number in range(300)]),
    lambda ledger: ledger.configure(overwrite="forbid"),
]


@pytest.mark.parametrize("make", CHANGES)
@pytest.mark.parametrize("caching", [True, False])
def test_a_reader_between_write_and_sync_sees_nothing_of_it(
    make: Callable[[Ledger], object], store: MemoryStore, tmp_path: Path, *, caching: bool
) -> None:
    with open_on(store, tmp_path, inline_max=500, max_cache_size=1 << 20 if caching else 0) as ledger:
        begin(ledger)
        before = everything(ledger)
        in_the_gap: list[dict[str, object]] = []
        store.on_sync = lambda: in_the_gap.append(everything(ledger))
        make(ledger)
        store.on_sync = None
        assert in_the_gap == [before]
        after = everything(ledger)
        assert after["size"] != before["size"]
        assert after["scan" if after["policy"] == before["policy"] else "policy"] != before["scan"]
        assert ledger.verify().ok


def test_a_reader_after_a_failed_sync_still_sees_nothing_of_it(store: MemoryStore, ledger: Ledger) -> None:
    begin(ledger)
    before = everything(ledger)
    store.fail_sync = StorageError("the disk")
    with pytest.raises(StorageError):
        change(ledger)
    stats = before["stats"]
    assert isinstance(stats, dict)
    assert everything(ledger) == {**before, "stats": {**stats, "writable": False}}


def test_listings_begun_before_a_commit_keep_to_their_size(ledger: Ledger) -> None:
    begin(ledger)
    listings: list[Callable[[], Iterator[Entry]]] = [
        ledger.scan,
        lambda: ledger.scan(reverse=True),
        ledger.log,
        lambda: ledger.history("old"),
        lambda: ledger.history("retried"),
        lambda: ledger.history("new"),
    ]
    expected = [[shown(entry) for entry in listing()] for listing in listings]
    for taken in (0, 1):
        begun = [listing() for listing in listings]
        heads = [[shown(entry) for _, entry in zip(range(taken), listing, strict=False)] for listing in begun]
        if taken:
            change(ledger)
            ledger.put("old", b"4")
        else:
            ledger.put("unrelated", b"")
            ledger.delete("unrelated")
        found = [head + [shown(entry) for entry in listing] for head, listing in zip(heads, begun, strict=True)]
        if not taken:
            assert found == expected
            expected = [[shown(entry) for entry in listing()] for listing in listings]
        else:
            assert found == expected


# --- answers wait for the sync that they rest on ---------------------------------------------------------------


def test_no_answer_that_rests_on_a_pending_entry_is_given_before_its_sync(store: MemoryStore, ledger: Ledger) -> None:
    """All in one round: the first put is pending when the others are judged by it."""
    ledger.put("known", b"1")
    units = {
        "put": commands.put("k", b"1", request_id="r"),
        "same content": commands.put("k", b"1"),
        "retry": commands.put("k", b"1", request_id="r"),
        "conflict": commands.put("k", b"2", request_id="r"),
        "precondition": commands.put("k", b"2", if_absent=True),
        "delete": commands.delete("k"),
        "not found": commands.delete("k"),
        "committed": commands.put("known", b"1"),
    }
    outcomes: dict[str, Any] = {}
    in_the_gap: list[object] = []
    store.on_sync = lambda: in_the_gap.append(dict(outcomes))
    answers = ledger.write_all([[command] for command in units.values()])
    outcomes |= dict(zip(units, answers, strict=True))
    assert in_the_gap == [{}]
    first = outcomes["put"][0]
    assert first.created
    assert outcomes["same content"][0] == outcomes["retry"][0] == first._replace(created=False)
    assert outcomes["delete"][0].index == first.index + 1
    assert outcomes["committed"][0].index == 0
    kinds = {name: type(outcome) for name, outcome in outcomes.items() if isinstance(outcome, ScribeError)}
    assert kinds == {"conflict": Conflict, "precondition": PreconditionFailed, "not found": NotFound}


def test_all_answers_of_a_round_whose_sync_failed_are_that_failure(store: MemoryStore, ledger: Ledger) -> None:
    store.fail_sync = StorageError("the disk")
    outcomes = ledger.write_all([[commands.put("k", b"1")], [commands.put("k", b"1")], [commands.delete("absent")]])
    for outcome in outcomes:
        assert isinstance(outcome, StorageError)
        assert "the disk" in outcome.message
    assert outcomes[0] is not outcomes[1]


def test_a_retry_from_another_thread_waits_for_the_sync_of_the_first(store: MemoryStore, ledger: Ledger) -> None:
    """The first put is inside its sync when the retry, and a put that it contradicts, arrive."""
    in_sync, go_on = threading.Event(), threading.Event()
    answers: dict[str, object] = {}

    def hold() -> None:
        store.on_sync = None
        in_sync.set()
        assert go_on.wait(60)
        answers["synced"] = sorted(answers)

    store.on_sync = hold
    uses: dict[str, Callable[[], object]] = {
        "first": lambda: ledger.put("k", b"1", request_id="r"),
        "retry": lambda: ledger.put("k", b"1", request_id="r"),
        "refused": lambda: attempt(lambda: ledger.put("k", b"2", if_absent=True)),
    }

    def run(name: str) -> None:
        answers[name] = uses[name]()

    threads = {name: threading.Thread(target=run, args=(name,)) for name in uses}
    threads["first"].start()
    assert in_sync.wait(60)
    threads["retry"].start()
    threads["refused"].start()
    queued = 0
    while queued < 2:  # both have asked
        queued = ledger.stats()["queue"]["entries"]
    assert answers == {}
    go_on.set()
    for thread in threads.values():
        thread.join()
    assert answers["synced"] == []
    first, retry = answers["first"], answers["retry"]
    assert retry == first._replace(created=False)  # type: ignore[attr-defined]
    assert answers["refused"] == ("precondition", "key 'k' exists, at version 1")


# --- the past --------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("on_rocks", [False, True])
def test_every_version_of_a_key_with_many_is_found(tmp_path: Path, *, on_rocks: bool) -> None:
    count = 2000
    options: dict[str, Any] = {"clock": Clock()}
    with Ledger.open(tmp_path, **options) if on_rocks else open_on(MemoryStore(), tmp_path, **options) as ledger:
        for start in range(0, count, 500):
            ledger.put_many([("k", b"%d" % version) for version in range(start + 1, start + 501)])
            ledger.put_many([("j", b"%d" % start), ("l", b"%d" % start)])
        latest = ledger.size
        for version in (1, 2, 250, 499, 500, 501, 1000, 1999, 2000):
            index = version - 1 + 2 * ((version - 1) // 500)
            assert ledger.get("k", version=version) == b"%d" % version
            assert ledger.get("k", as_of=index + 1) == b"%d" % version
            assert ledger.get("k", as_of=index) == (b"%d" % (version - 1) if version > 1 else None)
            assert ledger.get("k", version=version, as_of=index) is None
            entry = ledger.entry("k", as_of=index + 1)
            assert entry is not None
            assert (entry.index, entry.version) == (index, version)
        assert ledger.get("k", version=2001) is None
        assert ledger.get("k", as_of=0) is None
        assert ledger.get("k", as_of=latest) == b"2000"
        assert [entry.version for entry in ledger.history("k")] == [*range(2000, 0, -1)]
        assert [entry.version for entry in ledger.history("k", as_of=502)] == [*range(500, 0, -1)]


def test_a_past_read_costs_the_same_few_look_ups_whatever_the_number_of_versions(
    store: MemoryStore, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with open_on(store, tmp_path) as ledger:
        ledger.put_many([("k", b"%d" % version) for version in range(5000)])
        calls: list[str] = []
        for table in (Table.KEYS, Table.HISTORY, Table.VALUES, Table.LEAVES):
            for name in ("get", "seek", "scan", "get_many"):
                use = getattr(store.table(table), name)

                def counted(*args: Any, use: Any = use, name: str = f"{table.value}.{name}", **named: Any) -> Any:
                    calls.append(name)
                    return use(*args, **named)

                monkeypatch.setattr(store.table(table), name, counted)
        reader = Reader(store, ledger._blobs, ledger._cold)
        for read, expected in (
            (lambda: reader.spot(b"k", 5000, 17), ["keys.get", "history.get"]),
            (lambda: reader.spot(b"k", 18), ["keys.get", "history.seek"]),
            (lambda: reader.latest_value(b"k", 5000), ["keys.get", "values.get"]),
        ):
            calls.clear()
            assert read() is not None
            assert calls == expected


def test_history_of_keys_that_are_prefixes_of_each_other_do_not_mix(ledger: Ledger) -> None:
    keys = [b"a", b"av", b"ai", b"a\0", b"\0\1a", b"\0", b"ai\xff\xff\xff\xff\xff\xff\xff\xff"]
    for version in range(1, 4):
        for key in keys:
            ledger.put(key, b"%d" % version)
    for key in keys:
        assert [(entry.key, entry.version) for entry in ledger.history(key)] == [(key, 3), (key, 2), (key, 1)]
        assert [ledger.get(key, as_of=size) for size in (0, 7, 14, 21)] == [None, b"1", b"2", b"3"]


def test_an_entry_gives_its_value_later_and_once(store: MemoryStore, ledger: Ledger) -> None:
    ledger.put("k", b"value")
    entry, unread = ledger.entry("k"), ledger.entry("k")
    assert entry is not None
    assert unread is not None
    ledger.put("k", b"other")
    assert entry.value == b"value"
    ledger.close()
    assert entry.value == b"value"
    with pytest.raises(LedgerClosed):
        _ = unread.value


# --- listings --------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("prefix", "end"),
    [
        (b"", None),
        (b"a", b"b"),
        (b"a\xff", b"b"),
        (b"a\xff\xff", b"b"),
        (b"\xff", None),
        (b"\xff\xff", None),
        (b"ab", b"ac"),
    ],
)
def test_the_end_of_a_prefix(prefix: bytes, end: bytes | None) -> None:
    assert prefix_end(prefix) == end


def test_a_scan_takes_text_and_starts_where_it_is_told(ledger: Ledger) -> None:
    ledger.put_many([(f"user:{name}", b"") for name in "abc"] + [("usez", b""), ("tail", b"")])
    ledger.delete("user:b")

    def keys(*args: Any, **options: Any) -> list[bytes]:
        return [entry.key for entry in ledger.scan(*args, **options)]

    assert keys("user:") == [b"user:a", b"user:c"]
    assert keys("user:", reverse=True) == [b"user:c", b"user:a"]
    assert keys("user:", start="user:b") == [b"user:c"]
    assert keys("user:", start="user:b", reverse=True) == [b"user:a"]
    assert keys("user:", start="a") == [b"user:a", b"user:c"]
    assert keys("user:", start="z") == []
    assert keys("user:", start="z", reverse=True) == [b"user:c", b"user:a"]
    assert keys("user:", start="a", reverse=True) == []
    assert keys(bytearray(b"user:"), limit=1) == [b"user:a"]
    assert keys(start=b"") == keys() == [b"tail", b"user:a", b"user:c", b"usez"]
    assert keys(limit=0) == []
    assert keys("none") == []


def test_a_limit_reads_no_more_than_it_gives(ledger: Ledger, monkeypatch: pytest.MonkeyPatch) -> None:
    ledger.put_many([(b"%d" % number, b"") for number in range(9)])
    made: list[int] = []
    entry = ledger._reader.entry

    def counted(*args: Any) -> Entry:
        made.append(1)
        return entry(*args)

    monkeypatch.setattr(ledger._reader, "entry", counted)
    assert len(list(ledger.scan(limit=3))) == len(made) == 3


# --- damage ----------------------------------------------------------------------------------------------------


def test_a_missing_group_is_never_skipped_by_a_listing_of_the_log(store: MemoryStore, ledger: Ledger) -> None:
    for number in range(5):
        ledger.put("k", b"%d" % number)
    leaves = store.table(Table.LEAVES)
    for missing in range(5):
        record = leaves.records[U64.pack(missing)]
        leaves.set(U64.pack(missing), None)
        for start in range(missing + 1):
            with pytest.raises(Corruption, match=f"the group of entry {missing} is missing"):
                list(ledger.log(start))
        assert [entry.index for entry in ledger.log(missing + 1)] == [*range(missing + 1, 5)]
        assert [entry.index for entry in ledger.log(0, missing)] == [*range(missing)]
        with pytest.raises(Corruption):
            ledger.entry_at(missing)
        leaves.set(U64.pack(missing), record)
    assert len(list(ledger.log())) == 5


def test_a_damaged_key_record_is_corruption_to_every_reader(store: MemoryStore, tmp_path: Path) -> None:
    with open_on(store, tmp_path, max_cache_size=0) as ledger:
        ledger.put_many([("good", b""), ("k", b"1")])
        good = store.table(Table.KEYS).records[b"k"]
        nowhere = good[:16] + b"\xff\xff" + good[18:]
        for damaged in (b"", good[:5], good[:-1], good + b"\0", nowhere):
            store.table(Table.KEYS).set(b"k", damaged)
            uses: list[Callable[[], object]] = [
                lambda: ledger.entry("k"),
                lambda: list(ledger.history("k")),
                lambda: list(ledger.scan()),
                lambda: ledger.get("k", as_of=2),
                lambda: ledger.prove("k"),
                lambda: ledger.put("k", b"2"),
            ]
            if damaged in (b"", good[:5], nowhere):
                uses += [lambda: ledger.get("k"), lambda: ledger.get_many(["good", "k"])]
            for use in uses:
                with pytest.raises(Corruption):
                    use()
            assert ledger.get_many(["good"]) == [b""]


def test_a_missing_history_record_or_value_is_corruption(store: MemoryStore, tmp_path: Path) -> None:
    with open_on(store, tmp_path, max_cache_size=0) as ledger:
        ledger.put("k", b"1")
        ledger.put("k", b"2")
        store.table(Table.HISTORY).set(records.version_key(b"k", 1), None)
        with pytest.raises(Corruption):
            ledger.get("k", version=1)
        store.table(Table.VALUES).set(U64.pack(1), None)
        for use in (lambda: ledger.get("k"), lambda: ledger.get_many(["k"]), lambda: list(ledger.log())[1].value):
            with pytest.raises(Corruption, match="value of entry 1"):
                use()


def test_a_damaged_value_is_found_by_its_digest(store: MemoryStore, ledger: Ledger) -> None:
    ledger.put("k", b"value")
    values = store.table(Table.VALUES)
    values.set(U64.pack(0), values.records[U64.pack(0)].replace(b"value", b"valve"))
    entry = ledger.entry("k")
    assert entry is not None
    for damaged in (entry, next(ledger.log())):
        with pytest.raises(Corruption, match="digest"):
            _ = damaged.value


def test_a_key_record_that_points_to_another_key_is_corruption(store: MemoryStore, ledger: Ledger) -> None:
    ledger.put_many([("a", b""), ("b", b"")])
    keys = store.table(Table.KEYS)
    keys.set(b"b", keys.records[b"a"])
    with pytest.raises(Corruption, match="key index of"):
        ledger.entry("b")


def test_reads_as_of_a_size_that_is_not_there_yet_are_refused(ledger: Ledger) -> None:
    ledger.put("k", b"")
    for use in (
        lambda: ledger.get("k", as_of=2),
        lambda: ledger.entry("k", as_of=2),
        lambda: ledger.history("k", as_of=2),
        lambda: ledger.scan(as_of=2),
        lambda: ledger.checkpoint(at=2),
        lambda: ledger.prove("k", at=2),
        lambda: ledger.prove_consistency(1, 2),
        lambda: ledger.prove_consistency(2),
    ):
        with pytest.raises(InvalidRequest):
            use()
