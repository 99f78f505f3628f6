"""Frames survive any way of cutting the stream, and nothing wrong in it is taken for a frame."""

from __future__ import annotations

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from scribe_ledger.consensus.transport import Reason, Refused
from scribe_ledger.consensus.transport.frames import (
    HEAD,
    MAX_FRAME_BYTES,
    FrameReader,
    encode_frame,
    encode_frames,
)

pytestmark = pytest.mark.consensus


def taken(reader: FrameReader, data: bytes) -> tuple[list[bytes], str]:
    """The good frames, and why there are no more."""
    found: list[bytes] = []
    try:
        for each in reader.feed(data):
            found.append(bytes(each))  # noqa: PERF401 - what came before the error counts
    except Refused as error:
        return found, error.reason
    return found, ""


BODIES = st.lists(st.binary(min_size=1, max_size=40), max_size=12)


@settings(deadline=None)
@given(BODIES, st.lists(st.integers(1, 30), min_size=1))
def test_frames_are_the_same_however_the_stream_is_cut(bodies: list[bytes], sizes: list[int]) -> None:
    stream, reader = encode_frames(bodies), FrameReader()
    found: list[memoryview] = []
    while stream:
        sizes = sizes[1:] + sizes[:1]
        found += reader.feed(stream[: sizes[0]])
        stream = stream[sizes[0] :]
    assert [bytes(each) for each in found] == bodies
    assert not reader.inside


@settings(deadline=None)
@given(BODIES.filter(bool), st.data())
def test_a_changed_byte_is_never_a_frame(bodies: list[bytes], data: st.DataObject) -> None:
    stream = bytearray(encode_frames(bodies))
    place = data.draw(st.integers(0, len(stream) - 1))
    stream[place] ^= data.draw(st.integers(1, 255))
    found, _ = taken(FrameReader(1 << 10), bytes(stream))
    assert found == bodies[: len(found)] and len(found) < len(bodies)


def test_good_frames_before_a_bad_one_are_given() -> None:
    found, reason = taken(FrameReader(), encode_frames([b"good"]) + HEAD.pack(3, 7) + b"bad")
    assert (found, reason) == ([b"good"], Reason.CHECKSUM)


@pytest.mark.parametrize(
    ("length", "reason"), [(0, Reason.GARBAGE), (1025, Reason.OVERSIZED), (2**32 - 1, Reason.OVERSIZED)]
)
def test_a_length_out_of_bounds_is_refused_before_anything_is_allocated(length: int, reason: Reason) -> None:
    reader = FrameReader(1024)
    with pytest.raises(Refused) as caught:
        list(reader.feed(HEAD.pack(length, 0)))
    assert caught.value.reason == reason
    assert not reader.inside


@pytest.mark.parametrize(
    ("stream", "reason", "message"),
    [
        (b"GET /health HTTP/1.1\r\n\r\n", Reason.GARBAGE, "an HTTP request at the Raft port"),
        (b"HTTP/1.1 400 Bad Request\r\n", Reason.GARBAGE, "that is an HTTP port"),
        (bytes.fromhex("16030102000100 01fc0303"), Reason.TLS, "the other node speaks TLS"),
    ],
)
@pytest.mark.parametrize("limit", [1 << 10, MAX_FRAME_BYTES])
def test_another_protocol_is_called_by_its_name(stream: bytes, reason: Reason, message: str, limit: int) -> None:
    with pytest.raises(Refused, match=message) as caught:
        list(FrameReader(limit).feed(stream))
    assert caught.value.reason == reason


def test_a_frame_is_not_overwritten_by_the_next() -> None:
    reader = FrameReader()
    stream = encode_frame(1, b"first") + encode_frame(1, b"second")
    found = [each for piece in (stream[:9], stream[9:20], stream[20:]) for each in reader.feed(piece)]
    assert [bytes(each) for each in found] == [b"\x01first", b"\x01second"]
    assert all(each.readonly for each in found)


@pytest.mark.parametrize("body", [b"", bytes(17 << 20)], ids=["empty", "too large"])
def test_no_frame_is_made_that_the_other_end_would_refuse(body: bytes) -> None:
    with pytest.raises(ValueError, match="limit"):
        encode_frames([body])
