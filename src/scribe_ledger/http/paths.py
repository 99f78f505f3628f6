"""Which path means which key. Paths are taken as they were sent: a key is any bytes, and a slash is one of them."""

from __future__ import annotations

import re
from urllib.parse import unquote_to_bytes

RESERVED = frozenset({b"cluster", b"docs", b"health", b"metrics", b"openapi.json", b"tlog", b"v1", b"verify"})
"""First segments that are routes. A key that begins like one is reached under ``KEYS``."""
KEYS = b"/v1/kv/"
_UNRESERVED = re.compile(rb"%(2[dDeE]|3[0-9]|[46][1-9a-fA-F]|[57][0-9aA]|5[fF]|7[eE])")


def normal_path(path: bytes) -> bytes:
    """Undoes encodings that never mean anything (RFC 3986, 6.2.2.2), so that ``/%68ealth`` is ``/health``."""
    return _UNRESERVED.sub(lambda found: bytes.fromhex(found[1].decode()), path) if b"%" in path else path


def key_of_path(path: bytes) -> bytes | None:
    """The key of a path that is nothing but a key, or None where a route of another kind is meant."""
    path = normal_path(path)
    if path.startswith(KEYS):
        return unquote_to_bytes(path[len(KEYS) :])
    if path.partition(b"/")[2].partition(b"/")[0] in RESERVED:
        return None
    return unquote_to_bytes(path[1:]) if path.startswith(b"/") else None
