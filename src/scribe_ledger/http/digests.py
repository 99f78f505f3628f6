"""The digests that a client sends with a value, as RFC 9530 has them: another value than it meant to send is refused.

SHA-256 is looked at, which the ledger computes of each value anyway. Other algorithms are ignored, as the RFC allows.
A value is its own representation and its own content here: both fields say the same of it.
"""

from __future__ import annotations

import re
from binascii import a2b_base64, b2a_base64
from typing import TYPE_CHECKING

from scribe_ledger.errors import InvalidRequest

if TYPE_CHECKING:
    from scribe_ledger.http.request import Request

FIELDS = {b"repr-digest": "Repr-Digest", b"content-digest": "Content-Digest"}
_SHA256 = re.compile(rb"(?:^|,)[ \t]*sha-256=([^,]*)")
_BYTES = re.compile(rb":([A-Za-z0-9+/]{43}=):[ \t]*(?:;.*)?").fullmatch
"""A byte sequence of RFC 8941 that is as long as a digest; parameters behind it mean nothing."""


def claimed_digests(request: Request) -> dict[str, bytes]:
    """The SHA-256 that the client says the value has, by the field that says it."""
    claims = {}
    for field, name in FIELDS.items():
        given = _SHA256.findall(request.header(field) or b"")
        if given:
            found = _BYTES(given[-1])  # of a member that is given twice the last one counts
            if found is None:
                raise InvalidRequest(f"the sha-256 of {name} is no digest", hint="sha-256=:<44 characters of base64>:")
            claims[name] = a2b_base64(found[1])
    return claims


def check_digest(claims: dict[str, bytes], sha256: bytes) -> None:
    """The value has the digest that it was said to have."""
    for name, claimed in claims.items():
        if claimed != sha256:
            shown = b2a_base64(sha256, newline=False).decode()
            raise InvalidRequest(
                f"the value that arrived has another SHA-256 than {name} says: {shown}",
                hint="send it again; nothing was stored",
            )
