"""What the service refuses, and that refusing costs nothing that stays."""

from __future__ import annotations

import asyncio
import http.client
from types import SimpleNamespace
from typing import TYPE_CHECKING

import pytest
from tests.http.serving import serve

from scribe_ledger.config import Config
from scribe_ledger.errors import Unavailable
from scribe_ledger.http import application
from scribe_ledger.http.metrics import Metrics
from scribe_ledger.http.service import Service
from scribe_ledger.ledger import commands
from scribe_ledger.ledger.served import ServedLedger

if TYPE_CHECKING:
    from pathlib import Path
    from types import TracebackType

pytestmark = pytest.mark.http


def depth(traceback: TracebackType | None) -> int:
    return 0 if traceback is None else 1 + depth(traceback.tb_next)


@pytest.mark.parametrize("stopping", [False, True])
def test_a_refusal_keeps_nothing_of_whom_it_refused(tmp_path: Path, stopping: bool) -> None:
    async def refusals(ledger: ServedLedger) -> list[int]:
        service = Service(ledger, Config.load(None, environ={}, overrides={}), Metrics([1.0]))
        if stopping:
            await service.close()
        else:
            service.writes_refused = Unavailable("the disk is nearly full")
        found = []
        for _ in range(20):
            with pytest.raises(Unavailable) as refusal:
                await service.write([commands.put("k", b"v")])
            found.append(depth(refusal.value.__traceback__))
        await service.close()
        return found

    with ServedLedger.open(tmp_path / "data") as ledger:
        found = asyncio.run(refusals(ledger))
    assert len(found) == 20
    assert max(found) == found[0]


def test_a_refusal_that_nobody_waits_for_any_more_is_no_failure(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    said: list[str] = []

    async def leave_and_refuse(self: Service, size: int, *, seconds: float) -> None:
        for connection in served._connections():
            connection.transport.close()
        raise Unavailable("not in time")

    note = lambda event, **_: said.append(event)  # noqa: E731
    monkeypatch.setattr(application, "log", SimpleNamespace(debug=note, exception=note))
    monkeypatch.setattr(Service, "wait_for_size", leave_and_refuse)
    with serve(tmp_path) as served:
        client = http.client.HTTPConnection(served.host, served.port, timeout=20)
        client.request("GET", "/key?after=1000")
        with pytest.raises(http.client.RemoteDisconnected):
            client.getresponse()
        client.close()
        served.settle()
    assert said == ["the client went away"]
