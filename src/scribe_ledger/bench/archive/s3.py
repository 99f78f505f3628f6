"""A real S3 server on the loopback, versitygw over a folder, and the two clients that are compared on it.

It is looked for where ``make s3-server`` builds it, then on the PATH. Without it the rows that need a bucket are
reported as not measured: no other server stands in for it.
"""

from __future__ import annotations

import os
import secrets
import shutil
import subprocess
import time
from contextlib import contextmanager
from http.client import HTTPConnection, HTTPException
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

from scribe_ledger.bench.command import NotMeasurable, say
from scribe_ledger.bench.ports import free_ports
from scribe_ledger.errors import Unavailable
from scribe_ledger.objects.opening import StoreOptions, open_object_store

if TYPE_CHECKING:
    from collections.abc import Iterator

    from obstore.store import ObjectStore as Client

    from scribe_ledger.objects.store import ObjectStore

BUCKET = "bench"
PATIENCE_SECONDS = 30
_STARTS = 5
_ID, _SECRET = "ROOT_ACCESS_KEY_ID", "ROOT_SECRET_ACCESS_KEY"


class S3(NamedTuple):
    """A bucket, and what a client needs to use it."""

    endpoint: str
    access_key_id: str
    secret_access_key: str

    def open(self) -> ObjectStore:
        """The bucket as a ledger uses it."""
        options = StoreOptions(
            region="us-east-1",
            endpoint=self.endpoint,
            access_key_id=self.access_key_id,
            secret_access_key=self.secret_access_key,
            path_style=True,
        )
        return open_object_store(f"s3://{BUCKET}", options)

    def open_bare(self) -> Client:
        """The same through obstore alone, with its own defaults but for deletes, which are to be the same requests."""
        from obstore.store import S3Store

        return S3Store(
            BUCKET,
            region="us-east-1",
            endpoint=self.endpoint,
            access_key_id=self.access_key_id,
            secret_access_key=self.secret_access_key,
            virtual_hosted_style_request=False,
            disable_bulk_delete=True,
            client_options={"allow_http": True},
        )


def find_server() -> Path:
    """The program; raises ``NotMeasurable`` where there is none."""
    cache = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "scribe-ledger"
    built = sorted(cache.glob("versitygw-*/versitygw"), key=lambda path: path.stat().st_mtime)
    found = str(built[-1]) if built else shutil.which("versitygw")
    if found is None:
        raise NotMeasurable("there is no S3 server here: versitygw is not built", hint="`make s3-server` builds it")
    return Path(found)


@contextmanager
def serving(folder: Path) -> Iterator[S3]:
    """Runs a server with one empty bucket in the folder while the block runs."""
    program = find_server()
    (folder / "buckets" / BUCKET).mkdir(parents=True)
    access_key_id, secret = "bench", secrets.token_hex(16)
    log = folder / "log"
    for _ in range(_STARTS):  # a port that was free may be taken before the server has it
        [port] = free_ports(1)
        process = _spawn(program, folder / "buckets", port, {_ID: access_key_id, _SECRET: secret}, log)
        try:
            if _answers(process, port):
                yield S3(f"http://127.0.0.1:{port}", access_key_id, secret)
                if process.poll() is not None:
                    say(f"warning: the S3 server ended with {process.returncode}: {_end_of(log)}")
                return
        finally:
            process.terminate()
            process.wait(PATIENCE_SECONDS)
    raise Unavailable(f"the S3 server {program} does not start: {_end_of(log)}")


def _spawn(program: Path, folder: Path, port: int, credentials: dict[str, str], log: Path) -> subprocess.Popen[bytes]:
    command: list[str | Path] = [program, "--port", f"127.0.0.1:{port}", "--keep-alive", "--quiet", "posix", folder]
    with log.open("ab") as said:
        return subprocess.Popen(  # noqa: S603 - the program that the user built or installed
            command, env={**os.environ, **credentials}, stdout=said, stderr=said
        )


def _end_of(log: Path) -> str:
    return "\n".join(log.read_text(errors="replace").splitlines()[-10:])


def _answers(process: subprocess.Popen[bytes], port: int) -> bool:
    """Whether it came up; False if its process ended, or does not answer."""
    until = time.monotonic() + PATIENCE_SECONDS
    while time.monotonic() < until and process.poll() is None:
        connection = HTTPConnection("127.0.0.1", port, timeout=1)
        try:
            connection.request("GET", "/")
            connection.getresponse()
        except (OSError, HTTPException):
            time.sleep(0.02)
        else:
            return True
        finally:
            connection.close()
    return False
