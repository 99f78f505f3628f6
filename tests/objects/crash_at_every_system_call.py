"""Stores a value in a child that kills itself at its first system call, the next child at its second, and so on.

After each crash the store is opened again, as after a restart. Prints how often it crashed, and how often the value
was absent and whole afterwards. Run by ``test_blobs.py`` in a process of its own, because it forks.
"""

from __future__ import annotations

import os
import signal
import sys
from hashlib import sha256
from pathlib import Path
from typing import Any

from scribe_ledger.merkle.chunks import chunk_digests, chunk_root
from scribe_ledger.objects.blobs import Blob, BlobStore
from scribe_ledger.objects.folder import FolderStore
from scribe_ledger.objects.paths import BLOBS, digest_of_blob_path

SYSTEM_CALLS = ("open", "close", "write", "fsync", "mkdir", "link", "replace", "unlink")
VALUE = bytes(range(256)) * 4096 + b"the last chunk"
BLOB = Blob(sha256(VALUE).digest(), len(VALUE), chunk_root(chunk_digests(VALUE)))


def main(folder: Path) -> None:
    crashes = absent = whole = 0
    while crash_in_child(folder / str(crashes), at=crashes):
        if is_whole(folder / str(crashes)):
            whole += 1
        else:
            absent += 1
        crashes += 1
    if not is_whole(folder / str(crashes)):
        sys.exit("the value is absent though its store was answered")
    print(crashes, absent, whole)


def crash_in_child(folder: Path, *, at: int) -> bool:
    child = os.fork()
    if child == 0:
        kill_at_system_call(at)
        store(folder)
        os._exit(0)
    _, status = os.waitpid(child, 0)
    if not os.WIFSIGNALED(status) and os.waitstatus_to_exitcode(status) != 0:
        sys.exit(f"the child that was to crash at system call {at} failed")
    return os.WIFSIGNALED(status)


def store(folder: Path) -> None:
    BlobStore(FolderStore(folder / "objects"), folder / "spool").store([VALUE])


def kill_at_system_call(at: int) -> None:
    calls = 0

    def watch(name: str) -> None:
        function = getattr(os, name)

        def watched(*args: Any, **kwargs: Any) -> Any:
            nonlocal calls
            if calls == at:
                os.kill(os.getpid(), signal.SIGKILL)
            calls += 1
            return function(*args, **kwargs)

        setattr(os, name, watched)

    for name in SYSTEM_CALLS:
        watch(name)


def is_whole(folder: Path) -> bool:
    objects = FolderStore(folder / "objects")
    blobs = BlobStore(objects, folder / "spool")
    left = [path for path in folder.rglob("*.partial") if path.is_file()]
    if left:
        sys.exit(f"left behind: {left}")
    digests = [digest for each in objects.list(BLOBS) if (digest := digest_of_blob_path(each.path))]
    if digests:
        blobs.check(*BLOB[:3])
    store(folder)
    blobs.check(*BLOB[:3])
    return digests == [BLOB.sha256]


if __name__ == "__main__":
    main(Path(sys.argv[1]))
