"""A disk that is nearly full: writes get 503, reads go on, and when there is room again so do writes."""

from __future__ import annotations

import asyncio
import json
import shutil
import time
from pathlib import Path
from types import SimpleNamespace
from typing import TYPE_CHECKING, Any, cast

import pytest
from tests.running import request, start_node

from scribe_ledger import Ledger
from scribe_ledger.config.sections import LEAST_RESERVE
from scribe_ledger.errors import StorageError
from scribe_ledger.http.room import Room
from scribe_ledger.node import disk
from scribe_ledger.node.disk import DiskWatch

if TYPE_CHECKING:
    from collections.abc import Callable

    from scribe_ledger.http.service import Service

pytestmark = pytest.mark.http

RESERVE = 1000
NO_DISK_HAS = str(1 << 62)


class Refusing:
    """The one thing of a service that the watch touches."""

    def __init__(self) -> None:
        self.writes_refused: Any = None


def watch() -> tuple[DiskWatch, Refusing]:
    service = Refusing()
    return DiskWatch(cast("Service", service), Path(), RESERVE), service


def test_writes_are_refused_below_the_reserve_and_taken_again_above_it() -> None:
    looking, service = watch()
    looking.judge(RESERVE - 1)
    refusal = service.writes_refused
    assert refusal.kind == "unavailable"
    assert "1000 bytes" in refusal.message
    looking.judge(RESERVE - 2)
    assert service.writes_refused is refusal
    looking.judge(RESERVE)
    assert service.writes_refused is None


def test_the_hint_says_how_far_a_reserve_may_be_lowered() -> None:
    looking, service = watch()
    looking.judge(0)
    assert f"disk_reserve may be lowered too, though not below {LEAST_RESERVE} bytes" in service.writes_refused.hint


def test_just_above_the_reserve_where_a_unit_did_not_fit_all_are_refused() -> None:
    looking, service = watch()
    looking.judge(RESERVE + 9, missed_bytes=10)
    assert "1010 bytes" in service.writes_refused.message
    looking.judge(RESERVE + 9)
    assert service.writes_refused is not None, "else it would come and go"
    looking.judge(RESERVE + 10)
    assert service.writes_refused is None
    looking.judge(RESERVE + RESERVE // 16, missed_bytes=RESERVE)
    assert service.writes_refused is None, "one large unit does not keep out the small ones"


def test_the_disk_is_looked_at_as_soon_as_half_of_the_room_is_taken(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(disk, "CHECK_SECONDS", 3600.0)
    free = [RESERVE + 600, RESERVE - 1]
    monkeypatch.setattr(shutil, "disk_usage", lambda _: SimpleNamespace(free=free.pop(0)))
    writer = SimpleNamespace(accepted_bytes=0, settled_bytes=0)
    service = SimpleNamespace(writes_refused=None, room=Room(writer))

    async def until(is_so: Callable[[], bool]) -> None:
        async with asyncio.timeout(20):
            while not is_so():  # noqa: ASYNC110  # the watch tells nobody
                await asyncio.sleep(0.001)

    async def write() -> None:
        running = asyncio.create_task(DiskWatch(cast("Service", service), Path(), RESERVE).run())
        await until(lambda: service.room.low_at == 100)
        assert service.writes_refused is None
        writer.accepted_bytes = 100
        assert service.room.fits(10)
        await until(lambda: service.writes_refused is not None)
        running.cancel()

    asyncio.run(write())


def test_a_refusal_for_another_reason_stays() -> None:
    looking, service = watch()
    service.writes_refused = other = StorageError("something else")
    looking.judge(0)
    assert service.writes_refused is other
    looking.judge(RESERVE)
    assert service.writes_refused is other


def test_a_node_on_a_full_disk_reads_and_does_not_write(tmp_path: Path) -> None:
    with Ledger.open(tmp_path / "data") as ledger:
        ledger.put("a", "1")
    with start_node(tmp_path / "data", env={"SCRIBE_STORAGE_DISK_RESERVE": NO_DISK_HAS}) as node:
        for method, path, body in (("PUT", "/b", b"2"), ("DELETE", "/a", None), ("PUT", "/b", b"2" * 300_000)):
            answer = request(f"{node.url}{path}", method, body)
            assert answer.status == 503
            assert json.loads(answer.body)["error"]["kind"] == "unavailable"
            assert "disk_reserve" in json.loads(answer.body)["error"]["hint"]
            assert int(answer.headers["retry-after"]) >= 1
        assert request(f"{node.url}/a").body == b"1"
        node.stop()
        assert node.log.count("the disk is nearly full") == 1
    with Ledger.open(tmp_path / "data") as ledger:
        assert ledger.size == 1
        assert not list((tmp_path / "data" / "spool").glob("*"))


def test_a_task_that_fails_takes_the_node_down_with_3(tmp_path: Path) -> None:
    with start_node(tmp_path / "data") as node:
        shutil.rmtree(tmp_path / "data")
        began = time.monotonic()
        assert node.wait() == 3
        assert time.monotonic() - began < 20
        last = node.log.splitlines()[-1]
        assert last.startswith("scribe-node: ")
        assert "a task in the background failed" in node.log
