"""Group commit for an event loop: what gathers goes together, in order, and nobody is left waiting."""

from __future__ import annotations

import asyncio
import threading
from itertools import chain
from typing import TYPE_CHECKING, Any

import pytest

from scribe_ledger.errors import LedgerClosed, NotFound, Overloaded, ScribeError, StorageError
from scribe_ledger.ledger import commands, gathering
from scribe_ledger.ledger.gathering import Gatherer
from scribe_ledger.ledger.ledger import Ledger

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Sequence
    from pathlib import Path

    from scribe_ledger.ledger.commands import Command

pytestmark = pytest.mark.storage

PATIENCE_SECONDS = 10


class Writer:
    """Stands for the ledger: notes each round, and holds it until the test lets it go."""

    def __init__(self, *, held: bool = False) -> None:
        self.rounds: list[list[bytes]] = []
        self.began = threading.Event()
        self.let_go = threading.Event()
        self.failure: Exception | None = None
        if not held:
            self.let_go.set()

    def __call__(self, units: Sequence[Sequence[Command]]) -> list[Any]:
        self.rounds.append([unit[0].key for unit in units])
        self.began.set()
        assert self.let_go.wait(PATIENCE_SECONDS)
        if self.failure is not None:
            raise self.failure
        return [NotFound("no such key") if unit[0].key == b"refused" else [unit[0].key] for unit in units]

    async def wait_until_begun(self) -> None:
        await asyncio.to_thread(self.began.wait, PATIENCE_SECONDS)


def unit(key: str, value: bytes = b"v") -> list[Command]:
    return [commands.put(key, value)]


def run(act: Callable[[Gatherer], Awaitable[None]], writer: Callable[..., Any]) -> None:
    async def running() -> None:
        gatherer = Gatherer(writer)
        try:
            async with asyncio.timeout(PATIENCE_SECONDS):
                await act(gatherer)
        finally:
            if isinstance(writer, Writer):
                writer.let_go.set()
            await gatherer.close()

    asyncio.run(running())


def test_what_is_asked_for_in_one_turn_goes_in_one_round() -> None:
    writer = Writer()

    async def act(gatherer: Gatherer) -> None:
        answers = await asyncio.gather(*(gatherer.write(unit(key)) for key in "abc"))
        assert answers == [[b"a"], [b"b"], [b"c"]]

    run(act, writer)
    assert writer.rounds == [[b"a", b"b", b"c"]]


def test_what_comes_during_a_round_goes_together_in_the_next() -> None:
    writer = Writer(held=True)

    async def act(gatherer: Gatherer) -> None:
        first = asyncio.create_task(gatherer.write(unit("first")))
        await writer.wait_until_begun()
        assert gatherer.waiting == (0, 0)
        later = []
        for key in "abc":  # each in a turn of its own
            later.append(asyncio.create_task(gatherer.write(unit(key))))
            await asyncio.sleep(0)
        entries, size = gatherer.waiting
        assert entries == 3
        assert size >= 3
        writer.let_go.set()
        assert await first == [b"first"]
        assert await asyncio.gather(*later) == [[b"a"], [b"b"], [b"c"]]
        assert gatherer.waiting == (0, 0)

    run(act, writer)
    assert writer.rounds == [[b"first"], [b"a", b"b", b"c"]]


def test_a_refusal_is_its_own_units_alone() -> None:
    async def act(gatherer: Gatherer) -> None:
        good, bad = await asyncio.gather(
            gatherer.write(unit("good")), gatherer.write(unit("refused")), return_exceptions=True
        )
        assert good == [b"good"]
        assert isinstance(bad, NotFound)

    run(act, Writer())


@pytest.mark.parametrize(
    ("failure", "kind"), [(StorageError("the disk is gone"), "storage"), (ZeroDivisionError("a bug"), "storage")]
)
def test_a_round_that_fails_is_heard_of_by_all_and_the_next_one_runs(failure: Exception, kind: str) -> None:
    writer = Writer()
    writer.failure = failure

    async def act(gatherer: Gatherer) -> None:
        outcomes = await asyncio.gather(*(gatherer.write(unit(key)) for key in "ab"), return_exceptions=True)
        assert [isinstance(outcome, ScribeError) and outcome.kind for outcome in outcomes] == [kind, kind]
        writer.failure = None
        assert await gatherer.write(unit("c")) == [b"c"]

    run(act, writer)


def test_a_full_queue_refuses_and_takes_again_when_it_has_room(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(gathering, "MAX_WAITING_ENTRIES", 2)
    writer = Writer(held=True)

    async def act(gatherer: Gatherer) -> None:
        tasks = [asyncio.create_task(gatherer.write(unit("first")))]
        await writer.wait_until_begun()
        tasks += [asyncio.create_task(gatherer.write(unit(key))) for key in "ab"]
        await asyncio.sleep(0)
        with pytest.raises(Overloaded, match="2 entries wait"):
            gatherer.submit(unit("too-many"), lambda _: None)
        writer.let_go.set()
        await asyncio.gather(*tasks)
        assert await gatherer.write(unit("again")) == [b"again"]

    run(act, writer)
    assert b"too-many" not in chain.from_iterable(writer.rounds)


def test_bytes_are_bounded_too_and_one_unit_always_fits(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(gathering, "MAX_WAITING_BYTES", 1000)
    writer = Writer(held=True)

    async def act(gatherer: Gatherer) -> None:
        tasks = [asyncio.create_task(gatherer.write(unit("first")))]
        await writer.wait_until_begun()
        tasks.append(asyncio.create_task(gatherer.write(unit("large", bytes(5000)))))
        await asyncio.sleep(0)
        with pytest.raises(Overloaded):
            gatherer.submit(unit("small"), lambda _: None)
        writer.let_go.set()
        await asyncio.gather(*tasks)

    run(act, writer)


def test_a_round_takes_no_more_than_its_limit(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(gathering, "MAX_ROUND_UNITS", 3)
    writer = Writer()

    async def act(gatherer: Gatherer) -> None:
        answers = await asyncio.gather(*(gatherer.write(unit(key)) for key in "abcdefg"))
        assert answers == [[key.encode()] for key in "abcdefg"]
        assert gatherer.waiting == (0, 0)

    run(act, writer)
    assert [len(taken) for taken in writer.rounds] == [3, 3, 1]
    assert b"".join(chain.from_iterable(writer.rounds)) == b"abcdefg"


def test_whoever_stops_waiting_takes_nothing_from_the_others() -> None:
    writer = Writer(held=True)

    async def act(gatherer: Gatherer) -> None:
        gone, stays = (asyncio.create_task(gatherer.write(unit(key))) for key in ("gone", "stays"))
        await writer.wait_until_begun()
        gone.cancel()
        with pytest.raises(asyncio.CancelledError):
            await gone
        writer.let_go.set()
        assert await stays == [b"stays"]

    run(act, writer)


def test_closing_finishes_what_was_accepted_and_refuses_the_rest() -> None:
    writer = Writer(held=True)

    async def act(gatherer: Gatherer) -> None:
        accepted = asyncio.create_task(gatherer.write(unit("accepted")))
        await writer.wait_until_begun()
        queued = asyncio.create_task(gatherer.write(unit("queued")))
        await asyncio.sleep(0)
        closing = asyncio.create_task(gatherer.close())
        await asyncio.sleep(0)
        with pytest.raises(LedgerClosed):
            await gatherer.write(unit("late"))
        assert not closing.done()
        writer.let_go.set()
        await closing
        answers: list[Any] = [await accepted, await queued]
        assert answers == [[b"accepted"], [b"queued"]]

    run(act, writer)
    assert writer.rounds == [[b"accepted"], [b"queued"]]


def test_closing_ends_the_thread() -> None:
    before = threading.active_count()

    async def act(gatherer: Gatherer) -> None:
        await gatherer.write(unit("a"))

    run(act, Writer())
    assert not [thread for thread in threading.enumerate() if thread.name == "scribe-commit"]
    assert threading.active_count() <= before


def test_many_tasks_over_a_real_ledger_each_get_their_own_receipt(tmp_path: Path) -> None:
    with Ledger.open(tmp_path / "data") as ledger:

        async def act(gatherer: Gatherer) -> None:
            receipts = await asyncio.gather(
                *(gatherer.write(unit(f"key-{number}", b"%d" % number)) for number in range(500))
            )
            for number, found in enumerate(receipts):
                assert ledger.entry_at(found[0].index).key == b"key-%d" % number
            assert ledger.size == 500

        run(act, ledger.write_all)
        assert ledger.stats()["batches"] < 500
