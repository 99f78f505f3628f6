"""A server of Google Cloud Storage in processes of its own: fake-gcs-server, behind ``tests.gcs_front``.

None that runs beside a test has all of the interface that obstore speaks; what is missing, and what that means for the
tests, is said there. ``make test`` builds it. Where it is not there, for want of a Go toolchain, the tests that need it
are skipped, and say so.
"""

from __future__ import annotations

import itertools
import json
import os
import subprocess
import sys
import urllib.request
from pathlib import Path
from typing import TYPE_CHECKING, Self

import pytest
from cryptography.hazmat.primitives.asymmetric.rsa import generate_private_key
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat, PublicFormat
from tests.ports import free_ports
from tests.s3_server import CACHE, PATIENCE_SECONDS, is_heard

if TYPE_CHECKING:
    from cryptography.hazmat.primitives.asymmetric.rsa import RSAPrivateKey

VERSION = "1.56.1"
FAKE_GCS = CACHE / f"fake-gcs-server-{VERSION}" / "fake-gcs-server"
ACCOUNT = "tests@example.iam.gserviceaccount.com"


def describe() -> str:
    """For the header of a test run."""
    if FAKE_GCS.is_file():
        return f"GCS server: fake-gcs-server {VERSION}; uploads, parts and listings reach it through tests/gcs_front.py"
    return "GCS server: NONE, so tests against it are skipped (it needs a Go toolchain, then: make gcs-server)"


needs_gcs = pytest.mark.skipif(not FAKE_GCS.is_file(), reason="fake-gcs-server is not built: make gcs-server")


class GcsServer:
    """A server on a free port, with everything in memory."""

    _numbers = itertools.count(1)

    def __init__(self, folder: Path) -> None:
        self._folder = folder

    @property
    def endpoint(self) -> str:
        return f"http://127.0.0.1:{self._port}"

    @property
    def key_file(self) -> Path:
        return self._folder / "account.json"

    def write_key_file(self, name: str, key: RSAPrivateKey) -> Path:
        """A key file of the account, as Google hands them out; with another key than its own the server refuses it."""
        pem = key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption()).decode()
        fields = {"type": "service_account", "client_email": ACCOUNT, "private_key": pem, "private_key_id": "1"}
        path = self._folder / name
        path.write_text(json.dumps(fields))
        return path

    def bucket(self) -> str:
        """The name of a new, empty bucket."""
        name = f"bucket-{os.getpid()}-{next(self._numbers)}"
        request = urllib.request.Request(
            f"{self._behind}/storage/v1/b",
            json.dumps({"name": name}).encode(),
            {"Content-Type": "application/json"},
        )
        urllib.request.urlopen(request, timeout=PATIENCE_SECONDS).close()
        return name

    def __enter__(self) -> Self:
        self._port, behind = free_ports(2)
        self._behind = f"http://127.0.0.1:{behind}"
        address = ["-scheme", "http", "-host", "127.0.0.1", "-port", str(behind), "-public-host", f"127.0.0.1:{behind}"]
        key = generate_private_key(65537, 2048)
        self.write_key_file(self.key_file.name, key)
        public_key = self._folder / "account.public"
        public_key.write_bytes(key.public_key().public_bytes(Encoding.PEM, PublicFormat.SubjectPublicKeyInfo))
        self._processes = [
            self._spawn(FAKE_GCS, *address, "-backend", "memory", "-log-level", "error"),
            self._spawn(sys.executable, "-m", "tests.gcs_front", str(self._port), str(behind), ACCOUNT, public_key),
        ]
        for endpoint, process in zip((self._behind, self.endpoint), self._processes, strict=True):
            assert is_heard(endpoint, process), "the GCS server does not start"
        return self

    def __exit__(self, *_: object) -> None:
        for process in self._processes:
            process.terminate()
        for process in self._processes:
            process.wait(PATIENCE_SECONDS)

    def _spawn(self, *command: str | Path) -> subprocess.Popen[bytes]:
        root = Path(__file__).parents[1]
        return subprocess.Popen(command, cwd=root, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
