"""Watches the free space of the data folder's disk, and refuses writes before there is none left.

A disk that is full in the middle of a sync freezes a ledger until it is opened again; one that is nearly full is only
an answer of 503 until somebody has made room. In a cluster it is the leader's disk that counts, for all members alike:
it refuses what they send, and gives way to a voter with room. Any other member must apply what the cluster writes.
"""

from __future__ import annotations

import asyncio
import shutil
from typing import TYPE_CHECKING

import structlog

from scribe_ledger.errors import Unavailable
from scribe_ledger.ledger.folder import IDENTITY

if TYPE_CHECKING:
    from pathlib import Path

    from scribe_ledger.http.service import Service

CHECK_SECONDS = 1.0
log = structlog.get_logger("scribe.disk")


class DiskWatch:
    """Sets ``Service.writes_refused`` while less than the reserve is free, and takes it back afterwards."""

    def __init__(self, service: Service, folder: Path, reserve_bytes: int) -> None:
        self._service = service
        self._folder = folder
        self._reserve_bytes = reserve_bytes
        self._refusal: Unavailable | None = None

    async def run(self) -> None:
        """Until it is cancelled. What it raises is for its owner to act on."""
        while True:
            await self.look()
            await asyncio.sleep(CHECK_SECONDS)

    async def look(self) -> None:
        # Of a file in it: a folder that was removed is missed even if an object is stored under its name anew.
        usage = await asyncio.to_thread(shutil.disk_usage, self._folder / IDENTITY)
        self.judge(usage.free)

    def judge(self, free_bytes: int) -> None:
        if free_bytes >= self._reserve_bytes:
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
                    f"the node's disk has less than {self._reserve_bytes} bytes free, too little to take writes",
                    hint="make room there, or lower [storage] disk_reserve",
                )
            )

    def _set(self, refusal: Unavailable | None) -> None:
        if self._service.writes_refused is self._refusal:  # else somebody else has a reason of his own
            self._service.writes_refused = refusal
        self._refusal = refusal
