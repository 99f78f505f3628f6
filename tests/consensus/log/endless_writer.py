"""Writes Raft's log until it is killed, and prints the last entry of each sync."""

from __future__ import annotations

import sys
from pathlib import Path

from scribe_ledger.consensus.log.files import FileLog
from scribe_ledger.consensus.log.store import LogWrite


def main(folder: Path) -> None:
    log = FileLog(folder, segment_bytes=1 << 18)
    contents = log.load()
    last = contents.truncated[0] + len(contents.entries)
    while True:
        for index in range(last + 1, last + 4):
            log.write(LogWrite([(index, 1, 0, b"%d" % index * (index % 1500), b"")], (1, 1, index - 1)))
        last += 3
        log.sync()
        print(last, flush=True)
        if last % 90 == 0:
            log.cut(last - 60, 1)


if __name__ == "__main__":
    main(Path(sys.argv[1]))
