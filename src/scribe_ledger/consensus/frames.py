"""Frames between replicas. The first byte is the kind: the engine's messages, bundles on their way to the leader,
and what the leader says when it does not take one. ``ValueError`` for what is none of these.
"""

from __future__ import annotations

from struct import Struct
from typing import NamedTuple

RAFT = 1
FORWARD = 2
FORWARDED = 3

FORMAT = 1

NOT_LEADER = 1
"""Not in that term: nothing more is taken in it."""
NOT_NOW = 2
"""Too much waits there, or leadership is being handed over. Send again, from ``next`` on."""
MISSING = 3
"""One before it did not arrive. Send again, from ``next`` on."""

UNREADABLE = 4
"""One of its units cannot be read there, or would end whoever applies it. It is never taken in that term."""

NO_ROOM = 5
"""The leader's disk is nearly full. It is never taken in that term, whatever comes later."""

RAFT_PREFIX = bytes([RAFT])

_REASONS = {NOT_LEADER, NOT_NOW, MISSING, UNREADABLE, NO_ROOM}
_FORWARD = Struct(">BBQQQQ")
_FORWARDED = Struct(">BBBQQQQ")

_SNAPSHOT_PREFIX = b"\x08\x07"
"""How protobuf begins a message of Raft's type 7, MsgSnapshot, as the engine writes it."""

_TIMEOUT_NOW_PREFIX = b"\x08\x0e"

_CANVASSING_PREFIXES = frozenset({b"\x08\x05", b"\x08\x11"})
"""Of the types 5 and 17, MsgRequestVote and MsgRequestPreVote."""
_ANSWERED_PREFIXES = frozenset({b"\x08\x06", b"\x08\x12"})
"""Of their answers."""


class Forward(NamedTuple):
    """A bundle for the leader of exactly this term."""

    term: int
    first: int
    """The oldest bundle of this session whose fate its origin does not know."""
    session: int
    sequence: int
    body: bytes | memoryview


class Forwarded(NamedTuple):
    """A bundle was not taken."""

    reason: int
    term: int
    """That it was sent for."""
    session: int
    next: int
    """The bundle to go on with; of ``UNREADABLE`` and ``NO_ROOM``, the one that it is about."""
    leader: int
    """As far as the refusing node knows; 0: it does not."""


def encode_forward(forward: Forward) -> bytes:
    *fields, body = forward
    return b"".join((_FORWARD.pack(FORWARD, FORMAT, *fields), body))


def decode_forward(frame: memoryview) -> Forward:
    if len(frame) < _FORWARD.size or frame[1] != FORMAT:
        raise ValueError("not a bundle on its way to the leader")
    _, _, term, first, session, sequence = _FORWARD.unpack_from(frame)
    forward = Forward(term, first, session, sequence, frame[_FORWARD.size :])
    if not 0 < forward.first <= forward.sequence:
        raise ValueError(f"bundle {forward.sequence} cannot be one after {forward.first}")
    return forward


def encode_forwarded(forwarded: Forwarded) -> bytes:
    return _FORWARDED.pack(FORWARDED, FORMAT, *forwarded)


def decode_forwarded(frame: memoryview) -> Forwarded:
    if len(frame) != _FORWARDED.size or frame[1] != FORMAT or frame[2] not in _REASONS:
        raise ValueError("not an answer to a bundle")
    _, _, *fields = _FORWARDED.unpack(frame)
    return Forwarded(*fields)


def is_snapshot(message: memoryview) -> bool:
    """Whether one of Raft's messages is its snapshot message, without parsing it."""
    return message[:2] == _SNAPSHOT_PREFIX


def is_timeout_now(message: bytes | memoryview) -> bool:
    """Whether it is the leader's wish that its receiver stands at once: Raft's type 14."""
    return message[:2] == _TIMEOUT_NOW_PREFIX


def is_canvassing(message: bytes) -> bool:
    """Whether its sender wants to be elected."""
    return message[:2] in _CANVASSING_PREFIXES


def is_vote(message: bytes | memoryview) -> bool:
    """Whether it answers one that wants to be elected."""
    return bytes(message[:2]) in _ANSWERED_PREFIXES
