"""Messages as bytes, written by hand: what a peer of another make, or a bad one, could send."""

from __future__ import annotations

APPEND, APPEND_RESPONSE, VOTE, VOTE_RESPONSE, SNAPSHOT, HEARTBEAT, HEARTBEAT_RESPONSE = 3, 4, 5, 6, 7, 8, 9
HUP, PROPOSE, TRANSFER, TIMEOUT_NOW, READ_INDEX, READ_INDEX_RESPONSE, PRE_VOTE = 0, 2, 13, 14, 15, 16, 17

FIELDS = {"type": 1, "to": 2, "sender": 3, "term": 4, "log_term": 5, "index": 6, "commit": 8, "reject": 10}
FIELDS |= {"reject_hint": 11, "request_snapshot": 13, "commit_term": 15}


def varint(value: int) -> bytes:
    out = bytearray()
    while value > 0x7F:
        out.append(value & 0x7F | 0x80)
        value >>= 7
    out.append(value)
    return bytes(out)


def number(field: int, value: int) -> bytes:
    return varint(field << 3) + varint(value) if value else b""


def octets(field: int, value: bytes) -> bytes:
    return varint(field << 3 | 2) + varint(len(value)) + value


def entry(index: int, term: int, data: bytes = b"", kind: int = 0) -> bytes:
    return number(1, kind) + number(2, term) + number(3, index) + (octets(4, data) if data else b"")


def snapshot(index: int, term: int, voters: list[int], data: bytes = b"") -> bytes:
    conf = b"".join(number(1, voter) for voter in voters)
    return octets(1, data) + octets(2, octets(1, conf) + number(2, index) + number(3, term))


def message(
    kind: int,
    *,
    to: int = 1,
    sender: int = 2,
    entries: tuple[bytes, ...] = (),
    snapshot: bytes | None = None,
    context: bytes = b"",
    **fields: int,
) -> bytes:
    numbers = {"type": kind, "to": to, "sender": sender, **fields}
    out = b"".join(number(FIELDS[name], value) for name, value in numbers.items())
    out += b"".join(octets(7, one) for one in entries)
    out += octets(9, snapshot) if snapshot is not None else b""
    return out + (octets(12, context) if context else b"")
