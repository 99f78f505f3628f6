"""An AI model registry whose lineage can be proven: which data and which run made this model, and who says so.

    python examples/model_registry.py

Datasets, training runs, models and evaluations are entries of one ledger. Each names the entries that it was made from
by index and leaf hash, so a record pins its inputs down to the byte. A *release* is one JSON file with a model's whole
lineage and a proof for every step; `check_release` needs that file, the public key, and no ledger.
"""

from __future__ import annotations

import hashlib
import json
import tempfile
from typing import Any, NamedTuple

from scribe_ledger import Ledger, Proof, VerificationError, verify

WEIGHTS = bytes(range(256)) * 4096  # 1 MiB: large enough to be kept as a file of its own


class Reference(NamedTuple):
    """One version of one record: where it stands in the log, and the hash of its leaf."""

    key: str
    index: int  # type: ignore[assignment]  # the field, not the method of tuple
    leaf_hash: str


class Registry:
    """Records with inputs, kept in a ledger."""

    def __init__(self, ledger: Ledger) -> None:
        self._ledger = ledger

    def record(self, key: str, *inputs: Reference, **facts: Any) -> Reference:
        """Appends a record and gives the reference by which later ones name it."""
        document = {"facts": facts, "inputs": inputs}
        value = json.dumps(document, sort_keys=True, separators=(",", ":"))
        receipt = self._ledger.put(key, value, content_type="application/json")
        return Reference(key, receipt.index, receipt.leaf_hash.hex())

    def store(self, key: str, data: bytes) -> Reference:
        """Appends raw bytes, such as weights."""
        receipt = self._ledger.put(key, data, content_type="application/octet-stream")
        return Reference(key, receipt.index, receipt.leaf_hash.hex())

    def lineage(self, reference: Reference) -> list[Reference]:
        """A record and all that it was made from, each once, in the order of the log."""
        found: dict[int, Reference] = {}
        waiting = [reference]
        while waiting:
            each = waiting.pop()
            if each.index not in found:
                found[each.index] = each
                waiting += _inputs(self._value(each), self._ledger.entry_at(each.index).content_type)
        return [found[index] for index in sorted(found)]

    def release(self, reference: Reference) -> str:
        """The lineage with its proofs, all under one checkpoint, as a file that stands alone.

        The bytes of weights stay out: their digest is in the proven leaf.
        """
        size = self._ledger.size
        steps = []
        for each in self.lineage(reference):
            entry = self._ledger.entry_at(each.index)
            proof = self._ledger.prove(each.key, version=entry.version, at=size)
            is_record = entry.content_type == "application/json"
            steps.append({"value": entry.value.decode() if is_record else None, "proof": str(proof)})
        return json.dumps({"of": reference.key, "steps": steps}, indent=1)

    def _value(self, reference: Reference) -> bytes:
        return self._ledger.entry_at(reference.index).value


def _inputs(value: bytes | str, content_type: str) -> list[Reference]:
    if content_type != "application/json":
        return []
    return [Reference(*each) for each in json.loads(value)["inputs"]]


def check_release(text: str, public_key: str) -> list[str]:
    """Verifies every step and every link between steps; offline. Gives one line a step."""
    release = json.loads(text)
    leaves = {}
    wanted = []
    for step in release["steps"]:
        leaf = verify.inclusion(Proof.parse(step["proof"]), step["value"], public_key=public_key)
        leaves[leaf.index] = leaf
        if step["value"] is not None:
            wanted += _inputs(step["value"], leaf.content_type)
    for reference in wanted:
        leaf_or_none = leaves.get(reference.index)
        if leaf_or_none is None or leaf_or_none.hash().hex() != reference.leaf_hash:
            raise VerificationError(f"the release does not hold {reference.key} as it was when it was used")
    return [f"{leaf.index:3} {leaf.key.decode()} version {leaf.version}" for leaf in leaves.values()]


def train(registry: Registry) -> Reference:
    raw = registry.record("dataset/reviews", rows=50_000, sha256=hashlib.sha256(b"raw rows").hexdigest())
    clean = registry.record("dataset/reviews-clean", raw, rows=48_211, removed="duplicates", tool="dedupe 2.1")
    held_out = registry.record("dataset/held-out", raw, rows=1_000)
    run = registry.record("run/0042", clean, epochs=3, seed=7, code="git 9f1c2ab")
    weights = registry.store("weights/sentiment", WEIGHTS)
    model = registry.record("model/sentiment", run, weights, framework="torch 2.9", parameters=66_000_000)
    return registry.record("evaluation/sentiment", model, held_out, accuracy=0.914)


def main() -> None:
    with tempfile.TemporaryDirectory() as folder, Ledger.open(folder, name="example.org/models") as ledger:
        registry = Registry(ledger)
        evaluation = train(registry)
        registry.record("dataset/reviews-clean", rows=47_900, removed="duplicates, bots")  # later; changes no link
        release = registry.release(evaluation)
        public_key = ledger.public_key

    print(f"a release of {len(release) // 1024 + 1} KiB, checked without the ledger:")
    for line in check_release(release, public_key):
        print(line)

    try:
        check_release(release.replace("0.914", "0.989"), public_key)
    except VerificationError as error:
        print("a better accuracy, written in afterwards:", error.message)


if __name__ == "__main__":
    main()
