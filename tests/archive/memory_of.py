"""The memory that one task on an archive takes, in a process of its own: ``memory_of.py TASK FOLDER NUMBER``.

It prints the most that was resident, and by how much more of its own memory was resident after the task than before.
"""

from __future__ import annotations

import random
import sys
import threading
from concurrent.futures import ThreadPoolExecutor
from contextlib import nullcontext
from pathlib import Path
from unittest.mock import patch

from scribe_ledger.archive.archiver import Archiver, ArchiveSettings
from scribe_ledger.archive.recovery import restore
from scribe_ledger.ledger import rocks
from scribe_ledger.ledger.served import ServedLedger
from scribe_ledger.objects.folder import FolderStore

SEALED_BYTES, MERGED_BYTES = 512 << 10, 5 << 20
BATCH = 500
VALUE_BYTES = 2000


def write(folder: Path, entries: int) -> None:
    draws = random.Random(1)
    with ServedLedger.open(folder / "ledger", name="example.org/memory") as ledger:
        for _ in range(0, entries, BATCH):
            ledger.put_many([(f"key {draws.randrange(10**12)}", draws.randbytes(VALUE_BYTES)) for _ in range(BATCH)])


def archive(folder: Path, segment_size: int) -> None:
    with ServedLedger.open(folder / "ledger") as ledger:
        Archiver(ledger, ArchiveSettings(segment_size=segment_size, compression=None)).run_once(everything=True)


def rebuild(folder: Path) -> None:
    restore(FolderStore(folder / "ledger" / "objects"), folder / "restored")


def archive_at_once(folder: Path, *, giving_back: bool) -> int:
    """One segment, in a thread as in a node; how much more of the process's memory is resident afterwards."""
    import pyarrow.parquet  # noqa: F401  # what loading it takes is not what sealing takes

    hoarding = nullcontext() if giving_back else patch("scribe_ledger.archive.archiver.give_back")
    with hoarding, ServedLedger.open(folder / "ledger") as ledger:
        passes = Archiver(ledger, ArchiveSettings(compression=None))
        before = memory("RssAnon")
        with ThreadPoolExecutor(1) as thread:
            thread.submit(passes.run_once, everything=True).result()
            return memory("RssAnon") - before


def read_log(folder: Path, readers: int) -> None:
    """All of the log, page by page, by so many at once, from the archive and without a cache."""
    with ServedLedger.open(folder / "ledger", max_cache_size=0) as ledger:
        ledger.evict(ledger.size)
        together = threading.Barrier(readers)

        def read(_: int) -> int:
            together.wait()
            pages = (ledger.log(start, start + BATCH) for start in range(0, ledger.size, BATCH))
            return sum(len(entry.value) for page in pages for entry in page)

        with ThreadPoolExecutor(readers) as threads:
            assert [*threads.map(read, range(readers))] == [ledger.size * VALUE_BYTES] * readers


def memory(name: str) -> int:
    status = Path("/proc/self/status").read_text()
    return next(int(line.split()[1]) for line in status.splitlines() if line.startswith(name)) << 10


def main() -> None:
    task, folder, number = sys.argv[1], Path(sys.argv[2]), int(sys.argv[3])
    rocks.BLOCK_CACHE_BYTES = rocks.ALL_MEMTABLES_BYTES = 2 << 20  # else these fill up first, and hide what grows
    kept = 0
    if task == "write":
        write(folder, number)
    elif task == "restore":
        rebuild(folder)
    elif task == "log":
        read_log(folder, number)
    elif task in ("give back", "keep"):
        kept = archive_at_once(folder, giving_back=task == "give back")
    else:
        archive(folder, SEALED_BYTES if task == "seal" else MERGED_BYTES)
    print(memory("VmHWM"), kept)


if __name__ == "__main__":
    main()
