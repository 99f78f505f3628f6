"""``prove``, ``verify`` and ``checkpoint``: what one writes the other checks, alone."""

from __future__ import annotations

import shutil
from dataclasses import replace
from typing import TYPE_CHECKING

import pytest

from scribe_ledger import HistoryProof, Proof
from scribe_ledger.merkle.checkpoint import cosign
from scribe_ledger.merkle.note import Signer

if TYPE_CHECKING:
    from pathlib import Path

    from tests.cli.conftest import Cli

pytestmark = [pytest.mark.storage, pytest.mark.crypto]


@pytest.fixture
def proofs(cli: Cli, tmp_path: Path) -> Path:
    """A folder of proofs, and no ledger any more."""
    cli("put", "alice", "one", "--name", "example.org/log")
    cli("put", "bob", "value")
    cli("put", "alice", "two", "--content-type", "text/plain", "--meta", "team=red")
    cli("delete", "bob")
    cli("prove", "alice", "-o", "inclusion")
    cli("prove", "alice", "--version", "1", "--at", "2", "-o", "early")
    cli("prove", "bob", "-o", "deleted")
    cli("prove", "alice", "--history", "-o", "history")
    cli("prove", "--consistency", "2", "4", "-o", "consistency")
    cli("checkpoint", "--at", "2", "-o", "old")
    cli("checkpoint", "-o", "new")
    cli("checkpoint", "--public-key", "-o", "vkey")
    (tmp_path / "value").write_text("two")
    shutil.rmtree(cli.data)
    return tmp_path


def test_a_key_file_that_is_not_there_is_said_to_be_none(cli: Cli, proofs: Path) -> None:
    error = cli("verify", proofs / "inclusion", "--public-key", "nofile.key", "--json", code=2).error
    assert error["message"] == "'nofile.key' is not a verifier key, and there is no such file"


def test_an_inclusion_proof_holds_by_key_or_key_file(cli: Cli, proofs: Path) -> None:
    vkey = (proofs / "vkey").read_text().strip()
    for key in ("vkey", vkey):
        shown = cli("verify", "inclusion", "--key", key, "--value", "value", "--for", "alice", "--version", "2").text
        assert shown.startswith("verified: inclusion\n")
        for part in ("example.org/log", "alice", "version 2, entry 2, put", "team=red", "text/plain", "matches"):
            assert part in shown
    assert "not compared" in cli("verify", "inclusion", "--key", "vkey").text
    assert cli("verify", "-", "--key", "vkey", stdin=(proofs / "inclusion").read_bytes()).code == 0
    assert not cli.data.exists()


def test_the_answer_as_json_says_what_was_proven(cli: Cli, proofs: Path) -> None:
    found = cli("verify", "inclusion", "--key", "vkey", "--value", "value", "--json").document
    assert (found["verified"], found["kind"], found["origin"], found["size"]) == (
        True,
        "inclusion",
        "example.org/log",
        4,
    )
    assert (found["entry"]["key"], found["entry"]["version"], found["value"]) == ("alice", 2, "matches")
    assert cli("verify", "early", "--key", "vkey", "--json").document["value"] is None
    history = cli("verify", "history", "--key", "vkey", "--for", "alice", "--json").document
    assert [entry["entry"]["version"] for entry in history["entries"]] == [2, 1]
    consistency = cli("verify", "consistency", "--key", "vkey", "--old", "old", "--new", "new", "--json").document
    assert (consistency["old_size"], consistency["new_size"]) == (2, 4)


def test_other_proofs_hold_for_people(cli: Cli, proofs: Path) -> None:
    assert "version 1, entry 0, put" in cli("verify", "early", "--key", "vkey").text
    assert "version 2, entry 3, delete" in cli("verify", "deleted", "--key", "vkey").text
    assert cli("verify", "history", "--key", "vkey").text.count("key  ") == 2
    assert "old size  2" in cli("verify", "consistency", "--key", "vkey", "--old", "old", "--new", "new").text


@pytest.mark.parametrize(
    ("arguments", "reason"),
    [
        (["inclusion", "--value", "new"], "value has"),
        (["inclusion", "--for", "bob"], "for the key"),
        (["inclusion", "--version", "1"], "version 2, not 1"),
        (["early", "--version", "2"], "version 1, not 2"),
        (["history", "--for", "bob"], "of the key"),
        (["deleted", "--value", "value"], "delete"),
        (["consistency", "--old", "new", "--new", "new"], "from size 2 to 4"),
        (["new"], "does not begin as a proof"),
        (["binary"], "not a text"),
        (["tampered"], "root"),
    ],
)
def test_what_does_not_hold_is_a_no_that_names_it(cli: Cli, proofs: Path, arguments: list[str], reason: str) -> None:
    (proofs / "binary").write_bytes(b"\xff")
    proof = Proof.parse((proofs / "inclusion").read_text())
    forged = Proof(proof.index, proof.leaf_bytes, (bytes(32), *proof.hashes[1:]), proof.checkpoint)
    (proofs / "tampered").write_text(str(forged))
    answer = cli("verify", *arguments, "--key", "vkey", "--json", code=1)
    assert answer.out == b""
    assert answer.error["kind"] == "verification"
    assert reason in answer.error["message"]


def test_a_signature_by_another_key_is_a_no(cli: Cli, proofs: Path) -> None:
    other = cli("keygen", "example.org/log", "--json").document["public_key"]
    assert cli("verify", "inclusion", "--key", other, "--json", code=1).error["kind"] == "verification"
    assert cli("verify", "inclusion", "--key", "vkey", "--cosigner", other, code=1)
    cli("verify", "inclusion", "--key", "vkey", "--cosigner", other, "--quorum", "0")


def test_who_has_cosigned_is_named(cli: Cli, proofs: Path) -> None:
    proof = Proof.parse((proofs / "inclusion").read_text())
    signers = [Signer.generate(f"example.org/node{number}") for number in range(3)]
    for signer in signers[:2]:
        proof = replace(proof, checkpoint=cosign(proof.checkpoint, signer, 1_700_000_000))
    (proofs / "cosigned").write_text(str(proof))
    keys = [str(signer.cosigner) for signer in signers]
    asked = ["verify", "cosigned", "--key", "vkey", *(part for key in keys for part in ("--cosigner", key))]
    shown = cli(*asked, "--quorum", "2").text
    assert "example.org/node0, example.org/node1: 2, of whom 2 had to" in shown
    found = cli(*asked, "--quorum", "1", "--json").document
    assert (found["cosigned_by"], found["quorum"]) == (keys[:2], 1)
    assert "missing" in cli(*asked, "--quorum", "3", "--json", code=1).error["hint"]


@pytest.mark.parametrize(
    "arguments",
    [
        ["inclusion", "--key", "no key"],
        ["inclusion", "--key", "inclusion"],
        ["inclusion"],
        ["inclusion", "--key", "vkey", "--old", "old"],
        ["history", "--key", "vkey", "--value", "value"],
        ["history", "--key", "vkey", "--version", "1"],
        ["consistency", "--key", "vkey"],
        ["consistency", "--key", "vkey", "--old", "old"],
        ["consistency", "--key", "vkey", "--old", "old", "--new", "new", "--for", "alice"],
        ["-", "--key", "vkey", "--value", "-"],
    ],
    ids=" ".join,
)
def test_what_cannot_be_checked_is_bad_usage(cli: Cli, proofs: Path, arguments: list[str]) -> None:
    assert cli("verify", *arguments, code=2).out == b""


def test_prove_answers_in_json_too(cli: Cli) -> None:
    cli("put", "key", "one")
    cli("put", "key", "two")
    inclusion = cli("prove", "key", "--json").document
    proof = Proof.parse(inclusion["proof"])
    assert (inclusion["kind"], inclusion["tree_size"], inclusion["leaf"]) == ("inclusion", 2, proof.leaf_bytes.hex())
    history = cli("prove", "key", "--history", "--json").document
    assert len(history["entries"]) == len(HistoryProof.parse(history["proof"]).entries) == 2
    assert cli("prove", "--consistency", "1", "2", "--json").document["new_size"] == 2
    assert cli("prove", "key").text == str(proof)
    assert cli("prove", "key", "-o", "file", "--json").document["file"] == "file"


def test_there_is_no_proof_of_what_is_not_there(cli: Cli) -> None:
    cli("put", "key", "one")
    cli("prove", "other", code=1)
    cli("prove", "key", "--version", "2", code=1)
    cli("prove", "key", "--at", "2", code=2)
    cli("prove", "--consistency", "1", "2", code=2)


def test_checkpoint_names_origin_size_and_root(cli: Cli) -> None:
    cli("put", "key", "one", "--name", "example.org/log")
    found = cli("checkpoint", "--json").document
    assert (found["origin"], found["size"]) == ("example.org/log", 1)
    assert found["checkpoint"] == cli("checkpoint").text
    assert found["public_key"] == cli("checkpoint", "--public-key").text.strip()
    assert cli("checkpoint", "--at", "0", "--json").document["size"] == 0
