"""The vector files are what the code gives, they hold without it, and the format reference quotes them rightly."""

from __future__ import annotations

import json
import re
from hashlib import sha256
from typing import Any

import pytest
from tests.merkle import example, make_vectors, reference

from scribe_ledger import verify
from scribe_ledger.merkle import Checkpoint, Leaf, Signer, encode_leaf
from scribe_ledger.model import Kind

pytestmark = pytest.mark.crypto

FORMATS = make_vectors.FOLDER.parents[1] / "docs" / "reference" / "formats.md"


def load(name: str) -> Any:
    return json.loads((make_vectors.FOLDER / f"{name}.json").read_text())


def test_files_are_what_the_code_gives() -> None:
    for name, vectors in make_vectors.build().items():
        text = (make_vectors.FOLDER / f"{name}.json").read_text()
        assert text == make_vectors.render(vectors), f"{name}.json: a format has changed; see make_vectors.py"


def test_leaves_are_made_of_their_fields() -> None:
    for entry in load("leaf")["entries"]:
        fields: dict[str, Any] = {name: entry[name] for name in Leaf._fields}
        fields |= {name: bytes.fromhex(entry[name]) for name in ("sha256", "chunk_root", "key")}
        leaf = Leaf(**fields)._replace(kind=Kind(entry["kind"]))
        assert encode_leaf(leaf).hex() == entry["leaf"]
        assert sha256(b"\0" + bytes.fromhex(entry["leaf"])).hexdigest() == entry["leaf_hash"]


def test_root_of_the_example_is_over_its_leaf_hashes() -> None:
    hashes = [bytes.fromhex(entry["leaf_hash"]) for entry in load("leaf")["entries"]]
    assert Checkpoint.parse(load("checkpoint")["checkpoint"]).root == reference.root(hashes)


def test_tree_of_numbers_has_the_roots_of_the_definition() -> None:
    vectors = load("tree")
    hashes = [sha256(b"\0" + index.to_bytes(8, "big")).digest() for index in range(257)]
    for size in (0, 1, 2, 255, 256, 257):
        assert vectors["roots"][str(size)] == reference.root(hashes[:size]).hex()
    assert vectors["first_tile_root"] == vectors["roots"]["256"]
    assert vectors["tiles"]["tile/0/000"]["sha256"] == sha256(b"".join(hashes[:256])).hexdigest()


def test_proofs_verify_with_the_key_in_the_file() -> None:
    keys, proofs = load("checkpoint"), load("proof")
    for index, text in proofs["inclusion"].items():
        leaf = verify.inclusion(text, example.VALUES[int(index)], public_key=keys["log_key"])
        assert leaf == example.LEAVES[int(index)]
    verify.inclusion(proofs["inclusion_at_size_2"], "Alice Smith", public_key=keys["log_key"])
    versions = [leaf.version for leaf in verify.history(proofs["history"], public_key=keys["log_key"])]
    assert versions == proofs["versions"] == [3, 2, 1]
    for size, text in proofs["consistency"].items():
        verify.consistency(text, proofs["old_checkpoints"][size], keys["checkpoint"], public_key=keys["log_key"])
    verify.checkpoint(keys["cosigned"], public_key=keys["log_key"], cosigners=[keys["cosigner_key"]])
    assert str(Signer.parse(keys["log_private_key"]).verifier) == keys["log_key"]
    assert str(Signer.parse(keys["node_private_key"]).cosigner) == keys["cosigner_key"]


def strings(vectors: Any) -> list[str]:
    """All text in a vector file, names included."""
    if isinstance(vectors, dict):
        return [text for name, value in vectors.items() for text in (name, *strings(value))]
    if isinstance(vectors, list):
        return [text for value in vectors for text in strings(value)]
    return [str(vectors)]


def test_reference_quotes_the_vectors() -> None:
    """Each quoted block and each long run of hex digits in the reference stands in some vector file."""
    page = FORMATS.read_text().partition("\n## On disk")[0]
    known = [text for file in make_vectors.FOLDER.glob("*.json") for text in strings(json.loads(file.read_text()))]
    blocks = re.findall(r"^```vector\n(.*?)^```$", page, re.MULTILINE | re.DOTALL)
    figures = re.findall(r"\b[0-9a-f]{16,}\b", re.sub(r"(?<=[0-9a-f])\n(?=[0-9a-f]{8,})", "", page))
    assert len(blocks) >= 4
    assert len(figures) >= 10
    for block in blocks:
        assert any(text in (block, block.removesuffix("\n")) for text in known), block
    for figure in figures:
        assert any(figure in text for text in known), figure
