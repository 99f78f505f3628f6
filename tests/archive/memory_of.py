"""The most memory that one task on an archive takes, in a process of its own: ``memory_of.py TASK FOLDER ENTRIES``."""

from __future__ import annotations

import random
import sys
from pathlib import Path

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
        for start in range(0, entries, BATCH):
            ledger.put_many([(f"key {start + place}", draws.randbytes(VALUE_BYTES)) for place in range(BATCH)])


def archive(folder: Path, segment_size: int) -> None:
    with ServedLedger.open(folder / "ledger") as ledger:
        Archiver(ledger, ArchiveSettings(segment_size=segment_size, compression=None)).run_once(everything=True)


def rebuild(folder: Path) -> None:
    restore(FolderStore(folder / "ledger" / "objects"), folder / "restored")


def main() -> None:
    task, folder = sys.argv[1], Path(sys.argv[2])
    rocks.BLOCK_CACHE_BYTES = rocks.ALL_MEMTABLES_BYTES = 2 << 20  # else these fill up first, and hide what grows
    if task == "write":
        write(folder, int(sys.argv[3]))
    elif task == "restore":
        rebuild(folder)
    else:
        archive(folder, SEALED_BYTES if task == "seal" else MERGED_BYTES)
    status = Path("/proc/self/status").read_text()
    print(next(int(line.split()[1]) for line in status.splitlines() if line.startswith("VmHWM")) << 10)


if __name__ == "__main__":
    main()
