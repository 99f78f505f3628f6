"""Cursors: what goes in comes out, for the same question, and for no other."""

from __future__ import annotations

import base64
import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from scribe_ledger.errors import InvalidRequest
from scribe_ledger.http.cursors import make_cursor, read_cursor

pytestmark = pytest.mark.http

QUESTION = ("keys", b"user:\xff", False, None, 12)


def encode(document: object) -> str:
    return base64.urlsafe_b64encode(json.dumps(document).encode()).decode().rstrip("=")


@given(size=st.integers(0, (1 << 64) - 1), key=st.binary(max_size=4096))
def test_a_cursor_leads_back_to_its_place(size: int, key: bytes) -> None:
    cursor = make_cursor(QUESTION, [size, key.hex()])
    assert cursor.isascii() and not set(cursor) & set("+/=&?#% ")
    assert read_cursor(cursor, QUESTION, (int, str)) == [size, key.hex()]


@pytest.mark.parametrize(
    "other",
    [
        ("versions", b"user:\xff", False, None, 12),
        ("keys", b"user:", False, None, 12),
        ("keys", b"user:\xff", True, None, 12),
        ("keys", b"user:\xff", False, b"user:\xff", 12),
        ("keys", b"user:\xff", False, None, 13),
        ("keys", b"user:\xff", False, None, None),
    ],
)
def test_a_cursor_of_another_question_is_refused(other: tuple[object, ...]) -> None:
    with pytest.raises(InvalidRequest, match="another listing"):
        read_cursor(make_cursor(QUESTION, [1, "00"]), other, (int, str))


def test_a_changed_cursor_is_refused() -> None:
    form, seal, *_ = json.loads(base64.urlsafe_b64decode(make_cursor(QUESTION, [1, "00"]) + "=="))
    for place in ([2, "00"], [1, "01"]):
        with pytest.raises(InvalidRequest, match="was changed"):
            read_cursor(encode([form, seal, *place]), QUESTION, (int, str))


@pytest.mark.parametrize("at", range(20))
def test_a_cursor_with_another_character_anywhere_is_refused(at: int) -> None:
    cursor = make_cursor(QUESTION, [1, "00"])
    place = at * (len(cursor) - 1) // 20  # the last one may carry bits that mean nothing
    other = "B" if cursor[place] == "A" else "A"
    with pytest.raises(InvalidRequest):
        read_cursor(cursor[:place] + other + cursor[place + 1 :], QUESTION, (int, str))


@pytest.mark.parametrize(
    "text",
    [
        *("", "x", "=", "é", "not a cursor", "AAAA", "\x00"),
        *map(encode, ([], {}, 7, None, "text", [1], [2, "0" * 16, 1, "00"], [1, "0" * 16], [1, "0" * 16, -1, "00"])),
        *map(
            encode, ([1, "0" * 16, "1", "00"], [1, "0" * 16, 1, 0], [1, "0" * 16, True, "00"], [1, "0" * 16, 1.0, ""])
        ),
        "W1tb" * 4000,
    ],
)
def test_what_is_no_cursor_is_refused(text: str) -> None:
    with pytest.raises(InvalidRequest):
        read_cursor(text, QUESTION, (int, str))
