"""``LaneWrite``: a ``PUT`` or ``DELETE`` in the lane, from its head to the answer after its commit."""

from __future__ import annotations

from typing import TYPE_CHECKING

from scribe_ledger.errors import ScribeError
from scribe_ledger.http.cycle import Cycle
from scribe_ledger.http.lane_headers import CONTENT_LENGTH, CONTENT_TYPE, IDEMPOTENCY_KEY, IF_NONE_MATCH, REQUEST_ID
from scribe_ledger.http.request_ids import make_request_id, request_id_or_new
from scribe_ledger.http.values import decode_header, receipt_answer, request_id_of
from scribe_ledger.ledger import commands

if TYPE_CHECKING:
    from scribe_ledger.http.lane import Lane
    from scribe_ledger.ledger.commands import Command
    from scribe_ledger.ledger.machine import Outcome


class LaneWrite(Cycle):
    _content_type: bytes | None = None
    _idempotency_key: bytes | None = None
    _if_absent = False

    def __init__(self, lane: Lane, method: str, key: bytes) -> None:
        super().__init__(lane, method, key, lane.url, b"")
        self.parts: list[bytes] = []

    def take(self, meaning: int, value: bytes) -> bool:
        """Whether the header is of a kind, and given once, that the lane knows for such a write."""
        if meaning == CONTENT_LENGTH:
            return int(value) <= (self.lane.shared.body_bytes if self.method == "PUT" else 0)
        if meaning == IDEMPOTENCY_KEY:
            once, self._idempotency_key = self._idempotency_key is None, value
            return once
        if meaning == REQUEST_ID:
            once, self.request_id = not self.request_id, request_id_or_new(value)
            return once
        if meaning == CONTENT_TYPE:
            once, self._content_type = self._content_type is None, value
            return once
        if meaning == IF_NONE_MATCH:
            once, self._if_absent = not self._if_absent, True
            return once and self.method == "PUT" and value == b"*"
        return self.lane.keeps_alive(meaning, value)

    def submit(self) -> None:
        """The body is complete: ask for the commit, which ``settle`` hears of."""
        self.request_id = self.request_id or make_request_id()
        try:
            self.lane.shared.submit([self._command()], self._settle)
        except ScribeError as error:
            self.refuse(error)

    def _command(self) -> Command:
        request_id = None if self._idempotency_key is None else request_id_of(self._idempotency_key)
        if self.method == "DELETE":
            return commands.delete(self.key, request_id=request_id)
        parts = self.parts
        return commands.put(
            self.key,
            parts[0] if len(parts) == 1 else b"".join(parts),
            content_type=decode_header(self._content_type, "Content-Type") if self._content_type else "",
            if_absent=self._if_absent,
            request_id=request_id,
        )

    def _settle(self, outcome: Outcome) -> None:
        if isinstance(outcome, ScribeError):
            self.refuse(outcome)
            return
        receipt = outcome[0]
        head, body = receipt_answer(self.key, receipt)
        self.reply(201 if receipt.created and self.method == "PUT" else 200, head, body)
