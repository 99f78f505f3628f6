"""Writes to a ledger until there is no room, then makes room, and prints what was seen on the way.

Run by ``test_faults.py`` in a process of its own. With ``limit`` its files may not grow beyond a few hundred KiB. With
``ballast`` the folder is a small filesystem, and a file that takes most of it is removed in the end.
"""

from __future__ import annotations

import json
import os
import resource
import sys
from pathlib import Path
from typing import Any

from scribe_ledger import Ledger, ScribeError

FILE_LIMIT_BYTES = 400_000


def main(folder: Path, room: str) -> None:
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    ledger = Ledger.open(folder / "ledger")
    if room == "limit":
        resource.setrlimit(resource.RLIMIT_FSIZE, (FILE_LIMIT_BYTES, hard))
    seen = fill(ledger)
    if room == "limit":
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))
    else:
        (folder / "ballast").unlink()
    seen["later"] = refusal(ledger)
    ledger.close()
    with Ledger.open(folder / "ledger") as ledger:
        seen["reopened"] = ledger.size
        seen["sound"] = ledger.verify().ok
        seen["lost"] = sum(ledger.get(f"key {number}") is None for number in range(seen["acknowledged"]))
        seen["next"] = ledger.put("next", "value").index
    print(json.dumps(seen))


def fill(ledger: Ledger) -> dict[str, Any]:
    acknowledged = 0
    failure = ""
    while not failure:
        try:
            ledger.put(f"key {acknowledged}", os.urandom(20_000))
            acknowledged += 1
        except ScribeError as error:
            failure = f"{error.kind}: {error}"
    return {
        "acknowledged": acknowledged,
        "failure": failure,
        "again": refusal(ledger),
        "size": ledger.size,
        "first": ledger.get("key 0") is not None,
        "unseen": ledger.get(f"key {acknowledged}") is None,
        "signed": ledger.checkpoint().size,
        "writable": ledger.stats()["writable"],
    }


def refusal(ledger: Ledger) -> str:
    try:
        ledger.put("refused", "value")
    except ScribeError as error:
        return f"{error.kind}: {error}"
    return ""


if __name__ == "__main__":
    main(Path(sys.argv[1]), sys.argv[2])
