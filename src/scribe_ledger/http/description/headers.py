"""Headers of requests and answers, in words. The values are made and read elsewhere."""

from __future__ import annotations

from typing import NamedTuple

from scribe_ledger.http.batch import MAX_BATCH_ID_BYTES
from scribe_ledger.http.description.examples import FIRST_TIMESTAMP, REQUEST_ID
from scribe_ledger.http.description.shapes import COUNT, Schema
from scribe_ledger.http.headers import etag, http_date
from scribe_ledger.model import MAX_REQUEST_ID_BYTES


class Header(NamedTuple):
    """One header: what it says, and what it may hold."""

    description: str
    schema: Schema
    example: str = ""


_TEXT: Schema = {"type": "string"}
_ETAG: Schema = {"type": "string", "pattern": r'^"[0-9]{1,20}"$'}
_ANY_ETAG: Schema = {"type": "string", "pattern": r'^"[0-9]{1,20}(-[0-9a-f]{16})?"$'}
_DATE = http_date((FIRST_TIMESTAMP + 60_000) // 1000).decode()
_TAG = etag(1).decode()

# --- of requests -----------------------------------------------------------------------------------------------

_READ: dict[str, Header] = {
    "Range": Header("One range of bytes. Several, or a unit other than bytes, mean the whole.", _TEXT, "bytes=0-4"),
    "If-Range": Header("With `Range`: an ETag or date of the value that you have a part of.", _TEXT, _TAG),
    "If-None-Match": Header("`*` or ETags that you have: 304 if the entry is among them.", _TEXT, _TAG),
    "If-Match": Header("`*` or ETags: 412 if the entry is not among them.", _TEXT, _TAG),
    "If-Modified-Since": Header("304 if the value is not newer; without `If-None-Match` only.", _TEXT, _DATE),
    "If-Unmodified-Since": Header("412 if the value is newer; without `If-Match` only.", _TEXT, _DATE),
}
_WRITE: dict[str, Header] = {
    "If-None-Match": Header("`*`: only if the key has no value.", {"const": "*"}, "*"),
    "If-Match": Header("The ETag of the key's latest entry: only if it still is that.", _ETAG, _TAG),
    "Idempotency-Key": Header(
        "A fresh random text for each write. A retry with the same one gets the first receipt and writes nothing.",
        {"type": "string", "minLength": 1, "maxLength": MAX_REQUEST_ID_BYTES, "pattern": "^[!-~]+$"},
        "5a1ee8a4-6f0a-4c40-8b2f-6b2f3c1a9d55",
    ),
    "Repr-Digest": Header(
        "SHA-256 of the body (RFC 9530): 400 if another value arrives. Other algorithms are ignored.",
        _TEXT,
        "sha-256=:oSnOPIyOpbHeFw5NfMNJFlH9B39rDhVTCnlXLxiUmNY=:",
    ),
    "X-Scribe-Meta-*": Header(
        "Metadata that becomes part of the entry: any header that begins so, such as `X-Scribe-Meta-Team: red`. "
        "At most 8,192 bytes: names, values, 4 for each pair, and 2.",
        {"type": "string", "pattern": "^[!-~]*$"},
        "red",
    ),
}
_BATCH: dict[str, Header] = {
    "Idempotency-Key": _WRITE["Idempotency-Key"]._replace(
        schema={**_WRITE["Idempotency-Key"].schema, "maxLength": MAX_BATCH_ID_BYTES}
    )
}
_ANYWHERE: dict[str, Header] = {
    "Accept": Header("Which form of the answer is wanted.", _TEXT),
    "Last-Event-ID": Header(
        "Go on behind the entry with this index; browsers send it by themselves.",
        {"type": "string", "pattern": "^[0-9]{1,20}$"},
        "1",
    ),
    "X-Request-Id": Header(
        "An id for this request, 1 to 128 visible ASCII characters. It comes back in the answer, and stands in the "
        "node's log. Without one, the node makes one.",
        _TEXT,
        REQUEST_ID,
    ),
}
_SPELLED = {"X-Scribe-Meta-*": "X-Scribe-Meta-Team"}
"""A description must name one header; a star would be none."""


def request_header(name: str, method: str) -> tuple[str, Header]:
    """The header as documents spell it, and what it means to a request of this method."""
    table = {"GET": _READ, "HEAD": _READ, "POST": _BATCH}.get(method, _WRITE)
    return _SPELLED.get(name, name), table.get(name) or _ANYWHERE[name]


IN_THE_BODY_S_PLACE = frozenset({"Content-Type"})
"""OpenAPI describes this one with the body."""

# --- of answers ------------------------------------------------------------------------------------------------

ANSWER_HEADERS: dict[str, Header] = {
    "X-Request-Id": Header("The request's id, or one that the node made.", _TEXT, REQUEST_ID),
    "ETag": Header("The entry's index in quotes; of the manifest, its version and digest.", _ANY_ETAG, _TAG),
    "Last-Modified": Header("The entry's timestamp.", _TEXT, _DATE),
    "X-Scribe-Index": Header("The entry's place in the log.", COUNT, "1"),
    "X-Scribe-Version": Header("The key's version.", COUNT, "2"),
    "X-Scribe-Timestamp": Header(
        "The entry's timestamp, in milliseconds since 1970.", COUNT, str(FIRST_TIMESTAMP + 60_000)
    ),
    "X-Scribe-Meta-Team": Header("Each pair of the entry's metadata, as `X-Scribe-Meta-` and its name.", _TEXT, "red"),
    "Repr-Digest": Header(
        "SHA-256 of the whole value, also of a part's answer (RFC 9530).",
        {"type": "string", "pattern": "^sha-256=:[A-Za-z0-9+/]{43}=:$"},
        "sha-256=:oSnOPIyOpbHeFw5NfMNJFlH9B39rDhVTCnlXLxiUmNY=:",
    ),
    "Accept-Ranges": Header("`bytes`.", _TEXT, "bytes"),
    "Content-Range": Header(
        "Which bytes these are, of how many.",
        {"type": "string", "pattern": r"^bytes (\d+-\d+|\*)/\d+$"},
        "bytes 0-4/11",
    ),
    "Content-Security-Policy": Header(
        "Values come as somebody put them: a browser must not act on one in the node's name.",
        _TEXT,
        "sandbox; default-src 'none'",
    ),
    "X-Content-Type-Options": Header("`nosniff`.", _TEXT, "nosniff"),
    "Cache-Control": Header("Whether the answer may be kept, and how long.", _TEXT, "no-store"),
    "Retry-After": Header("Seconds to wait before the next attempt.", COUNT, "1"),
    "Allow": Header("The methods that this path has.", _TEXT, "GET, HEAD, OPTIONS"),
}
ENTRY_HEADERS = ("ETag", "X-Scribe-Index", "X-Scribe-Version", "X-Scribe-Timestamp")
VALUE_HEADERS = (
    "ETag",
    "Last-Modified",
    "X-Scribe-Index",
    "X-Scribe-Version",
    "X-Scribe-Timestamp",
    "X-Scribe-Meta-Team",
    "Repr-Digest",
    "Accept-Ranges",
    "Content-Security-Policy",
)
