"""``AccessLog``: one line a request. To the event loop it costs a clock reading and an append."""

from __future__ import annotations

from time import time
from typing import TYPE_CHECKING

from scribe_ledger.node.logging.writer import MAX_ACCESS_LINES

if TYPE_CHECKING:
    from scribe_ledger.node.logging.writer import LogWriter


class AccessLog:
    """Notes requests that were answered; the writer's thread makes lines of them."""

    __slots__ = ("_lines", "_writer")

    def __init__(self, writer: LogWriter) -> None:
        self._writer = writer
        self._lines = writer.lines

    def note(
        self,
        method: str,
        path: bytes,
        status: int,
        size: int,
        seconds: float,
        request_id: bytes,
        client: tuple[str, int] | None,
    ) -> None:
        """``path`` as it was sent, ``size`` of the answer's body. What a client chose is escaped when it is written."""
        lines = self._lines
        if len(lines) < MAX_ACCESS_LINES:
            # A plain tuple in the order of Access: naming the fields would double the cost.
            lines.append((time(), method, path, status, size, seconds, request_id, client))  # type: ignore[arg-type]
        else:
            self._writer.drop(1)
