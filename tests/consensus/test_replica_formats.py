"""Entries and frames: what is written is read again, and what is cut or foreign is a ``ValueError``."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st
from tests.consensus.group import info

from scribe_ledger.config.sections import ConsensusSettings
from scribe_ledger.consensus import bundles, frames
from scribe_ledger.consensus.exchange import ReplicaSettings

pytestmark = pytest.mark.consensus

NUMBER = st.integers(1, 2**64 - 1)
UNITS = st.lists(st.binary(max_size=40), min_size=1, max_size=20)


@given(UNITS, NUMBER, NUMBER, NUMBER, NUMBER)
def test_an_entry_is_read_as_it_was_written(
    units: list[bytes], origin: int, session: int, sequence: int, time: int
) -> None:
    header = bundles.Header(bundles.BUNDLE, origin, session, sequence, time)
    body = bundles.encode_units(units)
    entry = bundles.encode_entry(header, memoryview(body))
    assert bundles.decode_header(entry) == header
    assert bundles.decode_units(entry) == units
    assert bundles.check_units(memoryview(body)) == len(units)


def test_the_bytes_of_an_entry_stay_as_they_are() -> None:
    header = bundles.Header(bundles.BUNDLE, 1, 2, 3, 4)
    entry = bundles.encode_entry(header, bundles.encode_units([b"ab", b""]))
    numbers = "0101" + "".join(f"{number:016x}" for number in (1, 2, 3, 4))
    assert entry.hex() == numbers + "00000002" + "00000002" + "6162" + "00000000"


@given(UNITS, st.data())
def test_a_bundle_that_was_cut_is_refused(units: list[bytes], data: st.DataObject) -> None:
    body = bundles.encode_units(units)
    end = data.draw(st.integers(0, len(body) - 1))
    with pytest.raises(ValueError, match="bundle"):
        bundles.check_units(body[:end])
    with pytest.raises(ValueError, match="bundle"):
        bundles.decode_units(body[:end], 0)


@given(st.binary(max_size=60))
def test_any_bytes_are_units_or_a_value_error(body: bytes) -> None:
    try:
        count = bundles.check_units(body)
    except ValueError:
        with pytest.raises(ValueError, match="bundle"):
            bundles.decode_units(body, 0)
    else:
        assert len(bundles.decode_units(body, 0)) == count


@pytest.mark.parametrize("entry", [b"", bytes(33), b"\x02\x01" + bytes(32), b"\x01\x03" + bytes(32)])
def test_an_entry_of_another_version_is_refused(entry: bytes) -> None:
    with pytest.raises(ValueError, match="entry"):
        bundles.decode_header(entry)


def test_knowledge_of_members_is_read_as_it_was_written() -> None:
    infos = [info(1), info(2**63 - 1)]
    assert bundles.decode_members(bundles.encode_members(infos)) == infos
    assert bundles.decode_members(b"") == []
    with pytest.raises(ValueError, match="another version"):
        bundles.decode_members(b'{"format": 2, "members": []}')


@given(NUMBER, st.integers(1, 100), NUMBER, st.integers(100, 200), st.binary(max_size=50))
def test_a_forward_is_read_as_it_was_written(term: int, first: int, session: int, sequence: int, body: bytes) -> None:
    forward = frames.Forward(term, first, session, sequence, body)
    frame = frames.encode_forward(forward)
    assert frame[0] == frames.FORWARD
    assert frames.decode_forward(memoryview(frame)) == forward


@pytest.mark.parametrize("reason", [frames.NOT_LEADER, frames.NOT_NOW, frames.MISSING])
def test_an_answer_is_read_as_it_was_written(reason: int) -> None:
    answer = frames.Forwarded(reason, 7, 3, 12, 2**64 - 1)
    frame = memoryview(frames.encode_forwarded(answer))
    assert frame[0] == frames.FORWARDED
    assert frames.decode_forwarded(frame) == answer
    with pytest.raises(ValueError, match="not an answer"):
        frames.decode_forwarded(frame[:-1])


def test_settings_come_in_ticks() -> None:
    settings = ReplicaSettings.of(ConsensusSettings(), tick_ms=50)
    assert (settings.election_ticks_min, settings.election_ticks_max, settings.heartbeat_ticks) == (10, 20, 2)
    tight = ReplicaSettings.of(
        ConsensusSettings(election_timeout_min=11, election_timeout_max=12, heartbeat_interval_ms=10), tick_ms=10
    )
    assert (tight.election_ticks_min, tight.election_ticks_max, tight.heartbeat_ticks) == (2, 3, 1)
