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
    from collections.abc import Iterator
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
    return SimpleNamespace(ledger=ledger, store_health=StoreHealth(ledger.objects.url, None))


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
    for _ in range(3):
        look(watch)
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


def test_another_store_that_turns_up_later_ends_what_a_member_serves(
    tmp_path: Path, said: list[Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    with ServedLedger.open(tmp_path / "data") as opened:
        member = Member()
        opened.adopt_store()
        service = SimpleNamespace(**vars(service_of(opened)), cluster=member)
        watch = StoreWatch(service, leading=member)  # type: ignore[arg-type]
        look(watch)
        assert service.store_health.ok is True
        found = read_identity(opened.objects)
        assert found is not None
        opened.objects.put_bytes("scribe.json", encode_identity(replace(found, store_id="0" * 32)), replace=True)
        with pytest.raises(ConfigurationError, match="and this cluster uses"):
            look(watch)
        monkeypatch.setattr(store_watch, "CHECK_SECONDS", 0.001)

        async def run() -> None:
            task = asyncio.ensure_future(watch.run())
            async with asyncio.timeout(20):
                while not member.failed:  # noqa: ASYNC110
                    await asyncio.sleep(0.001)
            task.cancel()

        asyncio.run(run())
    assert isinstance(member.failed[0], Unavailable), "a client can change no setting"
    assert "and this cluster uses" in str(member.failed[0])


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
