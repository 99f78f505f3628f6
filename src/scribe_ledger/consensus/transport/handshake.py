"""The handshake as pure text: four frames, what each end checks in them, and the proofs. No socket, no randomness.

    dialler   HELLO      who it is, whom it expects, what it wants, a nonce
    answerer  CHALLENGE  who it is, the version, a nonce
    dialler   PROOF      a MAC over both frames
    answerer  WELCOME    its own MAC over both frames, and a refusal where the owner does not want this member

The secret is the key of the MACs. They cover the role and both frames whole, with both nonces and ids, so a MAC is
good for one end of one connection. The dialler proves first: who merely reaches the port learns nothing to guess with.
Without a secret the MACs prove nothing, and TLS or the loopback rule stands for them.
"""

from __future__ import annotations

import hmac
import struct
from hashlib import sha256
from typing import NamedTuple

from scribe_ledger.consensus.transport.contract import Caller, Me, Purpose, Reason, Refused

Buffer = bytes | memoryview

MAGIC = b"SCRBRAFT"
OLDEST_VERSION, NEWEST_VERSION = 1, 1
NONCE_BYTES = 32
MAC_BYTES = 32

HELLO, CHALLENGE, PROOF, WELCOME, REFUSED = 0xF0, 0xF1, 0xF2, 0xF3, 0xFF
"""First bytes of bodies. Bodies of the transport's own begin at 0xE0; what is below belongs to its owner."""

_OPENING = struct.Struct(">B8sHH")
"""Kind, magic, oldest and newest version: the same in every version, so that any two can tell each other apart."""
_HELLO = struct.Struct(">B8sHHBB16sQQQ32s")
_CHALLENGE = struct.Struct(">B8sHHHB16sQQ32s")
_RUN = struct.Struct(">Q")
"""At the end of both; older programs do not send it."""
_HAS_SECRET = 1
MAX_REASON_BYTES = 400


class Hello(NamedTuple):
    """What a dialler says first."""

    me: Me
    expect: int
    purpose: Purpose
    nonce: bytes
    has_secret: bool
    oldest: int = OLDEST_VERSION
    newest: int = NEWEST_VERSION

    def encode(self) -> bytes:
        return _HELLO.pack(
            HELLO,
            MAGIC,
            self.oldest,
            self.newest,
            self.purpose,
            _HAS_SECRET * self.has_secret,
            bytes.fromhex(self.me.cluster_id).rjust(16, b"\0"),
            self.me.node_id,
            self.me.raft_id,
            self.expect,
            self.nonce,
        ) + _RUN.pack(self.me.run)

    @classmethod
    def decode(cls, body: Buffer) -> Hello:
        """``Refused`` tells apart what is no handshake at all and what is one of another version."""
        oldest, newest = _opening(body, HELLO)
        agreed_version(oldest, newest)
        try:
            fields = _HELLO.unpack_from(body)
            purpose = Purpose(fields[4])
        except (struct.error, ValueError) as error:
            raise Refused("a greeting that cannot be read", reason=Reason.GARBAGE) from error
        flags, cluster, node_id, raft_id, expect, nonce = fields[5:]
        me = Me(raft_id, _cluster_id(cluster), node_id, _run(body, _HELLO.size))
        return cls(me, expect, purpose, nonce, bool(flags & _HAS_SECRET), oldest, newest)


class Challenge(NamedTuple):
    """What the one that was dialled answers."""

    me: Me
    version: int
    nonce: bytes
    has_secret: bool

    def encode(self) -> bytes:
        return _CHALLENGE.pack(
            CHALLENGE,
            MAGIC,
            OLDEST_VERSION,
            NEWEST_VERSION,
            self.version,
            _HAS_SECRET * self.has_secret,
            bytes.fromhex(self.me.cluster_id).rjust(16, b"\0"),
            self.me.node_id,
            self.me.raft_id,
            self.nonce,
        ) + _RUN.pack(self.me.run)

    @classmethod
    def decode(cls, body: Buffer) -> Challenge:
        agreed_version(*_opening(body, CHALLENGE))
        try:
            version, flags, cluster, node_id, raft_id, nonce = _CHALLENGE.unpack_from(body)[4:]
        except struct.error as error:
            raise Refused("a greeting that cannot be read", reason=Reason.GARBAGE) from error
        me = Me(raft_id, _cluster_id(cluster), node_id, _run(body, _CHALLENGE.size))
        return cls(me, version, nonce, bool(flags & _HAS_SECRET))


def agreed_version(oldest: int, newest: int) -> int:
    """The newest that both ends speak."""
    version = min(newest, NEWEST_VERSION)
    if version < max(oldest, OLDEST_VERSION):
        raise Refused(
            f"no common version: one node speaks {OLDEST_VERSION} to {NEWEST_VERSION}, the other {oldest} to {newest}",
            hint="upgrade the older of the two",
            reason=Reason.VERSION,
        )
    return version


def check_acquaintance(mine: Me, theirs: Me, *, expected: int, found: int) -> None:
    """What both ends check before any proof: never ourselves, one cluster, and the Raft id that was meant."""
    if theirs.raft_id == mine.raft_id:
        if mine.run and mine.run == theirs.run:
            raise Refused("this node has dialled itself", reason=Reason.OURSELVES)
        raise two_run(theirs)
    if mine.cluster_id and theirs.cluster_id and mine.cluster_id != theirs.cluster_id:
        raise Refused(
            f"a node of another cluster: {mine.cluster_id} and {theirs.cluster_id}",
            hint="check seed_peers and the addresses of both clusters",
            reason=Reason.CLUSTER,
        )
    if expected and expected != found:
        raise Refused(f"Raft id {expected} was expected, this is {found}", reason=Reason.RAFT_ID)


def two_run(other: Me | Caller) -> Refused:
    """Neither its votes nor its acknowledgements would count once only."""
    return Refused(
        f"two nodes run with Raft id {other.raft_id}, one of them as node {other.node_id}: a folder was copied",
        hint="stop the copy: the one that is not at the raft_address that a third member has for it; empty its folder",
        reason=Reason.COPY,
    )


def check_secret_wanted(mine: bool, theirs: bool) -> None:
    """Both or neither. One that has a secret never speaks without it."""
    if mine != theirs:
        raise Refused(
            "only one of the two nodes has a cluster secret",
            hint="set the same cluster.secret on all members",
            reason=Reason.SECRET,
        )


class Proofs:
    """The MACs and the key of one connection."""

    def __init__(self, secret: str, hello: bytes, challenge: bytes) -> None:
        self._secret = secret.encode()
        self._transcript = sha256(hello).digest() + sha256(challenge).digest()

    def of_dialler(self) -> bytes:
        return self._mac(b"dialler")

    def of_answerer(self, refusal: bytes = b"") -> bytes:
        return self._mac(b"answerer", refusal)

    def channel_key(self) -> bytes | None:
        """HKDF-SHA256 of the secret, salted with both nonces and all else that was said."""
        if not self._secret:
            return None
        extracted = hmac.digest(self._transcript, self._secret, "sha256")
        return hmac.digest(extracted, b"scribe-ledger raft channel key v1\x01", "sha256")

    def _mac(self, role: bytes, rest: bytes = b"") -> bytes:
        said = b"\0".join((b"scribe-ledger raft handshake v1", role, self._transcript + rest))
        return hmac.digest(self._secret, said, "sha256")


def check_proof(body: Buffer, expected: bytes) -> None:
    """Of a PROOF or WELCOME, in constant time."""
    if not hmac.compare_digest(bytes(body[1 : 1 + MAC_BYTES]), expected):
        raise Refused(
            "the other node does not know the cluster's secret",
            hint="set the same cluster.secret on all members",
            reason=Reason.SECRET,
        )


def expect_kind(body: Buffer, kind: int, least: int) -> None:
    """Raises what the other end says instead, where that is a refusal."""
    if body[0] == REFUSED:
        raise decode_refusal(body)
    if body[0] != kind or len(body) < least:
        raise Refused("a frame that has no place here", reason=Reason.GARBAGE)


# --- refusals that travel --------------------------------------------------------------------------------------


def encode_refusal(refusal: Refused) -> bytes:
    """What follows REFUSED."""
    reason = refusal.reason.encode()
    return bytes((len(reason),)) + reason + str(refusal).encode()[:MAX_REASON_BYTES]


def decode_refusal(body: Buffer, *, proven: bool = False) -> Refused:
    """Text of a stranger: cut, and whatever does not print is replaced before it meets a log."""
    length = body[1] if len(body) > 1 else 0
    reason = _printable(bytes(body[2 : 2 + length]))
    known = reason if reason in set(Reason) else Reason.GARBAGE
    message = _printable(bytes(body[2 + length : 2 + length + MAX_REASON_BYTES]))
    return Refused(message or "refused by the other node", reason=known, proven=proven)


def _printable(text: bytes) -> str:
    return "".join(each if each.isprintable() else "?" for each in text.decode(errors="replace"))


def _opening(body: Buffer, kind: int) -> tuple[int, int]:
    if len(body) < _OPENING.size or body[0] != kind or body[1:9] != MAGIC:
        raise Refused("not the greeting of a node", reason=Reason.GARBAGE)
    oldest, newest = _OPENING.unpack_from(body)[2:]
    return oldest, newest


def _run(body: Buffer, offset: int) -> int:
    return int(_RUN.unpack_from(body, offset)[0]) if len(body) >= offset + _RUN.size else 0


def _cluster_id(raw: bytes) -> str:
    return raw.hex() if any(raw) else ""
