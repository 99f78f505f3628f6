"""Forks with open ledgers, does one thing in the child, and checks the parent's ledger afterwards.

Run by ``test_faults.py`` in a process of its own. The child must end by itself: it may not wait for what only the
parent has.
"""

from __future__ import annotations

import os
import sys
from pathlib import Path
from typing import TYPE_CHECKING

from scribe_ledger import Ledger, LedgerClosed

if TYPE_CHECKING:
    from collections.abc import Callable


def main(folder: Path, what: str) -> None:
    closed = Ledger.open(folder / "closed")
    closed.close()
    ledger = Ledger.open(folder / "ledger", durability="relaxed")
    ledger.put("before", "value")
    assert ledger.get("before") == b"value"
    scan = ledger.scan()
    next(scan)
    reading, writing = os.pipe()
    child = os.fork()
    if child == 0:
        os.close(writing)
        CHILDREN[what](ledger)
        os.read(reading, 1)  # it lives until its parent is done
        sys.exit(0)  # the usual way out, which finalizes all that is left
    ledger.put("after", "value")
    ledger.close()
    ledger = Ledger.open(folder / "ledger")
    os.close(writing)
    _, status = os.waitpid(child, 0)
    assert os.waitstatus_to_exitcode(status) == 0, f"the child ended with {os.waitstatus_to_exitcode(status)}"
    assert ledger.put("last", "value").index == 2
    assert ledger.verify().ok
    ledger.close()
    with Ledger.open(folder / "ledger") as ledger:
        assert [entry.key for entry in ledger.log()] == [b"before", b"after", b"last"]
        assert ledger.verify().ok


def refused(call: Callable[[], object]) -> None:
    try:
        call()
    except LedgerClosed:
        return
    raise AssertionError("a child used its parent's ledger")


def use(ledger: Ledger) -> None:
    refused(lambda: ledger.put("child", "value"))
    refused(lambda: ledger.get("before"))
    refused(lambda: list(ledger.scan()))
    refused(ledger.checkpoint)
    refused(ledger.flush)
    refused(ledger.stats)
    assert "closed" in repr(ledger)


def close(ledger: Ledger) -> None:
    with ledger:
        pass


CHILDREN: dict[str, Callable[[Ledger], None]] = {"use": use, "close": close, "exit": lambda _: None}


if __name__ == "__main__":
    main(Path(sys.argv[1]), sys.argv[2])
