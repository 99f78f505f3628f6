"""Credentials that the machine's or the pod's role gives: fetched when needed, and fetched again before they expire.

Two servers on real sockets: one gives credentials as EC2 and EKS do, the other is a bucket that takes only the newest.
"""

from __future__ import annotations

import contextlib
import json
import os
import re
import threading
from datetime import UTC, datetime, timedelta
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import TYPE_CHECKING, Any

import pytest

from scribe_ledger.errors import Unavailable
from scribe_ledger.objects.opening import StoreOptions, open_object_store

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

    from scribe_ledger.objects.store import ObjectStore

pytestmark = [pytest.mark.storage, pytest.mark.s3]

POD_TOKEN = "a-token-that-the-pod-was-given"
_REFUSAL = b"<Error><Code>%b</Code></Error>"


class Role:
    """What gives credentials, and the bucket that knows them."""

    def __init__(self, lasts: timedelta) -> None:
        self.lasts = lasts
        self.given = 0
        self.used: list[str] = []
        self.withdrawn = False

    def fetch(self) -> dict[str, str]:
        self.given += 1
        return {
            "Code": "Success",
            "Type": "AWS-HMAC",
            "AccessKeyId": f"ROLE{self.given}",
            "SecretAccessKey": "secret",
            "Token": f"session-{self.given}",
            "LastUpdated": datetime.now(UTC).isoformat(),
            "Expiration": (datetime.now(UTC) + self.lasts).strftime("%Y-%m-%dT%H:%M:%SZ"),
        }


def serve(answer: Callable[[BaseHTTPRequestHandler], tuple[int, bytes]]) -> ThreadingHTTPServer:
    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def do_GET(self) -> None:
            status, body = answer(self)
            self.send_response(status)
            self.send_header("content-length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)

        do_PUT = do_GET  # noqa: N815  # the name that the base class looks for

        def log_message(self, *_: Any) -> None:
            pass

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01}, daemon=True).start()
    return server


def answer_of_role(role: Role, request: BaseHTTPRequestHandler) -> tuple[int, bytes]:
    """EC2's metadata by IMDSv2, which wants a token for each question; and the agent of EKS, which wants the pod's."""
    root, headers = "/latest/meta-data/iam/security-credentials/", request.headers
    if request.command == "PUT" and request.path == "/latest/api/token":
        return 200, b"a-token-of-the-machine"
    if request.path.startswith(root) and headers["X-aws-ec2-metadata-token"] != "a-token-of-the-machine":
        return 401, b""
    if request.path == root:
        return 200, b"archivist"
    if request.path == "/pod" and headers["Authorization"] != POD_TOKEN:
        return 401, b""
    if request.path in {f"{root}archivist", "/pod"} and not role.withdrawn:
        return 200, json.dumps(role.fetch()).encode()
    return 404, b""


def answer_of_bucket(role: Role, request: BaseHTTPRequestHandler) -> tuple[int, bytes]:
    signed = re.search(r"Credential=(\w+)/", request.headers["Authorization"] or "")
    key = signed[1] if signed else "nobody"
    role.used.append(key)
    if key != f"ROLE{role.given}" or request.headers["x-amz-security-token"] != f"session-{role.given}":
        return 400, _REFUSAL % b"ExpiredToken"
    return 404, _REFUSAL % b"NoSuchKey"


@contextlib.contextmanager
def serving(role: Role) -> Iterator[tuple[str, str]]:
    """The endpoints of both."""
    servers = [
        serve(lambda request: answer_of_role(role, request)),
        serve(lambda request: answer_of_bucket(role, request)),
    ]
    try:
        yield (f"http://127.0.0.1:{servers[0].server_port}", f"http://127.0.0.1:{servers[1].server_port}")
    finally:
        for server in servers:
            server.shutdown()
            server.server_close()


@pytest.fixture(params=["machine", "pod"])
def open_store(
    request: pytest.FixtureRequest, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> Iterator[Callable[[Role], ObjectStore]]:
    for name in [name for name in os.environ if name.startswith("AWS_")]:
        monkeypatch.delenv(name)
    with contextlib.ExitStack() as opened:

        def open_one(role: Role) -> ObjectStore:
            source, bucket = opened.enter_context(serving(role))
            if request.param == "machine":
                monkeypatch.setenv("AWS_METADATA_ENDPOINT", source)
            else:
                (tmp_path / "token").write_text(POD_TOKEN)
                monkeypatch.setenv("AWS_CONTAINER_CREDENTIALS_FULL_URI", f"{source}/pod")
                monkeypatch.setenv("AWS_CONTAINER_AUTHORIZATION_TOKEN_FILE", str(tmp_path / "token"))
            options = StoreOptions(endpoint=bucket, path_style=True, max_retries=1)
            return opened.enter_context(contextlib.closing(open_object_store("s3://bucket", options)))

        yield open_one


def test_credentials_of_a_role_are_fetched_once_while_they_last(open_store: Callable[[Role], ObjectStore]) -> None:
    role = Role(timedelta(hours=1))
    store = open_store(role)
    assert role.given == 0, "opening sends no request"
    assert [store.get("a") for _ in range(5)] == [None] * 5
    assert role.used == ["ROLE1"] * 5


def test_credentials_of_a_role_that_run_out_are_fetched_anew(open_store: Callable[[Role], ObjectStore]) -> None:
    role = Role(timedelta(seconds=1))
    store = open_store(role)
    deadline = datetime.now(UTC) + timedelta(seconds=20)
    while len(set(role.used)) < 3 and datetime.now(UTC) < deadline:
        assert store.get("a") is None
    assert role.used[-1] == f"ROLE{role.given}"
    assert len(set(role.used)) >= 3


def test_a_role_that_gives_nothing_any_more_is_an_error_and_passes(open_store: Callable[[Role], ObjectStore]) -> None:
    role = Role(timedelta(seconds=1))
    role.withdrawn = True
    store = open_store(role)
    with pytest.raises(Unavailable, match="s3://bucket/a"):
        store.get("a")
    assert role.used == []
    role.withdrawn = False
    assert store.get("a") is None
