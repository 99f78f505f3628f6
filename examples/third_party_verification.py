"""A proof checked by somebody who trusts the ledger's public key and nothing else.

    python examples/third_party_verification.py

The *publisher* keeps a ledger. The *auditor* has no access to it: only files that were sent, and the public key, which
must come by another way than the files (a web page, a contract, a chain). The auditor's half of this program imports
`scribe_ledger.verify` alone, which opens no storage and no network.
"""

from __future__ import annotations

import tempfile
from pathlib import Path
from typing import TYPE_CHECKING

from scribe_ledger import Ledger, VerificationError, verify

if TYPE_CHECKING:
    from collections.abc import Callable

KEY = "invoice:2026-031"


# --- the publisher ---------------------------------------------------------------------------------------------


def publish_monday(ledger: Ledger, outbox: Path) -> None:
    ledger.put(KEY, "total: 100 EUR", content_type="text/plain")
    ledger.put("invoice:2026-032", "total: 70 EUR", content_type="text/plain")
    (outbox / "monday.checkpoint").write_text(str(ledger.checkpoint()))


def publish_friday(ledger: Ledger, outbox: Path) -> None:
    ledger.put(KEY, "total: 120 EUR", content_type="text/plain", metadata={"reason": "late fee"})
    monday = verify.checkpoint((outbox / "monday.checkpoint").read_text(), public_key=ledger.public_key)
    friday = ledger.checkpoint()
    (outbox / "friday.checkpoint").write_text(str(friday))
    (outbox / "invoice.txt").write_bytes(ledger.get(KEY) or b"")
    (outbox / "invoice.proof").write_text(str(ledger.prove(KEY)))
    (outbox / "invoice.history").write_text(str(ledger.prove_history(KEY)))
    (outbox / "week.consistency").write_text(str(ledger.prove_consistency(monday.size, friday.size)))


# --- the auditor -----------------------------------------------------------------------------------------------


def audit(inbox: Path, public_key: str) -> None:
    """Each call raises VerificationError if anything does not hold."""

    def read(name: str) -> str:
        return (inbox / name).read_text()

    value = (inbox / "invoice.txt").read_bytes()
    leaf = verify.inclusion(read("invoice.proof"), value, public_key=public_key, key=KEY)
    print(f"the invoice is entry {leaf.index}, version {leaf.version}, {leaf.metadata}")

    versions = verify.history(read("invoice.history"), public_key=public_key, key=KEY)
    print("it was changed:", [f"version {version.version}: {version.size} bytes" for version in versions])

    verify.consistency(
        read("week.consistency"), read("monday.checkpoint"), read("friday.checkpoint"), public_key=public_key
    )
    print("Friday's log begins with all of Monday's: nothing was edited or removed")


def show_refusals(inbox: Path, public_key: str, other_key: str) -> None:
    """What the auditor would see if somebody had cheated."""
    proof = (inbox / "invoice.proof").read_text()
    value = (inbox / "invoice.txt").read_bytes()
    first, _, rest = proof.partition("index ")
    cheats: dict[str, Callable[[], object]] = {
        "another value": lambda: verify.inclusion(proof, b"total: 900 EUR", public_key=public_key),
        "another key": lambda: verify.inclusion(proof, value, public_key=public_key, key="invoice:2026-032"),
        "another place": lambda: verify.inclusion(f"{first}index 1{rest[1:]}", value, public_key=public_key),
        "another signer": lambda: verify.inclusion(proof, value, public_key=other_key),
    }
    for what, check in cheats.items():
        try:
            check()
        except VerificationError as error:
            print(f"{what}: {error.message}"[:100])
        else:
            raise AssertionError(f"{what} was believed")


def main() -> None:
    with tempfile.TemporaryDirectory() as name:
        outbox = Path(name) / "outbox"
        outbox.mkdir()
        with Ledger.open(Path(name) / "ledger", name="example.org/invoices") as ledger:
            publish_monday(ledger, outbox)
            publish_friday(ledger, outbox)
            public_key = ledger.public_key
        with Ledger.open(Path(name) / "other", name="example.org/invoices") as impostor:
            other_key = impostor.public_key
        audit(outbox, public_key)
        show_refusals(outbox, public_key, other_key)


if __name__ == "__main__":
    main()
