"""What the service refuses, and that refusing costs nothing that stays."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING

import pytest

from scribe_ledger.config import Config
from scribe_ledger.errors import Unavailable
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
