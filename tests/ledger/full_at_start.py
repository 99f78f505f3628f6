"""A ledger that is found on a full disk: what opening it says, and what is there once the disk is larger.

Run by ``test_faults.py`` in a process of its own that may mount. The folder is a small filesystem, and made larger.
"""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from pathlib import Path

from scribe_ledger import Ledger, ScribeError

ENTRIES = 200
SIZE_MIB = 24
"""Of the filesystem, at first. It is made as much larger as the error asks for."""


def main(folder: Path) -> None:
    child = subprocess.Popen([sys.executable, __file__, str(folder), "write"], stdout=subprocess.PIPE)
    assert child.stdout is not None
    assert child.stdout.readline() == b"all acknowledged\n"
    child.kill()
    child.wait()
    with (folder / "ballast").open("wb", buffering=0) as ballast:
        fill(ballast.fileno())
    failures = [failure(folder), failure(folder)]
    seen: dict[str, object] = {"failures": failures}
    needed = int(failures[0].get("hint", "").partition("about ")[2].partition(" MiB")[0])
    subprocess.run(["mount", "-o", f"remount,size={SIZE_MIB + needed}m", str(folder)], check=True)
    with Ledger.open(folder / "ledger") as ledger:
        seen["size"] = ledger.size
        seen["sound"] = ledger.verify().ok
        seen["next"] = ledger.put("next", "value").index
    print(json.dumps(seen))


def write(folder: Path) -> None:
    ledger = Ledger.open(folder / "ledger")
    for number in range(ENTRIES):
        ledger.put(f"key {number}", os.urandom(50_000))
    print("all acknowledged", flush=True)
    signal.pause()  # until it is killed


def fill(file: int) -> None:
    for size in (1 << 20, 4096, 1):
        try:
            while True:
                os.write(file, bytes(size))
        except OSError:
            continue


def failure(folder: Path) -> dict[str, str]:
    try:
        Ledger.open(folder / "ledger").close()
    except ScribeError as error:
        return {"kind": error.kind, "message": error.message, "hint": error.hint or ""}
    return {}


if __name__ == "__main__":
    write(Path(sys.argv[1])) if sys.argv[2:] else main(Path(sys.argv[1]))
