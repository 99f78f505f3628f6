"""The queue of lines: bounded, in order, never in anybody's way, and honest about what it lost."""

from __future__ import annotations

import json
import threading
import time
from typing import Any

import pytest

from scribe_ledger.node.logging import AccessLog, LogWriter
from scribe_ledger.node.logging import writer as writer_module
from scribe_ledger.node.logging.lines import render_json
from scribe_ledger.node.logging.writer import CLOSE_SECONDS, MAX_ACCESS_LINES, MAX_LINES, Output

pytestmark = pytest.mark.http


class Collected:
    """A sink that remembers, and that can be made to wait or to fail."""

    def __init__(self) -> None:
        self.open = threading.Event()
        self.open.set()
        self.entered = threading.Event()
        self.failure: OSError | None = None
        self.data = b""
        self.closed = False

    def write(self, data: bytes) -> None:
        self.entered.set()
        self.open.wait(20)
        if self.failure is not None:
            raise self.failure
        self.data += data

    def close(self) -> None:
        self.closed = True

    @property
    def lines(self) -> list[dict[str, Any]]:
        return [json.loads(line) for line in self.data.splitlines()]


def event(level: str = "info", text: str = "x", **fields: Any) -> dict[str, Any]:
    return {"timestamp": time.time(), "level": level, "logger": "scribe.test", "event": text, **fields}


def note(access: AccessLog, path: bytes = b"/k") -> None:
    access.note("GET", path, 200, 1, 0.001, b"id", ("127.0.0.1", 1))


def test_lines_of_both_kinds_keep_their_order_and_all_are_written_at_the_end() -> None:
    sink = Collected()
    writer = LogWriter([Output(sink, render_json)])
    access = AccessLog(writer)
    for number in range(1000):
        writer.put(event(number=number))
        note(access, b"/%d" % number)
    writer.close()
    assert [line.get("number", line.get("path")) for line in sink.lines] == [
        name for number in range(1000) for name in (number, f"/{number}")
    ]
    assert sink.closed
    assert writer.dropped == 0


def test_warnings_are_written_at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(writer_module, "PAUSE_SECONDS", 3600)
    sink = Collected()
    writer = LogWriter([Output(sink, render_json)])
    writer.put(event("info", "waits"))
    writer.put(event("warn", "does not"))
    assert sink.entered.wait(10)
    writer.close()
    assert [line["event"] for line in sink.lines] == ["waits", "does not"]


def test_a_full_queue_drops_requests_first_then_all_and_says_how_many() -> None:
    sink = Collected()
    sink.open.clear()
    writer = LogWriter([Output(sink, render_json)])
    access = AccessLog(writer)
    writer.put(event("error", "first"))
    assert sink.entered.wait(10), "the thread is in the sink now, and takes no more"
    for _ in range(MAX_ACCESS_LINES + 7):
        note(access)
    assert writer.dropped == 7
    for _ in range(MAX_LINES - MAX_ACCESS_LINES + 5):
        writer.put(event())
    assert writer.dropped == 12
    assert len(writer.lines) == MAX_LINES
    sink.open.set()
    writer.close()
    lost = [line for line in sink.lines if line["event"] == "log lines were lost"]
    assert sum(line["lines"] for line in lost) == 12
    assert len(sink.lines) - len(lost) == 1 + MAX_LINES


def test_a_sink_that_takes_nothing_never_holds_up_a_caller_or_the_end() -> None:
    sink = Collected()
    sink.open.clear()
    writer = LogWriter([Output(sink, render_json)])
    writer.put(event("error"))
    assert sink.entered.wait(10)
    slowest = 0.0
    for _ in range(MAX_LINES + 100):
        began = time.thread_time()
        writer.put(event("warn"))
        slowest = max(slowest, time.thread_time() - began)
    assert slowest < 0.05
    began = time.monotonic()
    writer.close()
    assert CLOSE_SECONDS * 0.9 < time.monotonic() - began < CLOSE_SECONDS + 5
    sink.open.set()


def test_a_sink_that_fails_costs_its_lines_and_does_not_stop_the_others(capfd: pytest.CaptureFixture[str]) -> None:
    broken, sound = Collected(), Collected()
    broken.failure = OSError(28, "No space left on device")
    writer = LogWriter([Output(broken, render_json), Output(sound, render_json)])
    for number in range(3):
        writer.put(event("warn", number=number))
        _await(lambda: any(line.get("number") == number for line in sound.lines))  # noqa: B023 - called before the next
    broken.failure = None
    writer.put(event("warn", "there is room again"))
    writer.close()
    assert "there is room again" in [line["event"] for line in broken.lines]
    assert [line["number"] for line in sound.lines if "number" in line] == [0, 1, 2]
    assert writer.dropped >= 3
    assert capfd.readouterr().err.count("No space left on device") == 1, "said once, not for each line"


def test_a_line_that_cannot_be_rendered_does_not_end_the_log(capfd: pytest.CaptureFixture[str]) -> None:
    class Hostile:
        def __str__(self) -> str:
            raise RuntimeError("no text for you")

    sink = Collected()
    writer = LogWriter([Output(sink, render_json)])
    writer.put(event("warn", field=Hostile()))
    _await(lambda: writer.dropped == 1)
    writer.put(event("warn", "still here"))
    writer.close()
    assert "still here" in [line["event"] for line in sink.lines]
    assert "no text for you" in capfd.readouterr().err


def test_many_threads_lose_nothing() -> None:
    sink = Collected()
    writer = LogWriter([Output(sink, render_json)])

    def log(name: int) -> None:
        for number in range(500):
            writer.put(event(name=name, number=number))

    threads = [threading.Thread(target=log, args=(name,)) for name in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    writer.close()
    for name in range(8):
        assert [line["number"] for line in sink.lines if line["name"] == name] == list(range(500))


def _await(condition: Any) -> None:
    deadline = time.monotonic() + 20
    while not condition():
        assert time.monotonic() < deadline
        time.sleep(0.01)
