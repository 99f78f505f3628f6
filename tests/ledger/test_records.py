"""The bytes of the store's records: pinned, round-tripping, ordered as look-ups need, and strict about damage."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from scribe_ledger.errors import Corruption
from scribe_ledger.ledger import records
from scribe_ledger.ledger.records import LATEST, SPOT, Spot

pytestmark = pytest.mark.storage

U64 = st.integers(0, 2**64 - 1)
U32 = st.integers(0, 2**32 - 1)


def pack(*items: bytes) -> bytes:
    return records.pack(items, [*map(len, items)])


@st.composite
def spots(draw: st.DrawFn) -> Spot:
    index = draw(U64)
    ordinal = draw(st.integers(0, min(index, 65535)))
    return Spot(index, draw(U64), ordinal, draw(st.integers(0, 255)), draw(U32), draw(U32))


# --- the formats that are on disk ------------------------------------------------------------------------------


def test_the_layouts_are_pinned() -> None:
    assert LATEST.pack(1, 2, 3, 4, 5, 6, b"digestdigest").hex() == (
        "0000000000000001000000000000000200030400000005000000066469676573746469"
    )
    assert SPOT.pack(1, 2, 3, 4, 5, 6).hex() == "000000000000000100000000000000020003040000000500000006"
    assert records.version_key(b"k", 7).hex() == "00016b760000000000000007"
    assert records.index_key(b"k", 7).hex() == "00016b69fffffffffffffff8"
    assert records.tile_key(1, 2).hex() == "010000000000000002"
    assert pack(b"ab", b"", b"c").hex() == "0003000000020000000000000001616263"
    assert records.encode_requests({b"r" * 16: 9}).hex() == "0000000000000009" + "72" * 16


# --- spots and latest records ----------------------------------------------------------------------------------


@given(spots())
def test_a_spot_survives_its_record(spot: Spot) -> None:
    assert records.decode_spot(SPOT.pack(*spot)) == spot


@given(spots(), st.binary(min_size=8, max_size=32), st.dictionaries(st.binary(min_size=16, max_size=16), U64))
def test_a_latest_record_survives_with_its_requests(spot: Spot, digest: bytes, requests: dict[bytes, int]) -> None:
    latest = records.decode_latest(LATEST.pack(*spot, digest) + records.encode_requests(requests))
    assert latest.spot == spot
    assert records.latest_spot(LATEST.pack(*spot, digest) + records.encode_requests(requests)) == spot
    assert latest.digest_prefix == digest[:8]
    assert latest.requests == requests
    assert list(latest.requests) == list(requests)


def test_a_spot_knows_its_group_and_its_flags() -> None:
    assert Spot(10, 1, 3, 0, 0, 0).group == 7
    flags = [(Spot(0, 1, 0, flags, 0, 0).deleted, Spot(0, 1, 0, flags, 0, 0).in_blob) for flags in range(4)]
    assert flags == [(False, False), (True, False), (False, True), (True, True)]


@pytest.mark.parametrize("cut", [*range(LATEST.size), LATEST.size + 1, LATEST.size + 23])
def test_a_latest_record_of_the_wrong_size_is_corruption(cut: int) -> None:
    record = (LATEST.pack(5, 1, 0, 0, 0, 0, b"") + bytes(24))[:cut]
    for decode in (records.decode_latest, records.latest_spot):
        with pytest.raises(Corruption):
            decode(record)


@pytest.mark.parametrize("size", [0, 1, SPOT.size - 1, SPOT.size + 1])
def test_a_spot_record_of_the_wrong_size_is_corruption(size: int) -> None:
    with pytest.raises(Corruption):
        records.decode_spot(bytes(size))


def test_a_place_before_the_first_entry_is_corruption() -> None:
    with pytest.raises(Corruption, match="nowhere"):
        records.decode_spot(SPOT.pack(4, 1, 5, 0, 0, 0))
    for decode in (records.decode_latest, records.latest_spot):
        with pytest.raises(Corruption, match="nowhere"):
            decode(LATEST.pack(4, 1, 5, 0, 0, 0, b""))


def test_requests_are_remembered_for_sixteen_versions() -> None:
    requests = {b"%d" % version: version for version in range(1, 20)}
    assert set(records.remembered(requests, 19).values()) == set(range(4, 20))
    assert records.remembered({b"a": 1}, 16) == {b"a": 1}
    assert records.remembered({b"a": 1}, 17) == {}


# --- keys of the history ---------------------------------------------------------------------------------------

KEYS = st.binary(min_size=1, max_size=12)


@given(KEYS, KEYS, U64, U64)
def test_history_keys_of_different_keys_never_meet(one: bytes, other: bytes, first: int, second: int) -> None:
    found = [
        records.version_key(one, first),
        records.index_key(one, first),
        records.version_key(other, second),
        records.index_key(other, second),
    ]
    assert len(set(found)) == (4 if (one, first) != (other, second) else 2)
    assert [records.key_of_history(key) for key in found] == [one, one, other, other]
    assert found[2].startswith(records.index_prefix(one)) is False
    assert found[3].startswith(records.index_prefix(one)) is (one == other)


@given(KEYS, U64, U64)
def test_a_later_entry_stands_before_an_earlier_one(key: bytes, first: int, second: int) -> None:
    assert (records.index_key(key, first) < records.index_key(key, second)) == (first > second)


# --- packs -----------------------------------------------------------------------------------------------------


@given(st.lists(st.binary(max_size=20), max_size=30))
def test_a_pack_gives_back_its_items(items: list[bytes]) -> None:
    record = pack(*items)
    assert records.unpack(record) == items
    assert [records.unpack_item(record, ordinal) for ordinal in range(len(items))] == items
    assert records.pack_header_bytes(len(items)) == len(record) - sum(map(len, items))
    with pytest.raises(Corruption, match="fewer"):
        records.unpack_item(record, len(items))


@given(st.lists(st.binary(min_size=1, max_size=20), min_size=1, max_size=10), st.data())
def test_a_pack_that_is_cut_or_lengthened_is_corruption(items: list[bytes], data: st.DataObject) -> None:
    record = pack(*items)
    cut = record[: data.draw(st.integers(0, len(record) - 1))]
    for damaged in (cut, record + b"\0"):
        with pytest.raises(Corruption):
            records.unpack(damaged)
        with pytest.raises(Corruption):
            records.unpack_item(damaged, 0)
