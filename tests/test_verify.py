from __future__ import annotations

import subprocess
import sys
from dataclasses import replace
from typing import TYPE_CHECKING, Any

import pytest
from tests.merkle import example
from tests.merkle.example import LEAVES, LOG_KEY, NODE_KEY, OTHER_NODE_KEY, PUBLIC_KEY, SIZE, VALUES

from scribe_ledger import verify
from scribe_ledger.errors import InvalidRequest, SerializationError, VerificationError
from scribe_ledger.merkle import (
    EMPTY_EDGE,
    Checkpoint,
    ConsistencyProof,
    HistoryProof,
    Inclusion,
    Leaf,
    Nodes,
    Proof,
    Signer,
    Verifier,
    cosign,
    encode_leaf,
    grow,
    hash_leaf,
    sign_checkpoint,
)
from scribe_ledger.merkle.handover import Handover

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

pytestmark = pytest.mark.crypto

COSIGNER = str(NODE_KEY.cosigner)
OTHER_COSIGNER = str(OTHER_NODE_KEY.cosigner)


def log_of(leaves: Sequence[Leaf | bytes]) -> list[Inclusion]:
    """What the ledger's own key would prove about leaves that no honest ledger writes."""
    encoded = [leaf if isinstance(leaf, bytes) else encode_leaf(leaf) for leaf in leaves]
    nodes = Nodes(grow(EMPTY_EDGE, [hash_leaf(leaf) for leaf in encoded])[0], lambda _level, _index: b"")
    return [Inclusion(index, leaf, tuple(nodes.inclusion(index))) for index, leaf in enumerate(encoded)]


def head_of(entries: list[Inclusion]) -> Any:
    nodes = Nodes(grow(EMPTY_EDGE, [hash_leaf(entry.leaf_bytes) for entry in entries])[0], lambda _level, _index: b"")
    return sign_checkpoint(LOG_KEY, len(entries), nodes.root())


def every_change(text: str) -> set[str]:
    """The text with each character replaced by others, and cut or lengthened anywhere."""
    changes = {text[:at] + other + text[at + 1 :] for at in range(len(text)) for other in "A1/ \n="}
    changes |= {text[:at] + text[at + 1 :] for at in range(len(text))}
    changes |= {text[:at] for at in range(len(text))}
    changes |= {text + extra for extra in ("\n", " ", "x", text)}
    return changes - {text}


# --- what is no proof at all -----------------------------------------------------------------------------------

PROOF, HISTORY, CONSISTENCY, HEAD = (
    example.proof(1),
    example.history(),
    example.consistency(2),
    example.checkpoint(),
)
WRONG_KINDS: dict[str, tuple[Callable[[Any], object], list[Any]]] = {
    "proof": (lambda given: verify.inclusion(given, public_key=PUBLIC_KEY), [None, 1, b"x", HISTORY]),
    "history": (lambda given: verify.history(given, public_key=PUBLIC_KEY), [None, b"x", PROOF]),
    "consistency": (lambda given: verify.consistency(given, HEAD, HEAD, public_key=PUBLIC_KEY), [None, b"x", PROOF]),
    "old head": (lambda given: verify.consistency(CONSISTENCY, given, HEAD, public_key=PUBLIC_KEY), [None, PROOF]),
    "checkpoint": (lambda given: verify.checkpoint(given, public_key=PUBLIC_KEY), [None, 1, b"x", PROOF]),
    "epoch": (lambda given: verify.epoch(given, old_public_key=PUBLIC_KEY), [None, 1, b"x", PROOF]),
    "public key": (lambda given: verify.checkpoint(HEAD, public_key=given), [None, 1, b"x"]),
    "value": (lambda given: verify.inclusion(PROOF, given, public_key=PUBLIC_KEY), [5, ["x"], "\ud800"]),
    "key": (lambda given: verify.inclusion(PROOF, public_key=PUBLIC_KEY, key=given), [5, "\ud800"]),
    "key of a history": (lambda given: verify.history(HISTORY, public_key=PUBLIC_KEY, key=given), [5, "\ud800"]),
    "cosigners": (
        lambda given: verify.checkpoint(HEAD, public_key=PUBLIC_KEY, cosigners=given),
        [None, 5, "", COSIGNER, NODE_KEY.cosigner, [None], [5]],
    ),
    "quorum": (lambda given: verify.checkpoint(HEAD, public_key=PUBLIC_KEY, cosigners=[], quorum=given), ["0", 0.5]),
}


@pytest.mark.parametrize("case", WRONG_KINDS)
def test_arguments_of_the_wrong_kind_are_named(case: str) -> None:
    call, wrong = WRONG_KINDS[case]
    for given in wrong:
        with pytest.raises(InvalidRequest) as caught:
            call(given)
        inner = given[0] if case == "cosigners" and isinstance(given, list) else given
        assert case == "quorum" or any(word in caught.value.message for word in (type(inner).__name__, "Unicode"))


@pytest.mark.parametrize("form", [Proof, HistoryProof, ConsistencyProof, Checkpoint, Handover, Verifier])
def test_text_that_is_not_unicode_is_no_proof(form: Any) -> None:
    with pytest.raises((SerializationError, VerificationError)):
        form.parse("\ud800")


# --- inclusion -------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("index", range(SIZE))
def test_every_entry_verifies_with_its_value(index: int) -> None:
    for proof in (example.proof(index), str(example.proof(index))):
        for key in (PUBLIC_KEY, Verifier.parse(PUBLIC_KEY)):
            assert verify.inclusion(proof, VALUES[index], public_key=key) == LEAVES[index]


def test_value_and_key_may_be_text() -> None:
    leaf = verify.inclusion(example.proof(1), "Alice Smith", public_key=PUBLIC_KEY, key="user:alice", version=1)
    assert leaf.content_type == "text/plain"


def test_any_change_of_a_proof_is_refused() -> None:
    text = str(example.proof(3))
    for changed in every_change(text):
        with pytest.raises(VerificationError):
            verify.inclusion(changed, public_key=PUBLIC_KEY)


def test_lines_of_keys_nobody_asked_about_may_change() -> None:
    text = str(replace(example.proof(3), checkpoint=example.cosigned_checkpoint()))
    changed = text.replace("example.com/node-1 U8Om", "example.com/node-1 U8Oa")
    assert changed != text
    assert verify.inclusion(changed, b"v2", public_key=PUBLIC_KEY) == LEAVES[3]


def test_any_change_is_refused_where_cosigners_are_asked_about() -> None:
    text = str(replace(example.proof(1, size=2), checkpoint=example.cosigned_checkpoint(2)))
    verify.inclusion(text, public_key=PUBLIC_KEY, cosigners=[COSIGNER])
    for changed in every_change(text):
        with pytest.raises(VerificationError):
            verify.inclusion(changed, public_key=PUBLIC_KEY, cosigners=[COSIGNER])


@pytest.mark.parametrize(
    ("value", "named"),
    [(b"Alice Smit", "10 bytes"), (b"Alice Smith\0", "12 bytes"), (b"Alice Smitk", "SHA-256"), (b"", "0 bytes")],
)
def test_another_value_is_refused(value: bytes, named: str) -> None:
    with pytest.raises(VerificationError, match=named):
        verify.inclusion(example.proof(1), value, public_key=PUBLIC_KEY)


def test_delete_has_no_value() -> None:
    assert verify.inclusion(example.proof(5), public_key=PUBLIC_KEY).version == 3
    with pytest.raises(VerificationError, match="is a delete"):
        verify.inclusion(example.proof(5), b"", public_key=PUBLIC_KEY)


def test_chunk_root_must_be_that_of_the_value() -> None:
    entries = log_of([LEAVES[1]._replace(index=0, chunk_root=b"c" * 32)])
    proof = Proof(*entries[0], head_of(entries))
    verify.inclusion(proof, public_key=PUBLIC_KEY)
    with pytest.raises(VerificationError, match="chunk root"):
        verify.inclusion(proof, b"Alice Smith", public_key=PUBLIC_KEY)


@pytest.mark.parametrize(
    ("asked", "named"),
    [
        ({"key": "user:bob"}, "for the key b'user:alice', not b'user:bob'"),
        ({"key": b""}, "not b''"),
        ({"version": 1}, "for version 2, not 1"),
        ({"key": "user:alice", "version": 3}, "for version 2, not 3"),
    ],
)
def test_proof_of_another_entry_than_asked_for_is_refused(asked: dict[str, Any], named: str) -> None:
    with pytest.raises(VerificationError, match=named):
        verify.inclusion(example.proof(3), public_key=PUBLIC_KEY, **asked)


def test_proof_at_another_place_or_size_is_refused() -> None:
    proof = example.proof(3)
    forgeries = {
        "its leaf says 3": replace(proof, index=2),
        "its leaf says 1": replace(proof, leaf_bytes=example.proof(1).leaf_bytes),
        "3 hashes, not": replace(proof, checkpoint=example.checkpoint(4)),
        "does not lead to the root": replace(proof, hashes=example.proof(2).hashes),
        "4 hashes, not 3": replace(proof, hashes=(*proof.hashes, bytes(32))),
        "2 hashes, not 3": replace(proof, hashes=proof.hashes[:2]),
        "32 bytes": replace(proof, hashes=(b"", *proof.hashes[1:])),
    }
    for named, forged in forgeries.items():
        with pytest.raises(VerificationError, match=named):
            verify.inclusion(forged, public_key=PUBLIC_KEY)


def test_leaf_at_a_place_that_it_does_not_name_is_refused() -> None:
    entries = log_of([LEAVES[0], LEAVES[0]])
    with pytest.raises(VerificationError, match="for entry 1, its leaf says 0"):
        verify.inclusion(Proof(*entries[1], head_of(entries)), public_key=PUBLIC_KEY)


def test_committed_bytes_that_are_no_leaf_are_refused() -> None:
    entries = log_of([b"no leaf"])
    with pytest.raises(VerificationError, match="leaf in the proof is malformed"):
        verify.inclusion(Proof(*entries[0], head_of(entries)), public_key=PUBLIC_KEY)


# --- keys and checkpoints --------------------------------------------------------------------------------------


def test_another_key_is_refused() -> None:
    stranger = str(example.fixed_signer("example.com/stranger").verifier)
    namesake = str(Verifier("example.com/ledger", OTHER_NODE_KEY.verifier.public_key))
    for key in (stranger, namesake):
        with pytest.raises(VerificationError, match="no signature by the key"):
            verify.inclusion(example.proof(1), public_key=key)


@pytest.mark.parametrize("key", ["", "nonsense", PUBLIC_KEY + "\n", PUBLIC_KEY.replace("db2bd5a4", "db2bd5a5")])
def test_text_that_is_no_key_is_a_mistake_of_the_caller(key: str) -> None:
    with pytest.raises(SerializationError):
        verify.inclusion(example.proof(1), public_key=key)


def test_checkpoint_with_fields_beside_its_text_is_refused() -> None:
    proof = example.proof(3)
    forged = replace(proof, checkpoint=replace(proof.checkpoint, root=bytes(32)))
    with pytest.raises(VerificationError, match="not those of its text"):
        verify.inclusion(forged, public_key=PUBLIC_KEY)


def test_signature_is_checked_once_for_many_proofs(monkeypatch: pytest.MonkeyPatch) -> None:
    checks = 0
    check = Verifier.check

    def counting(verifier: Verifier, message: bytes, signature: bytes) -> bool:
        nonlocal checks
        checks += 1
        return check(verifier, message, signature)

    monkeypatch.setattr(Verifier, "check", counting)
    verify._signed_by_log.cache_clear()
    for index in range(SIZE):
        verify.inclusion(str(example.proof(index)), public_key=PUBLIC_KEY)
    assert checks == 1
    with pytest.raises(VerificationError):
        verify.inclusion(example.proof(0), public_key=str(NODE_KEY.verifier))


def test_cosigners_are_all_required_unless_a_quorum_says_otherwise() -> None:
    proof = replace(example.proof(1), checkpoint=example.cosigned_checkpoint())
    both = [COSIGNER, OTHER_COSIGNER]
    verify.inclusion(proof, public_key=PUBLIC_KEY, cosigners=[COSIGNER])
    verify.inclusion(proof, public_key=PUBLIC_KEY, cosigners=both, quorum=1)
    with pytest.raises(VerificationError, match="1 cosigners signed the checkpoint, 2 are required") as refused:
        verify.inclusion(proof, public_key=PUBLIC_KEY, cosigners=both)
    assert OTHER_COSIGNER in refused.value.hint
    with pytest.raises(VerificationError, match="0 cosigners"):
        verify.inclusion(example.proof(1), public_key=PUBLIC_KEY, cosigners=both, quorum=1)


def test_cosigner_named_twice_counts_once() -> None:
    proof = replace(example.proof(1), checkpoint=example.cosigned_checkpoint())
    verify.inclusion(proof, public_key=PUBLIC_KEY, cosigners=[COSIGNER, COSIGNER])
    alias = Signer("example.com/alias", NODE_KEY._key)
    twice = cosign(example.cosigned_checkpoint(), alias, example.START // 1000)
    for other in (COSIGNER, alias.cosigner):
        with pytest.raises(InvalidRequest, match="a quorum of 2 cannot be had of 1"):
            verify.checkpoint(twice, public_key=PUBLIC_KEY, cosigners=[COSIGNER, other], quorum=2)
    with pytest.raises(VerificationError, match="1 cosigners signed the checkpoint, 2 are required"):
        verify.checkpoint(twice, public_key=PUBLIC_KEY, cosigners=[COSIGNER, alias.cosigner, OTHER_COSIGNER], quorum=2)


@pytest.mark.parametrize("quorum", [-1, 2])
def test_quorum_that_cannot_be_is_a_mistake_of_the_caller(quorum: int) -> None:
    with pytest.raises(InvalidRequest):
        verify.checkpoint(example.checkpoint(), public_key=PUBLIC_KEY, cosigners=[COSIGNER], quorum=quorum)


# --- history ---------------------------------------------------------------------------------------------------


def test_history_verifies_back_to_the_first_version() -> None:
    for proof in (example.history(), str(example.history())):
        assert verify.history(proof, public_key=PUBLIC_KEY, key="user:alice") == [LEAVES[5], LEAVES[3], LEAVES[1]]
    older = replace(example.history(), entries=example.history().entries[1:])
    assert verify.history(older, public_key=PUBLIC_KEY) == [LEAVES[3], LEAVES[1]]


def test_any_change_of_a_history_is_refused() -> None:
    text = str(example.history())
    for changed in every_change(text):
        with pytest.raises(VerificationError):
            verify.history(changed, public_key=PUBLIC_KEY)


@pytest.mark.parametrize(
    ("indexes", "named"),
    [
        ([], "empty"),
        ([5, 3], "ends at version 2"),
        ([5], "ends at version 3"),
        ([5, 1], "breaks after version 3"),
        ([5, 3, 2], "breaks after version 2"),
        ([1, 3, 5], "breaks after version 1"),
        ([5, 3, 3, 1], "breaks after version 2"),
        ([1, 1], "breaks after version 1"),
        ([0], "ends at version 0"),
    ],
)
def test_history_with_gaps_is_refused(indexes: list[int], named: str) -> None:
    proof = HistoryProof(tuple(map(example.inclusion, indexes)), example.checkpoint())
    with pytest.raises(VerificationError, match=named):
        verify.history(proof, public_key=PUBLIC_KEY)


def test_history_of_another_key_is_refused() -> None:
    with pytest.raises(VerificationError, match="not b'user:bob'"):
        verify.history(example.history(), public_key=PUBLIC_KEY, key="user:bob")


@pytest.mark.parametrize(
    "forged",
    [
        pytest.param(example.put(2, b"other", b"v2", 2, 0), id="the key changes"),
        pytest.param(example.put(2, b"k", b"v2", 2, 1), id="previous is another entry"),
        pytest.param(example.put(2, b"k", b"v2", 3, 0), id="a version is left out"),
    ],
)
def test_history_whose_links_do_not_close_is_refused(forged: Leaf) -> None:
    entries = log_of([example.put(0, b"k", b"v1", 1, None), example.put(1, b"k", b"v1", 1, None), forged])
    proof = HistoryProof((entries[2], entries[0]), head_of(entries))
    with pytest.raises(VerificationError, match="the history breaks after version"):
        verify.history(proof, public_key=PUBLIC_KEY)


def test_history_asks_cosigners_too() -> None:
    with pytest.raises(VerificationError, match="0 cosigners"):
        verify.history(example.history(), public_key=PUBLIC_KEY, cosigners=[COSIGNER])


# --- consistency -----------------------------------------------------------------------------------------------


@pytest.mark.parametrize("old_size", range(SIZE + 1))
def test_every_earlier_checkpoint_is_consistent(old_size: int) -> None:
    proof, old, new = example.consistency(old_size), example.checkpoint(old_size), example.checkpoint()
    verify.consistency(proof, old, new, public_key=PUBLIC_KEY)
    verify.consistency(str(proof), old.text, new.text, public_key=Verifier.parse(PUBLIC_KEY))


def test_any_change_of_a_consistency_proof_is_refused() -> None:
    for changed in every_change(str(example.consistency(3))):
        with pytest.raises(VerificationError):
            verify.consistency(changed, example.checkpoint(3), example.checkpoint(), public_key=PUBLIC_KEY)


def test_history_that_was_rewritten_is_refused() -> None:
    rewritten = sign_checkpoint(LOG_KEY, 3, bytes(32))
    with pytest.raises(VerificationError, match="does not lead to the old root"):
        verify.consistency(example.consistency(3), rewritten, example.checkpoint(), public_key=PUBLIC_KEY)


def test_fork_at_one_size_is_refused() -> None:
    fork = sign_checkpoint(LOG_KEY, SIZE, bytes(32))
    proof = ConsistencyProof(SIZE, SIZE, ())
    with pytest.raises(VerificationError, match="two different roots"):
        verify.consistency(proof, fork, example.checkpoint(), public_key=PUBLIC_KEY)


def test_proof_between_other_sizes_is_refused() -> None:
    with pytest.raises(VerificationError, match="from size 3 to 6, the checkpoints are of size 2 and 6"):
        verify.consistency(example.consistency(3), example.checkpoint(2), example.checkpoint(), public_key=PUBLIC_KEY)
    with pytest.raises(VerificationError, match="does not begin with"):
        verify.consistency(
            ConsistencyProof(SIZE, 3, example.consistency(3).hashes),
            example.checkpoint(),
            example.checkpoint(3),
            public_key=PUBLIC_KEY,
        )


def test_both_checkpoints_must_be_signed() -> None:
    stranger = sign_checkpoint(OTHER_NODE_KEY, 3, example.checkpoint(3).root)
    for old, new in ((stranger, example.checkpoint()), (example.checkpoint(3), replace_signature(SIZE))):
        with pytest.raises(VerificationError):
            verify.consistency(example.consistency(3), old, new, public_key=PUBLIC_KEY)


def replace_signature(size: int) -> str:
    """A checkpoint of one size under the signature of another."""
    return f"{example.checkpoint(size).note.body}\n{example.checkpoint(size - 1).note.signatures[0]}"


# --- the module ------------------------------------------------------------------------------------------------


def test_verifying_loads_nothing_that_stores_serves_or_asks() -> None:
    code = "import sys, scribe_ledger.verify; print(*sys.modules)"
    loaded = subprocess.run([sys.executable, "-c", code], check=True, capture_output=True, text=True).stdout.split()
    assert not {"rocksdict", "pyarrow", "pydantic", "click", "obstore", "uvicorn"} & set(loaded)


@pytest.mark.parametrize("check", [verify.inclusion, verify.history])
def test_public_key_cannot_be_left_out(check: Callable[..., object]) -> None:
    with pytest.raises(TypeError):
        check(example.proof(1))
