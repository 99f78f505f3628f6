"""Puts and reads a large object in a process of its own, and says by how many bytes the process grew at most."""

from __future__ import annotations

import os
import resource
import sys
from pathlib import Path

from scribe_ledger.model import CHUNK_BYTES
from scribe_ledger.objects.opening import StoreOptions, open_object_store


def peak_bytes() -> int:
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss << (10 if sys.platform == "linux" else 0)


def main(url: str, endpoint: str, source: str) -> None:
    store = open_object_store(url, StoreOptions(endpoint=endpoint, path_style=True))
    store.put_bytes("warm", os.urandom(9 << 20))
    before = peak_bytes()
    assert store.put_file("large", Path(source))
    size = 0
    file = store.open("large")
    assert file is not None
    with file:
        while piece := file.read(CHUNK_BYTES):
            size += len(piece)
    assert size == Path(source).stat().st_size
    print(peak_bytes() - before)


if __name__ == "__main__":
    main(*sys.argv[1:])
