"""``AsyncLedger``: what ``Ledger`` answers, awaited, and what only tasks do: wait together, be cancelled, go away."""

from __future__ import annotations

import asyncio
import inspect
import io
import threading
from typing import TYPE_CHECKING, Any, TypeVar

import pytest
from tests.ledger.opening import Clock, reopen
from tests.ledger.threads import LIMIT_SECONDS, Gate, spawn, wait_until

from scribe_ledger import AsyncLedger, Ledger, verify
from scribe_ledger.errors import (
    Conflict,
    InvalidRequest,
    LedgerClosed,
    LedgerLocked,
    NotFound,
    Overloaded,
    PreconditionFailed,
    StorageError,
)
from scribe_ledger.ledger import asynchronous, gathering
from scribe_ledger.ledger.memory import MemoryStore
from scribe_ledger.ledger.transfer.exporting import export_entries
from scribe_ledger.ledger.transfer.ndjson import NdjsonWriter, read_ndjson

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Coroutine
    from pathlib import Path

    from scribe_ledger import Entry

pytestmark = pytest.mark.storage

_T = TypeVar("_T")
INLINE_MAX = 1000


def run(coroutine: Coroutine[Any, Any, _T]) -> _T:
    async def limited() -> _T:
        async with asyncio.timeout(LIMIT_SECONDS):
            return await coroutine

    return asyncio.run(limited())


async def open_on(store: MemoryStore, path: Path, **options: Any) -> AsyncLedger:
    reopen(store)
    return await AsyncLedger.open(
        path, open_store=lambda _: store, clock=Clock(), inline_max=INLINE_MAX, max_cache_size=0, **options
    )


async def until(condition: Any) -> None:
    await asyncio.to_thread(wait_until, condition)


async def gather_all(entries: AsyncIterator[Entry]) -> list[Entry]:
    return [entry async for entry in entries]


def show(answer: Any) -> Any:
    """An answer as it can be compared: entries have an identity, and their values are loaded when asked for."""
    if hasattr(answer, "to_json") and hasattr(answer, "value"):
        return answer.to_json(), answer.value
    if hasattr(answer, "read"):
        return answer.read()
    return [show(item) for item in answer] if isinstance(answer, list) else answer


# --- the same answers ----------------------------------------------------------------------------------------------


def test_every_method_of_a_ledger_is_there_with_the_same_arguments() -> None:
    own = {name: member for name, member in vars(Ledger).items() if not name.startswith("_")}
    inner = {
        "write_all",
        "prepare",
        "needs_blob",
        "write",
        "cached",
        "leave_to_parent",
        "guard",
    }
    assert sorted(set(own) - inner - set(vars(AsyncLedger))) == []
    for name in ("get", "entry", "entry_at", "history", "log", "prove", "prove_history", "prove_consistency"):
        expected = list(inspect.signature(getattr(Ledger, name)).parameters)
        assert list(inspect.signature(getattr(AsyncLedger, name)).parameters) == expected, name


async def take_over(path: Path, other: Path) -> None:
    async with await open_on(MemoryStore(), path) as source, await open_on(MemoryStore(), other) as copy:
        await source.put_many([("a", "1"), ("b", "2")])
        text = io.BytesIO()
        with NdjsonWriter(text) as writer:
            export_entries(source._ledger, source._ledger.log(), writer)
        text.seek(0)
        assert await copy.import_verbatim(read_ndjson(text)) == 2
        assert (await copy.checkpoint()).root == (await source.checkpoint()).root
    assert source.closed


def test_entries_are_taken_over_verbatim(tmp_path: Path) -> None:
    run(take_over(tmp_path / "source", tmp_path / "copy"))


async def compare(path: Path) -> None:
    async with await AsyncLedger.open(path, clock=Clock(), inline_max=INLINE_MAX, name="a/ledger") as ledger:
        plain = ledger._ledger
        assert (await ledger.put("a", "1", content_type="text/plain", metadata={"m": "v"})).index == 0
        assert (await ledger.put("a", "2", if_version=1, request_id="r")).version == 2
        assert not (await ledger.put("a", "2", request_id="r")).created
        assert [receipt.index for receipt in await ledger.put_many([("b", "1"), ("c", "1")])] == [2, 3]
        assert (await ledger.put_stream("large", [b"x" * 900] * 3)).index == 4
        assert (await ledger.put("larger", b"y" * 5000)).index == 5
        assert (await ledger.delete("c")).version == 2
        async with ledger.batch() as batch:
            batch.put("d", "1")
            batch.delete("b")
        assert [receipt.index for receipt in batch.receipts] == [7, 8]
        with pytest.raises(InvalidRequest, match="has ended"):
            batch.put("d", "2")
        with pytest.raises(InvalidRequest, match="block the event loop"):
            ledger.batch().__enter__()
        assert (ledger.path, ledger.closed) == (path, False)
        assert (await ledger.configure(deletes="forbid")).index == 9
        assert ledger.policy == plain.policy
        await ledger.flush()

        for key in ("a", "b", "c", "large", "nothing"):
            assert await ledger.get(key) == plain.get(key)
            assert await ledger.get(key, as_of=4) == plain.get(key, as_of=4)
            assert await ledger.get(key, version=1) == plain.get(key, version=1)
            assert show(await ledger.entry(key)) == show(plain.entry(key))
            assert show(await ledger.open_value(key)) == show(plain.open_value(key))
            assert show(await gather_all(ledger.history(key))) == show(list(plain.history(key)))
        assert await ledger.get_many(["a", "b", "large"]) == plain.get_many(["a", "b", "large"])
        assert show(await ledger.entry_at(3)) == show(plain.entry_at(3))
        assert show(await gather_all(ledger.scan("l", limit=1))) == show(list(plain.scan("l", limit=1)))
        assert show(await gather_all(ledger.scan(reverse=True))) == show(list(plain.scan(reverse=True)))
        assert show(await gather_all(ledger.log(2, 8))) == show(list(plain.log(2, 8)))

        checkpoint = await ledger.checkpoint()
        assert checkpoint == plain.checkpoint()
        assert await ledger.prove("a", 1, 5) == plain.prove("a", 1, 5)
        assert await ledger.prove_history("a") == plain.prove_history("a")
        consistency = await ledger.prove_consistency(3, 9)
        assert consistency == plain.prove_consistency(3, 9)
        old, new = await ledger.checkpoint(3), await ledger.checkpoint(9)
        verify.consistency(consistency, old, new, public_key=ledger.public_key)

        assert (ledger.public_key, ledger.origin) == (plain.public_key, plain.origin)
        assert (ledger.ledger_id, ledger.size) == (plain.ledger_id, plain.size)
        progress: list[tuple[int, int]] = []
        report = await ledger.verify(lambda done, total: progress.append((done, total)))
        assert report.ok and progress[-1] == (10, 10)
        assert (await ledger.stats()).keys() == plain.stats().keys()
        assert (await ledger.stats())["entries"] == plain.stats()["entries"] == 10
        await ledger.snapshot(path.with_name("copy"))
    async with await AsyncLedger.open(path.with_name("copy")) as copy:
        assert (await copy.checkpoint()).root == checkpoint.root


def test_every_method_gives_the_answers_of_a_ledger(tmp_path: Path) -> None:
    run(compare(tmp_path / "ledger"))


async def fail_in_a_batch(ledger: AsyncLedger) -> None:
    async with ledger.batch() as batch:
        batch.put("never", "value")
        raise ZeroDivisionError


def test_errors_arrive_where_they_are_awaited(tmp_path: Path) -> None:
    async def errors() -> None:
        async with await AsyncLedger.open(tmp_path / "ledger") as ledger:
            await ledger.put("key", "value", request_id="r")
            with pytest.raises(PreconditionFailed):
                await ledger.put("key", "other", if_absent=True)
            with pytest.raises(Conflict):
                await ledger.put("key", "other", request_id="r")
            with pytest.raises(InvalidRequest):
                await ledger.put("", "value")
            with pytest.raises(NotFound):
                await ledger.delete("nothing")
            with pytest.raises(NotFound):
                await ledger.entry_at(7)
            with pytest.raises(InvalidRequest):
                await ledger.get("key", version=-1)
            with pytest.raises(ZeroDivisionError):
                await fail_in_a_batch(ledger)
            with pytest.raises(LedgerLocked):
                await AsyncLedger.open(tmp_path / "ledger")
            assert ledger.size == 1

    run(errors())


# --- waiting together ----------------------------------------------------------------------------------------------


def test_hundreds_of_puts_at_once_share_few_syncs(tmp_path: Path) -> None:
    async def storm() -> None:
        store = MemoryStore()
        async with await open_on(store, tmp_path) as ledger:
            gate = store.on_sync = Gate()
            first = asyncio.create_task(ledger.put("first", "value"))
            await asyncio.to_thread(gate.wait_entered)
            before = threading.active_count()
            others = [asyncio.create_task(ledger.put(f"key {number}", "value")) for number in range(500)]
            await until(lambda: ledger._gatherer.waiting[0] == 500)
            more = threading.active_count() - before
            gate.open()
            receipts = await asyncio.gather(first, *others)
            assert [receipt.index for receipt in receipts] == list(range(501)), "in the order of their calls"
            stats = await ledger.stats()
            assert (stats["batches"], stats["syncs"]) == (2, 2)
            assert more < 20, "tasks that wait need no threads"

    run(storm())


def test_writes_of_every_kind_at_once_never_wait_for_each_others_threads(tmp_path: Path) -> None:
    """More writers that block a thread of the pool than it has threads, and single puts at the head of the queue."""

    async def storm() -> None:
        async with await open_on(MemoryStore(), tmp_path) as ledger:
            writes: list[Coroutine[Any, Any, Any]] = []
            for number in range(60):
                writes.append(ledger.put(f"single {number}", "value"))
                writes.append(ledger.put_many([(f"many {number} {place}", "value") for place in range(5)]))
                writes.append(ledger.put_stream(f"stream {number}", [b"x" * 600] * 2))
                writes.append(ledger.get(f"single {number}"))
                writes.append(ledger.checkpoint())
            await asyncio.gather(*writes)
            assert ledger.size == 60 * 7
            assert (await ledger.verify()).ok

    run(storm())


def test_threads_and_tasks_share_one_queue(tmp_path: Path) -> None:
    async def storm() -> None:
        async with await open_on(MemoryStore(), tmp_path) as ledger:
            plain = ledger._ledger

            def write(writer: int) -> None:
                for number in range(50):
                    plain.put(f"thread {writer} {number}", "value")

            threads = [asyncio.wrap_future(spawn(write, writer)) for writer in range(4)]
            for number in range(20):
                await asyncio.gather(*(ledger.put(f"task {number} {place}", "value") for place in range(20)))
            await asyncio.gather(*threads)
            assert ledger.size == 600

    run(storm())


def test_a_full_queue_refuses_a_task_at_once(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(gathering, "MAX_WAITING_ENTRIES", 10)

    async def storm() -> None:
        store = MemoryStore()
        async with await open_on(store, tmp_path) as ledger:
            gate = store.on_sync = Gate()
            first = asyncio.create_task(ledger.put("first", "value"))
            await asyncio.to_thread(gate.wait_entered)
            others = [asyncio.create_task(ledger.put(f"key {number}", "value")) for number in range(10)]
            await until(lambda: ledger._gatherer.waiting[0] == 10)
            with pytest.raises(Overloaded):
                await ledger.put("one too many", "value")
            gate.open()
            await asyncio.gather(first, *others)
            assert ledger.size == 11

    run(storm())


def test_the_loop_goes_on_while_a_sync_is_slow(tmp_path: Path) -> None:
    async def storm() -> None:
        store = MemoryStore()
        async with await open_on(store, tmp_path) as ledger:
            await ledger.put("key", "value")
            gate = store.on_sync = Gate()
            writing = asyncio.create_task(ledger.put("slow", "value"))
            await asyncio.to_thread(gate.wait_entered)
            assert await ledger.get("key") == b"value"
            assert await ledger.get("slow") is None
            assert len(await gather_all(ledger.log())) == 1
            assert not writing.done()
            gate.open()
            await writing

    run(storm())


def test_a_failed_sync_reaches_every_task(tmp_path: Path) -> None:
    async def storm() -> None:
        store = MemoryStore()
        async with await open_on(store, tmp_path) as ledger:
            gate = store.on_sync = Gate()
            tasks = [asyncio.create_task(ledger.put("first", "value"))]
            await asyncio.to_thread(gate.wait_entered)
            tasks += [asyncio.create_task(ledger.put(f"key {number}", "value")) for number in range(20)]
            await until(lambda: ledger._gatherer.waiting[0] == 20)
            store.fail_sync = StorageError("the disk is full")
            gate.open()
            failures = await asyncio.gather(*tasks, return_exceptions=True)
            assert {type(failure) for failure in failures} == {StorageError}
            assert all("the disk is full" in str(failure) for failure in failures)
            assert ledger.size == 0
            assert await ledger.get("first") is None

    run(storm())


# --- going away ----------------------------------------------------------------------------------------------------


def test_a_cancelled_put_hurts_nobody_and_may_have_been_made(tmp_path: Path) -> None:
    async def storm() -> None:
        store = MemoryStore()
        async with await open_on(store, tmp_path) as ledger:
            gate = store.on_sync = Gate()
            first = asyncio.create_task(ledger.put("first", "value"))
            await asyncio.to_thread(gate.wait_entered)
            tasks = [asyncio.create_task(ledger.put(f"key {number}", "value")) for number in range(10)]
            await until(lambda: ledger._gatherer.waiting[0] == 10)
            cancelled = [first, *tasks[::2]]
            for task in cancelled:
                task.cancel()
            done = await asyncio.gather(*cancelled, return_exceptions=True)
            assert {type(failure) for failure in done} == {asyncio.CancelledError}
            gate.open()
            assert [receipt.index for receipt in await asyncio.gather(*tasks[1::2])] == [2, 4, 6, 8, 10]
            assert await ledger.get("key 0") == b"value", "it was in the queue, and nothing takes it back"
            assert (await ledger.put("next", "value")).index == 11

    run(storm())


def test_a_loop_that_ends_under_its_writes_leaves_a_ledger_that_works(tmp_path: Path) -> None:
    store = MemoryStore()
    kept: list[AsyncLedger] = []

    async def abandon() -> None:
        ledger = await open_on(store, tmp_path)
        kept.append(ledger)
        gate = store.on_sync = Gate()
        tasks = [asyncio.create_task(ledger.put("first", "value"))]
        await asyncio.to_thread(gate.wait_entered)
        tasks += [asyncio.create_task(ledger.put(f"key {number}", "value")) for number in range(5)]
        await until(lambda: ledger._gatherer.waiting[0] == 5)
        kept_gates.append(gate)

    kept_gates: list[Gate] = []
    run(abandon())
    kept_gates[0].open()  # one write ends when its loop is closed already; those behind it were never begun
    plain = kept[0]._ledger
    assert spawn(plain.put, "next", "value").result(LIMIT_SECONDS).index == 1
    spawn(plain.close).result(LIMIT_SECONDS)


def test_close_finishes_what_waits_and_refuses_what_comes(tmp_path: Path) -> None:
    async def storm() -> None:
        store = MemoryStore()
        ledger = await open_on(store, tmp_path)
        gate = store.on_sync = Gate()
        tasks = [asyncio.create_task(ledger.put("first", "value"))]
        await asyncio.to_thread(gate.wait_entered)
        tasks += [asyncio.create_task(ledger.put(f"key {number}", "value")) for number in range(20)]
        await until(lambda: ledger._gatherer.waiting[0] == 20)
        closing = asyncio.create_task(ledger.close())
        await until(lambda: ledger._gatherer._closed)
        with pytest.raises(LedgerClosed):
            await ledger.put("late", "value")
        assert not closing.done()
        gate.open()
        assert [receipt.index for receipt in await asyncio.gather(*tasks)] == list(range(21))
        await closing
        await ledger.close()

    run(storm())


def test_a_closed_ledger_says_so_to_every_call(tmp_path: Path) -> None:
    async def calls() -> None:
        ledger = await AsyncLedger.open(tmp_path / "ledger")
        await ledger.put("key", "value")
        assert await ledger.get("key") == b"value"
        await ledger.close()
        closed: list[Coroutine[Any, Any, Any]] = [
            ledger.get("key"), ledger.put("key", "value"), ledger.put_many([("a", "1"), ("b", "2")]),
            ledger.put_stream("key", [b"value"]), ledger.delete("key"), ledger.entry("key"), ledger.stats(),
            ledger.checkpoint(), ledger.prove("key"), ledger.verify(), ledger.flush(), ledger.get_many(["key"]),
        ]  # fmt: skip
        for call in closed:
            with pytest.raises(LedgerClosed):
                await call
        with pytest.raises(LedgerClosed):
            await gather_all(ledger.log())

    run(calls())


def test_an_open_that_is_cancelled_lets_the_folder_go(tmp_path: Path) -> None:
    async def cancel() -> None:
        store, gate = MemoryStore(), Gate()

        def open_slowly(_: Path) -> MemoryStore:
            gate()
            return store

        opening = asyncio.create_task(AsyncLedger.open(tmp_path, open_store=open_slowly))
        await asyncio.to_thread(gate.wait_entered)
        opening.cancel()
        with pytest.raises(asyncio.CancelledError):
            await opening
        with pytest.raises(LedgerLocked):
            Ledger.open(tmp_path)
        gate.open()
        await until(lambda: can_open(store, tmp_path))

    run(cancel())


def can_open(store: MemoryStore, path: Path) -> bool:
    def open_store(_: Path) -> MemoryStore:
        reopen(store)
        return store

    try:
        with Ledger.open(path, open_store=open_store):
            return True
    except LedgerLocked:
        return False


# --- listings ------------------------------------------------------------------------------------------------------


def test_listings_come_in_pages_of_any_number(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(asynchronous, "PAGE_ENTRIES", 3)

    async def listings() -> None:
        async with await open_on(MemoryStore(), tmp_path) as ledger:
            for size in (0, 1, 2, 3, 4, 5, 6, 7):
                assert len(await gather_all(ledger.log())) == size
                assert len(await gather_all(ledger.scan())) == size
                await ledger.put(f"key {size}", "value")
            assert [entry.index async for entry in ledger.scan(reverse=True, limit=4)] == [7, 6, 5, 4]

    run(listings())


def test_a_listing_may_be_left_and_goes_on_beside_writes(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(asynchronous, "PAGE_ENTRIES", 2)

    async def listings() -> None:
        async with await AsyncLedger.open(tmp_path / "ledger") as ledger:
            await ledger.put_many([(f"key {number}", "value") for number in range(10)])
            async for entry in ledger.log():
                if entry.index == 3:
                    break
            seen = []
            async for entry in ledger.log():
                seen.append(entry.index)
                await ledger.put(f"more {entry.index}", "value")
            assert seen == list(range(10)), "a listing is as of its beginning"
            cut_off = ledger.scan()
            await anext(cut_off)
            await ledger.close()
            with pytest.raises(LedgerClosed):
                await gather_all(cut_off)

    run(listings())
