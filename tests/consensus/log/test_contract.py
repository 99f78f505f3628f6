"""What both kinds of Raft's log promise: the contract of ``LogStore``."""

from __future__ import annotations

import itertools
from typing import TYPE_CHECKING

import pytest

from scribe_ledger.consensus.log.files import FileLog
from scribe_ledger.consensus.log.memory import MemoryLog
from scribe_ledger.consensus.log.store import Contents, LogStore, LogWrite

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

    from scribe_ledger.consensus.log.store import Entry

pytestmark = pytest.mark.consensus


def entries(first: int, last: int, term: int = 1) -> list[Entry]:
    return [(index, term, index % 3, b"data %d" % index, b"context" * (index % 2)) for index in range(first, last + 1)]


@pytest.fixture(params=["files", "small files", "memory"])
def reopen(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Callable[[], tuple[LogStore, Contents]]]:
    """Closes the log of the call before, and loads it again."""
    stores: list[LogStore] = [MemoryLog()] if request.param == "memory" else []
    sizes = {"files": 1 << 20, "small files": 512}

    def again() -> tuple[LogStore, Contents]:
        if stores:
            stores[-1].close()
        if request.param != "memory":
            stores.append(FileLog(tmp_path / "log", segment_bytes=sizes[request.param]))
        return stores[-1], stores[-1].load()

    yield again
    stores[-1].close()


def test_a_new_log_is_empty(reopen: Callable[[], tuple[LogStore, Contents]]) -> None:
    assert reopen()[1] == reopen()[1] == Contents((0, 0), (0, 0, 0), [])


def test_what_was_synced_is_loaded(reopen: Callable[[], tuple[LogStore, Contents]]) -> None:
    log, _ = reopen()
    for first in range(1, 60, 3):
        log.write(LogWrite(entries(first, first + 2), (1, 7, first - 1)))
    log.write(LogWrite(hard_state=(3, 0, 60)))
    log.sync()
    assert reopen()[1] == Contents((0, 0), (3, 0, 60), entries(1, 60))


def test_values_survive_whatever_they_are(reopen: Callable[[], tuple[LogStore, Contents]]) -> None:
    values = [b"", b"\0", bytes(511), bytes(512), bytes(70_000), b"\xff" * 70_000, bytes(600) + b"\x01" * 600, b"x" * 7]
    given = [(index, 2**63, 2, value, value[:600]) for index, value in enumerate(values, 1)]
    log, _ = reopen()
    log.write(LogWrite(given, (2**63, 2**64 - 1, 0)))
    for index, value in enumerate(values, 9):
        log.write(LogWrite([(index, 2**63, 0, value, b"")]))
    log.sync()
    assert reopen()[1].entries == given + [(index, 2**63, 0, value, b"") for index, value in enumerate(values, 9)]


def test_later_entries_supersede_what_was_there_and_all_after_it(
    reopen: Callable[[], tuple[LogStore, Contents]],
) -> None:
    log, _ = reopen()
    log.write(LogWrite(entries(1, 20)))
    log.write(LogWrite(entries(11, 12, 2), (2, 1, 0)))
    log.sync()
    log, contents = reopen()
    assert contents.entries == entries(1, 10) + entries(11, 12, 2)
    log.write(LogWrite(entries(13, 13, 3)))
    log.sync()
    assert reopen()[1].entries == entries(1, 10) + entries(11, 12, 2) + entries(13, 13, 3)


def test_a_reset_forgets_all_entries_and_keeps_the_hard_state(
    reopen: Callable[[], tuple[LogStore, Contents]],
) -> None:
    log, _ = reopen()
    log.write(LogWrite(entries(1, 20), (4, 2, 10)))
    log.write(LogWrite(entries(101, 102, 4), reset=(100, 3)))
    log.sync()
    assert reopen()[1] == Contents((100, 3), (4, 2, 10), entries(101, 102, 4))
    log, _ = reopen()
    log.write(LogWrite((), (5, 0, 500), reset=(500, 5)))
    log.sync()
    assert reopen()[1] == Contents((500, 5), (5, 0, 500), [])


def test_a_cut_is_durable_and_lets_go_of_the_disk(reopen: Callable[[], tuple[LogStore, Contents]]) -> None:
    log, _ = reopen()
    for index in range(1, 101):
        log.write(LogWrite(entries(index, index), (1, 1, index - 1)))
    log.sync()
    before = log.disk_bytes
    log.cut(90, 1)
    assert log.disk_bytes < before or isinstance(log, FileLog)
    log.cut(50, 1)
    log, contents = reopen()
    assert contents == Contents((90, 1), (1, 1, 99), entries(91, 100))
    log.write(LogWrite(entries(96, 110, 2)))
    log.sync()
    log.cut(110, 2)
    assert reopen()[1] == Contents((110, 2), (1, 1, 99), [])
    log, _ = reopen()
    log.write(LogWrite(entries(111, 111, 2)))
    log.sync()
    assert reopen()[1].entries == entries(111, 111, 2)


@pytest.mark.parametrize(
    "write",
    [
        LogWrite(entries(22, 22)),
        LogWrite(entries(5, 6)),
        LogWrite(entries(30, 31), reset=(30, 1)),
        LogWrite(entries(32, 32), reset=(30, 1)),
    ],
    ids=["a gap", "below the cut", "below the reset", "a gap after the reset"],
)
def test_entries_that_do_not_follow_are_refused_before_they_are_written(
    reopen: Callable[[], tuple[LogStore, Contents]], write: LogWrite
) -> None:
    log, _ = reopen()
    log.write(LogWrite(entries(1, 20)))
    log.sync()
    log.cut(5, 1)
    with pytest.raises(ValueError, match="in a log that has"):
        log.write(write)
    log.write(LogWrite(entries(21, 21)))
    log.sync()
    assert reopen()[1].entries == entries(6, 21)


def test_a_crash_of_the_memory_loses_the_unsynced_writes_from_some_on() -> None:
    for keep, first_synced in itertools.product(range(4), (False, True)):
        log = MemoryLog()
        log.load()
        for index in range(1, 4):
            log.write(LogWrite(entries(index, index)))
            if first_synced and index == 1:
                log.sync()
        assert log.unsynced == 3 - first_synced
        log.crash(keep)
        assert log.load().entries == entries(1, min(3, keep + first_synced))
