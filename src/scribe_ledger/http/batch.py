"""``POST /v1/batch``: several operations as one atomic unit."""

from __future__ import annotations

from typing import TYPE_CHECKING

from scribe_ledger.errors import InvalidRequest, TooLarge
from scribe_ledger.http.headers import JSON_TYPE
from scribe_ledger.http.operations import most_json_bytes, read_operations
from scribe_ledger.http.replies import reply_bytes
from scribe_ledger.http.values import decode_header, receipt_json, request_id_of
from scribe_ledger.ledger.commands import columns_of
from scribe_ledger.model import MAX_REQUEST_ID_BYTES

if TYPE_CHECKING:
    from starlette.responses import Response

    from scribe_ledger.http.request import Request

MAX_BATCH_ID_BYTES = MAX_REQUEST_ID_BYTES - 15
"""Of a batch's ``Idempotency-Key``; the rest is room for each operation's number."""


async def write_batch(request: Request) -> Response:
    limits = request.service.config.api
    document = await request.json(most_json_bytes(limits))
    if unknown := document.keys() - {"operations"}:
        raise InvalidRequest(f"a batch has no field {min(unknown)!r}", hint="it has operations, and no others")
    operations = document.get("operations")
    if not isinstance(operations, list):
        raise InvalidRequest("operations is not an array", hint="see /docs for its shape")
    if not operations:
        raise InvalidRequest("the batch has no operations", hint="give at least one")
    if len(operations) > limits.max_batch_size:
        raise TooLarge(
            f"the batch has {len(operations)} operations",
            hint=f"at most {limits.max_batch_size}: [api] max_batch_size; send several",
        )
    request_id = _request_id(request)
    unit = read_operations(operations, request_id, limits)
    receipts = await request.service.write(unit)
    body = b'{"receipts":[%b]}' % b",".join(map(receipt_json, columns_of(unit).keys, receipts))
    created = any(receipt.created for receipt in receipts)
    return reply_bytes(body, JSON_TYPE[1], status=201 if created else 200)


def _request_id(request: Request) -> str | None:
    given = request.header(b"idempotency-key")
    if given is None:
        return None
    if len(given) > MAX_BATCH_ID_BYTES:
        raise InvalidRequest(f"the Idempotency-Key has {len(given)} bytes", hint=f"at most {MAX_BATCH_ID_BYTES} here")
    return decode_header(request_id_of(given), "Idempotency-Key")
