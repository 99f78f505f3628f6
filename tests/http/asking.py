"""Asks a served ledger, one connection a request, and takes the answer as it came."""

from __future__ import annotations

import json
from http.client import HTTPConnection
from typing import TYPE_CHECKING, Any, NamedTuple

if TYPE_CHECKING:
    from email.message import Message

    from tests.http.serving import Served


class Answer(NamedTuple):
    status: int
    headers: Message
    body: bytes

    @property
    def json(self) -> Any:
        return json.loads(self.body)

    @property
    def text(self) -> str:
        return self.body.decode()

    @property
    def error(self) -> dict[str, Any]:
        """The error of an answer that is one, in the one shape that errors have."""
        error: dict[str, Any] = self.json["error"]
        assert {"kind", "message", "hint", "request_id"} <= set(error)
        assert error["kind"] != "internal"
        assert error["request_id"] == self.headers["x-request-id"]
        return error


def ask(
    served: Served, method: str, target: str, body: bytes | None = None, headers: dict[str, str] | None = None
) -> Answer:
    """``target`` travels as it is given."""
    connection = HTTPConnection(served.host, served.port, timeout=30)
    try:
        connection.request(method, target, body=body, headers=headers or {})
        response = connection.getresponse()
        answer = Answer(response.status, response.headers, response.read())
    finally:
        connection.close()
    assert answer.status < 500 or answer.status == 503
    return answer


def get(served: Served, target: str, **headers: str) -> Answer:
    """Header names are written with underscores."""
    return ask(served, "GET", target, headers={name.replace("_", "-"): value for name, value in headers.items()})


def put(served: Served, target: str, body: bytes = b"value", **headers: str) -> Answer:
    answer = ask(served, "PUT", target, body, {name.replace("_", "-"): value for name, value in headers.items()})
    assert answer.status in {200, 201}, answer.body
    return answer
