"""Looking at every large value that a restored ledger refers to: it must be there, and be the right one.

Each is looked at once, however many entries have it: size and chunk digests, and all of its bytes unless told not to.
"""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from typing import TYPE_CHECKING

from scribe_ledger.errors import Corruption
from scribe_ledger.objects.blobs import Blob, BlobStore

if TYPE_CHECKING:
    from collections.abc import Iterator

    from scribe_ledger.archive.refilling import Progress
    from scribe_ledger.ledger.served import ServedLedger

AT_ONCE = 4
_HINT = "restore the object from a copy of the store; `scribe fsck URL` says what else is wrong"
ROUND = 64
"""So many are looked at between two notes of how far that is."""


def check_large_values(
    ledger: ServedLedger, after: bytes, *, read_them: bool, progress: Progress, part: str = "bytes of large values"
) -> Iterator[bytes]:
    """Those after a digest, in the order of digests. What it yields is how far it has come, all of it found good.

    Raises Corruption that names the object.
    """
    blobs = BlobStore(ledger.objects, ledger.spool)
    total, done = ledger.stats()["storage_bytes"]["blobs"], 0

    def check(blob: Blob) -> int:
        try:
            if read_them:
                blobs.check(blob.sha256, blob.size, blob.chunk_root)
            else:
                blobs.open(blob.sha256, blob.size, blob.chunk_root).close()
        except Corruption as error:  # its hint is for a ledger that takes writes
            raise Corruption(error.message, hint=_HINT) from error
        return blob.size

    with ThreadPoolExecutor(AT_ONCE, thread_name_prefix="scribe-restore") as threads:
        for found in _rounds(ledger.large_values(after)):
            for size in threads.map(check, found):
                done += size
                progress(part, done, total)
            yield found[-1].sha256


def _rounds(values: Iterator[Blob]) -> Iterator[list[Blob]]:
    gathered: list[Blob] = []
    for value in values:
        gathered.append(value)
        if len(gathered) == ROUND:
            yield gathered
            gathered = []
    if gathered:
        yield gathered
