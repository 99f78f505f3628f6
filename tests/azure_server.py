"""A real Azure Blob server in a process of its own: Azurite, which Microsoft keeps for this.

``make test`` installs it. Where it is not there, for want of npm or of its registry, the tests that need it are
skipped, and say so.
"""

from __future__ import annotations

import base64
import email.utils
import hashlib
import hmac
import itertools
import os
import subprocess
import urllib.request
from typing import TYPE_CHECKING, Self

import pytest
from tests.ports import free_ports
from tests.s3_server import CACHE, PATIENCE_SECONDS, is_heard

if TYPE_CHECKING:
    from pathlib import Path

VERSION = "3.35.0"
AZURITE = CACHE / f"azurite-{VERSION}" / "node_modules" / ".bin" / "azurite-blob"
ACCOUNT = "devstoreaccount1"
KEY = "Eby8vdM02xNOcqFlqUwJPLlmEtlCDXJ1OUzFT50uSRZ6IFsuFq2UVErCz4I6tq/K1SZFPTOtr/KBHBeksoGMGw=="
"""Known to everybody: Azurite has no other account."""
_SERVICE = "2021-08-06"


def describe() -> str:
    """For the header of a test run."""
    if AZURITE.is_file():
        return f"Azure server: Azurite {VERSION}"
    return "Azure server: NONE, so tests against Azure are skipped (Azurite needs npm, then: make azure-server)"


needs_azurite = pytest.mark.skipif(not AZURITE.is_file(), reason="Azurite is not installed: make azure-server")


class AzureServer:
    """A server on a free port, with everything in memory."""

    _numbers = itertools.count(1)

    def __init__(self, folder: Path) -> None:
        self._folder = folder

    @property
    def endpoint(self) -> str:
        return f"http://127.0.0.1:{self._port}/{ACCOUNT}"

    @property
    def variables(self) -> dict[str, str]:
        """By which clients find the account."""
        return {"AZURE_STORAGE_ACCOUNT_NAME": ACCOUNT, "AZURE_STORAGE_ACCOUNT_KEY": KEY}

    def container(self) -> str:
        """The name of a new, empty container."""
        name = f"container-{os.getpid()}-{next(self._numbers)}"
        date = email.utils.formatdate(usegmt=True)
        headers = f"x-ms-date:{date}\nx-ms-version:{_SERVICE}"
        signed = f"PUT{chr(10) * 12}{headers}\n/{ACCOUNT}/{ACCOUNT}/{name}\nrestype:container"
        signature = base64.b64encode(hmac.digest(base64.b64decode(KEY), signed.encode(), hashlib.sha256)).decode()
        request = urllib.request.Request(
            f"{self.endpoint}/{name}?restype=container",
            method="PUT",
            headers={
                "x-ms-date": date,
                "x-ms-version": _SERVICE,
                "Authorization": f"SharedKey {ACCOUNT}:{signature}",
            },
        )
        urllib.request.urlopen(request, timeout=PATIENCE_SECONDS).close()
        return name

    def __enter__(self) -> Self:
        [self._port] = free_ports(1)
        command = [str(AZURITE), "--blobPort", str(self._port), "--inMemoryPersistence", "--disableTelemetry"]
        self._process = subprocess.Popen(
            [*command, "--skipApiVersionCheck", "--silent"],
            cwd=self._folder,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
        )
        assert is_heard(self.endpoint, self._process), "Azurite does not start"
        return self

    def __exit__(self, *_: object) -> None:
        self._process.terminate()
        self._process.wait(PATIENCE_SECONDS)
