"""Errors as answers: one shape, the status of their kind, and what a client needs in order to go on."""

from __future__ import annotations

from typing import Any

import orjson

from scribe_ledger.errors import KINDS, RateLimited, ScribeError, Unavailable
from scribe_ledger.http.headers import JSON_TYPE, NOSNIFF, Headers

RETRY_AFTER_SECONDS = 1


class Problem(ScribeError):
    """An error of this room that says more than its kind: headers, or fields beside the usual ones."""

    def __init__(
        self, cause: ScribeError, *, headers: Headers | None = None, fields: dict[str, Any] | None = None
    ) -> None:
        super().__init__(cause.message, hint=cause.hint)
        self.cause = cause
        self.headers = headers or []
        self.fields = fields or {}


def error_answer(error: ScribeError, request_id: bytes) -> tuple[int, Headers, bytes]:
    """Status, headers and body."""
    headers: Headers = []
    fields: dict[str, Any] = {}
    if isinstance(error, Problem):
        headers, fields, error = error.headers, error.fields, error.cause
    if isinstance(error, Unavailable | RateLimited):
        headers = [*headers, (b"retry-after", b"%d" % RETRY_AFTER_SECONDS)]
    shape = {
        "kind": error.kind,
        "message": error.message,
        "hint": error.hint,
        "request_id": request_id.decode("latin-1"),
    }
    body = orjson.dumps({"error": {**shape, **fields}})
    return KINDS[error.kind].http_status, [JSON_TYPE, *headers, NOSNIFF, (b"content-length", b"%d" % len(body))], body
