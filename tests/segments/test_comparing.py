"""A segment compared with a log: whatever differs is found, the first of it is named, and nothing else is."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest
from tests.segments.example import Log, many

from scribe_ledger.errors import VerificationError
from scribe_ledger.merkle.hashing import hash_leaf
from scribe_ledger.merkle.leaf import decode_leaf
from scribe_ledger.segments.comparing import ABSENT, LEAF, VALUE, Difference, Held, check_holds, first_difference
from scribe_ledger.segments.scanning import open_segment

if TYPE_CHECKING:
    from pathlib import Path

pytestmark = pytest.mark.storage


def held(log: Log) -> Held:
    leaves = [decode_leaf(leaf) for leaf in log.leaves()]
    inline = [leaf.chunk_root == bytes(32) and leaf.kind.name != "DELETE" for leaf in leaves]
    return Held(
        leaves[0].index,
        b"".join(map(hash_leaf, log.leaves())),
        b"".join(leaf.sha256 for leaf in leaves),
        bytes(inline),
    )


def mixed() -> Log:
    """Puts, deletes and a large value, from entry 7 on."""
    log = Log(7)
    log.put(b"large", b"only a digest of it", blob_size=300_000)
    for number in range(19):
        log.put(b"key %d" % (number % 6), b"value %d" % number)
    log.delete(b"key 1")
    return log


def altered(log: Log, index: int, what: str) -> Held:
    whole = held(log)
    place = index - whole.first_index
    if what == LEAF:
        hashes = bytearray(whole.leaf_hashes)
        hashes[place * 32] ^= 1
        return whole._replace(leaf_hashes=hashes)
    digests = bytearray(whole.digests)
    digests[place * 32 + 31] ^= 1
    return whole._replace(digests=digests)


def difference(log: Log, own: Held, folder: Path) -> Difference | None:
    with log.seal(folder) as sealed, open_segment(sealed.path, sealed.segment) as opened:
        return first_difference(opened, own)


@pytest.mark.parametrize("log", [mixed(), many(3000, value_bytes=1000, keys=50)], ids=["mixed", "several row groups"])
def test_a_segment_of_the_log_holds_it(log: Log, tmp_path: Path) -> None:
    assert difference(log, held(log), tmp_path) is None


@pytest.mark.parametrize("what", [LEAF, VALUE])
@pytest.mark.parametrize("index", [8, 15, 26])
def test_one_bit_is_found_wherever_it_is(index: int, what: str, tmp_path: Path) -> None:
    log = mixed()
    assert difference(log, altered(log, index, what), tmp_path) == (index, what)


def test_of_several_the_first_in_the_log_is_named_though_the_rows_are_in_the_order_of_keys(tmp_path: Path) -> None:
    log = many(3000, value_bytes=1000, keys=50)
    own = altered(log, 2990, LEAF)._replace(digests=altered(log, 40, VALUE).digests)
    with log.seal(tmp_path) as sealed, open_segment(sealed.path, sealed.segment) as opened:
        assert len(opened.row_group_sizes()) > 1
        wanted = f"{sealed.segment.segment_id}.*entry 40 differs, {VALUE}"
        with pytest.raises(VerificationError, match=wanted):
            check_holds(opened, own)


def test_a_value_that_should_be_there_and_is_not_is_another(tmp_path: Path) -> None:
    log = mixed()
    own = held(log)
    assert own.inline[-1] == 0, "a delete has none"
    assert difference(log, own._replace(inline=own.inline[:-1] + b"\1"), tmp_path) == (27, VALUE)


def test_a_segment_that_ends_too_early_lacks_entries(tmp_path: Path) -> None:
    log = mixed()
    longer = mixed()
    longer.put(b"one more", b"value")
    assert difference(log, held(longer), tmp_path) == (28, ABSENT)
