"""Evicting trusts nobody: an object that holds another log than this ledger's costs it nothing."""

from __future__ import annotations

import shutil
from contextlib import ExitStack
from dataclasses import replace
from types import SimpleNamespace
from typing import TYPE_CHECKING

import pytest
from tests.archive.rounds import archiver, check_ledger, model_of, open_ledger, ops_of, settings, write_round
from tests.archive.stores import NotingStore
from tests.archive.test_leading import Term
from tests.ledger.opening import START, Clock

from scribe_ledger.archive import room, sealing
from scribe_ledger.archive.archiver import Archiver
from scribe_ledger.archive.publishing import Publisher
from scribe_ledger.errors import Corruption, VerificationError
from scribe_ledger.ledger.manifest import Archive

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from scribe_ledger.ledger.served import ServedLedger
    from scribe_ledger.segments.writing import Group

pytestmark = pytest.mark.storage
ALTERED = 7
"""Which entry of a round is another one in the other's log."""


class Pair:
    """Two copies of one ledger, as members of a cluster have them, on one object store."""

    def __init__(self, own: ServedLedger, other: ServedLedger) -> None:
        self.own, self.other = own, other
        self.follower = Archiver(own, settings(hot_size=0), leading=Term(0))

    def write_another_round(self, number: int) -> None:
        """What ``write_round`` writes, but for one value."""
        clock = self.other._clock
        assert isinstance(clock, Clock)
        clock.now = START + number * 1000
        ops = ops_of(number)
        ops[ALTERED] = replace(ops[ALTERED], value=b"?" * len(ops[ALTERED].value))
        self.other.write([op.command() for op in ops])

    def archive_others(self) -> None:
        """The other leads and archives; its manifest becomes this one's, as the log of a cluster carries it."""
        archiver(self.other, segment_size=1, hot_size=0).run_once(everything=True)
        for segment in self.other.manifest.segments[len(self.own.manifest.segments) :]:
            self.own.change_manifest(Archive(self.own.manifest.version, (segment,)))


@pytest.fixture
def pair(tmp_path: Path) -> Iterator[Pair]:
    store = NotingStore(tmp_path / "store")
    with open_ledger(tmp_path / "own", store) as ledger:
        write_round(ledger, 0)
        ledger.adopt_store()
    shutil.copytree(tmp_path / "own", tmp_path / "other")
    with ExitStack() as opened:
        yield Pair(*[opened.enter_context(open_ledger(tmp_path / name, store)) for name in ("own", "other")])


def test_what_another_has_archived_of_the_same_log_is_evicted(pair: Pair) -> None:
    for ledger in (pair.own, pair.other):
        write_round(ledger, 1)
    pair.archive_others()
    assert pair.follower.run_once().evicted == pair.own.size
    check_ledger(pair.own, 2)


def test_nothing_is_evicted_for_the_object_of_another_log(pair: Pair) -> None:
    pair.archive_others()
    evicted = pair.follower.run_once().evicted
    assert evicted == pair.own.size
    write_round(pair.own, 1)
    pair.write_another_round(1)
    pair.archive_others()
    wrong = pair.own.manifest.segments[-1]
    assert wrong.first_index == evicted
    for failures in (1, 2):  # it is tried again
        with pytest.raises(
            VerificationError, match=f"{wrong.segment_id}.* entry {evicted + ALTERED} differs, its leaf is another"
        ) as caught:
            pair.follower.run_once()
        assert pair.follower.status.failures_in_a_row == failures
        assert pair.follower.status.last_error == str(caught.value)
    assert pair.own.evicted == evicted
    pair.own.objects.delete(wrong.path)
    assert [entry.value for entry in pair.own.log(evicted)] == [item.value for item in model_of(2).items[evicted:]], (
        "all of it is still here"
    )


def test_values_that_do_not_match_the_own_leaves_are_not_evicted_though_the_leaves_are_right(
    pair: Pair, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As a sealer with damaged memory would write them."""
    whole = pair.own.groups
    monkeypatch.setattr(sealing, "check_is_whole", lambda *_: None)
    monkeypatch.setattr(pair.own, "groups", lambda start, stop: altering(whole(start, stop), leaves=False))
    archiver(pair.own, hot_size=1 << 30).run_once(everything=True)
    monkeypatch.undo()
    with pytest.raises(VerificationError, match="entry 5 differs, its value is another"):
        archiver(pair.own, hot_size=0).run_once()
    assert pair.own.evicted == 0
    assert pair.own.get("often 1") == model_of(1).get(b"often 1")


def test_the_object_of_another_log_is_not_merged_with_others(pair: Pair, monkeypatch: pytest.MonkeyPatch) -> None:
    """As a leader leaves it that was ended before it published: a checkpoint of another log would end the pass."""
    with monkeypatch.context() as patched:
        patched.setattr(Publisher, "publish", lambda *_: None)
        for number in range(1, 10):
            write_round(pair.own, number)
            if number == 4:
                pair.write_another_round(number)
            else:
                write_round(pair.other, number)
            pair.archive_others()
    before = pair.own.manifest
    with pytest.raises(VerificationError, match=r"is not of this log: entry \d+ differs, its leaf is another"):
        archiver(pair.own, segment_size=1 << 20, hot_size=1 << 30).run_once()
    assert pair.own.manifest == before
    assert len(before.segments) >= 9


@pytest.mark.parametrize("leaves", [False, True])
def test_what_is_damaged_in_the_hot_store_is_not_sealed(
    pair: Pair, leaves: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    whole = pair.own.groups
    monkeypatch.setattr(pair.own, "groups", lambda start, stop: altering(whole(start, stop), leaves=leaves))
    what = "the leaves do not match the tree" if leaves else "the values do not match their digests"
    with pytest.raises(Corruption, match=f"cannot be archived: {what}"):
        archiver(pair.own).run_once(everything=True)
    assert pair.own.manifest.archived_size == 0


def test_an_object_is_looked_at_in_memory_where_no_file_fits(pair: Pair, monkeypatch: pytest.MonkeyPatch) -> None:
    archiver(pair.own, hot_size=1 << 30).run_once(everything=True)
    monkeypatch.setattr(room, "disk_usage", lambda _: SimpleNamespace(free=0))
    monkeypatch.setattr("scribe_ledger.archive.evicting.TemporaryFile", None)
    assert pair.follower.run_once().evicted == pair.own.size
    check_ledger(pair.own, 1)


def test_the_room_of_evicted_values_is_given_back_at_once_where_writes_wait_for_it(
    pair: Pair, monkeypatch: pytest.MonkeyPatch
) -> None:
    given_back: list[int] = []
    monkeypatch.setattr(pair.own, "reclaim", lambda: given_back.append(pair.own.evicted))
    free = [1 << 30]
    monkeypatch.setattr(room, "disk_usage", lambda _: SimpleNamespace(free=free[0]))
    archive = archiver(pair.own, hot_size=0, disk_reserve=1 << 20)
    archive.run_once(everything=True)
    assert (pair.own.evicted, given_back) == (pair.own.size, []), "there is room"
    write_round(pair.own, 1)
    free[0] = 1 << 20
    archive.run_once(everything=True)
    assert given_back[-1] == pair.own.evicted == pair.own.size


def altering(groups: Iterator[Group], *, leaves: bool) -> Iterator[Group]:
    """With one bit of entry 5 turned round, in its timestamp or its value."""
    for group in groups:
        place = 5 - group.first_index
        if 0 <= place < len(group.leaves):
            part = group.leaves if leaves else group.values
            bits = bytearray(part[place])
            bits[19 if leaves else 0] ^= 1
            part[place] = bytes(bits)
        yield group
