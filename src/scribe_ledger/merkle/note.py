"""Signed notes: text that ends in signature lines, after C2SP signed-note (https://c2sp.org/signed-note).

Keys have the text forms of Go's ``sumdb/note``: ``name+id+base64`` for a verifier, ``PRIVATE+KEY+name+id+base64`` for a
signer. The id is derived from the name, the algorithm byte and the public key, so one Ed25519 key has two verifiers:
one for notes (0x01) and one for cosignatures (0x04, see ``checkpoint``).

A private key appears in no repr, message or pickle: only ``private_text`` gives it away.
"""

from __future__ import annotations

import re
from hashlib import sha256
from typing import NamedTuple, NoReturn

from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey, Ed25519PublicKey

from scribe_ledger.errors import InvalidRequest, SerializationError, VerificationError
from scribe_ledger.merkle.text import decode_base64, encode_base64

ED25519 = 0x01
COSIGNATURE_V1 = 0x04
MAX_SIGNATURES = 100
MAX_NOTE_CHARACTERS = 1_000_000
_PRIVATE_PREFIX = "PRIVATE+KEY+"
_KEY_ID_BYTES = 4
_CONTROL = re.compile(r"[\x00-\x09\x0b-\x1f]")
_NAME = re.compile(r"[^\s+\x00-\x1f]+")


class Verifier:
    """A public key under a name. ``str(verifier)`` is its text form."""

    __slots__ = ("_key", "_text", "algorithm", "key_id", "name", "public_key")

    def __init__(self, name: str, public_key: bytes, algorithm: int = ED25519) -> None:
        _check_name(name)
        if algorithm not in (ED25519, COSIGNATURE_V1):
            raise InvalidRequest(f"key algorithm {algorithm:#04x} is unknown")
        if len(public_key) != 32:
            raise InvalidRequest(f"an Ed25519 public key has 32 bytes, this one has {len(public_key)}")
        encoded = bytes([algorithm]) + public_key
        digest = sha256(name.encode() + b"\n" + encoded).digest()
        self.name = name
        self.public_key = public_key
        self.algorithm = algorithm
        self.key_id = int.from_bytes(digest[:_KEY_ID_BYTES], "big")
        self._key = Ed25519PublicKey.from_public_bytes(public_key)
        self._text = f"{name}+{self.key_id:08x}+{encode_base64(encoded)}"

    @classmethod
    def parse(cls, text: str) -> Verifier:
        try:
            name, _, encoded = text.split("+", 2)
            key = decode_base64(encoded)
            verifier = cls(name, key[1:], key[0])
        except (ValueError, IndexError, InvalidRequest) as error:
            raise SerializationError(f"{text[:80]!r} is not a verifier key", hint="name+id+base64") from error
        if str(verifier) != text:
            raise SerializationError(f"the id in the verifier key of {name!r} is not the key's own")
        return verifier

    def check(self, message: bytes, signature: bytes) -> bool:
        """Whether this is the key's Ed25519 signature of exactly this message."""
        try:
            self._key.verify(signature, message)
        except InvalidSignature:
            return False
        return True

    def __str__(self) -> str:
        return self._text

    def __repr__(self) -> str:
        return f"<Verifier {self._text}>"

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Verifier) and self._text == other._text

    def __hash__(self) -> int:
        return hash(self._text)


class Signer:
    """A private Ed25519 key under a name."""

    __slots__ = ("_key", "verifier")

    def __init__(self, name: str, key: Ed25519PrivateKey) -> None:
        self._key = key
        self.verifier = Verifier(name, key.public_key().public_bytes_raw())

    @classmethod
    def generate(cls, name: str) -> Signer:
        return cls(name, Ed25519PrivateKey.generate())

    @classmethod
    def parse(cls, text: str) -> Signer:
        # Errors name nothing of the text, and drop their cause, which would.
        try:
            name, _, encoded = text.removeprefix(_PRIVATE_PREFIX).split("+", 2)
            signer = cls(name, Ed25519PrivateKey.from_private_bytes(decode_base64(encoded)[1:]))
        except (ValueError, InvalidRequest):
            raise SerializationError("the text is not a private key", hint="PRIVATE+KEY+name+id+base64") from None
        if signer.private_text() != text:
            raise SerializationError(f"the private key of {name!r} is not in the form that its name and bytes give")
        return signer

    @property
    def name(self) -> str:
        return self.verifier.name

    @property
    def cosigner(self) -> Verifier:
        """The verifier of this key's cosignatures, whose id differs from that of its notes."""
        return Verifier(self.name, self.verifier.public_key, COSIGNATURE_V1)

    def private_text(self) -> str:
        """The whole key, in the clear. Write it to a file that only its owner can read."""
        encoded = encode_base64(bytes([ED25519]) + self._key.private_bytes_raw())
        return f"{_PRIVATE_PREFIX}{self.name}+{self.verifier.key_id:08x}+{encoded}"

    def sign(self, message: bytes) -> bytes:
        return self._key.sign(message)

    def __repr__(self) -> str:
        return f"<Signer {self.name}+{self.verifier.key_id:08x}>"

    def __reduce__(self) -> NoReturn:
        raise TypeError("a private key is not pickled")


class Signature(NamedTuple):
    """One signature line. ``blob`` is what follows the key id: the bare signature, or what its algorithm says."""

    name: str
    key_id: int
    blob: bytes

    def __str__(self) -> str:
        return f"— {self.name} {encode_base64(self.key_id.to_bytes(_KEY_ID_BYTES, 'big') + self.blob)}\n"

    def is_by(self, verifier: Verifier) -> bool:
        return self.name == verifier.name and self.key_id == verifier.key_id


class Note(NamedTuple):
    """A note taken apart, nothing verified. ``body`` includes its last newline; ``str(note)`` is the whole."""

    body: str
    signatures: tuple[Signature, ...]

    @classmethod
    def parse(cls, text: str) -> Note:
        try:
            return _parse(text)
        except ValueError as error:
            raise VerificationError(f"the signed note is malformed: {error}") from error

    def verify(self, verifier: Verifier) -> None:
        """Requires a signature by this key, and that every line that claims to be by it is good; ignores others."""
        if verifier.algorithm != ED25519:
            raise VerificationError(f"the key {verifier} is for cosignatures, not for notes")
        message = self.body.encode()
        for signature in self.signatures_by(verifier):
            if not verifier.check(message, signature.blob):
                raise VerificationError(f"the signature by {verifier.name!r} is not valid")

    def signatures_by(self, verifier: Verifier) -> list[Signature]:
        """The lines that claim to be by this key; at least one."""
        found = [signature for signature in self.signatures if signature.is_by(verifier)]
        if not found:
            raise VerificationError(f"the note has no signature by the key {verifier}")
        return found

    def __str__(self) -> str:
        return f"{self.body}\n{''.join(map(str, self.signatures))}"


def sign_note(body: str, *signers: Signer) -> Note:
    """The note with a signature line of each signer."""
    message = body.encode()
    lines = [Signature(signer.name, signer.verifier.key_id, signer.sign(message)) for signer in signers]
    return Note.parse(str(Note(body, tuple(lines))))  # what cannot be read back is refused now


def _parse(text: str) -> Note:
    if len(text) > MAX_NOTE_CHARACTERS:
        raise ValueError(f"it has more than {MAX_NOTE_CHARACTERS} characters")
    text.encode()  # refuses surrogates, which have no UTF-8
    if _CONTROL.search(text):
        raise ValueError("it holds control characters")
    end = text.rfind("\n\n")
    if end < 0 or not text.endswith("\n"):
        raise ValueError("it has no signatures, or its last line does not end")
    lines = text[end + 2 :].split("\n")[:-1]
    if not 1 <= len(lines) <= MAX_SIGNATURES:
        raise ValueError(f"it has {len(lines)} signature lines, not 1 to {MAX_SIGNATURES}")
    return Note(text[: end + 1], tuple(map(_parse_signature, lines)))


def _parse_signature(line: str) -> Signature:
    dash, *fields = line.split(" ")
    if dash != "—" or len(fields) != 2:
        raise ValueError(f"{line[:60]!r} is not a signature line")
    name, encoded = fields
    try:
        blob = decode_base64(encoded)
        _check_name(name)
    except (ValueError, InvalidRequest) as error:
        raise ValueError(f"{line[:60]!r} is not a signature line") from error
    if len(blob) <= _KEY_ID_BYTES:
        raise ValueError(f"the signature line of {name!r} has no signature")
    return Signature(name, int.from_bytes(blob[:_KEY_ID_BYTES], "big"), blob[_KEY_ID_BYTES:])


def _check_name(name: str) -> None:
    if not _NAME.fullmatch(name):
        raise InvalidRequest(f"the key name {name[:80]!r} is not allowed", hint="not empty, no spaces and no +")
    try:
        name.encode()
    except UnicodeEncodeError as error:
        raise InvalidRequest("the key name is not valid Unicode") from error
