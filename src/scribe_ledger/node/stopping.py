"""Signals that end a node. The first asks it to stop; a second Ctrl-C ends it at once, which costs nothing answered."""

from __future__ import annotations

import os
import signal
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from types import FrameType

INTERRUPTED = 130


class StopSignals:
    """SIGTERM and SIGINT as a flag, from the moment of ``install`` on. Who waits for it looks now and then."""

    def __init__(self) -> None:
        self.received = ""

    @property
    def asked(self) -> bool:
        return bool(self.received)

    def install(self) -> None:
        for number in (signal.SIGTERM, signal.SIGINT):
            signal.signal(number, self._receive)

    def _receive(self, number: int, _frame: FrameType | None) -> None:
        if self.asked and number == signal.SIGINT:
            os._exit(INTERRUPTED)  # all that was answered is durable: nothing is left to tidy up
        self.received = self.received or signal.Signals(number).name
