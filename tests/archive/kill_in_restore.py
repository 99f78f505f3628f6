"""A process that restores a ledger and kills itself at one of its steps.

Called as: python kill_in_restore.py STORE FOLDER STEP. A step is how many reports of progress came before, or the name
of a function of the last moments, which is not called any more.
"""

from __future__ import annotations

import os
import signal
import sys
from pathlib import Path

from scribe_ledger.archive import recovery
from scribe_ledger.ledger.folder import DataFolder
from scribe_ledger.objects.folder import FolderStore


def die(*_: object) -> None:
    os.kill(os.getpid(), signal.SIGKILL)


def main(store: str, folder: str, step: str) -> None:
    seen = 0

    def progress(_part: str, _done: int, _total: int) -> None:
        nonlocal seen
        seen += 1
        if str(seen) == step:
            die()

    if step == "save_identity":
        DataFolder.save_identity = die  # type: ignore[assignment]
    if step == "remove":
        recovery._Mark.remove = die  # type: ignore[assignment]
    recovery.restore(FolderStore(Path(store)), Path(folder), progress=progress)


if __name__ == "__main__":
    main(*sys.argv[1:])
