"""``run_node``: one node from its settings to its end. It puts the parts together, and owns their order.

Up: refusals, port, log, object store, ledger, service, archiver, server. Down, in reverse: no new connections, what was
accepted is finished, the archiver leaves its pass, the last sync, the ledger closed, the log flushed. A background task
that fails takes the node down, and is the error that the node ends with; the object store is not the node, so what
fails there is said in the log and at ``/health``.
"""

from __future__ import annotations

import asyncio
import os
import sys
from contextlib import closing, contextmanager
from typing import TYPE_CHECKING

import structlog

from scribe_ledger.archive.archiver import Archiver, ArchiveSettings
from scribe_ledger.errors import ScribeError
from scribe_ledger.http.metrics import Metrics
from scribe_ledger.http.service import Service, cold_cache_share
from scribe_ledger.ledger.served import ServedLedger
from scribe_ledger.node.archiving import Archiving
from scribe_ledger.node.banner import banner
from scribe_ledger.node.disk import DiskWatch
from scribe_ledger.node.listening import Listener, listen
from scribe_ledger.node.logging import Logs, start_logging
from scribe_ledger.node.refusals import check_may_start
from scribe_ledger.node.restoring import restored_or_there
from scribe_ledger.node.server import NodeServer, connection_limit
from scribe_ledger.node.stopping import StopSignals
from scribe_ledger.node.store_watch import StoreWatch
from scribe_ledger.objects.opening import store_of

if TYPE_CHECKING:
    from collections.abc import Coroutine, Iterator

    from scribe_ledger.config import Config
    from scribe_ledger.objects.store import ObjectStore

log = structlog.get_logger("scribe.node")


def run_node(config: Config, *, port: int | None = None, bootstrap: bool = False) -> None:
    """Serves until a signal asks it to stop. ``port`` overrides the setting, and may be 0: any free one.

    Raises ``ScribeError`` where it cannot start, or ends by a failure.
    """
    signals = StopSignals()
    signals.install()
    check_may_start(config, bootstrap=bootstrap)
    with listen(config.listen_host, config.client_port if port is None else port) as listener:
        config = _with_port(config, listener.port)
        logs = start_logging(config.logging)
        try:
            if not restored_or_there(config, signals):
                return
            with _open_store(config) as store, _open_ledger(config, store) as ledger:
                _run_loop(_Node(config, ledger, listener, logs, signals).serve())
            log.info("stopped")
        finally:
            logs.close()


class _Node:
    """The running parts."""

    def __init__(
        self, config: Config, ledger: ServedLedger, listener: Listener, logs: Logs, signals: StopSignals
    ) -> None:
        self._config = config
        self._ledger = ledger
        self._listener = listener
        self._logs = logs
        self._signals = signals
        self._failure: BaseException | None = None

    async def serve(self) -> None:
        config = self._config
        metrics = Metrics(config.metrics.latency_buckets)
        metrics.log_lines_dropped = lambda: self._logs.writer.dropped
        archiving = Archiving(Archiver(self._ledger, ArchiveSettings.of(config)), self._ledger)
        service = Service(self._ledger, config, metrics, access=self._logs.access, archiver=archiving.archiver)
        self._server = NodeServer(
            service,
            self._signals,
            max_connections=connection_limit(),
            on_started=self._say_started,
            on_stopping=archiving.begin_to_stop,
        )
        disk = DiskWatch(service, config.data_dir, config.storage.disk_reserve)
        store = StoreWatch(service)
        watches: list[asyncio.Task[None]] = []
        try:
            await disk.look()  # before the first write is taken
            await store.begin()
            archiving.start()
            watches = [self._start(disk.run()), self._start(store.run())]
            await self._server.serve(self._listener.sockets)
        finally:
            for watch in watches:
                watch.cancel()
            await archiving.stop()
            await service.close()
        if self._failure is not None:
            raise ScribeError(f"a task in the background failed: {self._failure!r}") from self._failure

    def _start(self, work: Coroutine[None, None, None]) -> asyncio.Task[None]:
        task = asyncio.get_running_loop().create_task(work)
        task.add_done_callback(self._ended)
        return task

    def _ended(self, task: asyncio.Task[None]) -> None:
        if not task.cancelled() and (error := task.exception()) is not None:
            log.error("a task in the background failed: the node stops", exc_info=error)
            self._failure = error
            self._server.should_exit = True

    def _say_started(self) -> None:
        config, url = self._config, self._listener.url
        try:
            sys.stdout.write(banner(config, self._ledger, url))
            sys.stdout.flush()
        except OSError as error:  # nobody reads it; the log says the same
            log.debug("the banner could not be printed", error=str(error))
            os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())  # or it fails again when the process ends
        for warning in config.warnings:
            log.warning(warning)
        if self._ledger.identity.read_only:
            log.warning("this ledger was restored and is read-only: writes are refused until it is promoted")
        elif not config.storage.tiering.enable_auto_archival:
            log.warning("nothing is archived in the background: enable_auto_archival is false")
        if config.storage.durability == "relaxed":
            log.warning("durability is relaxed: a power loss may take writes that were answered")
        log.info(
            "listening",
            url=url,
            node_id=config.node.id,
            data_dir=str(config.data_dir),
            object_store=self._ledger.objects.url,
            origin=self._ledger.origin,
            entries=self._ledger.size,
        )


@contextmanager
def _open_store(config: Config) -> Iterator[ObjectStore | str]:
    """The store that the settings name; where they name none it is the ledger's own, in its folder."""
    if not config.has_explicit_object_store:
        yield ""
        return
    with closing(store_of(config)) as store:
        yield store


def _open_ledger(config: Config, store: ObjectStore | str) -> ServedLedger:
    storage, given = config.storage, config.source
    return ServedLedger.open(
        config.data_dir,
        name=config.node.name,
        # A policy that nobody asked for must not disagree with the one that the ledger has.
        overwrite=None if given("ledger.overwrite") == "default" else config.ledger.overwrite,
        deletes=None if given("ledger.deletes") == "default" else config.ledger.deletes,
        durability=storage.durability,
        flush_interval_ms=storage.flush_interval_ms,
        inline_max=storage.inline_max,
        max_cache_size=0,  # the cache of answers has what row groups of the archive leave
        cache_capacity=0,
        cold_cache_size=cold_cache_share(config),
        object_store=store,
    )


def _with_port(config: Config, port: int) -> Config:
    """The settings with the port that was really taken, for all who tell it to others."""
    if port == config.client_port:
        return config
    return config.model_copy(update={"network": config.network.model_copy(update={"client_port": port})})


def _run_loop(work: Coroutine[None, None, None]) -> None:
    import uvloop

    with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        runner.run(work)
