"""The one spelling that numbers and bytes have in notes and proofs, for all of this room's text formats.

What is signed or compared as text must not have a second form, so reading refuses leading zeros, other alphabets,
missing padding and padding bits that are not zero. These helpers raise ValueError; each format's ``parse`` turns that
into the error its callers expect.
"""

from __future__ import annotations

import re
from binascii import a2b_base64, b2a_base64
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Sequence

_DECIMAL = re.compile(r"0|[1-9][0-9]{0,19}")
_HASH_TEXT = r"[A-Za-z0-9+/]{42}[AEIMQUYcgkosw048]="
"""32 bytes: the last letter before the padding carries four bits, so only these sixteen may stand there."""
_HASH = re.compile(_HASH_TEXT)
_HASHES = re.compile(rf"(?:{_HASH_TEXT}\n)*")


def encode_base64(data: bytes) -> str:
    return b2a_base64(data, newline=False).decode()


def decode_base64(text: str) -> bytes:
    data = a2b_base64(text)  # lenient by itself: the comparison is the check
    if encode_base64(data) != text:
        raise ValueError(f"{text[:60]!r} is not base64 in its one canonical form")
    return data


def decode_hash(text: str) -> bytes:
    if not _HASH.fullmatch(text):
        raise ValueError(f"{text[:60]!r} is not a hash of 32 bytes in canonical base64")
    return a2b_base64(text)


def decode_hashes(lines: Sequence[str]) -> tuple[bytes, ...]:
    """The same for many lines, without their ends, in a fraction of the time."""
    if not _HASHES.fullmatch("".join([f"{line}\n" for line in lines])):
        return tuple(map(decode_hash, lines))  # says which is wrong
    return tuple(map(a2b_base64, lines))


def parse_decimal(text: str) -> int:
    """An unsigned 64-bit number in decimal, without leading zeros."""
    if not _DECIMAL.fullmatch(text) or int(text) >= 1 << 64:
        raise ValueError(f"{text[:40]!r} is not a decimal number of 64 bits")
    return int(text)
