"""Mixed load for a long time: nothing fails, and memory comes to rest.

`make soak` runs ten minutes; SCRIBE_TEST_SOAK_SECONDS sets another duration. The same test runs for some seconds in the
ordinary suite, so that the long one is known to work.
"""

from __future__ import annotations

import json
import os
import random
import statistics
import threading
import time
from typing import TYPE_CHECKING, Any

import pytest
from tests.node.load import Connection
from tests.running import start_node

from scribe_ledger import Ledger

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from tests.running import RunningNode

pytestmark = [pytest.mark.http, pytest.mark.no_cover]

SOAK_SECONDS = float(os.environ.get("SCRIBE_TEST_SOAK_SECONDS", "600"))
CLIENTS = 8
KEYS = 5000
"""Few enough that caches fill early: what grows after that would grow for ever."""
GROWTH_LIMIT = 1.10
"""Of the last quarter's memory over the second's."""
SETTINGS = {
    "SCRIBE_STORAGE_MAX_CACHE_SIZE": str(8 << 20),
    "SCRIBE_LOGGING_OUTPUT": "file",
    "SCRIBE_LOGGING_ROTATE_BYTES": "1000000",
    "SCRIBE_LOGGING_ROTATE_KEEP": "1",
}


class Mixed:
    """Clients that do a bit of everything, and remember what they were answered."""

    def __init__(self, port: int) -> None:
        self._port = port
        self._enough = threading.Event()
        self.done = 0
        self.unexpected: list[Any] = []
        self.acknowledged: dict[str, int] = {}
        self._threads = [threading.Thread(target=self._run, args=(number,)) for number in range(CLIENTS)]
        for thread in self._threads:
            thread.start()

    def stop(self) -> None:
        self._enough.set()
        for thread in self._threads:
            thread.join()

    def _run(self, number: int) -> None:
        chance = random.Random(number)
        actions: list[Callable[..., None]] = [self._put] * 4 + [self._get] * 8
        actions += [self._delete, self._large, self._read_old, self._nonsense]
        try:
            while not self._enough.is_set():
                with Connection(self._port) as connection:  # a new one now and then
                    for _ in range(chance.randrange(1, 500)):
                        chance.choice(actions)(connection, chance, number)
                        self.done += 1
                        if self._enough.is_set():
                            return
        except OSError as error:
            self.unexpected.append(repr(error))

    def _ask(self, connection: Connection, expected: set[int], *request: Any) -> bytes:
        status, body = connection.request(*request)
        if status not in expected:
            self.unexpected.append((request[:2], status, body[:200]))
        return body

    def _put(self, connection: Connection, chance: random.Random, number: int) -> None:
        key = f"{number}/{chance.randrange(KEYS)}"  # nobody else's
        body = self._ask(connection, {200, 201}, "PUT", f"/{key}", chance.randbytes(chance.randrange(300)))
        self.acknowledged[key] = json.loads(body)["version"]

    def _get(self, connection: Connection, chance: random.Random, _number: int) -> None:
        self._ask(connection, {200, 404}, "GET", f"/{chance.randrange(CLIENTS)}/{chance.randrange(KEYS)}")

    def _delete(self, connection: Connection, chance: random.Random, _number: int) -> None:
        self._ask(connection, {200, 404}, "DELETE", f"/large/{chance.randrange(50)}")

    def _large(self, connection: Connection, chance: random.Random, _number: int) -> None:
        body = chance.randbytes(64) * chance.randrange(1000, 8000)
        self._ask(connection, {200, 201}, "PUT", f"/large/{chance.randrange(50)}", body)

    def _read_old(self, connection: Connection, chance: random.Random, number: int) -> None:
        self._ask(connection, {200, 404}, "GET", f"/{number}/{chance.randrange(KEYS)}?version=1")

    def _nonsense(self, connection: Connection, chance: random.Random, _number: int) -> None:
        self._ask(connection, {400}, "GET", f"/x?nonsense={chance.random()}")


def soak(folder: Path, seconds: float) -> list[int]:
    """The memory over time, one figure each fiftieth of it."""
    env = {**SETTINGS, "SCRIBE_LOGGING_FILE": str(folder / "node.log")}
    with start_node(folder / "data", env=env) as node:
        mixed = Mixed(node.port)
        try:
            memory = _watch(node, seconds)
        finally:
            mixed.stop()
        assert mixed.unexpected == []
        assert mixed.done > 50 * seconds
    with Ledger.open(folder / "data") as ledger:
        for key, version in mixed.acknowledged.items():
            entry = ledger.entry(key)
            assert entry is not None
            assert entry.version == version
        assert ledger.verify().ok
    return memory


def _watch(node: RunningNode, seconds: float) -> list[int]:
    memory = []
    for _ in range(50):
        time.sleep(seconds / 50)
        assert node.process.poll() is None, node.log
        memory.append(node.resident_bytes())
    return memory


def test_a_few_seconds_of_mixed_load(tmp_path: Path) -> None:
    assert max(soak(tmp_path, 5)) < 300 << 20


@pytest.mark.soak
def test_mixed_load_for_long_and_memory_is_flat(tmp_path: Path) -> None:
    memory = soak(tmp_path, SOAK_SECONDS)
    second, last = statistics.median(memory[12:25]), statistics.median(memory[37:])
    print(f"{SOAK_SECONDS:.0f} s, memory MiB: {[size >> 20 for size in memory[::5]]}")
    assert last < second * GROWTH_LIMIT, [size >> 20 for size in memory]
