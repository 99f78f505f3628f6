"""Opens the ledgers named where it may not, and prints what each open and each write had to say.

Run by ``test_faults.py`` in a process of its own, whose working directory holds the ledgers: with ``nobody`` root gives
up its rights here, and then might not even reach that directory by its path.
"""

from __future__ import annotations

import json
import os
import pickle  # noqa: F401  # the engine's binding loads it late, and then it might not be in reach
import sys

from scribe_ledger import Ledger, ScribeError

NOBODY = 65534


def main(user: str, names: list[str]) -> None:
    if user == "nobody" and os.getuid() == 0:
        os.setgroups([])
        os.setgid(NOBODY)
        os.setuid(NOBODY)
    print(json.dumps([attempt(name) for name in names]))


def attempt(name: str) -> list[str]:
    try:
        with Ledger.open(name) as ledger:
            ledger.put("written", "value")
    except ScribeError as error:
        return [type(error).__name__, error.message, error.hint]
    return []


if __name__ == "__main__":
    main(sys.argv[1], sys.argv[2:])
