"""Serves a real ledger from a thread of this process, over a real socket, as a node does."""

from __future__ import annotations

import asyncio
import threading
from contextlib import contextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, TypeVar
from urllib.request import urlopen

import uvicorn
import uvloop

from scribe_ledger.archive.archiver import Archiver, ArchiveSettings
from scribe_ledger.config import Config
from scribe_ledger.http.application import Application
from scribe_ledger.http.lane import make_lane
from scribe_ledger.http.metrics import Metrics
from scribe_ledger.http.service import Service
from scribe_ledger.ledger.folder import system_clock
from scribe_ledger.ledger.served import ServedLedger

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping
    from pathlib import Path

    from tests.http.membership import FakeCluster

_T = TypeVar("_T")


@dataclass
class Served:
    """A running server. Its service belongs to the loop of the server's thread: use ``loop`` to reach it."""

    host: str
    port: int
    ledger: ServedLedger
    service: Service
    loop: asyncio.AbstractEventLoop
    server: uvicorn.Server

    def call(self, function: Callable[[], _T]) -> _T:
        """In the server's loop."""

        async def run() -> _T:
            return function()

        return asyncio.run_coroutine_threadsafe(run(), self.loop).result(20)

    def settle(self, *, full: bool = False) -> None:
        """Until the server has seen all that was sent; ``full``: and can send no more to somebody."""
        for _ in range(2):  # what came on other connections before is read before
            urlopen(f"{self.url}/health/live", timeout=20).read()
        while full and not self.call(lambda: any(one.flow.write_paused for one in self._connections())):
            pass

    def sweep(self, seconds: int) -> None:
        """As if so much time had passed."""
        for _ in range(seconds):
            self.call(lambda: self._connections()[0].sweep(self._connections()))

    def connections(self) -> int:
        """How many are open and were not aborted."""
        return self.call(lambda: sum(not one.transport.is_closing() for one in self._connections()))

    def _connections(self) -> list[Any]:
        return list(self.server.server_state.connections)

    @property
    def url(self) -> str:
        return f"http://{self.host}:{self.port}"


@contextmanager
def serve(
    path: Path,
    *,
    lane: bool = True,
    clock: Callable[[], int] = system_clock,
    settings: Mapping[str, Any] | None = None,
    cluster: Callable[[ServedLedger], FakeCluster] | None = None,
    **options: Any,
) -> Iterator[Served]:
    """``settings`` are like ``{"api.max_batch_size": 10}``; ``options`` go to ``Ledger.open``.

    ``cluster`` makes the node a member, and is called in its loop. Nothing is archived but by ``POST /v1/archive``.
    """
    config = Config.load(None, environ={}, overrides=dict(settings or {}))
    options = {"max_cache_size": 0, "inline_max": config.storage.inline_max, **options}
    with ServedLedger.open(path, clock=clock, **options) as ledger:
        ready = threading.Event()
        found: list[Served | BaseException] = []
        stop: list[Callable[[], object]] = []

        async def run() -> None:
            archiver = Archiver(ledger, ArchiveSettings.of(config))
            member = None if cluster is None else cluster(ledger)
            metrics = Metrics(config.metrics.latency_buckets)
            service = Service(ledger, config, metrics, archiver=archiver, cluster=member)
            server = uvicorn.Server(
                uvicorn.Config(
                    Application(service),
                    port=0,
                    http=make_lane(service) if lane else "httptools",
                    ws="none",
                    lifespan="off",
                    log_config=None,
                    access_log=False,
                    server_header=False,
                    date_header=False,
                    timeout_graceful_shutdown=5,
                )
            )
            server.capture_signals = _no_signals  # type: ignore[method-assign]
            serving = asyncio.create_task(server.serve())
            while not server.started and not serving.done():  # noqa: ASYNC110  # uvicorn tells nobody
                await asyncio.sleep(0.001)
            host, port = server.servers[0].sockets[0].getsockname()[:2]
            loop = asyncio.get_running_loop()

            def end() -> None:
                archiver.stop()
                service.drain()
                server.should_exit = True

            stop.append(lambda: loop.call_soon_threadsafe(end))
            found.append(Served(host, port, ledger, service, loop, server))
            ready.set()
            await serving
            await service.close()

        def work() -> None:
            try:
                uvloop.run(run())
            except BaseException as error:  # the test's thread raises it
                found.append(error)
            finally:
                ready.set()

        thread = threading.Thread(target=work, name="served")
        thread.start()
        ready.wait()
        served = found[0]
        if isinstance(served, BaseException):
            thread.join()
            raise served
        try:
            yield served
        finally:
            stop[0]()
            thread.join()
        if isinstance(found[-1], BaseException):
            raise found[-1]


@contextmanager
def _no_signals() -> Iterator[None]:
    """This is not the main thread."""
    yield
