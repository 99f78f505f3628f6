"""The headers of answers about an entry, in one place for the lane and the application.

They are made as one block of bytes, as they travel; ``split`` gives them one by one.
"""

from __future__ import annotations

from binascii import b2a_base64
from email.utils import formatdate
from functools import lru_cache
from typing import TYPE_CHECKING, TypeAlias

if TYPE_CHECKING:
    from collections.abc import Mapping

    from scribe_ledger.model import Entry

Headers: TypeAlias = list[tuple[bytes, bytes]]

JSON_TYPE = (b"content-type", b"application/json")
NOSNIFF = (b"x-content-type-options", b"nosniff")
META_PREFIX = b"x-scribe-meta-"
_ENCODED = "=?"
"""What every text in the encoding of RFC 2047 begins with."""

_VALUE = (
    b"content-type: %b\r\n"
    b'etag: "%d"\r\n'
    b"last-modified: %b\r\n"
    b"x-scribe-index: %d\r\n"
    b"x-scribe-version: %d\r\n"
    b"x-scribe-timestamp: %d\r\n"
    b"repr-digest: sha-256=:%b:\r\n"
    b"%b"
    b"accept-ranges: bytes\r\n"
    b"cache-control: no-cache\r\n"
    b"x-content-type-options: nosniff\r\n"
    b"content-security-policy: sandbox; default-src 'none'\r\n"
)
"""A value may be a web page that somebody stored: the sandbox keeps it from acting in the node's name."""


def split(head: bytes) -> Headers:
    return [(name, value) for name, _, value in [line.partition(b": ") for line in head.split(b"\r\n")[:-1]]]


def join(headers: Headers) -> bytes:
    return b"".join([b"%b: %b\r\n" % header for header in headers])


def etag(index: int) -> bytes:
    return b'"%d"' % index


@lru_cache(maxsize=4096)
def http_date(seconds: int) -> bytes:
    return formatdate(seconds, usegmt=True).encode()


def entry_headers(entry: Entry) -> Headers:
    """Where the entry stands. Said of the delete that a 404 met."""
    return [
        (b"etag", etag(entry.index)),
        (b"last-modified", http_date(entry.timestamp // 1000)),
        (b"x-scribe-index", b"%d" % entry.index),
        (b"x-scribe-version", b"%d" % entry.version),
        (b"x-scribe-timestamp", b"%d" % entry.timestamp),
    ]


def value_head(
    index: int, timestamp: int, version: int, sha256: bytes, content_type: str, metadata: Mapping[str, str]
) -> bytes:
    """All headers of a value but its length."""
    return _VALUE % (
        content_type.encode() or b"application/octet-stream",
        index,
        http_date(timestamp // 1000),
        index,
        version,
        timestamp,
        b2a_base64(sha256, newline=False),
        b"".join([b"%b%b: %b\r\n" % (META_PREFIX, name.encode(), _text(value)) for name, value in metadata.items()]),
    )


def _text(value: str) -> bytes:
    """As it was put; the encoding of RFC 2047 where a header would lose blanks at its ends, or it looks encoded."""
    if value == value.strip() and not value.startswith(_ENCODED):
        return value.encode()
    return b"=?utf-8?b?%b?=" % b2a_base64(value.encode(), newline=False)
