"""Watches the free space of the data folder's disk, and refuses writes before there is none left.

A disk that is full in the middle of a sync freezes a ledger until it is opened again; one that is nearly full is only
an answer of 503 until somebody has made room. In a cluster it is the leader's disk that counts, for all members alike:
it refuses what they send, and gives way to a voter with room. Any other member must apply what the cluster writes.

Between two looks the service's ``room`` counts what is accepted, and asks for the next one when half of it is taken.
"""

from __future__ import annotations

import asyncio
import shutil
from contextlib import suppress
from typing import TYPE_CHECKING

import structlog

from scribe_ledger.config.sections import MAKE_ROOM, narrow_margin
from scribe_ledger.errors import Unavailable
from scribe_ledger.ledger.folder import IDENTITY

if TYPE_CHECKING:
    from pathlib import Path

    from scribe_ledger.http.service import Service

CHECK_SECONDS = 1.0
PAUSE_SECONDS = 0.02
"""Between two looks, however fast room is taken."""
log = structlog.get_logger("scribe.disk")


class DiskWatch:
    """Sets ``Service.writes_refused`` while less than the reserve is free, and takes it back afterwards."""

    def __init__(self, service: Service, folder: Path, reserve_bytes: int) -> None:
        self._service = service
        self._folder = folder
        self._reserve_bytes = self._needed_bytes = reserve_bytes
        self._refusal: Unavailable | None = None
        self._low = asyncio.Event()

    async def run(self) -> None:
        """Until it is cancelled. What it raises is for its owner to act on."""
        self._service.room.on_low = self._low.set
        while True:
            self._low.clear()
            await self.look()
            await asyncio.sleep(PAUSE_SECONDS)
            with suppress(TimeoutError):
                await asyncio.wait_for(self._low.wait(), CHECK_SECONDS)

    async def look(self) -> None:
        room = self._service.room
        mark = room.mark()
        # Of a file in it: a folder that was removed is missed even if an object is stored under its name anew.
        usage = await asyncio.to_thread(shutil.disk_usage, self._folder / IDENTITY)
        missed, room.missed_bytes = room.missed_bytes, 0
        self.judge(usage.free, missed)
        if self._reserve_bytes:
            room.set(usage.free - self._reserve_bytes, mark)

    def judge(self, free_bytes: int, missed_bytes: int = 0) -> None:
        """``missed_bytes`` is what a unit lacked that did not fit: just above the reserve none might, for good."""
        if self._refusal is None:
            self._needed_bytes = self._reserve_bytes + min(missed_bytes, narrow_margin(self._reserve_bytes))
        if free_bytes >= self._needed_bytes:
            if self._refusal is not None:
                log.warning("there is room on the disk again: writes are taken", free_bytes=free_bytes)
                self._set(None)
        elif self._refusal is None:
            log.error(
                "the disk is nearly full: writes are refused, unless another node leads",
                free_bytes=free_bytes,
                reserve=self._reserve_bytes,
            )
            self._set(
                Unavailable(
                    f"the node's disk has less than {self._needed_bytes} bytes free, too little to take writes",
                    hint=MAKE_ROOM,
                )
            )

    def _set(self, refusal: Unavailable | None) -> None:
        if self._service.writes_refused is self._refusal:  # else somebody else has a reason of his own
            self._service.writes_refused = refusal
        self._refusal = refusal
