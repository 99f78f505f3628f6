"""Errors as answers: one shape, the status of their kind, and what a client needs in order to go on."""

from __future__ import annotations

from typing import Any

import orjson

from scribe_ledger.errors import KINDS, RateLimited, ScribeError, Unavailable
from scribe_ledger.http.headers import JSON_TYPE, NOSNIFF, Headers
from scribe_ledger.http.replies import NO_STORE

RETRY_AFTER_SECONDS = 1


class Problem(ScribeError):
    """An error of this room that says more than its kind: headers, fields beside the usual ones, or other members
    of the answer beside ``error``.
    """

    def __init__(
        self,
        cause: ScribeError,
        *,
        headers: Headers | None = None,
        fields: dict[str, Any] | None = None,
        beside: dict[str, Any] | None = None,
    ) -> None:
        super().__init__(cause.message, hint=cause.hint)
        self.cause = cause
        self.kind = cause.kind  # type: ignore[misc]  # counted under what it is
        self.beside = beside or {}
        self.headers = headers or []
        self.fields = fields or {}


def error_answer(error: ScribeError, request_id: bytes) -> tuple[int, Headers, bytes]:
    """Status, headers and body."""
    headers: Headers = []
    fields: dict[str, Any] = {}
    beside: dict[str, Any] = {}
    if isinstance(error, Problem):
        headers, fields, beside, error = error.headers, error.fields, error.beside, error.cause
    if isinstance(error, Unavailable | RateLimited):
        headers = [*headers, (b"retry-after", b"%d" % RETRY_AFTER_SECONDS)]
    shape: dict[str, Any] = {
        "kind": error.kind,
        "message": error.message,
        "hint": error.hint,
        "request_id": request_id.decode("latin-1"),
    }
    if error.operation is not None:
        shape["operation"] = error.operation
    body = orjson.dumps({**beside, "error": {**shape, **fields}})
    # A 404 may be kept by caches that are not told otherwise.
    headers = [JSON_TYPE, *headers, NO_STORE, NOSNIFF, (b"content-length", b"%d" % len(body))]
    return KINDS[error.kind].http_status, headers, body
