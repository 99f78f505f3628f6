"""Cursors: where a listing goes on, as opaque text. One of another question, or a changed one, is refused, not misread.

A cursor is sealed by a digest without a key. That is against mistakes; whoever makes one on purpose asks for nothing
that the parameters of a listing would not give.
"""

from __future__ import annotations

import base64
import binascii
from hashlib import sha256
from typing import Any

import orjson

from scribe_ledger.errors import InvalidRequest

FORMAT = 1
_HINT = "give the cursor of the page before, and otherwise the same parameters"


def make_cursor(question: tuple[object, ...], place: list[Any]) -> str:
    """``question`` is all that the pages of one listing have in common."""
    data = orjson.dumps([FORMAT, _seal(question, place), *place])
    return base64.urlsafe_b64encode(data).decode().rstrip("=")


def read_cursor(text: str, question: tuple[object, ...], kinds: tuple[type, ...]) -> list[Any]:
    """The place, whose items are of these kinds."""
    try:
        form, seal, *place = orjson.loads(base64.b64decode(text + "=" * (-len(text) % 4), b"-_", validate=True))
    except (binascii.Error, ValueError, TypeError) as error:
        raise InvalidRequest("the cursor is none that this node gave", hint=_HINT) from error
    if form != FORMAT or [*map(type, place)] != [*kinds] or any(item < 0 for item in place if type(item) is int):
        raise InvalidRequest("the cursor is none that this version gives", hint=_HINT)
    if seal != _seal(question, place):
        raise InvalidRequest("the cursor belongs to another listing, or was changed", hint=_HINT)
    return [*place]


def _seal(question: tuple[object, ...], place: list[Any]) -> str:
    return sha256(repr((question, place)).encode()).hexdigest()[:16]
