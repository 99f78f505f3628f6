"""The table of all routes. A route that is not here does not exist; ``/openapi.json`` is made from it."""

from __future__ import annotations

from scribe_ledger.http.parameters import DEDUPE, IF_VERSION, READING
from scribe_ledger.http.routing import Route
from scribe_ledger.http.values import delete_value, get_value, put_value

_READ_HEADERS = ("If-Match", "If-None-Match", "If-Modified-Since", "If-Unmodified-Since", "If-Range", "Range")
_WRITE_HEADERS = ("If-Match", "Idempotency-Key", "X-Scribe-Meta-*")

VALUES = [
    route
    for path in ("/{key}", "/v1/kv/{key}")
    for route in (
        Route(
            "GET",
            path,
            get_value,
            "The value of a key",
            parameters=READING,
            headers=_READ_HEADERS,
            answers={200: "bytes", 206: "bytes", 304: "", 416: "Error"},
        ),
        Route(
            "PUT",
            path,
            put_value,
            "Store the body as the key's new version",
            parameters=(IF_VERSION, DEDUPE),
            headers=(*_WRITE_HEADERS, "If-None-Match", "Content-Type"),
            body="bytes",
            answers={200: "Receipt", 201: "Receipt"},
        ),
        Route(
            "DELETE",
            path,
            delete_value,
            "Append a tombstone",
            parameters=(IF_VERSION,),
            headers=_WRITE_HEADERS,
            answers={200: "Receipt"},
        ),
    )
]

ROUTES = [*VALUES]
