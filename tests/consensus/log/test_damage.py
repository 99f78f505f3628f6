"""What a crash leaves of Raft's log is a prefix with all that was synced; damage to what was synced is refused."""

from __future__ import annotations

import random
from typing import TYPE_CHECKING

import pytest
from tests.consensus.log.logs import contents_after, load, open_log, segments, writes

from scribe_ledger.consensus.log import frames
from scribe_ledger.consensus.log.files import FileLog
from scribe_ledger.consensus.log.store import LogWrite
from scribe_ledger.errors import ConfigurationError, Corruption

if TYPE_CHECKING:
    from pathlib import Path

    from scribe_ledger.consensus.log.store import Contents

pytestmark = pytest.mark.consensus
SECTOR = frames.SECTOR_BYTES


def refused(folder: Path) -> bool:
    """Whether it is, with the place in the message."""
    try:
        load(folder)
    except Corruption as error:
        return str(folder) in error.message and "at byte" in error.message
    return False


def prefixes(given: list[LogWrite]) -> list[Contents]:
    return [contents_after(given[:count]) for count in range(len(given) + 1)]


def test_a_flip_of_any_byte_that_was_synced_is_refused(tmp_path: Path) -> None:
    log, _ = open_log(tmp_path)
    for write in writes(5, 3):
        log.write(write)
    log.sync()
    end = log._segment.end
    log.close()
    (path,) = segments(tmp_path)
    good = path.read_bytes()
    chance = random.Random(1)
    for offset in range(end):
        path.write_bytes(good[:offset] + bytes([good[offset] ^ 1 << chance.randrange(8)]) + good[offset + 1 :])
        assert refused(tmp_path), offset
    path.write_bytes(good)
    assert load(tmp_path) == contents_after(writes(5, 3))


@pytest.mark.parametrize("value", [bytes(3000), b"\0\1" * 300 + bytes(2400)], ids=["all zeros", "zeros at the end"])
def test_a_flip_in_a_value_of_zeros_is_no_crash(tmp_path: Path, value: bytes) -> None:
    log, _ = open_log(tmp_path, 1 << 14)
    start = log._segment.end
    log.write(LogWrite([(1, 1, 0, value, b"")]))
    log.sync()
    end = log._segment.end
    log.close()
    (path,) = segments(tmp_path)
    good = path.read_bytes()
    for offset in range(start, end, 41):
        path.write_bytes(good[:offset] + bytes([good[offset] ^ 16]) + good[offset + 1 :])
        assert refused(tmp_path), offset


def test_a_flip_in_an_unsynced_tail_never_loses_what_was_synced(tmp_path: Path) -> None:
    given = writes(6, 60)
    log, _ = open_log(tmp_path)
    for number, write in enumerate(given):
        log.write(write)
        if number == 2:
            log.sync()
    end = log._segment.end
    log.close()
    (path,) = segments(tmp_path)
    good = path.read_bytes()
    chance = random.Random(2)
    for offset in range(frames.SEGMENT_HEADER_BYTES, end + 64, 5):
        path.write_bytes(good[:offset] + bytes([good[offset] ^ 1 << chance.randrange(8)]) + good[offset + 1 :])
        if not refused(tmp_path):
            assert load(tmp_path) in prefixes(given)[3:], offset


def test_a_file_cut_at_any_byte_is_a_prefix(tmp_path: Path) -> None:
    given = writes(5, 3)
    log, _ = open_log(tmp_path)
    ends = [log._segment.end]
    for write in given:
        log.write(write)
        ends.append(log._segment.end)
    log.sync()
    log.close()
    (path,) = segments(tmp_path)
    good = path.read_bytes()
    expected = prefixes(given)
    for size in range(ends[-1] + 1):
        path.write_bytes(good[:size])
        if size < ends[0]:  # a segment appears with its first record, in one step
            assert refused(tmp_path), size
        else:
            assert load(tmp_path) == expected[sum(end <= size for end in ends) - 1], size
            assert path.stat().st_size == max(end for end in ends if end <= size) or size in ends


@pytest.mark.parametrize("seed", range(60))
def test_a_power_loss_keeps_what_was_synced_and_a_prefix(tmp_path: Path, seed: int) -> None:
    """Any of the sectors that were written since the last sync is on the disk, or is not."""
    chance = random.Random(seed)
    log, _ = open_log(tmp_path, 1 << 16)
    given: list[LogWrite] = []
    synced = 0
    before = b""
    for index in range(1, chance.randrange(2, 14)):
        value = chance.choice([b"\0", b"\xa5", b"xyz"]) * chance.choice([5, 300, 1500, 5000])
        given.append(LogWrite([(index, 1, 0, value, b"")], (1, 1, 0)))
        log.write(given[-1])
        if chance.random() < 0.4:
            log.sync()
            synced, before = len(given), segments(tmp_path)[0].read_bytes()
    log.close()
    (path,) = segments(tmp_path)
    before = before or path.read_bytes()[:SECTOR]
    after = path.read_bytes()
    size = chance.choice([len(after), chance.randrange(min(len(before), len(after)), len(after) + 1)])
    disk = bytearray(before.ljust(len(after), b"\0"))
    lost = chance.random()
    for offset in range(0 if synced else SECTOR, len(after), SECTOR):
        if chance.random() > lost:
            disk[offset : offset + SECTOR] = after[offset : offset + SECTOR]
    path.write_bytes(disk[:size])
    contents = load(tmp_path, 1 << 16)
    assert contents in prefixes(given)[synced:]
    log, _ = open_log(tmp_path, 1 << 16)  # and it goes on from there
    log.write(LogWrite([(len(contents.entries) + 1, 2, 0, b"next", b"")], (2, 0, 0)))
    log.sync()
    log.close()
    assert load(tmp_path, 1 << 16).entries == [*contents.entries, (len(contents.entries) + 1, 2, 0, b"next", b"")]


def test_a_record_that_was_synced_before_a_later_one_is_never_torn(tmp_path: Path) -> None:
    log, _ = open_log(tmp_path, 1 << 16)
    big = LogWrite([(1, 1, 0, b"v" * 3000, b"")])
    log.write(big)
    middle = log._segment.end
    log.sync()
    log.write(LogWrite([(2, 1, 0, b"w", b"")]))
    log.sync()
    log.close()
    (path,) = segments(tmp_path)
    good = bytearray(path.read_bytes())
    good[1024:1536] = bytes(512)
    path.write_bytes(good)
    with pytest.raises(Corruption, match=rf"byte {middle} says it was synced"):
        load(tmp_path, 1 << 16)
    good[middle:] = bytes(len(good) - middle)
    path.write_bytes(good)
    assert load(tmp_path, 1 << 16).entries == []  # nothing says that it was


def test_a_value_that_looks_like_a_record_proves_nothing(tmp_path: Path) -> None:
    forged = frames.record(0, frames.WRITE, 99, 98, b"")
    log, _ = open_log(tmp_path, 1 << 16)
    log.write(LogWrite([(1, 1, 0, b"v" * 3000 + forged * 3, b"")]))
    log.close()
    (path,) = segments(tmp_path)
    torn = bytearray(path.read_bytes())
    torn[1024:1536] = bytes(512)
    path.write_bytes(torn)
    assert load(tmp_path, 1 << 16).entries == []


def test_any_break_in_a_segment_that_is_not_the_last_is_damage(tmp_path: Path) -> None:
    log, _ = open_log(tmp_path, 600)
    for write in writes(12):
        log.write(write)
    log.sync()
    log.close()
    first, second, *_ = segments(tmp_path)
    good = first.read_bytes()
    for broken in (good[:300], good[:200].ljust(len(good), b"\0"), b""):
        first.write_bytes(broken)
        assert refused(tmp_path)
    first.write_bytes(good)
    kept = second.read_bytes()
    second.unlink()
    assert refused(tmp_path)
    second.write_bytes(kept)
    first.unlink()
    assert refused(tmp_path)
    first.write_bytes(good)
    assert load(tmp_path, 600) == contents_after(writes(12))


def test_a_mark_of_a_cut_is_held_against_the_log(tmp_path: Path) -> None:
    log, _ = open_log(tmp_path, 600)
    for write in writes(30):
        log.write(write)
    log.sync()
    log.cut(20, 1)
    log.close()
    mark = tmp_path / "cut"
    good = mark.read_bytes()
    for offset in range(len(good)):
        mark.write_bytes(good[:offset] + bytes([good[offset] ^ 4]) + good[offset + 1 :])
        assert refused(tmp_path), offset
    mark.unlink()
    assert refused(tmp_path)
    mark.write_bytes(good)
    assert load(tmp_path, 600).truncated == (20, 1)
    for path in segments(tmp_path):
        path.unlink()
    assert refused(tmp_path)


def test_a_newer_format_is_refused_as_that(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with monkeypatch.context() as patched:
        patched.setattr(frames, "VERSION", 2)
        load(tmp_path)
    before = {path: path.read_bytes() for path in tmp_path.iterdir()}
    with pytest.raises(ConfigurationError, match="has format 2, this program reads up to 1"):
        FileLog(tmp_path).load()
    assert {path: path.read_bytes() for path in tmp_path.iterdir()} == before
