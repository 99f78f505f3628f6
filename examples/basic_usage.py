"""The library in one sitting: write, read, look back, delete, prove.

    python examples/basic_usage.py

Everything happens in a temporary folder that is gone afterwards.
"""

from __future__ import annotations

import tempfile

from scribe_ledger import Ledger, PreconditionFailed, verify


def write_and_read(ledger: Ledger) -> None:
    receipt = ledger.put("user:alice", "Alice Smith", content_type="text/plain", metadata={"team": "red"})
    print(f"put user:alice: entry {receipt.index}, version {receipt.version}")
    print("get user:alice:", ledger.get("user:alice"))

    ledger.put("user:alice", "Alice Jones")  # nothing is overwritten: this is version 2
    print("now:", ledger.get("user:alice"))
    print("version 1:", ledger.get("user:alice", version=1))

    again = ledger.put("user:alice", "Alice Jones")
    print("the same content again appends nothing:", not again.created)


def write_together(ledger: Ledger) -> None:
    with ledger.batch() as batch:  # all or nothing, under consecutive indexes
        batch.put("user:bob", "Bob")
        batch.put("user:carol", "Carol")
    print("batch:", [receipt.index for receipt in batch.receipts])
    print("users:", [entry.key.decode() for entry in ledger.scan(prefix="user:")])


def write_on_condition(ledger: Ledger) -> None:
    try:
        ledger.put("user:bob", "Robert", if_version=7)
    except PreconditionFailed as error:
        print("refused:", error.message)
    ledger.put("user:bob", "Robert", if_version=1)

    first = ledger.put("order:1", "3 apples", request_id="order-1")
    retry = ledger.put("order:1", "3 apples", request_id="order-1")  # as after a lost answer
    print("a retry gets the first receipt:", retry.index == first.index)


def look_back(ledger: Ledger) -> None:
    before = ledger.size
    ledger.delete("user:alice")
    print("deleted:", ledger.get("user:alice"))
    print(f"as of size {before}:", ledger.get("user:alice", as_of=before))
    for entry in ledger.history("user:alice"):
        print(f"  version {entry.version}: {entry.kind.name.lower()} {entry.value!r}")


def prove(ledger: Ledger) -> None:
    proof = str(ledger.prove("user:bob"))  # text that stands alone
    leaf = verify.inclusion(proof, "Robert", public_key=ledger.public_key, key="user:bob")
    print(f"proven offline: entry {leaf.index} of {ledger.size}, version {leaf.version}")
    print("all is well:", ledger.verify().ok)


def main() -> None:
    with tempfile.TemporaryDirectory() as folder, Ledger.open(folder) as ledger:
        write_and_read(ledger)
        write_together(ledger)
        write_on_condition(ledger)
        look_back(ledger)
        prove(ledger)


if __name__ == "__main__":
    main()
