from __future__ import annotations

import copy
import json
import pickle
from pathlib import Path

import pytest
from tests.merkle import example

from scribe_ledger.errors import InvalidRequest, SerializationError, VerificationError
from scribe_ledger.merkle import Note, Signer, Verifier, sign_note
from scribe_ledger.merkle.note import COSIGNATURE_V1, ED25519

pytestmark = pytest.mark.crypto

PUBLISHED = json.loads((Path(__file__).parents[1] / "vectors" / "note.json").read_text())
PRIVATE: str = PUBLISHED["private_key"]
PETER: str = PUBLISHED["verifier_keys"][0]
ENOCH: str = PUBLISHED["verifier_keys"][1]
BODY: str = PUBLISHED["body"]
PETER_LINE, ENOCH_LINE = PUBLISHED["signature_lines"]


# --- keys ------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("text", PUBLISHED["verifier_keys"])
def test_published_verifier_key_is_read_and_written(text: str) -> None:
    verifier = Verifier.parse(text)
    assert str(verifier) == text
    assert text == f"{verifier.name}+{verifier.key_id:08x}+{text.split('+', 2)[2]}"
    assert Verifier(verifier.name, verifier.public_key, verifier.algorithm) == verifier


def test_published_keys_are_of_the_algorithm_they_name() -> None:
    algorithms = [Verifier.parse(text).algorithm for text in PUBLISHED["verifier_keys"]]
    assert algorithms == [ED25519, ED25519, ED25519, COSIGNATURE_V1]


@pytest.mark.parametrize("text", PUBLISHED["refused_verifier_keys"])
def test_published_bad_verifier_key_is_refused(text: str) -> None:
    with pytest.raises(SerializationError):
        Verifier.parse(text)


def test_private_key_is_read_and_written() -> None:
    signer = Signer.parse(PRIVATE)
    assert signer.private_text() == PRIVATE
    assert str(signer.verifier) == PETER
    assert signer.name == "PeterNeumann"
    assert signer.verifier.key_id == 0xC74F20A3


@pytest.mark.parametrize(("parse", "text"), [(Verifier.parse, PETER), (Signer.parse, PRIVATE)])
def test_any_change_of_a_key_text_is_refused(parse: type, text: str) -> None:
    changed = {text[start:end] for start in range(len(text)) for end in range(start, len(text) + 1)} - {text}
    changed |= {text[:at] + chr(ord(text[at]) + 1) + text[at + 1 :] for at in range(len(text))}
    changed |= {text + "\n", " " + text, text + "=", text.upper(), text.replace("c74f20a3", "C74F20A3")}
    for mangled in changed:
        with pytest.raises(SerializationError):
            parse(mangled)


def test_cosigner_key_of_another_id_is_made_of_the_same_key() -> None:
    signer = Signer.parse(PRIVATE)
    assert signer.cosigner.public_key == signer.verifier.public_key
    assert signer.cosigner.key_id != signer.verifier.key_id
    assert Verifier.parse(str(signer.cosigner)) == signer.cosigner != signer.verifier


def test_generated_keys_differ_and_survive_their_text() -> None:
    first, second = Signer.generate("EnochRoot"), Signer.generate("EnochRoot")
    assert first.private_text() != second.private_text()
    again = Signer.parse(first.private_text())
    assert again.verifier == first.verifier
    assert first.verifier.check(b"hi", again.sign(b"hi"))
    assert not first.verifier.check(b"hi", second.sign(b"hi"))
    assert not first.verifier.check(b"ho", again.sign(b"hi"))


def test_private_key_does_not_leak() -> None:
    signer = Signer.parse(PRIVATE)
    secret = PRIVATE.rsplit("+", 1)[1]
    assert secret not in repr(signer) + str(signer) + f"{signer}"
    for leak in (pickle.dumps, copy.deepcopy):
        with pytest.raises(TypeError):
            leak(signer)
    with pytest.raises(SerializationError) as refused:
        Signer.parse(PRIVATE + "x")
    assert secret not in str(refused.value)
    assert refused.value.__cause__ is None


@pytest.mark.parametrize(
    "name", ["", "two words", "plus+sign", "tab\t", "line\n", "no\u00a0break", "wide\u3000", "bell\x07", "\ud800"]
)
def test_impossible_names_are_refused(name: str) -> None:
    with pytest.raises(InvalidRequest):
        Signer.generate(name)


@pytest.mark.parametrize("name", ["a", "example.com/log", "größe", "日本"])
def test_other_names_are_fine(name: str) -> None:
    signer = example.fixed_signer(name)
    note = sign_note("text\n", signer)
    Note.parse(str(note)).verify(Verifier.parse(str(signer.verifier)))


@pytest.mark.parametrize(("public_key", "algorithm"), [(bytes(31), 1), (bytes(33), 4), (bytes(32), 2), (bytes(32), 6)])
def test_keys_of_other_algorithms_and_lengths_are_refused(public_key: bytes, algorithm: int) -> None:
    with pytest.raises(InvalidRequest):
        Verifier("example.com/log", public_key, algorithm)


# --- notes -----------------------------------------------------------------------------------------------------


def test_signing_gives_the_published_note() -> None:
    assert str(sign_note(BODY, Signer.parse(PRIVATE))) == f"{BODY}\n{PETER_LINE}"


@pytest.mark.parametrize("lines", [PETER_LINE, PETER_LINE + ENOCH_LINE, ENOCH_LINE + PETER_LINE])
def test_published_note_verifies_whatever_else_signed_it(lines: str) -> None:
    note = Note.parse(f"{BODY}\n{lines}")
    assert note.body == BODY
    assert str(note) == f"{BODY}\n{lines}"
    note.verify(Verifier.parse(PETER))
    if ENOCH_LINE in lines:
        note.verify(Verifier.parse(ENOCH))


def test_note_without_a_signature_by_the_wanted_key_is_refused() -> None:
    with pytest.raises(VerificationError, match="no signature by the key PeterNeumann"):
        Note.parse(f"{BODY}\n{ENOCH_LINE}").verify(Verifier.parse(PETER))


def test_bad_signature_of_an_unknown_key_is_ignored() -> None:
    bad = ENOCH_LINE[:60] + "ABCD" + ENOCH_LINE[60:]
    Note.parse(f"{BODY}\n{bad}{PETER_LINE}").verify(Verifier.parse(PETER))


def test_bad_signature_of_the_known_key_spoils_a_good_one() -> None:
    bad = PETER_LINE[:60] + "ABCD" + PETER_LINE[60:]
    for lines in (bad, PETER_LINE + bad, bad + PETER_LINE):
        with pytest.raises(VerificationError, match="'PeterNeumann' is not valid"):
            Note.parse(f"{BODY}\n{lines}").verify(Verifier.parse(PETER))


def test_signature_of_one_name_is_not_one_of_another() -> None:
    renamed = PETER_LINE.replace("PeterNeumann", "CarmenSandiego")
    with pytest.raises(VerificationError):
        Note.parse(f"{BODY}\n{renamed}").verify(Verifier.parse(PETER))


def test_cosigner_key_verifies_no_note() -> None:
    signer = Signer.parse(PRIVATE)
    with pytest.raises(VerificationError, match="for cosignatures"):
        sign_note(BODY, signer).verify(signer.cosigner)


def test_body_may_hold_empty_lines() -> None:
    signer = Signer.parse(PRIVATE)
    note = sign_note("one\n\ntwo\n\n", signer)
    assert Note.parse(str(note)).body == "one\n\ntwo\n\n"
    note.verify(signer.verifier)


@pytest.mark.parametrize(
    "text",
    [
        "",
        "\n",
        BODY,
        BODY + "\n",
        f"{BODY}\n{PETER_LINE}"[:-1],
        f"{BODY}{PETER_LINE}",
        f"\x01{BODY}\n{PETER_LINE}",
        f"{BODY}\r\n\n{PETER_LINE}",
        f"\ud800{BODY}\n{PETER_LINE}",
        f"{BODY}\n{PETER_LINE}\n",
        f"{BODY}\n{PETER_LINE}Unexpected line.\n",
        f"{BODY}\n— Bad Name x08go/ZJkuBS9UG/SffcvIAQ\n",
        f"{BODY}\n— Bad+Name x08go/ZJkuBS9UG/SffcvIAQ\n",
        f"{BODY}\n— Bad\u2003Name x08go/ZJkuBS9UG/SffcvIAQ\n",
        f"{BODY}\n—  x08go/ZJkuBS9UG/SffcvIAQ\n",
        f"{BODY}\n- PeterNeumann x08go/ZJkuBS9UG/SffcvIAQ\n",
        f"{BODY}\n— PeterNeumann x08go/ZJkuBS9UG/SffcvIAQ \n",
        f"{BODY}\n— PeterNeumann x08go/ZJkuBS9UG/SffcvIA\n",
        f"{BODY}\n— PeterNeumann x08go/ZJkuBS9UG-SffcvIAQ\n",
        f"{BODY}\n— PeterNeumann x08goz==\n",
        f"{BODY}\n— PeterNeumann x08gow==\n",
        f"{BODY}\n{PETER_LINE * 101}",
        f"{'x' * 1_000_000}\n\n{PETER_LINE}",
    ],
)
def test_malformed_note_is_refused(text: str) -> None:
    with pytest.raises(VerificationError):
        Note.parse(text)


def test_a_hundred_signatures_are_read() -> None:
    assert len(Note.parse(f"{BODY}\n{PETER_LINE * 100}").signatures) == 100


def test_text_that_is_no_note_is_not_signed() -> None:
    for body in ("no newline at the end", "bell\x07\n", ""):
        with pytest.raises(VerificationError):
            sign_note(body, Signer.parse(PRIVATE))
