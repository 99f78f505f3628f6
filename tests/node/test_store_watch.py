"""What a node finds out about its object store, and whom it tells."""

from __future__ import annotations

import asyncio
import threading
from dataclasses import replace
from types import SimpleNamespace
from typing import TYPE_CHECKING, Any

import pytest

from scribe_ledger.errors import ConfigurationError, Unavailable
from scribe_ledger.http.archiving import StoreHealth
from scribe_ledger.ledger.served import ServedLedger
from scribe_ledger.node import store_watch
from scribe_ledger.node.store_watch import StoreWatch
from scribe_ledger.objects.identity import encode_identity, read_identity
from scribe_ledger.objects.opening import open_object_store

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

pytestmark = pytest.mark.http


@pytest.fixture
def ledger(tmp_path: Path) -> Iterator[ServedLedger]:
    with ServedLedger.open(tmp_path / "data") as opened:
        yield opened


@pytest.fixture
def said(monkeypatch: pytest.MonkeyPatch) -> list[tuple[str, str]]:
    lines: list[tuple[str, str]] = []

    class Log:
        def __getattr__(self, level: str) -> Any:
            return lambda event, **_: lines.append((level, event))

    monkeypatch.setattr(store_watch, "log", Log())
    return lines


def service_of(ledger: ServedLedger) -> Any:
    woken: list[str] = []
    archiver = SimpleNamespace(wake=lambda: woken.append("the archiver"), woken=woken)
    return SimpleNamespace(ledger=ledger, store_health=StoreHealth(ledger.objects.url, None), archiver=archiver)


def look(watch: StoreWatch) -> None:
    asyncio.run(watch.look())


def test_a_new_store_is_looked_at_and_not_claimed(ledger: ServedLedger, said: list[Any]) -> None:
    service = service_of(ledger)
    look(StoreWatch(service))
    assert (service.store_health.ok, service.store_health.error) == (True, "")
    assert service.store_health.checked > 0
    assert ledger.objects.get("scribe.json") is None
    assert ledger.manifest.version == 0
    assert said == []


def test_only_changes_are_told(ledger: ServedLedger, said: list[Any], monkeypatch: pytest.MonkeyPatch) -> None:
    service, down = service_of(ledger), True

    def check() -> None:
        if down:
            raise Unavailable("cannot use s3://bucket: refused")

    monkeypatch.setattr(ledger.objects, "check", check)
    watch = StoreWatch(service)
    for _ in range(3):
        look(watch)
    assert service.store_health[1:3] == (False, "cannot use s3://bucket: refused")
    down = False
    assert service.archiver.woken == []
    for _ in range(3):
        look(watch)
    assert service.archiver.woken == ["the archiver"], "once for each time that the store comes back"
    assert service.store_health[1:3] == (True, "")
    assert said == [
        ("warning", "the object store cannot be used"),
        ("info", "the object store can be used again"),
    ]


def test_the_store_of_another_ledger_is_raised(ledger: ServedLedger, tmp_path: Path) -> None:
    with ServedLedger.open(tmp_path / "other", object_store=ledger.objects) as other:
        other.adopt_store()
    with pytest.raises(ConfigurationError, match="holds the objects of"):
        look(StoreWatch(service_of(ledger)))


def test_a_store_that_hangs_is_waited_for_by_one_thread(
    ledger: ServedLedger, said: list[Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    answer, asked = threading.Event(), []

    def check() -> None:
        asked.append(1)
        assert answer.wait(20)

    monkeypatch.setattr(ledger.objects, "check", check)
    monkeypatch.setattr(store_watch, "DEADLINE_SECONDS", 0.02)
    service = service_of(ledger)

    async def looks() -> None:
        watch = StoreWatch(service)
        await watch.look()
        await watch.look()
        assert "did not answer within 0.02 seconds" in service.store_health.error
        answer.set()
        monkeypatch.setattr(store_watch, "DEADLINE_SECONDS", 20)
        await watch.look()

    asyncio.run(looks())
    assert service.store_health.ok is True
    assert len(asked) == 1
    assert said[0] == ("warning", "the object store cannot be used")


# --- of a member -----------------------------------------------------------------------------------------------


class Member:
    """What a watch asks of the cluster, and tells it."""

    term = 0

    def __init__(self) -> None:
        self.failed: list[Exception] = []

    def catch_up(self) -> None:
        return

    def fail(self, error: Exception) -> None:
        self.failed.append(error)


def test_a_member_without_a_store_has_none_to_look_at(ledger: ServedLedger, said: list[Any]) -> None:
    service = service_of(ledger)
    look(StoreWatch(service, leading=Member(), is_named=False))
    assert (service.store_health.ok, said) == (None, [])


def test_a_member_that_names_none_where_there_is_one_is_told_which_setting_is_missing(
    tmp_path: Path, said: list[Any]
) -> None:
    with ServedLedger.open(tmp_path / "data", object_store=(tmp_path / "shared").as_uri()) as opened:
        opened.adopt_store()
    with ServedLedger.open(tmp_path / "data") as opened:
        service = service_of(opened)
        look(StoreWatch(service, leading=Member(), is_named=False))
        assert service.store_health.ok is False
        assert "[storage] object_store" in service.store_health.error


def of_another_store(ledger: ServedLedger) -> bytes:
    """``scribe.json`` as it would be of another store of the same ledger."""
    found = read_identity(ledger.objects)
    assert found is not None
    return encode_identity(replace(found, store_id="0" * 32))


async def watched_until(watch: StoreWatch, condition: Callable[[], bool]) -> None:
    task = asyncio.ensure_future(watch.run())
    async with asyncio.timeout(20):
        while not condition():  # noqa: ASYNC110
            await asyncio.sleep(0.001)
    task.cancel()


def test_a_member_that_could_not_ask_at_first_and_finds_another_store_serves_no_more(
    tmp_path: Path, said: list[Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(store_watch, "CHECK_SECONDS", 0.001)
    with ServedLedger.open(tmp_path / "data") as opened:
        member = Member()
        opened.adopt_store()
        opened.objects.put_bytes("scribe.json", of_another_store(opened), replace=True)
        service = SimpleNamespace(**vars(service_of(opened)), cluster=member)
        watch = StoreWatch(service, leading=member)  # type: ignore[arg-type]
        with pytest.raises(ConfigurationError, match="and this cluster uses"):
            look(watch)
        asyncio.run(watched_until(watch, lambda: bool(member.failed)))
    assert isinstance(member.failed[0], Unavailable), "a client can change no setting"
    assert "and this cluster uses" in str(member.failed[0])


@pytest.mark.parametrize("is_member", [True, False])
def test_a_store_that_was_right_and_is_another_is_an_outage_until_it_is_right_again(
    tmp_path: Path, said: list[Any], monkeypatch: pytest.MonkeyPatch, *, is_member: bool
) -> None:
    monkeypatch.setattr(store_watch, "CHECK_SECONDS", 0.001)
    with ServedLedger.open(tmp_path / "data", inline_max=100) as opened:
        member = Member() if is_member else None
        opened.put("large", b"adopts the store" * 100)
        right = opened.objects.get("scribe.json") or b""
        service = SimpleNamespace(**vars(service_of(opened)), cluster=member)
        watch = StoreWatch(service, leading=member)  # type: ignore[arg-type]
        look(watch)
        assert service.store_health.ok is True
        opened.objects.put_bytes("scribe.json", of_another_store(opened), replace=True)
        asyncio.run(watched_until(watch, lambda: service.store_health.ok is False))
        assert "0" * 32 in service.store_health.error
        assert opened.put("small", "written all the same").created
        with pytest.raises(ConfigurationError, match="0" * 32):
            opened.put("large", b"would go to another's" * 100)
        opened.objects.put_bytes("scribe.json", right, replace=True)
        asyncio.run(watched_until(watch, lambda: bool(service.store_health.ok)))
        opened.put("large", b"goes on by itself" * 100)
        assert service.archiver.woken
        assert member is None or member.failed == []


def test_a_member_that_does_not_lead_makes_no_store(tmp_path: Path, said: list[Any]) -> None:
    folder, member = tmp_path / "shared", Member()
    store = open_object_store(folder.as_uri(), late=True)
    with ServedLedger.open(tmp_path / "data", object_store=store) as opened:
        service = service_of(opened)
        look(StoreWatch(service, leading=member))
        assert (service.store_health.ok, folder.exists()) == (True, False)
        member.term = 1
        look(StoreWatch(service, leading=member))
        assert (service.store_health.ok, folder.exists()) == (True, True)
        opened.adopt_store()
        folder.rename(tmp_path / "unmounted")
        look(StoreWatch(service, leading=member))
        assert "is not the object store that this ledger's objects are in" in service.store_health.error
        assert not folder.exists()
    assert said == [("warning", "the object store cannot be used")]
