"""``Load``: clients of a cluster that write and read all the time, and remember what they were told.

They are the shipped clients, with all URLs and with request ids. What they saw is a history for
``tests.linearizability``; what was acknowledged must be in every node's log at the end, where its receipt said.

A key is used for a while only: a node recognises a retry among a key's last 16 versions, so that no key may have more
writes than that, and short histories are quickly checked.
"""

from __future__ import annotations

import random
import threading
import time
from typing import TYPE_CHECKING, NamedTuple, Self

from tests.linearizability import Operation, check

from scribe_ledger.client import Client
from scribe_ledger.errors import NotFound, OutcomeUnknown, PreconditionFailed, ScribeError

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from scribe_ledger.model import Receipt

KEYS_AT_ONCE = 4
WRITES_OF_A_KEY = 12
PAUSE_SECONDS = 0.004


class Acknowledged(NamedTuple):
    """What a receipt promised."""

    key: bytes
    value: bytes | None
    version: int


class Load:
    """Runs from ``with`` to its end; ``stop`` ends it earlier. ``step`` waits until it got so much further."""

    def __init__(
        self,
        urls: Sequence[str],
        *,
        name: str = "load",
        clients: int = 6,
        seed: int = 1,
        timeout: float = 3.0,
        deadline: float = 60.0,
    ) -> None:
        self.history: list[Operation] = []
        self.acknowledged: dict[int, Acknowledged] = {}
        self.failures: list[str] = []
        """What the client gave up, though it repeats; with a quorum there should be none."""
        self.slowest = 0.0
        self._name, self._urls = name, list(urls)
        self._timeout, self._deadline = timeout, deadline
        self._lock = threading.Lock()
        self._stopped = threading.Event()
        self._generation = 0
        self._writes: dict[bytes, int] = {}
        self._errors: list[BaseException] = []
        self._threads = [
            threading.Thread(
                target=self._run, args=(number, random.Random(f"{seed}/{number}")), name=f"client-{number}"
            )
            for number in range(clients)
        ]

    def __enter__(self) -> Self:
        for thread in self._threads:
            thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self.stop()

    def stop(self) -> None:
        self._stopped.set()
        for thread in self._threads:
            thread.join(self._deadline + 30)
        assert not any(thread.is_alive() for thread in self._threads), "a client hangs"
        if self._errors:
            raise self._errors[0]

    def step(self, count: int = 60, *, seconds: float = 30.0) -> None:
        """Returns when that many more operations succeeded."""
        goal, until = self.done + count, time.monotonic() + seconds
        while self.done < goal and not self._errors:
            assert time.monotonic() < until, f"only {count - goal + self.done} of {count} operations in {seconds:g} s"
            time.sleep(0.01)

    @property
    def done(self) -> int:
        return len(self.history)

    def check(self) -> None:
        """What clients saw has an order that explains it."""
        verdict = check(self.history)
        assert verdict, f"{verdict.result}: key {verdict.key!r}\n{verdict.report}"

    # --- one client --------------------------------------------------------------------------------------------

    def _run(self, number: int, chance: random.Random) -> None:
        first = number % len(self._urls)
        urls = self._urls[first:] + self._urls[:first]
        try:
            with Client(urls, timeout=self._timeout, deadline=self._deadline, connect_timeout=2.0) as client:
                count = 0
                while not self._stopped.is_set():
                    count += 1
                    self._operate(client, f"{number}/{count}", chance)
                    time.sleep(PAUSE_SECONDS * chance.random())
        except BaseException as error:
            self._errors.append(error)

    def _operate(self, client: Client, label: str, chance: random.Random) -> None:
        key, value, kind = self._choose(chance), f"{self._name}/{label}".encode(), chance.random()
        request = f"{self._name}/{label}/{chance.getrandbits(64):x}"
        if kind < 0.42:
            self._read(client, key, label, with_version=chance.random() < 0.25)
        elif kind < 0.50:
            self._write("delete", key, None, label, request, lambda: client.delete(key, request_id=request))
        elif kind < 0.65:
            version = chance.randrange(0, 6)
            put = Operation("put", key, 0, None, if_version=version)
            self._write(
                "put",
                key,
                value,
                label,
                request,
                lambda: client.put(key, value, request_id=request, if_version=version),
                like=put,
            )
        else:
            self._write("put", key, value, label, request, lambda: client.put(key, value, request_id=request))

    def _choose(self, chance: random.Random) -> bytes:
        with self._lock:
            keys = [f"{self._name}/{self._generation}/{number}".encode() for number in range(KEYS_AT_ONCE)]
            key = chance.choice(keys)
            self._writes[key] = self._writes.get(key, 0) + 1
            if self._writes[key] >= WRITES_OF_A_KEY:
                self._generation += 1
            return key

    def _read(self, client: Client, key: bytes, label: str, *, with_version: bool) -> None:
        called = time.monotonic()
        value: bytes | None
        version: int | None = None
        try:
            if with_version:
                entry = client.entry(key)
                value = None if entry is None or entry.deleted else entry.value
                version = 0 if entry is None else entry.version
            else:
                value = client.get(key)
        except ScribeError as error:
            self._failed("get", key, label, error)
            return
        self._note(Operation("get", key, called, time.monotonic(), value=value, version=version, client=label))

    def _write(
        self,
        kind: str,
        key: bytes,
        value: bytes | None,
        label: str,
        request: str,
        send: Callable[[], Receipt],
        *,
        like: Operation | None = None,
    ) -> None:
        called = time.monotonic()
        base = like or Operation("put" if kind == "put" else "delete", key, 0, None)
        base = base._replace(called=called, value=value, request=request, client=label)
        try:
            receipt = send()
        except (PreconditionFailed, NotFound):
            self._note(base._replace(returned=time.monotonic(), outcome="refused"))
        except OutcomeUnknown as error:
            self._failed(kind, key, label, error)
            self._note(base._replace(outcome="unknown"))
        except ScribeError as error:  # certainly without effect
            self._failed(kind, key, label, error)
        else:
            self._note(base._replace(returned=time.monotonic(), version=receipt.version))
            with self._lock:
                self.acknowledged[receipt.index] = Acknowledged(key, value, receipt.version)

    def _note(self, operation: Operation) -> None:
        with self._lock:
            self.history.append(operation)
            if operation.returned is not None:
                self.slowest = max(self.slowest, operation.returned - operation.called)

    def _failed(self, kind: str, key: bytes, label: str, error: ScribeError) -> None:
        with self._lock:
            self.failures.append(f"{label} {kind} {key.decode()}: {type(error).__name__}: {error}")
