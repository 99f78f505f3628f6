"""What parses and what does not; that a parsed proof holds is the business of ``tests/test_verify.py``."""

from __future__ import annotations

import json
import re
from hashlib import sha256
from typing import TYPE_CHECKING

import pytest
from tests.merkle import example

from scribe_ledger.errors import VerificationError
from scribe_ledger.merkle import ConsistencyProof, HistoryProof, Proof
from scribe_ledger.merkle.text import encode_base64

if TYPE_CHECKING:
    from collections.abc import Callable

pytestmark = pytest.mark.crypto

PROOF = str(example.proof(3))
HISTORY = str(example.history())
CONSISTENCY = str(example.consistency(3))
HASH_LINE = encode_base64(sha256(b"x").digest())
PARSERS = [(Proof.parse, PROOF), (HistoryProof.parse, HISTORY), (ConsistencyProof.parse, CONSISTENCY)]


@pytest.mark.parametrize("index", range(example.SIZE))
def test_proof_survives_its_text(index: int) -> None:
    proof = example.proof(index)
    again = Proof.parse(str(proof))
    assert again == proof
    assert str(again) == str(proof)
    assert again.leaf == example.LEAVES[index]


def test_proof_is_a_tlog_proof_with_the_leaf_as_extra_data() -> None:
    lines = PROOF.split("\n")
    proof = example.proof(3)
    assert lines[0] == "c2sp.org/tlog-proof@v1"
    assert lines[1] == f"extra {encode_base64(example.LEAVES[3].encode())}"
    assert lines[2] == "index 3"
    assert lines[3 : 3 + len(proof.hashes)] == [encode_base64(value) for value in proof.hashes]
    assert PROOF.endswith(f"\n\n{example.checkpoint()}")


def test_proof_of_a_single_entry_has_no_hashes() -> None:
    proof = example.proof(0, size=1)
    assert proof.hashes == ()
    assert Proof.parse(str(proof)) == proof


def test_history_survives_its_text() -> None:
    history = example.history()
    assert HistoryProof.parse(HISTORY) == history
    assert str(HistoryProof.parse(HISTORY)) == HISTORY
    assert [entry.leaf.version for entry in history.entries] == [3, 2, 1]
    assert history.proofs() == [example.proof(5), example.proof(3), example.proof(1)]


@pytest.mark.parametrize("old_size", range(example.SIZE + 1))
def test_consistency_survives_its_text(old_size: int) -> None:
    proof = example.consistency(old_size)
    assert ConsistencyProof.parse(str(proof)) == proof
    assert str(ConsistencyProof.parse(str(proof))) == str(proof)


def test_json_holds_the_parts_in_hex() -> None:
    proof = example.proof(3)
    parts = json.loads(json.dumps(proof.to_json()))
    assert parts == {
        "root_hash": example.checkpoint().root.hex(),
        "siblings": [value.hex() for value in proof.hashes],
        "index": 3,
        "tree_size": example.SIZE,
        "leaf": example.LEAVES[3].encode().hex(),
    }


@pytest.mark.parametrize(("parse", "text"), PARSERS)
@pytest.mark.no_cover
def test_whatever_parses_has_no_other_text(parse: Callable[[str], object], text: str) -> None:
    """Changing any character gives a text that is refused or that is the one text of another proof."""
    accepted = 0
    for at, character in enumerate(text):
        for other in {"A", "B", "/", "0", "7", " ", "\n", "\r", "=", "é"} - {character}:
            changed = text[:at] + other + text[at + 1 :]
            try:
                assert str(parse(changed)) == changed
                accepted += 1
            except VerificationError:
                pass
    assert accepted  # the hashes are free to differ


@pytest.mark.parametrize(("parse", "text"), PARSERS)
def test_cut_or_lengthened_text_is_refused(parse: Callable[[str], object], text: str) -> None:
    for end in range(len(text)):
        if parse == ConsistencyProof.parse and re.search(r"(new 6|=)\n$", text[:end]):
            continue  # cut behind its sizes or a hash it still is one, of too few hashes for any tree
        with pytest.raises(VerificationError):
            parse(text[:end])
    for extra in ("\n", "\n\n", " ", "x", "\0", HASH_LINE):
        with pytest.raises(VerificationError):
            parse(text + extra)
    for extra in ("\n", " ", "\ufeff"):
        with pytest.raises(VerificationError):
            parse(extra + text)


@pytest.mark.parametrize(("parse", "text"), PARSERS)
def test_other_line_ends_are_refused(parse: Callable[[str], object], text: str) -> None:
    with pytest.raises(VerificationError):
        parse(text.replace("\n", "\r\n"))
    with pytest.raises(VerificationError):
        parse(text.replace("\n", "\r"))


@pytest.mark.parametrize(("parse", "text"), PARSERS)
def test_proof_of_another_kind_is_refused(parse: Callable[[str], object], text: str) -> None:
    for other_parse, other in PARSERS:
        if other_parse != parse:
            with pytest.raises(VerificationError, match="does not begin as"):
                parse(other)


@pytest.mark.parametrize(
    ("old", "new"),
    [
        ("@v1", "@v2"),
        ("index 3\n", "index 03\n"),
        ("index 3\n", "index +3\n"),
        ("index 3\n", "index -3\n"),
        ("index 3\n", "index 3 \n"),
        ("index 3\n", "index  3\n"),
        ("index 3\n", "index ３\n"),
        ("index 3\n", f"index {1 << 64}\n"),
        ("index 3\n", "Index 3\n"),
        ("index 3\n", ""),
        ("index 3\n", "index 3\nindex 3\n"),
        ("index 3\n", f"index 3\n{encode_base64(b'short')}\n"),
        ("index 3\n", f"index 3\n{encode_base64(bytes(64))}\n"),
        ("index 3\n", f"index 3\n{HASH_LINE.replace('=', '')}\n"),
        ("index 3\n", f"index 3\n{HASH_LINE[:-2]}{chr(ord(HASH_LINE[-2]) + 1)}=\n"),
        ("index 3\n", "index 3\n" + f"{HASH_LINE}\n" * 65),
        ("extra ", "extra  "),
        ("extra ", "extra"),
        ("extra ", "Extra "),
        ("\n\n", "\n\n\n"),
        ("\n\n", "\n"),
    ],
)
def test_other_spellings_of_a_proof_are_refused(old: str, new: str) -> None:
    assert old in PROOF
    with pytest.raises(VerificationError):
        Proof.parse(PROOF.replace(old, new, 1))


def test_extra_data_that_is_no_leaf_is_found_when_it_is_asked_for() -> None:
    lines = PROOF.split("\n")
    lines[1] = "extra bm8gbGVhZg=="
    proof = Proof.parse("\n".join(lines))
    with pytest.raises(VerificationError, match="the leaf in the proof is malformed"):
        assert proof.leaf


def test_consistency_proof_takes_no_checkpoint() -> None:
    with pytest.raises(VerificationError, match="goes on after its last hash"):
        ConsistencyProof.parse(f"{CONSISTENCY}\n{example.checkpoint()}")


def test_inclusion_proof_needs_a_checkpoint() -> None:
    with pytest.raises(VerificationError, match="no checkpoint"):
        Proof.parse(PROOF.partition("\n\n")[0] + "\n")
