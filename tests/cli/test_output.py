"""What is shown, and what must never reach a terminal."""

from __future__ import annotations

import io

import pytest
from hypothesis import given
from hypothesis import strategies as st

from scribe_ledger import errors
from scribe_ledger.cli.output import counted, shown, time_of
from scribe_ledger.cli.progress import Progress

pytestmark = pytest.mark.storage


@pytest.mark.parametrize(
    ("raw", "seen"),
    [
        (b"user:alice", "user:alice"),
        ("prénom 名".encode(), "prénom 名"),
        (b"a\\b", "a\\\\b"),
        (b"\xff\xfe", "\\xff\\xfe"),
        (b"a\xc3", "a\\xc3"),
        (b"\x1b[31mred", "\\x1b[31mred"),
        (b"line\nbreak\r\t\x00", "line\\nbreak\\r\\t\\x00"),
        ("\u202egnp.exe".encode(), "\\u202egnp.exe"),
        ("\u009b31m".encode(), "\\x9b31m"),
    ],
)
def test_keys_are_shown_safely(raw: bytes, seen: str) -> None:
    assert shown(raw) == seen


def test_one_is_counted_as_one() -> None:
    assert [counted(number) for number in (0, 1, 12_000)] == ["0 entries", "1 entry", "12,000 entries"]
    assert counted(1, "fault", "faults") == "1 fault"
    assert errors.counted(12_000) == "12000 entries", "as the number stands in JSON and in what is asked again"


@given(st.binary(max_size=20), st.binary(max_size=20))
def test_shown_keys_are_printable_and_stay_distinct(first: bytes, second: bytes) -> None:
    assert shown(first).isprintable()
    assert (shown(first) == shown(second)) == (first == second)


@pytest.mark.parametrize(
    ("timestamp", "seen"),
    [(0, "1970-01-01 00:00:00.000"), (1795227579164, "2026-11-21 02:19:39.164"), ((1 << 64) - 1, str((1 << 64) - 1))],
)
def test_times_are_utc(timestamp: int, seen: str) -> None:
    assert time_of(timestamp) == seen


class Terminal(io.StringIO):
    def isatty(self) -> bool:
        return True


def test_progress_is_drawn_on_a_terminal_and_cleared(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("scribe_ledger.cli.progress.INTERVAL_SECONDS", 0)
    monkeypatch.setattr("sys.stderr", terminal := Terminal())
    with Progress("checking", "entries") as progress:
        progress.update(1500, 3000)
        progress.update(7)
        assert b"".join(progress.through(io.BytesIO(b"value"), 5)) == b"value"
    drawn = terminal.getvalue().split("\r\x1b[K")
    assert "50%  1,500 of 3,000 entries" in drawn[1]
    assert drawn[2] == "checking  7 entries"
    assert "100%" in drawn[3]
    assert drawn[-1] == ""


def test_progress_is_silent_elsewhere(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("scribe_ledger.cli.progress.INTERVAL_SECONDS", 0)
    monkeypatch.setattr("sys.stderr", plain := io.StringIO())
    with Progress("checking", "entries") as progress:
        progress.update(1, 2)
    monkeypatch.setattr("sys.stderr", terminal := Terminal())
    monkeypatch.setattr("sys.stdout", Terminal())
    with Progress("exporting", "entries", output="-") as progress:
        progress.update(1, 2)
    assert plain.getvalue() == terminal.getvalue() == ""
