"""Writes to a ledger from many threads at once until it is killed. Run by ``test_kill.py`` in a process of its own.

Every line on standard output is one acknowledgement, written after the call had returned: a JSON list of what was
done, of which key, and what the receipt says. Lines are shorter than a pipe's atomic write.
"""

from __future__ import annotations

import json
import os
import random
import sys
import threading
from hashlib import sha256
from typing import TYPE_CHECKING

from scribe_ledger import Ledger, NotFound

if TYPE_CHECKING:
    from collections.abc import Callable

    from scribe_ledger import Receipt

BATCH_ENTRIES = 40
INLINE_MAX = 4096
SHARED_KEYS = 50


def main(folder: str, run: str) -> None:
    ledger = Ledger.open(folder, inline_max=INLINE_MAX)
    writers: list[Callable[[Ledger, str, random.Random, int], None]] = [put, put, put, overwrite, batch, blob, sign]
    for place, writer in enumerate(writers):
        threading.Thread(target=repeat, args=(writer, ledger, f"{run}-{place}"), daemon=True).start()
    threading.Event().wait()


def repeat(write: Callable[[Ledger, str, random.Random, int], None], ledger: Ledger, name: str) -> None:
    chance = random.Random(name)
    number = 0
    try:
        while True:
            write(ledger, name, chance, number)
            number += 1
    except BaseException as error:
        say("failed", repr(error))
        raise


def put(ledger: Ledger, name: str, chance: random.Random, number: int) -> None:
    key = f"single/{name}/{number}"
    acknowledge("put", key, ledger.put(key, chance.randbytes(chance.randrange(200))))


def overwrite(ledger: Ledger, name: str, chance: random.Random, number: int) -> None:
    key = f"shared/{chance.randrange(SHARED_KEYS)}"
    if chance.random() < 0.25:
        try:
            acknowledge("delete", key, ledger.delete(key))
        except NotFound:
            return
    else:
        acknowledge("put", key, ledger.put(key, f"{name} {number}"))


def batch(ledger: Ledger, name: str, chance: random.Random, number: int) -> None:
    keys = [f"batch/{name}/{number}/{place}" for place in range(BATCH_ENTRIES)]
    receipts = ledger.put_many([(key, chance.randbytes(60)) for key in keys])
    acknowledge("put", keys[0], receipts[0])
    acknowledge("put", keys[-1], receipts[-1])


def blob(ledger: Ledger, name: str, chance: random.Random, number: int) -> None:
    key = f"blob/{name}/{number}"
    value = chance.randbytes(8) * chance.randrange(1000, 200_000)
    receipt = ledger.put(key, value)
    assert receipt.sha256 == sha256(value).digest()
    acknowledge("put", key, receipt)


def sign(ledger: Ledger, _name: str, chance: random.Random, _number: int) -> None:
    say("checkpoint", ledger.checkpoint().text)
    threading.Event().wait(chance.random() / 100)  # else it would do little but sign


def acknowledge(done: str, key: str, receipt: Receipt) -> None:
    say(done, key, receipt.index, receipt.version, receipt.sha256.hex(), receipt.leaf_hash.hex())


def say(*what: object) -> None:
    line = json.dumps(what).encode() + b"\n"
    assert os.write(1, line) == len(line) < 4096


if __name__ == "__main__":
    main(sys.argv[1], sys.argv[2])
