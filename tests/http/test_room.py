"""Between two looks at a disk: what is accepted is counted, and nothing is that would go below the reserve."""

from __future__ import annotations

import asyncio
import json
import shutil
from contextlib import closing
from http.client import HTTPConnection
from pathlib import Path
from types import SimpleNamespace
from typing import TYPE_CHECKING

import pytest
from tests.http.asking import ask
from tests.http.serving import serve

from scribe_ledger.errors import Unavailable
from scribe_ledger.http.room import WRITTEN_TIMES, Room
from scribe_ledger.model import CHUNK_BYTES
from scribe_ledger.node.disk import DiskWatch

if TYPE_CHECKING:
    from collections.abc import Iterator

    from tests.http.serving import Served

pytestmark = pytest.mark.http

RESERVE = 1 << 30
SIZE = 50_000


class Writer:
    accepted_bytes = 1000
    settled_bytes = 1000


# --- counting --------------------------------------------------------------------------------------------------------


def test_without_a_bound_all_fits() -> None:
    room = Room(Writer())
    room.take_large(1 << 50)
    assert room.fits(1 << 50)


def test_what_was_accepted_since_the_mark_counts_as_often_as_it_may_be_written() -> None:
    writer = Writer()
    room = Room(writer)
    room.set(100 * WRITTEN_TIMES, room.mark())
    assert room.fits(100) and not room.fits(101)
    writer.accepted_bytes += 60
    assert room.fits(40) and not room.fits(41)
    assert room.missed_bytes == 101 * WRITTEN_TIMES, "the largest"
    with pytest.raises(Unavailable, match="too little room") as caught:
        room.check(41)
    assert "disk_reserve" in caught.value.hint


def test_what_waited_when_the_disk_was_looked_at_is_still_to_be_written() -> None:
    writer = Writer()
    room = Room(writer)
    writer.accepted_bytes += 60
    room.set(100 * WRITTEN_TIMES, room.mark())
    assert room.fits(40) and not room.fits(41)


def test_large_values_are_written_once_and_count_also_while_the_disk_is_looked_at() -> None:
    room = Room(Writer())
    mark = room.mark()
    room.take_large(100 * WRITTEN_TIMES)
    room.set(300 * WRITTEN_TIMES, mark)
    assert room.fits(200) and not room.fits(201)
    room.take_large(150 * WRITTEN_TIMES)
    assert room.fits(50) and not room.fits(51)
    with pytest.raises(Unavailable):
        room.take_large(51 * WRITTEN_TIMES)
    assert room.fits(50), "what was refused is not counted"


def test_it_asks_for_a_look_when_half_is_taken() -> None:
    writer = Writer()
    room = Room(writer)
    looks: list[int] = []
    room.on_low = lambda: looks.append(writer.accepted_bytes)
    room.set(100 * WRITTEN_TIMES, room.mark())
    assert room.fits(49) and looks == []
    writer.accepted_bytes += 50
    assert room.fits(0) and looks == [1050]


# --- a node on a disk that fills faster than it is looked at ---------------------------------------------------------


@pytest.fixture
def served(tmp_path: Path) -> Iterator[Served]:
    with serve(tmp_path / "data", settings={"storage.inline_max": 100_000}) as running:
        yield running


def look(served: Served, monkeypatch: pytest.MonkeyPatch, spare: int) -> None:
    """The disk has so much above the reserve."""
    monkeypatch.setattr(shutil, "disk_usage", lambda _: SimpleNamespace(free=RESERVE + spare))
    watch = DiskWatch(served.service, Path(), RESERVE)
    asyncio.run_coroutine_threadsafe(watch.look(), served.loop).result(20)


@pytest.mark.parametrize("fields", [{}, {"X-Scribe-Meta-way": "not the lane"}])
def test_puts_stop_before_the_reserve_though_nobody_looked(
    served: Served, monkeypatch: pytest.MonkeyPatch, fields: dict[str, str]
) -> None:
    look(served, monkeypatch, 10 * WRITTEN_TIMES * SIZE)
    statuses = [ask(served, "PUT", f"/{number}", bytes(SIZE), fields).status for number in range(12)]
    assert statuses.count(201) in {9, 10}, "and not one more: each has a head of its own, too"
    assert statuses[10:] == [503, 503]
    assert ask(served, "GET", "/0").status == 200
    look(served, monkeypatch, 10 * WRITTEN_TIMES * SIZE)
    assert ask(served, "PUT", "/more", bytes(SIZE), fields).status == 201


def test_a_batch_counts_as_a_whole(served: Served, monkeypatch: pytest.MonkeyPatch) -> None:
    look(served, monkeypatch, 10 * WRITTEN_TIMES * 1000)
    operations = [{"op": "put", "key": str(number), "value": "x" * 1000} for number in range(11)]
    answer = ask(served, "POST", "/v1/batch", json.dumps({"operations": operations}).encode())
    assert (answer.status, served.ledger.size) == (503, 0)
    half = json.dumps({"operations": operations[:5]}).encode()
    assert ask(served, "POST", "/v1/batch", half).status == 201


def test_large_values_count_once(served: Served, monkeypatch: pytest.MonkeyPatch) -> None:
    look(served, monkeypatch, 1_000_000)
    assert ask(served, "PUT", "/a", bytes(600_000)).status == 201
    assert ask(served, "PUT", "/b", bytes(600_000)).status == 503
    assert ask(served, "PUT", "/c", bytes(300_000)).status == 201
    assert ask(served, "PUT", "/d", bytes(1000)).status == 201


def test_a_large_value_of_unknown_size_is_stopped_where_the_room_ends(
    served: Served, monkeypatch: pytest.MonkeyPatch
) -> None:
    look(served, monkeypatch, 2 * CHUNK_BYTES + 1000)
    counted: list[int] = []
    take = served.service.room.take_large

    def note(size: int) -> None:
        take(size)
        counted.append(size)

    monkeypatch.setattr(served.service.room, "take_large", note)
    connection = HTTPConnection(served.host, served.port, timeout=30)
    with closing(connection):
        connection.request("PUT", "/a", iter([bytes(CHUNK_BYTES)] * 3))
        assert connection.getresponse().status == 503
    assert counted == [CHUNK_BYTES, CHUNK_BYTES]
    assert served.ledger.size == 0
