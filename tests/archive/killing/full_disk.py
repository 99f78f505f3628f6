"""Archives with no room for the file of a segment, then with room, and prints what was seen on the way."""

from __future__ import annotations

import json
import os
import resource
import sys
from pathlib import Path

from tests.archive.rounds import archiver

from scribe_ledger.errors import ScribeError
from scribe_ledger.ledger.served import ServedLedger

FILE_LIMIT_BYTES = 300_000


def main(folder: Path) -> None:
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    with ServedLedger.open(folder) as ledger:
        ledger.put_many([(f"key {number}", os.urandom(50_000)) for number in range(40)])
        ledger.adopt_store()  # which writes to the ledger's own store, where there is no room either
        archive = archiver(ledger, segment_size=1 << 26)
        resource.setrlimit(resource.RLIMIT_FSIZE, (FILE_LIMIT_BYTES, hard))
        try:
            archive.run_once(everything=True)
            kind, names = "", False
        except ScribeError as error:
            kind, names = error.kind, "cannot write to" in error.message
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))
        left = [path.name for path in ledger.spool.iterdir()]
        written = ledger.put("still", "writable").created
        later = archive.run_once(everything=True).archived_size
        seen = {"kind": kind, "names": names, "left": left, "written": written, "later": later}
        print(json.dumps(seen | {"sound": ledger.verify().ok, "size": ledger.size}))


if __name__ == "__main__":
    main(Path(sys.argv[1]))
