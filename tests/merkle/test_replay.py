"""Replaying a log: what it accepts, what it finds, and what it then knows."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest

from scribe_ledger.errors import VerificationError
from scribe_ledger.merkle.checkpoint import sign_checkpoint
from scribe_ledger.merkle.hashing import ZERO_HASH
from scribe_ledger.merkle.leaf import Leaf
from scribe_ledger.merkle.note import Signer
from scribe_ledger.merkle.replay import Newest, Replay
from scribe_ledger.merkle.tree import root_of
from scribe_ledger.model import Kind

if TYPE_CHECKING:
    from collections.abc import Sequence

pytestmark = pytest.mark.crypto

SIGNER = Signer.generate("example.org/log")


def leaf(index: int, key: bytes, version: int, previous: int | None, **fields: Any) -> Leaf:
    plain = Leaf(Kind.PUT, index, 1000 + index, version, previous, 5, bytes(range(32)), ZERO_HASH, key, "", {})
    return plain._replace(**fields)


def delete(index: int, key: bytes, version: int, previous: int | None) -> Leaf:
    return leaf(index, key, version, previous, kind=Kind.DELETE, size=0, sha256=ZERO_HASH)


LOG = [
    leaf(0, b"a", 1, None),
    leaf(1, b"b", 1, None),
    leaf(2, b"a", 2, 0),
    leaf(3, b"", 0, None, kind=Kind.CONFIG, content_type="application/json"),
    delete(4, b"b", 2, 1),
    leaf(5, b"c", 1, None),
    delete(6, b"a", 3, 2),
    leaf(7, b"a", 4, 6),
]


def replay_of(log: Sequence[Leaf]) -> Replay:
    """Under a checkpoint that signs exactly these leaves."""
    root = root_of([each.hash() for each in log])
    return Replay(sign_checkpoint(SIGNER, len(log), root))


def encoded(log: Sequence[Leaf]) -> list[bytes]:
    return [each.encode() for each in log]


@pytest.mark.parametrize("step", [1, 3, 8])
def test_a_sound_log_is_accepted_in_any_pieces(step: int) -> None:
    replay = replay_of(LOG)
    for at in range(0, len(LOG), step):
        assert replay.take(encoded(LOG[at : at + step])) == LOG[at : at + step]
    replay.finish()
    assert (replay.size, replay.keys, replay.live_keys) == (8, 3, 2)
    assert replay.newest(b"a") == Newest(7, 4, False)
    assert replay.newest(b"b") == Newest(4, 2, True)
    assert replay.newest(b"absent") is None


def test_an_empty_log_is_sound() -> None:
    replay_of([]).finish()


def test_large_numbers_are_kept() -> None:
    replay = replay_of([leaf(0, b"k", 1, None)])
    replay.take([leaf(0, b"k", 1, None).encode()])
    replay._newest[b"k"] = ((1 << 64) - 1) << 65 | ((1 << 64) - 1) << 1 | 1
    assert replay.newest(b"k") == Newest((1 << 64) - 1, (1 << 64) - 1, True)


@pytest.mark.parametrize("size", [1, 255, 256, 257, 600])
def test_roots_across_tiles(size: int) -> None:
    log = [leaf(index, b"%d" % index, 1, None) for index in range(size)]
    replay = replay_of(log)
    replay.take(encoded(log))
    replay.finish()


@pytest.mark.parametrize(
    ("place", "changed", "reason"),
    [
        (2, leaf(2, b"a", 2, 1), "version 2 of 'a' after entry 1"),
        (2, leaf(2, b"a", 3, 0), "it is version 2 after entry 0"),
        (2, leaf(2, b"a", 1, None), "version 1 of 'a' after none; it is version 2 after entry 0"),
        (5, leaf(5, b"c", 2, 3), "it is version 1 after none"),
        (5, leaf(6, b"c", 1, None), "entry 6 stands where entry 5 should"),
        (5, leaf(5, b"c", 1, None, timestamp=0), "before that of entry 4"),
    ],
)
def test_what_contradicts_the_log_is_found_though_it_is_signed(place: int, changed: Leaf, reason: str) -> None:
    log = [*LOG[:place], changed, *LOG[place + 1 :]]
    with pytest.raises(VerificationError, match=reason):
        replay_of(log).take(encoded(log))


def test_what_is_not_signed_is_found_at_the_end() -> None:
    replay = replay_of(LOG)
    replay.take(encoded([*LOG[:-1], LOG[-1]._replace(size=6)]))
    with pytest.raises(VerificationError, match="do not have the root"):
        replay.finish()


def test_a_log_that_is_cut_off_or_too_long_is_found() -> None:
    replay = replay_of(LOG)
    replay.take(encoded(LOG[:-1]))
    with pytest.raises(VerificationError, match="7 entries were given of a log of 8"):
        replay.finish()
    with pytest.raises(VerificationError, match="9 entries were given"):
        replay_of(LOG).take([*encoded(LOG), LOG[0].encode()])


def test_bytes_that_are_no_leaf_are_named_by_their_place() -> None:
    replay = replay_of(LOG)
    with pytest.raises(VerificationError, match="entry 1 is malformed"):
        replay.take([LOG[0].encode(), b"x"])
