"""The headers of answers about an entry, in one place for the lane and the application."""

from __future__ import annotations

import base64
import re
from email.utils import formatdate
from typing import TYPE_CHECKING, TypeAlias

if TYPE_CHECKING:
    from scribe_ledger.model import Entry

Headers: TypeAlias = list[tuple[bytes, bytes]]

JSON_TYPE = (b"content-type", b"application/json")
NOSNIFF = (b"x-content-type-options", b"nosniff")
SANDBOX = (b"content-security-policy", b"sandbox; default-src 'none'")
"""A value may be a web page that somebody stored; it must not act in the node's name."""
META_PREFIX = b"x-scribe-meta-"

_TOKEN = re.compile(r"[!#$%&'*+\-.^_`|~0-9a-z]+")
_PLAIN = re.compile(r"[^\x00-\x1f\x7f]*")
_MEDIA_TYPE = re.compile(r"[\x20-\x7e]+")


def etag(index: int) -> bytes:
    return b'"%d"' % index


def http_date(timestamp_ms: int) -> bytes:
    return formatdate(timestamp_ms // 1000, usegmt=True).encode()


def entry_headers(entry: Entry) -> Headers:
    """Where the entry stands. Said of values, and of the delete that a 404 met."""
    return [
        (b"etag", etag(entry.index)),
        (b"last-modified", http_date(entry.timestamp)),
        (b"x-scribe-index", b"%d" % entry.index),
        (b"x-scribe-version", b"%d" % entry.version),
        (b"x-scribe-timestamp", b"%d" % entry.timestamp),
    ]


def value_headers(entry: Entry) -> Headers:
    """All headers of a value but its length."""
    return [
        (b"content-type", _content_type(entry.content_type)),
        *entry_headers(entry),
        (b"repr-digest", b"sha-256=:%b:" % base64.b64encode(entry.sha256)),
        *(
            (META_PREFIX + name.encode(), _meta_value(value))
            for name, value in entry.metadata.items()
            if _TOKEN.fullmatch(name)
        ),
        (b"accept-ranges", b"bytes"),
        (b"cache-control", b"no-cache"),
        NOSNIFF,
        SANDBOX,
    ]


def _content_type(content_type: str) -> bytes:
    return content_type.encode() if _MEDIA_TYPE.fullmatch(content_type) else b"application/octet-stream"


def _meta_value(value: str) -> bytes:
    """As it was put; what a header cannot carry, in the encoding of RFC 2047."""
    if _PLAIN.fullmatch(value) and value == value.strip():
        return value.encode()
    return b"=?utf-8?b?%b?=" % base64.b64encode(value.encode())
