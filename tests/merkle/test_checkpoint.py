from __future__ import annotations

import base64
import json
from dataclasses import replace
from pathlib import Path

import pytest
from tests.merkle import example
from tests.merkle.example import LOG_KEY, NODE_KEY, OTHER_NODE_KEY

from scribe_ledger.errors import InvalidRequest, VerificationError
from scribe_ledger.merkle import Checkpoint, cosign, sign_checkpoint, sign_note, verify_cosignature
from scribe_ledger.merkle.text import encode_base64

pytestmark = pytest.mark.crypto

PUBLISHED = json.loads((Path(__file__).parents[1] / "vectors" / "note.json").read_text())
ROOT = bytes(range(32))
ROOT_TEXT = encode_base64(ROOT)
SECONDS = 1_679_315_147


def signed(body: str) -> str:
    return str(sign_note(body, LOG_KEY))


# --- checkpoints -----------------------------------------------------------------------------------------------


def test_published_checkpoint_is_read() -> None:
    checkpoint = Checkpoint.parse(PUBLISHED["checkpoint"])
    assert checkpoint.origin == "example.com/behind-the-sofa"
    assert checkpoint.size == 20_852_163
    assert checkpoint.root == base64.b64decode("CsUYapGGPo4dkMgIAUqom/Xajj7h2fB2MPA3j2jxq2I=")
    assert str(checkpoint) == PUBLISHED["checkpoint"]
    blob = checkpoint.note.signatures[1].blob
    assert int.from_bytes(blob[:8], "big") == PUBLISHED["checkpoint_cosigned_at"]


@pytest.mark.parametrize("size", [0, 1, 10, (1 << 64) - 1])
def test_signed_checkpoint_reads_back_and_verifies(size: int) -> None:
    checkpoint = sign_checkpoint(LOG_KEY, size, ROOT)
    assert Checkpoint.parse(checkpoint.text) == checkpoint
    assert checkpoint.text.startswith(f"example.com/ledger\n{size}\n{ROOT_TEXT}\n\n— example.com/ledger ")
    checkpoint.verify(LOG_KEY.verifier)


@pytest.mark.parametrize(("size", "root"), [(-1, ROOT), (1 << 64, ROOT), (1, ROOT[:31]), (1, b"")])
def test_impossible_heads_are_not_signed(size: int, root: bytes) -> None:
    with pytest.raises(InvalidRequest):
        sign_checkpoint(LOG_KEY, size, root)


def test_extension_lines_are_carried_and_signed() -> None:
    text = signed(f"example.com/ledger\n5\n{ROOT_TEXT}\nextension one\nand two\n")
    checkpoint = Checkpoint.parse(text)
    assert (checkpoint.size, checkpoint.root, checkpoint.text) == (5, ROOT, text)
    checkpoint.verify(LOG_KEY.verifier)
    with pytest.raises(VerificationError):
        Checkpoint.parse(text.replace("and two", "and ten")).verify(LOG_KEY.verifier)


@pytest.mark.parametrize(
    "body",
    [
        "example.com/ledger\n5\n",
        f"example.com/ledger\n05\n{ROOT_TEXT}\n",
        f"example.com/ledger\n+5\n{ROOT_TEXT}\n",
        f"example.com/ledger\n-5\n{ROOT_TEXT}\n",
        f"example.com/ledger\n5 \n{ROOT_TEXT}\n",
        f"example.com/ledger\n٥\n{ROOT_TEXT}\n",
        f"example.com/ledger\n\n{ROOT_TEXT}\n",
        f"example.com/ledger\n{1 << 64}\n{ROOT_TEXT}\n",
        f"example.com/ledger\n0x5\n{ROOT_TEXT}\n",
        f"example.com/ledger\n5\n{ROOT_TEXT[:-1]}\n",
        f"example.com/ledger\n5\n{ROOT_TEXT}=\n",
        f"example.com/ledger\n5\n{encode_base64(ROOT[:31])}\n",
        f"example.com/ledger\n5\n{encode_base64(ROOT + b'x')}\n",
        f"example.com/ledger\n5\n{ROOT_TEXT[:-2]}9=\n",
        f"example.com/ledger\n5\n {ROOT_TEXT}\n",
        f"\n5\n{ROOT_TEXT}\n",
        f"example.com/ledger\n5\n{ROOT_TEXT}\n\n",
        f"example.com/ledger\n5\n{ROOT_TEXT}\n\nextension\n",
    ],
)
def test_malformed_checkpoint_is_refused_though_it_is_signed(body: str) -> None:
    with pytest.raises(VerificationError, match="malformed"):
        Checkpoint.parse(signed(body))


def test_checkpoint_of_another_log_is_refused() -> None:
    other = signed(f"example.com/other\n5\n{ROOT_TEXT}\n")
    with pytest.raises(VerificationError, match=r"of 'example\.com/other'"):
        Checkpoint.parse(other).verify(LOG_KEY.verifier)
    with pytest.raises(VerificationError, match="no signature"):
        sign_checkpoint(NODE_KEY, 5, ROOT).verify(LOG_KEY.verifier)


@pytest.mark.parametrize("change", [{"size": 7}, {"root": bytes(32)}, {"origin": "example.com/other"}])
def test_fields_that_disagree_with_the_text_do_not_verify(change: dict[str, object]) -> None:
    forged = replace(example.checkpoint(), **change)  # type: ignore[arg-type]
    with pytest.raises(VerificationError, match="not those of its text"):
        forged.verify(LOG_KEY.verifier)


def test_any_changed_character_is_refused() -> None:
    text = example.checkpoint().text
    for at, character in enumerate(text):
        for other in {"A", "1", " ", "\n", "="} - {character}:
            with pytest.raises(VerificationError):
                Checkpoint.parse(text[:at] + other + text[at + 1 :]).verify(LOG_KEY.verifier)
        with pytest.raises(VerificationError):
            Checkpoint.parse(text[:at]).verify(LOG_KEY.verifier)
    for extra in ("\n", " ", "x", "— a b\n"):
        with pytest.raises(VerificationError):
            Checkpoint.parse(text + extra).verify(LOG_KEY.verifier)


# --- cosignatures ----------------------------------------------------------------------------------------------


def test_cosignature_is_over_time_and_head() -> None:
    checkpoint = cosign(example.checkpoint(), NODE_KEY, SECONDS)
    line = checkpoint.note.signatures[1]
    assert (line.name, line.key_id) == (NODE_KEY.name, NODE_KEY.cosigner.key_id)
    assert line.blob[:8] == SECONDS.to_bytes(8, "big")
    message = f"cosignature/v1\ntime {SECONDS}\n{checkpoint.note.body}".encode()
    assert NODE_KEY.cosigner.check(message, line.blob[8:])
    assert len(line.blob) == 72


def test_cosigned_checkpoint_verifies_by_every_key() -> None:
    checkpoint = cosign(cosign(example.checkpoint(), NODE_KEY, SECONDS), OTHER_NODE_KEY, SECONDS + 1)
    checkpoint.verify(LOG_KEY.verifier)
    assert verify_cosignature(checkpoint, NODE_KEY.cosigner) == SECONDS
    assert verify_cosignature(checkpoint, OTHER_NODE_KEY.cosigner) == SECONDS + 1
    assert Checkpoint.parse(checkpoint.text) == checkpoint


def test_later_cosignature_replaces_the_earlier_one() -> None:
    once = cosign(example.checkpoint(), NODE_KEY, SECONDS)
    twice = cosign(once, NODE_KEY, SECONDS + 5)
    assert len(twice.note.signatures) == 2
    assert verify_cosignature(twice, NODE_KEY.cosigner) == SECONDS + 5


def test_missing_cosignature_is_refused() -> None:
    with pytest.raises(VerificationError, match="no signature"):
        verify_cosignature(example.checkpoint(), NODE_KEY.cosigner)
    with pytest.raises(VerificationError, match="no signature"):
        verify_cosignature(cosign(example.checkpoint(), OTHER_NODE_KEY, SECONDS), NODE_KEY.cosigner)


def test_plain_signature_and_cosignature_do_not_stand_for_each_other() -> None:
    cosigned = cosign(example.checkpoint(), NODE_KEY, SECONDS)
    with pytest.raises(VerificationError):
        verify_cosignature(cosigned, NODE_KEY.verifier)
    with pytest.raises(VerificationError):
        cosigned.verify(NODE_KEY.verifier)


def test_cosignature_of_another_head_or_time_is_refused() -> None:
    line = str(cosign(example.checkpoint(5), NODE_KEY, SECONDS).note.signatures[1])
    with pytest.raises(VerificationError, match="not valid"):
        verify_cosignature(Checkpoint.parse(example.checkpoint(6).text + line), NODE_KEY.cosigner)
    cosigned = cosign(example.checkpoint(), NODE_KEY, SECONDS)
    own = cosigned.note.signatures[1]
    for blob in (
        (SECONDS + 1).to_bytes(8, "big") + own.blob[8:],
        own.blob[:-1],
        own.blob + b"\0",
        own.blob[8:],
        b"\xff" * 8 + own.blob[8:],
    ):
        forged = Checkpoint.parse(example.checkpoint().text + str(own._replace(blob=blob)))
        with pytest.raises(VerificationError, match="not valid"):
            verify_cosignature(forged, NODE_KEY.cosigner)


@pytest.mark.parametrize("timestamp", [-1, 1 << 63])
def test_impossible_times_are_not_signed(timestamp: int) -> None:
    with pytest.raises(InvalidRequest):
        cosign(example.checkpoint(), NODE_KEY, timestamp)
