from __future__ import annotations

import json
from pathlib import Path

import pytest
from tests.merkle import reference

from scribe_ledger.errors import VerificationError
from scribe_ledger.merkle import EMPTY_ROOT, hash_leaf, root_from_inclusion, verify_consistency, verify_inclusion

pytestmark = pytest.mark.crypto

PUBLISHED = json.loads((Path(__file__).parents[1] / "vectors" / "rfc6962.json").read_text())
HASHES = [hash_leaf(bytes.fromhex(leaf)) for leaf in PUBLISHED["leaves"]]
ROOTS = [bytes.fromhex(root) for root in PUBLISHED["roots"]]
OTHER = bytes.fromhex("abacaba000000000000000000000000000000000000000000060061e00123456")
INCLUSIONS = [
    (case["index"], case["size"], [bytes.fromhex(each) for each in case["proof"]]) for case in PUBLISHED["inclusion"]
]
CONSISTENCIES = [
    (case["old_size"], case["new_size"], [bytes.fromhex(each) for each in case["proof"]])
    for case in PUBLISHED["consistency"]
]
MORE = [hash_leaf(bytes([index])) for index in range(41)]


def refused_inclusion(index: int, size: int, leaf_hash: bytes, root: bytes, proof: list[bytes]) -> None:
    with pytest.raises(VerificationError):
        verify_inclusion(index, size, leaf_hash, root, proof)


def refused_consistency(old: int, new: int, old_root: bytes, new_root: bytes, proof: list[bytes]) -> None:
    with pytest.raises(VerificationError):
        verify_consistency(old, new, old_root, new_root, proof)


def flipped(proof: list[bytes], position: int) -> list[bytes]:
    changed = list(proof)
    changed[position] = bytes([changed[position][0] ^ 8]) + changed[position][1:]
    return changed


# --- inclusion -------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(("index", "size", "proof"), INCLUSIONS)
def test_published_inclusion_holds(index: int, size: int, proof: list[bytes]) -> None:
    verify_inclusion(index, size, HASHES[index], ROOTS[size], proof)
    assert root_from_inclusion(index, size, HASHES[index], proof) == ROOTS[size]


@pytest.mark.parametrize(("index", "size", "proof"), INCLUSIONS)
def test_corrupted_inclusion_is_refused(index: int, size: int, proof: list[bytes]) -> None:
    leaf_hash, root = HASHES[index], ROOTS[size]
    for other in (index - 1, index + 1, index ^ 2):
        refused_inclusion(other, size, leaf_hash, root, proof)
    for other in (size * 2, size // 2, 0):
        refused_inclusion(index, other, leaf_hash, root, proof)
    for wrong in (b"WrongLeaf", b"", OTHER):
        refused_inclusion(index, size, wrong, root, proof)
    for wrong in (EMPTY_ROOT, OTHER, b""):
        refused_inclusion(index, size, leaf_hash, wrong, proof)
    for extra in (b"", root, leaf_hash):
        refused_inclusion(index, size, leaf_hash, root, [*proof, extra])
        refused_inclusion(index, size, leaf_hash, root, [extra, *proof])
    for position in range(len(proof)):
        refused_inclusion(index, size, leaf_hash, root, flipped(proof, position))
        refused_inclusion(index, size, leaf_hash, root, proof[:position] + proof[position + 1 :])


@pytest.mark.parametrize(("index", "size"), [(0, 0), (1, 0), (2, 1), (-1, 1)])
def test_entry_outside_the_tree_is_refused(index: int, size: int) -> None:
    refused_inclusion(index, size, OTHER, OTHER, [])


def test_hashes_moved_across_their_borders_are_refused() -> None:
    index, size, proof = INCLUSIONS[1]
    moved = [proof[0] + proof[1][:1], proof[1][1:], *proof[2:]]
    with pytest.raises(VerificationError, match="32 bytes"):
        verify_inclusion(index, size, HASHES[index], ROOTS[size], moved)


def test_proof_fits_no_other_place() -> None:
    root = reference.root(MORE)
    for index, leaf_hash in enumerate(MORE):
        proof = reference.inclusion(index, MORE)
        verify_inclusion(index, len(MORE), leaf_hash, root, proof)
        for other in set(range(len(MORE))) - {index}:
            refused_inclusion(other, len(MORE), leaf_hash, root, proof)


# --- consistency -----------------------------------------------------------------------------------------------


@pytest.mark.parametrize(("old", "new", "proof"), CONSISTENCIES)
def test_published_consistency_holds(old: int, new: int, proof: list[bytes]) -> None:
    verify_consistency(old, new, ROOTS[old], ROOTS[new], proof)


@pytest.mark.parametrize(("old", "new", "proof"), CONSISTENCIES[1:])
def test_corrupted_consistency_is_refused(old: int, new: int, proof: list[bytes]) -> None:
    first, second = ROOTS[old], ROOTS[new]
    for other in (old - 1, old + 1, old ^ 2):
        refused_consistency(other, new, first, second, proof)
    for other in (new * 2, new // 2):
        refused_consistency(old, other, first, second, proof)
    refused_consistency(old, new, b"WrongRoot", second, proof)
    refused_consistency(old, new, first, b"WrongRoot", proof)
    refused_consistency(old, new, OTHER, second, proof)
    refused_consistency(old, new, first, OTHER, proof)
    refused_consistency(old, new, second, first, proof)
    for extra in (b"", first, second, proof[0]):
        refused_consistency(old, new, first, second, [*proof, extra])
        refused_consistency(old, new, first, second, [extra, *proof])
    for position in range(len(proof)):
        refused_consistency(old, new, first, second, flipped(proof, position))
        refused_consistency(old, new, first, second, proof[:position] + proof[position + 1 :])


def test_every_consistency_of_small_trees_holds_and_with_a_hash_more_or_less_does_not() -> None:
    roots = [reference.root(MORE[:size]) for size in range(42)]
    for new in range(1, 42):
        for old in range(1, new + 1):
            proof = reference.consistency(old, MORE[:new])
            verify_consistency(old, new, roots[old], roots[new], proof)
            refused_consistency(old, new, roots[old], roots[new], [*proof, OTHER])
            if proof:
                refused_consistency(old, new, roots[old], roots[new], proof[:-1])


def test_everything_is_consistent_with_the_empty_tree_alone() -> None:
    verify_consistency(0, 0, EMPTY_ROOT, EMPTY_ROOT, [])
    verify_consistency(0, 5, EMPTY_ROOT, ROOTS[5], [])
    refused_consistency(0, 5, OTHER, ROOTS[5], [])
    refused_consistency(0, 0, EMPTY_ROOT, OTHER, [])
    refused_consistency(0, 5, EMPTY_ROOT, ROOTS[5], [OTHER])
    refused_consistency(0, 0, OTHER, OTHER, [])


def test_time_does_not_run_backwards() -> None:
    refused_consistency(1, 0, OTHER, EMPTY_ROOT, [])
    refused_consistency(2, 1, OTHER, OTHER, [])
    refused_consistency(-1, 1, OTHER, OTHER, [])


def test_two_roots_of_one_size_are_a_fork() -> None:
    with pytest.raises(VerificationError, match="two different roots"):
        verify_consistency(3, 3, ROOTS[3], OTHER, [])


@pytest.mark.parametrize(
    ("old_root", "new_root", "named"), [(OTHER, ROOTS[8], "old root"), (ROOTS[6], OTHER, "new root")]
)
def test_failure_names_the_root_that_does_not_follow(old_root: bytes, new_root: bytes, named: str) -> None:
    with pytest.raises(VerificationError, match=named):
        verify_consistency(6, 8, old_root, new_root, CONSISTENCIES[2][2])
