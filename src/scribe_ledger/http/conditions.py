"""Conditional requests and ranges, as RFC 9110 has them."""

from __future__ import annotations

import re
from datetime import UTC
from email.utils import parsedate_to_datetime
from typing import TYPE_CHECKING, Any

from scribe_ledger.errors import InvalidRequest, PreconditionFailed, RangeNotSatisfiable, counted
from scribe_ledger.http.headers import etag
from scribe_ledger.http.problems import Problem

if TYPE_CHECKING:
    from scribe_ledger.http.request import Request
    from scribe_ledger.model import Entry

_ETAG = re.compile(rb'(?:W/)?"[\x21\x23-\x7e\x80-\xff]*"')
_INDEX_ETAG = re.compile(rb'"(0|[1-9]\d{0,19})"')
_RANGE = re.compile(rb"bytes=\s*(\d{0,20})-(\d{0,20})\s*", re.IGNORECASE)


def check_read(request: Request, entry: Entry) -> bool:
    """Whether the reader has this entry already (304). Raises ``PreconditionFailed`` (412)."""
    tag = etag(entry.index)
    if (match := request.header(b"if-match")) is not None:
        if match.strip() != b"*" and tag not in _ETAG.findall(match):
            raise PreconditionFailed(f"the entry is {tag.decode()}", hint="read it again without If-Match")
    elif (since := _seconds(request.header(b"if-unmodified-since"))) is not None and entry.timestamp // 1000 > since:
        raise PreconditionFailed("the value was written later", hint="read it again without If-Unmodified-Since")
    if request.header(b"if-none-match") is not None:
        return is_known(request, tag)
    since = _seconds(request.header(b"if-modified-since"))
    return since is not None and entry.timestamp // 1000 <= since


def is_known(request: Request, tag: bytes) -> bool:
    """Whether the reader has what is under this tag already, by ``If-None-Match`` alone."""
    none = request.header(b"if-none-match")
    if none is None:
        return False
    return none.strip() == b"*" or tag in [found.removeprefix(b"W/") for found in _ETAG.findall(none)]


def range_of(request: Request, entry: Entry, size: int) -> tuple[int, int] | None:
    """First byte and one past the last, or None for the whole. Several ranges, or none we know, mean the whole."""
    asked = request.header(b"range") if request.method == "GET" else None
    if asked is None or not _range_holds(request.header(b"if-range"), entry):
        return None
    found = _RANGE.fullmatch(asked)
    if found is None or found[1] == found[2] == b"":
        return None
    if found[1] == b"":
        if not size and int(found[2]):
            return None  # the last bytes of nothing are nothing, and no part can say so
        start, stop = max(size - int(found[2]), 0), size
    else:
        start, stop = int(found[1]), min(int(found[2]) + 1, size) if found[2] else size
        if found[2] and int(found[2]) < start:
            return None
    if start >= stop:
        error = RangeNotSatisfiable(f"the value has {counted(size, 'byte', 'bytes')}", hint="ask for bytes that it has")
        raise Problem(error, headers=[(b"content-range", b"bytes */%d" % size)])
    return start, stop


def check_is_whole(request: Request) -> None:
    """A PUT brings the whole value, as it is to be given back; two headers of RFC 9110 say that it brings another."""
    if request.header(b"content-range") is not None:
        raise InvalidRequest("a PUT takes no Content-Range: it stores the whole value", hint="send all of it")
    coding = request.header(b"content-encoding")
    if coding is not None and coding.strip().lower() != b"identity":
        raise InvalidRequest(
            "a PUT takes no Content-Encoding: a reader would get the bytes without it",
            hint="send the value as it is to be read; Content-Type, or a header X-Scribe-Meta-*, can say what it is",
        )


def write_condition(request: Request, *, may_create: bool) -> dict[str, Any]:
    """The conditions of a write, as ``put`` and ``delete`` take them."""
    options: dict[str, Any] = {}
    for name in (b"if-modified-since", b"if-unmodified-since"):
        if request.header(name) is not None:
            raise InvalidRequest(f"{name.decode()} cannot guard a write: seconds are too coarse", hint="use If-Match")
    if (none := request.header(b"if-none-match")) is not None:
        if none.strip() != b"*" or not may_create:
            raise InvalidRequest("If-None-Match takes * here, on a PUT", hint="use If-Match with the entry's ETag")
        options["if_absent"] = True
    if (match := request.header(b"if-match")) is not None:
        options["if_index"] = _index_of(match.strip())
    if "if_version" in request.query:
        options["if_version"] = request.query["if_version"]
    return options


def _index_of(tag: bytes) -> int:
    if (found := _INDEX_ETAG.fullmatch(tag)) and int(found[1]) < 1 << 64:
        return int(found[1])
    if _ETAG.fullmatch(tag):
        raise PreconditionFailed("no entry has this ETag", hint="an ETag here is an index in quotes")
    raise InvalidRequest("If-Match takes one ETag on a write", hint='for example "12", the entry that you read')


def _range_holds(condition: bytes | None, entry: Entry) -> bool:
    if condition is None:
        return True
    if condition.startswith((b'"', b"W/")):
        return condition == etag(entry.index)
    return _seconds(condition) == entry.timestamp // 1000


def _seconds(date: bytes | None) -> int | None:
    """A date of HTTP; one that cannot be read counts as none, as RFC 9110 says."""
    if date is None:
        return None
    try:
        found = parsedate_to_datetime(date.decode("latin-1"))
        return int(found.replace(tzinfo=found.tzinfo or UTC).timestamp())
    except (ValueError, OverflowError):
        return None
