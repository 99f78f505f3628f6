from __future__ import annotations

from hashlib import sha256

import pytest
from hypothesis import given
from hypothesis import strategies as st
from tests.merkle import reference

from scribe_ledger.errors import InvalidRequest
from scribe_ledger.merkle import EMPTY_ROOT, MerkleTree

pytestmark = pytest.mark.crypto

PAIRS = [(b"k%d" % number, b"v%d" % number) for number in range(11)]


def leaf_hash(key: bytes, value: bytes) -> bytes:
    return sha256(b"\0" + len(key).to_bytes(8, "big") + key + len(value).to_bytes(8, "big") + value).digest()


@given(st.dictionaries(st.binary(max_size=8), st.binary(max_size=8), max_size=40))
def test_root_and_proofs_are_those_of_the_sorted_pairs(mapping: dict[bytes, bytes]) -> None:
    tree = MerkleTree.from_pairs(mapping.items())
    hashes = [leaf_hash(key, value) for key, value in sorted(mapping.items())]
    assert len(tree) == len(mapping)
    assert tree.root_hash() == reference.root(hashes)
    for position, (key, value) in enumerate(sorted(mapping.items())):
        proof = tree.get_proof(key)
        assert proof
        assert (proof.key, proof.value, proof.position, proof.size) == (key, value, position, len(mapping))
        assert list(proof.siblings) == reference.inclusion(position, hashes)
        assert MerkleTree.verify_proof(proof, tree.root_hash())


def test_order_does_not_matter_and_text_is_utf8() -> None:
    tree = MerkleTree.from_pairs(PAIRS)
    assert MerkleTree.from_pairs(reversed(PAIRS)).root_hash() == tree.root_hash()
    texts = [(key.decode(), value.decode()) for key, value in PAIRS]
    assert MerkleTree.from_pairs(texts).root_hash() == tree.root_hash()
    assert tree.get_proof("k3") == tree.get_proof(b"k3") == tree.get_proof(memoryview(b"k3"))  # type: ignore[arg-type]


def test_empty_tree_proves_nothing() -> None:
    tree = MerkleTree.from_pairs([])
    assert tree.root_hash() == EMPTY_ROOT
    assert tree.get_proof(b"k") is None


def test_absent_key_has_no_proof() -> None:
    assert MerkleTree.from_pairs(PAIRS).get_proof(b"absent") is None


def test_duplicate_keys_are_refused() -> None:
    with pytest.raises(InvalidRequest, match="stands twice"):
        MerkleTree.from_pairs([("k", b"1"), (b"k", b"2")])


def test_key_and_value_do_not_run_into_each_other() -> None:
    roots = {MerkleTree.from_pairs([pair]).root_hash() for pair in [(b"ab", b"c"), (b"a", b"bc"), (b"abc", b"")]}
    assert len(roots) == 3


def test_number_is_not_taken_for_so_many_zeros() -> None:
    with pytest.raises(TypeError):
        MerkleTree.from_pairs([(b"k", 5)])  # type: ignore[list-item]


def test_tampered_proof_is_refused() -> None:
    tree = MerkleTree.from_pairs(PAIRS)
    root = tree.root_hash()
    for key, _ in PAIRS:
        proof = tree.get_proof(key)
        assert proof
        for forged in (
            proof._replace(key=b"other"),
            proof._replace(value=b"other"),
            proof._replace(position=proof.position ^ 1),
            proof._replace(position=-1),
            proof._replace(size=proof.size * 4),
            proof._replace(size=0),
            proof._replace(siblings=proof.siblings[:-1]),
            proof._replace(siblings=(*proof.siblings, root)),
            proof._replace(siblings=(bytes(32), *proof.siblings[1:])),
            proof._replace(siblings=(b"", *proof.siblings[1:])),
        ):
            assert not MerkleTree.verify_proof(forged, root)
        assert not MerkleTree.verify_proof(proof, bytes(32))
