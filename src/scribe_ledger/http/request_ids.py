"""The id of each request: in its answer, its log lines and its errors, so that the three can be laid side by side."""

from __future__ import annotations

import re
import secrets
from itertools import count

_ALLOWED = re.compile(rb"[\x21-\x7e]{1,128}")
_PROCESS = secrets.token_hex(4).encode()
_numbers = count(1)


def make_request_id() -> bytes:
    return b"%b-%08x" % (_PROCESS, next(_numbers))


def request_id_or_new(given: bytes) -> bytes:
    """What the client sent, if that may stand in our logs and answers."""
    return given if _ALLOWED.fullmatch(given) else make_request_id()
