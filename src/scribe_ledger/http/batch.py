"""``POST /v1/batch``: several operations as one atomic unit."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, ParamSpec, TypeVar

from scribe_ledger.errors import Conflict, Forbidden, InvalidRequest, NotFound, PreconditionFailed, TooLarge
from scribe_ledger.http.headers import JSON_TYPE
from scribe_ledger.http.operations import JSON_SETTING, most_json_bytes, most_json_parts, read_operations
from scribe_ledger.http.replies import reply_bytes
from scribe_ledger.http.values import decode_header, receipt_json, request_id_of
from scribe_ledger.ledger.commands import columns_of
from scribe_ledger.model import MAX_REQUEST_ID_BYTES

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from starlette.responses import Response

    from scribe_ledger.http.request import Request
    from scribe_ledger.ledger.commands import Command
    from scribe_ledger.ledger.receipts import Receipts

_P = ParamSpec("_P")
_T = TypeVar("_T")

AT_ONCE_OPERATIONS = 1000
AT_ONCE_BYTES = 256 << 10
"""A larger batch is read, and its receipts are written, in a thread: nobody else is to wait for it."""
_OF_AN_OPERATION = (NotFound, PreconditionFailed, Conflict, Forbidden)
"""Refusals of what an operation asks for. Others are of the node, or of the batch."""
MAX_BATCH_ID_BYTES = MAX_REQUEST_ID_BYTES - 15
"""Of a batch's ``Idempotency-Key``; the rest is room for each operation's number."""


async def write_batch(request: Request) -> Response:
    limits = request.service.config.api
    document = await request.json(most_json_bytes(limits), parts=most_json_parts(limits), setting=JSON_SETTING)
    operations = _operations(document, limits.max_batch_size)
    run = request.service.run if _is_much(request, operations) else _at_once
    unit = await run(read_operations, operations, _request_id(request), limits)
    try:
        receipts = await request.service.write(unit)
    except _OF_AN_OPERATION as refusal:
        if len(unit) == 1:  # the ledger takes it for a write like any other, and names no place in it
            refusal.operation = 0
        raise
    body = await run(_document, unit, receipts)
    created = any(receipt.created for receipt in receipts)
    return reply_bytes(body, JSON_TYPE[1], status=201 if created else 200)


def _operations(document: dict[str, Any], most: int) -> list[Any]:
    if unknown := document.keys() - {"operations"}:
        raise InvalidRequest(f"a batch has no field {min(unknown)!r}", hint="it has operations, and no others")
    operations = document.get("operations")
    if not isinstance(operations, list):
        raise InvalidRequest("operations is not an array", hint="see /docs for its shape")
    if not operations:
        raise InvalidRequest("the batch has no operations", hint="give at least one")
    if len(operations) > most:
        raise TooLarge(
            f"the batch has {len(operations)} operations",
            hint=f"at most {most}: [api] max_batch_size; send several",
        )
    return operations


def _is_much(request: Request, operations: list[Any]) -> bool:
    length = request.content_length
    return len(operations) > AT_ONCE_OPERATIONS or length is None or length > AT_ONCE_BYTES


async def _at_once(function: Callable[_P, _T], /, *args: _P.args, **kwargs: _P.kwargs) -> _T:
    return function(*args, **kwargs)


def _document(unit: Sequence[Command], receipts: Receipts) -> bytes:
    return b'{"receipts":[%b]}' % b",".join(map(receipt_json, columns_of(unit).keys, receipts))


def _request_id(request: Request) -> str | None:
    given = request.header(b"idempotency-key")
    if given is None:
        return None
    if len(given) > MAX_BATCH_ID_BYTES:
        raise InvalidRequest(f"the Idempotency-Key has {len(given)} bytes", hint=f"at most {MAX_BATCH_ID_BYTES} here")
    return decode_header(request_id_of(given), "Idempotency-Key")
