"""A node from the outside: it starts, answers, says who it is, and stops cleanly."""

from __future__ import annotations

import json
import urllib.error
import urllib.request
from typing import TYPE_CHECKING

import pytest
from tests.running import start_node

if TYPE_CHECKING:
    from pathlib import Path

pytestmark = pytest.mark.http


def request(
    url: str, method: str = "GET", body: bytes | None = None, **headers: str
) -> tuple[int, dict[str, str], bytes]:
    asked = urllib.request.Request(url, data=body, method=method, headers=headers)
    try:
        with urllib.request.urlopen(asked, timeout=20) as answer:
            return answer.status, dict(answer.headers), answer.read()
    except urllib.error.HTTPError as error:
        with error:
            return error.code, dict(error.headers), error.read()


def test_a_node_takes_values_and_gives_them_back(tmp_path: Path) -> None:
    with start_node(tmp_path / "data") as node:
        status, _, body = request(f"{node.url}/user:alice", "PUT", b"Alice Smith")
        assert status == 201
        assert json.loads(body)["version"] == 1
        status, headers, body = request(f"{node.url}/user:alice")
        assert (status, body) == (200, b"Alice Smith")
        assert "server" not in {name.lower() for name in headers}
        assert request(f"{node.url}/nobody")[0] == 404
