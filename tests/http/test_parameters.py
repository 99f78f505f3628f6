"""Query parameters: what is not declared, or not in its one form, is refused."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from scribe_ledger.errors import InvalidRequest
from scribe_ledger.http.parameters import (
    AS_OF,
    CONSISTENCY,
    CURSOR,
    LIMIT,
    PREFIX,
    READING,
    VERSION,
    WITH_VALUES,
    Query,
)

pytestmark = pytest.mark.http

ALL = (*READING, LIMIT, CURSOR, WITH_VALUES, PREFIX)


@pytest.mark.parametrize(
    ("query", "name", "value"),
    [
        (b"", "version", None),
        (b"", "limit", 1000),
        (b"", "consistency", "linearizable"),
        (b"version=3", "version", 3),
        (b"version=0003", "version", 3),
        (b"v%65rsion=%33", "version", 3),
        (b"&&version=3&", "version", 3),
        (b"as_of=0", "as_of", 0),
        (b"as_of=18446744073709551615", "as_of", (1 << 64) - 1),
        (b"limit=10000", "limit", 10_000),
        (b"values", "values", True),
        (b"values=", "values", True),
        (b"values=TRUE", "values", True),
        (b"values=1", "values", True),
        (b"values=0", "values", False),
        (b"values=false", "values", False),
        (b"consistency=stale", "consistency", "stale"),
        (b"prefix=a%2Fb%00%FF", "prefix", b"a/b\x00\xff"),
        (b"prefix=a+b%2B", "prefix", b"a b+"),
        (b"prefix=a=b", "prefix", b"a=b"),
        (b"prefix=", "prefix", b""),
        (b"prefix=\xff", "prefix", b"\xff"),
        (b"cursor=%C3%A4", "cursor", "ä"),
    ],
)
def test_a_parameter_is_read_by_its_declaration(query: bytes, name: str, value: Any) -> None:
    assert Query(query, ALL)[name] == value


@pytest.mark.parametrize(
    ("query", "message", "hint"),
    [
        (b"version=0", "version is '0'", "whole number from 1"),
        (b"version=", "version is ''", "whole number"),
        (b"version=-1", "version", "whole number"),
        (b"version=%2B1", "version", "whole number"),
        (b"version=1.0", "version", "whole number"),
        (b"version=1_000", "version", "whole number"),
        (b"version=\xd9\xa3", "version", "whole number"),
        (b"version=18446744073709551616", "version", "whole number"),
        (b"version=" + b"9" * 5000, "version", "whole number"),
        (b"limit=0", "limit", "1 to 10000"),
        (b"limit=10001", "limit", "1 to 10000"),
        (b"values=yes", "values", "true or false"),
        (b"consistency=eventual", "consistency", "linearizable, stale"),
        (b"cursor=%FF", "cursor", "UTF-8"),
        (b"consistency=%FF", "consistency", "UTF-8"),
        (b"as_off=3", "'as_off' is unknown", "did you mean as_of?"),
        (b"AS_OF=3", "'AS_OF' is unknown", "known here: version"),
        (b"=3", "'' is unknown", "known here"),
        (b"%FF=3", "unknown", "known here"),
        (b"x" * 70_000, "unknown", "known here"),
        (b"version=1&version=1", "given twice", "once"),
    ],
)
def test_anything_else_is_refused_with_what_it_takes(query: bytes, message: str, hint: str) -> None:
    with pytest.raises(InvalidRequest) as refusal:
        Query(query, ALL)
    assert message in refusal.value.message
    assert hint in refusal.value.hint
    assert len(refusal.value.message) < 200


def test_a_route_without_parameters_says_so() -> None:
    with pytest.raises(InvalidRequest) as refusal:
        Query(b"x=1", ())
    assert refusal.value.hint == "known here: none"


def test_whether_a_parameter_was_given_can_be_asked() -> None:
    query = Query(b"as_of=0", [AS_OF, VERSION, CONSISTENCY])
    assert "as_of" in query
    assert "version" not in query


@given(st.binary(max_size=60))
def test_no_bytes_at_all_do_more_than_being_refused(query: bytes) -> None:
    try:
        Query(query, ALL)
    except InvalidRequest as error:
        assert error.message.isprintable()  # noqa: PT017  # most inputs are refused, and some are not
