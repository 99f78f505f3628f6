"""A real S3 server in a process of its own, for any test that needs a bucket.

It is versitygw over a folder, built once by ``make test``. Where there is no Go toolchain it is moto's server, which
knows no credentials and no race: tests that need either say so with ``needs_versitygw``. The fixture ``s3_server`` (one
a test process) is in ``tests/conftest.py``; whoever stops or kills a server starts one for itself.
"""

from __future__ import annotations

import itertools
import os
import subprocess
import sys
import time
import urllib.error
import urllib.request
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple, Self

import pytest
from tests.ports import free_ports

from scribe_ledger.objects.opening import StoreOptions

if TYPE_CHECKING:
    from collections.abc import Mapping

VERSION = "1.8.0"
CACHE = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "scribe-ledger"
"""Where the Makefile puts servers of tests, outside of any clone."""
VERSITYGW = CACHE / f"versitygw-{VERSION}" / "versitygw"
"""Where the Makefile puts it, outside of any clone."""

ACCESS_KEY = "test-access-key"
SECRET_KEY = "test-secret-key-that-no-message-may-show"
PATIENCE_SECONDS = 30


def has_versitygw() -> bool:
    return VERSITYGW.is_file()


def describe() -> str:
    """For the header of a test run."""
    if has_versitygw():
        return f"S3 server: versitygw {VERSION}"
    return (
        "S3 server: moto, NOT a real one, since versitygw is not built (it needs a Go toolchain, then: make s3-server)"
    )


needs_versitygw = pytest.mark.skipif(not has_versitygw(), reason="moto does not do this; it needs versitygw")


class Bucket(NamedTuple):
    """A bucket of its own, and all that a client needs to use it."""

    server: S3Server
    name: str

    @property
    def url(self) -> str:
        return f"s3://{self.name}"

    def options(self, **changes: Any) -> StoreOptions:
        """Options for ``open_object_store``; without changes, those that work."""
        working = StoreOptions(
            region="us-east-1",
            endpoint=self.server.endpoint,
            access_key_id=ACCESS_KEY,
            secret_access_key=SECRET_KEY,
            path_style=True,
        )
        return replace(working, **changes)

    def settings(self, **changes: str) -> dict[str, str]:
        """The same as environment variables for a node or command in a process of its own."""
        names = {
            "BUCKET": self.name,
            "ENDPOINT": self.server.endpoint,
            "ACCESS_KEY_ID": ACCESS_KEY,
            "SECRET_ACCESS_KEY": SECRET_KEY,
            "PATH_STYLE": "true",
        }
        return {f"SCRIBE_STORAGE_S3_{name}": value for name, value in (names | changes).items()}

    @property
    def folder(self) -> Path:
        """Where versitygw keeps the objects as files, so that a test can change or remove one by hand."""
        return self.server.folder / self.name


class S3Server:
    """A server on a free port; ``stop``, ``kill`` and ``start`` again keep the port and what is stored."""

    _numbers = itertools.count(1)

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.port = 0
        self._process: subprocess.Popen[bytes] | None = None
        folder.mkdir(parents=True, exist_ok=True)

    @property
    def endpoint(self) -> str:
        return f"http://127.0.0.1:{self.port}"

    def start(self) -> Self:
        if not self.port:
            [self.port] = free_ports(1)
        self._process = self._spawn(self.port)
        assert is_heard(self.endpoint, self._process), "the S3 server does not start"
        return self

    def bucket(self) -> Bucket:
        """A new, empty bucket."""
        name = f"bucket-{os.getpid()}-{next(self._numbers)}"
        if has_versitygw():
            (self.folder / name).mkdir()
        else:
            request = urllib.request.Request(f"{self.endpoint}/{name}", method="PUT")
            urllib.request.urlopen(request, timeout=PATIENCE_SECONDS).close()
        return Bucket(self, name)

    def stop(self) -> None:
        """Ends it in good order. Stopping twice is allowed."""
        self._end("terminate")

    def kill(self) -> None:
        """As a crash does."""
        self._end("kill")

    def __enter__(self) -> Self:
        return self.start()

    def __exit__(self, *_: object) -> None:
        self.stop()

    def _end(self, how: str) -> None:
        if self._process is not None:
            getattr(self._process, how)()
            self._process.wait(PATIENCE_SECONDS)
            self._process = None

    def _spawn(self, port: int) -> subprocess.Popen[bytes]:
        command: list[str | Path]
        if has_versitygw():
            command = [VERSITYGW, "--port", f"127.0.0.1:{port}", "--keep-alive", "--quiet", "posix", self.folder]
        else:
            command = [sys.executable, "-m", "moto.server", "-H", "127.0.0.1", "-p", str(port)]
        secrets: Mapping[str, str] = {"ROOT_ACCESS_KEY_ID": ACCESS_KEY, "ROOT_SECRET_ACCESS_KEY": SECRET_KEY}
        return subprocess.Popen(
            command, env={**os.environ, **secrets}, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL
        )


def is_heard(url: str, process: subprocess.Popen[bytes]) -> bool:
    """Whether a server came up; False if its process ended, because another has the port."""
    deadline = time.monotonic() + PATIENCE_SECONDS
    while time.monotonic() < deadline:
        if process.poll() is not None:
            return False
        try:
            urllib.request.urlopen(url, timeout=1).close()
        except urllib.error.HTTPError as refusal:  # nobody signed the request, but somebody read it
            refusal.close()
        except OSError:
            time.sleep(0.02)
            continue
        return True
    return False
