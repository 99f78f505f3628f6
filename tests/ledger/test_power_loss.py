"""Power loss and bit rot on the real engine: its files are cut and changed between two openings."""

from __future__ import annotations

import random
import shutil
import struct
from functools import partial
from typing import TYPE_CHECKING, NamedTuple

import pytest

from scribe_ledger import Ledger
from scribe_ledger.errors import Corruption, StorageError
from scribe_ledger.ledger.folder import HEAD, KEY, STORE, Head
from scribe_ledger.ledger.rocks import RocksStore
from scribe_ledger.merkle.checkpoint import Checkpoint, sign_checkpoint
from scribe_ledger.merkle.note import Signer

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

pytestmark = [pytest.mark.storage, pytest.mark.no_cover]

BLOCK_BYTES = 32768
INLINE_MAX = 4096


class LogKeepingStore(RocksStore):
    """Knows how much of each write-ahead log was there when the last sync returned. It can stop syncing."""

    def __init__(self, path: Path) -> None:
        super().__init__(path)
        self._path = path
        self.synced: dict[str, int] = {}
        self.fail_sync = False

    def sync(self) -> None:
        if self.fail_sync:
            raise StorageError("the power is about to fail")
        super().sync()
        self.synced = {log.name: log.stat().st_size for log in logs_of(self._path)}


class Bench:
    """A ledger on such a store, and copies of its folder as a power loss would leave it."""

    def __init__(self, root: Path, **options: str) -> None:
        self._root = root
        self._copies = 0
        self.ledger = Ledger.open(root / "ledger", open_store=self._open_store, inline_max=INLINE_MAX, **options)  # type: ignore[arg-type]

    def _open_store(self, path: Path) -> LogKeepingStore:
        self.store = LogKeepingStore(path)
        return self.store

    def copy(self) -> Path:
        """The folder as the operating system has it now."""
        self._copies += 1
        return copy_folder(self._root / "ledger", self._root / f"copy {self._copies}")

    def lose_power(self) -> Path:
        """The folder as the disk has it for certain: of the logs only what was synced."""
        copied = self.copy()
        for log in logs_of(copied / STORE):
            cut(log, self.store.synced.get(log.name, 0))
        return copied


def logs_of(store: Path) -> list[Path]:
    return sorted(store.glob("*.log"))


def the_log(folder: Path) -> Path:
    (log,) = (log for log in logs_of(folder / STORE) if log.stat().st_size)
    return log


def copy_folder(source: Path, target: Path) -> Path:
    shutil.rmtree(target, ignore_errors=True)
    return shutil.copytree(source, target)


def cut(path: Path, size: int) -> None:
    with path.open("r+b") as file:
        file.truncate(size)


def flip(path: Path, position: int, bit: int) -> None:
    with path.open("r+b") as file:
        file.seek(position)
        (byte,) = file.read(1)
        file.seek(position)
        file.write(bytes([byte ^ 1 << bit]))


@pytest.fixture
def bench(tmp_path: Path) -> Iterator[Bench]:
    bench = Bench(tmp_path)
    yield bench
    bench.store.fail_sync = False
    bench.ledger.close()


# --- what was acknowledged -----------------------------------------------------------------------------------------


def write_something(ledger: Ledger, chance: random.Random, number: int) -> None:
    kind = number % 6
    if kind == 0:
        ledger.put_many([(f"batch {number} {place}", chance.randbytes(300)) for place in range(400)])  # several blocks
    elif kind == 1:
        ledger.put("shared", f"{number}")
    elif kind == 2:
        ledger.delete("shared")
    elif kind == 3:
        ledger.put(f"large {number}", chance.randbytes(3 * INLINE_MAX))
    elif kind == 4:
        ledger.put(f"key {number}", chance.randbytes(100), metadata={"number": str(number)})
    else:
        ledger.checkpoint()


def test_a_write_survives_power_loss_at_the_moment_of_its_acknowledgement(bench: Bench) -> None:
    chance = random.Random(1)
    for number in range(12):
        write_something(bench.ledger, chance, number)
        size, values = bench.ledger.size, [entry.value for entry in bench.ledger.log()]
        with Ledger.open(bench.lose_power(), inline_max=INLINE_MAX) as survivor:
            assert survivor.size == size
            assert [entry.value for entry in survivor.log()] == values
            assert survivor.verify().ok
            assert survivor.checkpoint().root == bench.ledger.checkpoint().root


def test_a_snapshot_in_between_does_not_matter(bench: Bench, tmp_path: Path) -> None:
    bench.ledger.put("before", "1")
    bench.ledger.snapshot(tmp_path / "snapshot")  # ends a write-ahead log and begins the next
    bench.ledger.put("after", "2")
    for folder in (bench.lose_power(), tmp_path / "snapshot"):
        with Ledger.open(folder) as survivor:
            assert survivor.get("before") == b"1"
            assert survivor.verify().ok


def test_a_relaxed_ledger_loses_at_most_what_was_not_flushed(tmp_path: Path) -> None:
    bench = Bench(tmp_path, durability="relaxed")
    bench.store.fail_sync = False
    with bench.ledger:
        bench.ledger.put("flushed", "1")
        bench.ledger.flush()
        bench.ledger.put("signed", "2")
        signed = bench.ledger.checkpoint()
        with Ledger.open(bench.lose_power()) as survivor:
            assert survivor.size >= signed.size == 2
            assert survivor.verify().ok


# --- a torn tail ---------------------------------------------------------------------------------------------------


class Torn(NamedTuple):
    folder: Path
    acknowledged: int
    """Entries."""
    synced: int
    """Bytes of the log."""
    written: int


def tear(bench: Bench, entries: int) -> Torn:
    """A ledger with some acknowledged writes, then one that was written and never synced."""
    for number in range(20):
        bench.ledger.put(f"key {number}", b"value")
    synced = dict(bench.store.synced)
    acknowledged = bench.ledger.size
    bench.store.fail_sync = True
    with pytest.raises(StorageError, match="about to fail"):
        bench.ledger.put_many([(f"lost {number}", bytes([number % 256]) * 300) for number in range(entries)])
    folder = bench.copy()
    log = the_log(folder)
    return Torn(folder, acknowledged, synced[log.name], log.stat().st_size)


def check_opens(folder: Path, sizes: set[int]) -> int:
    with Ledger.open(folder) as ledger:
        assert ledger.size in sizes
        assert ledger.verify().ok
        ledger.put("after", "value")
        size = ledger.size
    with Ledger.open(folder) as ledger:
        assert ledger.size == size
    return size - 1


@pytest.mark.parametrize("entries", [1, 600], ids=["within a block", "over many blocks"])
@pytest.mark.parametrize("filled", [False, True], ids=["cut", "zeros"])
def test_a_torn_tail_is_dropped(bench: Bench, tmp_path: Path, *, entries: int, filled: bool) -> None:
    torn = tear(bench, entries)
    chance = random.Random(entries)
    sizes = {torn.synced, torn.synced + 1, torn.synced + 6, torn.synced + 7, torn.synced + 8}
    sizes |= {*range(-(-torn.synced // BLOCK_BYTES) * BLOCK_BYTES, torn.written, 2 * BLOCK_BYTES)}
    sizes |= {chance.randrange(torn.synced, torn.written) for _ in range(5)}
    for size in sorted(size for size in sizes if size < torn.written):
        folder = copy_folder(torn.folder, tmp_path / "torn")
        cut(the_log(folder), size)
        if filled and is_between_records(the_log(folder), size):
            cut(the_log(folder), torn.written + 5000)
        check_opens(folder, {torn.acknowledged})
    assert check_opens(torn.folder, {torn.acknowledged + entries}) == torn.acknowledged + entries


def is_between_records(log: Path, size: int) -> bool:
    """Whether the log, cut to this size, ends with a whole record."""
    return size in {place + 7 + length for place, length, _ in records_of(log.read_bytes())}


def test_a_tail_of_garbage_takes_nothing_along(bench: Bench, tmp_path: Path) -> None:
    """Less than a header is dropped. What might be a damaged record is refused, and nothing is changed."""
    torn = tear(bench, 1)
    chance = random.Random(3)
    for length in (1, 3, 6, 7, 20, 300, 40_000):
        folder = copy_folder(torn.folder, tmp_path / "garbage")
        log = the_log(folder)
        cut(log, torn.synced)
        with log.open("ab") as file:
            file.write(chance.randbytes(length))
        if length < 7:
            check_opens(folder, {torn.acknowledged})
            continue
        with pytest.raises(Corruption, match=rf"{log.name} is damaged at byte {torn.synced}"):
            Ledger.open(folder)
        assert log.stat().st_size == torn.synced + length


def test_a_torn_log_that_is_not_the_last_is_refused(bench: Bench, tmp_path: Path) -> None:
    torn = tear(bench, 1)
    log = the_log(torn.folder)
    shutil.copy(log, log.with_name("999999.log"))
    cut(log, torn.written - 10)
    with pytest.raises(Corruption, match=rf"{log.name} is damaged at byte {torn.synced}"):
        Ledger.open(torn.folder)


# --- damage in the write-ahead log ---------------------------------------------------------------------------------


def records_of(log: bytes | bytearray) -> list[tuple[int, int, int]]:
    """Place, length and type of each record."""
    found, place = [], 0
    while place + 7 <= len(log):
        if BLOCK_BYTES - place % BLOCK_BYTES < 7:
            place += BLOCK_BYTES - place % BLOCK_BYTES
            continue
        _, length, kind = struct.unpack_from("<IHB", log, place)
        found.append((place, length, kind))
        place += 7 + length
    return found


def damaged_log(bench: Bench) -> Path:
    """A folder whose log has single writes before and after a batch of several blocks. The last block has many."""
    for number in range(30):
        bench.ledger.put(f"key {number}", b"value" * number)
    bench.ledger.put_many([(f"batch {number}", b"value" * 60) for number in range(300)])
    for number in range(30):
        bench.ledger.put(f"key {number}", b"other" * number)
    return bench.copy()


def refuses(folder: Path, position: int, bit: int, scratch: Path) -> None:
    shutil.rmtree(scratch, ignore_errors=True)
    shutil.copytree(folder / STORE, scratch)
    (log,) = (log for log in logs_of(scratch) if log.stat().st_size)
    flip(log, position, bit)
    with pytest.raises(Corruption) as refused:
        RocksStore(scratch)
    assert str(scratch) in refused.value.message
    assert refused.value.hint


def test_a_flipped_bit_anywhere_in_the_log_is_refused(bench: Bench, tmp_path: Path) -> None:
    folder = damaged_log(bench)
    log = the_log(folder).read_bytes()
    records = records_of(log)
    assert {kind for _, _, kind in records} == {1, 2, 3, 4}
    chance = random.Random(2)
    last_block = len(log) // BLOCK_BYTES * BLOCK_BYTES
    in_last_block = [record for record in records if record[0] >= last_block]
    chosen = [records[0], records[1], records[-1], *chance.sample(records, 5), *chance.sample(in_last_block, 5)]
    for place, length, _ in chosen:
        for header in range(7):
            refuses(folder, place + header, chance.randrange(8), tmp_path / "flipped")
        refuses(folder, place + 7 + chance.randrange(length), chance.randrange(8), tmp_path / "flipped")
    for place, _, _ in records[-2:]:
        for bit in range(8):  # the length and the type, which no sum is checked before
            for header in (4, 5, 6):
                refuses(folder, place + header, bit, tmp_path / "flipped")


@pytest.mark.soak
def test_every_flipped_bit_of_many_records_is_refused(bench: Bench, tmp_path: Path) -> None:
    folder = damaged_log(bench)
    records = records_of(the_log(folder).read_bytes())
    for place, length, _ in (records[0], records[1], records[31], records[33], records[-3], records[-1]):
        for position in {*range(place, place + 30), place + 6 + length}:
            for bit in range(8):
                refuses(folder, position, bit, tmp_path / "flipped")


def test_a_ledger_with_a_damaged_log_is_left_as_it_was(bench: Bench) -> None:
    folder = damaged_log(bench)
    log = the_log(folder)
    records = records_of(log.read_bytes())
    flip(log, records[-2][0] + 5, 2)
    damaged = log.read_bytes()
    for _ in range(2):
        with pytest.raises(Corruption, match=rf"{log.name} is damaged at byte {records[-2][0]}: .*(length|longer)"):
            Ledger.open(folder)
        assert log.read_bytes() == damaged
    flip(log, records[-2][0] + 5, 2)
    with Ledger.open(folder) as ledger:
        assert ledger.size == bench.ledger.size
        assert ledger.verify().ok


PAGE_BYTES = 4096


def zero_page(log: Path, page: int) -> None:
    with log.open("r+b") as file:
        size = file.seek(0, 2)
        file.seek(page)
        file.write(bytes(min(PAGE_BYTES, size - page)))


@pytest.mark.parametrize("durability", ["full", "relaxed"])
def test_a_page_that_is_gone_before_later_writes_is_refused(tmp_path: Path, durability: str) -> None:
    """The engine skips zeros to the end of their block, and goes on with what comes after."""
    bench = Bench(tmp_path, durability=durability)
    folder = damaged_log(bench)
    bench.ledger.close()
    log = the_log(folder)
    last = records_of(log.read_bytes())[-1][0]
    pages = range(0, last - PAGE_BYTES, PAGE_BYTES)
    for page in (*pages[:4], *pages[4:-4:4], *pages[-4:]):
        gone = copy_folder(folder, tmp_path / "gone")
        zero_page(the_log(gone), page)
        with pytest.raises(Corruption) as refused:
            Ledger.open(gone)
        assert str(gone) in refused.value.message


def test_a_page_that_was_never_written_is_dropped_with_its_batch(bench: Bench, tmp_path: Path) -> None:
    """The pages of a write that is not synced reach the disk in any order. Their places read as zeros."""
    torn = tear(bench, 600)
    first_page = -(-torn.synced // PAGE_BYTES) * PAGE_BYTES  # the page before holds what was synced too
    pages = list(range(first_page, torn.written, PAGE_BYTES))
    chance = random.Random(5)
    losses = [[page] for page in (*pages[:3], *chance.sample(pages, 5), pages[-2], pages[-1])]
    losses += [chance.sample(pages, len(pages) // 2), pages, pages[3:20]]
    for lost in losses:
        folder = copy_folder(torn.folder, tmp_path / "torn")
        for page in lost:
            zero_page(the_log(folder), page)
        if torn.written - lost[0] >= 512:  # what is shorter could be damage
            check_opens(folder, {torn.acknowledged})


def test_a_write_of_which_only_the_beginning_reached_the_disk_is_dropped(bench: Bench) -> None:
    """The file is longer than its last record, and all of that record but its first page reads as zeros."""
    torn = tear(bench, 40)
    log = the_log(torn.folder)
    cut(log, -(-torn.synced // PAGE_BYTES) * PAGE_BYTES)
    cut(log, torn.written + 2 * PAGE_BYTES)
    assert check_opens(torn.folder, {torn.acknowledged}) == torn.acknowledged


def test_pages_of_zeros_that_were_written_are_kept(bench: Bench) -> None:
    for number in range(3):
        bench.ledger.put_many([(f"zeros {number} {place}", bytes(INLINE_MAX)) for place in range(30)])
        folder = bench.lose_power()
        with Ledger.open(folder) as survivor:
            assert survivor.size == bench.ledger.size
            assert survivor.verify().ok
    damaged = bench.copy()
    flip(the_log(damaged), records_of(the_log(damaged).read_bytes())[-1][0] + 5, 1)
    with pytest.raises(Corruption):
        Ledger.open(damaged)


def test_a_damaged_length_in_the_manifest_is_refused(bench: Bench) -> None:
    folder = bench.copy()
    manifest = folder / STORE / (folder / STORE / "CURRENT").read_text().strip()
    place = records_of(manifest.read_bytes())[-1][0]
    flip(manifest, place + 5, 0)
    with pytest.raises(Corruption, match=rf"{manifest.name} is damaged at byte {place}"):
        Ledger.open(folder)


# --- damage in the tables ------------------------------------------------------------------------------------------


def test_a_flipped_bit_in_a_table_is_found(tmp_path: Path) -> None:
    with Ledger.open(tmp_path / "ledger") as ledger:
        for round_ in range(3):
            ledger.put_many([(f"key {number}", f"{round_} {number}" * 20) for number in range(600)])
    chance = random.Random(4)
    files = [file.name for file in (tmp_path / "ledger" / STORE).glob("*.sst")]
    assert len(files) >= 5
    for name in files:
        for _ in range(4):
            folder = copy_folder(tmp_path / "ledger", tmp_path / "damaged")
            file = folder / STORE / name
            flip(file, chance.randrange(file.stat().st_size // 2), chance.randrange(8))  # its data come first
            try:
                with Ledger.open(folder) as damaged:
                    report = damaged.verify()
            except Corruption:
                continue
            assert not report.ok
            assert any(name in problem.what for problem in report.problems), report.problems


# --- the head ------------------------------------------------------------------------------------------------------


def slots_of(head: Path) -> list[bytes]:
    content = head.read_bytes().ljust(2 * Head.SLOT_BYTES, b"\0")
    return [content[: Head.SLOT_BYTES], content[Head.SLOT_BYTES :]]


def newest_slot(head: Path) -> int:
    sizes = [Checkpoint.parse(slot.rstrip(b"\0").decode()).size for slot in slots_of(head)]
    return sizes.index(max(sizes))


@pytest.fixture
def signed(tmp_path: Path) -> Path:
    """A closed ledger that has signed sizes 1, 2 and 3."""
    with Ledger.open(tmp_path / "signed", name="a/ledger") as ledger:
        for number in range(3):
            ledger.put(f"key {number}", "value")
            ledger.checkpoint()
    return tmp_path / "signed"


def test_an_old_copy_under_a_newer_head_is_refused(signed: Path, tmp_path: Path) -> None:
    old = copy_folder(signed, tmp_path / "old")
    with Ledger.open(signed) as ledger:
        ledger.put("newer", "value")
        ledger.checkpoint()
    shutil.copy(signed / HEAD, old / HEAD)
    for _ in range(2):
        with pytest.raises(Corruption, match="has 3 entries, but once signed a checkpoint of 4") as refused:
            Ledger.open(old)
        assert "restore" in refused.value.hint
    with Ledger.open(signed) as ledger:
        assert ledger.size == 4


def test_an_old_log_under_a_newer_head_is_refused(bench: Bench) -> None:
    bench.ledger.put("old", "value")
    old = bench.copy()
    bench.ledger.put("newer", "value")
    bench.ledger.checkpoint()
    newer = bench.copy()
    shutil.copy(the_log(old), the_log(newer))
    with pytest.raises(Corruption, match="once signed a checkpoint of 2"):
        Ledger.open(newer)


def test_a_torn_slot_leaves_the_other(signed: Path) -> None:
    head = signed / HEAD
    content = head.read_bytes()
    newest = newest_slot(head) * Head.SLOT_BYTES
    for torn in (0, 1, 50, 100, 150, 512):
        damaged = bytearray(content)
        damaged[newest + torn : newest + Head.SLOT_BYTES] = bytes(Head.SLOT_BYTES - torn)
        head.write_bytes(damaged)
        with Ledger.open(signed) as ledger:
            assert ledger.size == 3
            recorded = ledger._signing.head.checkpoint.size
            assert recorded == (3 if content[newest + torn : newest + Head.SLOT_BYTES].count(0) == 2048 - torn else 2)
            assert ledger.checkpoint().size == 3
        assert head.read_bytes() == content, "the torn slot was the next to be written"


def test_a_slot_torn_between_two_checkpoints_does_not_count(signed: Path) -> None:
    """Its text can be read, and only the signature tells that nobody ever signed it."""
    head = signed / HEAD
    slots = slots_of(head)
    newest = newest_slot(head)
    lines = slots[newest].split(b"\n")
    slots[newest] = b"\n".join([lines[0], b"9", *lines[2:]])[: Head.SLOT_BYTES].ljust(Head.SLOT_BYTES, b"\0")
    assert Checkpoint.parse(slots[newest].rstrip(b"\0").decode()).size == 9
    head.write_bytes(b"".join(slots))
    with Ledger.open(signed) as ledger:
        assert ledger.checkpoint().size == 3


def test_a_crash_in_the_very_first_record_of_a_head_is_harmless(tmp_path: Path) -> None:
    with Ledger.open(tmp_path / "ledger") as ledger:
        ledger.put("key", "value")
        empty = (tmp_path / "ledger" / HEAD).read_bytes()
        ledger.checkpoint()
        written = (tmp_path / "ledger" / HEAD).read_bytes()
    assert len(empty) < len(written)
    for size in (len(empty), len(empty) + 1, len(empty) + 100, len(written) - 1):
        (tmp_path / "ledger" / HEAD).write_bytes(written[:size])
        with Ledger.open(tmp_path / "ledger") as ledger:
            assert ledger.checkpoint().size == 1


def damage_both(head: Path) -> None:
    for slot in range(2):
        flip(head, slot * Head.SLOT_BYTES + 12, 3)


def take_from_another(head: Path) -> None:
    signer = Signer.generate("a/ledger")
    head.write_bytes(Head.slot(sign_checkpoint(signer, 1, bytes(32))) * 2)


@pytest.mark.parametrize(
    ("damage", "message"),
    [
        (damage_both, "holds no checkpoint by this ledger's key"),
        (take_from_another, "holds no checkpoint by this ledger's key"),
        (partial(cut, size=0), "holds no checkpoint by this ledger's key"),
        (lambda head: head.write_bytes(bytes(2 * Head.SLOT_BYTES)), "holds no checkpoint by this ledger's key"),
        (lambda head: head.unlink(), "head is missing"),
    ],
    ids=["both slots", "another key", "empty", "zeros", "missing"],
)
def test_a_head_that_cannot_be_believed_is_refused(signed: Path, damage: partial[None], message: str) -> None:
    damage(signed / HEAD)
    with pytest.raises(Corruption, match=message) as refused:
        Ledger.open(signed)
    assert str(signed / HEAD) in refused.value.message
    assert "old copy" in refused.value.hint


def test_another_root_than_the_signed_one_is_refused(signed: Path) -> None:
    signer = Signer.parse((signed / KEY).read_text().strip())
    (signed / HEAD).write_bytes(Head.slot(sign_checkpoint(signer, 2, bytes(32))))
    with pytest.raises(Corruption, match="root at 2 entries is not the one that it once signed"):
        Ledger.open(signed)
