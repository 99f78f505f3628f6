"""Answers ``/openapi.json`` and ``/docs``. Both are made once, when they are first asked for."""

from __future__ import annotations

import re
from functools import cache
from typing import TYPE_CHECKING

import orjson

from scribe_ledger.http.description.notes import BASE_URL
from scribe_ledger.http.description.openapi import Document, openapi
from scribe_ledger.http.description.page import Page, page_of
from scribe_ledger.http.headers import JSON_TYPE
from scribe_ledger.http.replies import reply_bytes

if TYPE_CHECKING:
    from starlette.responses import Response

    from scribe_ledger.http.request import Request

_REVALIDATE = (b"cache-control", b"no-cache")
_HOST = re.compile(rb"[A-Za-z0-9.-]{1,253}(:\d{1,5})?|\[[0-9A-Fa-f:.]{2,45}\](:\d{1,5})?")


@cache
def document() -> Document:
    from scribe_ledger.http.routes import ROUTES  # it names the handlers of this module

    return openapi(ROUTES)


@cache
def document_json() -> bytes:
    return orjson.dumps(document(), option=orjson.OPT_INDENT_2)


@cache
def page() -> Page:
    return page_of(document())


async def get_openapi(_: Request) -> Response:
    return reply_bytes(document_json(), JSON_TYPE[1], headers=[_REVALIDATE])


async def get_docs(request: Request) -> Response:
    """The page, with commands for the address that its reader came by."""
    host = request.header(b"host") or b""
    html = page().html
    if _HOST.fullmatch(host):
        html = html.replace(BASE_URL.encode(), b"%b://%b" % (request.scope["scheme"].encode(), host))
    return reply_bytes(
        html,
        b"text/html; charset=utf-8",
        headers=[_REVALIDATE, (b"content-security-policy", page().policy), (b"referrer-policy", b"no-referrer")],
    )
