"""``Serving``: an open ledger, served until it is time to stop. It owns the service and all that runs beside it.

Up: the disk and the store are looked at, the archiver begins, connections are taken. Down, in reverse: no new
connections, what was accepted is finished, the archiver leaves its pass. A background task that fails takes the node
down, and is the error that it ends with; the object store is not the node, so what fails there is said in the log and
at ``/health``.
"""

from __future__ import annotations

import asyncio
import os
import sys
from typing import TYPE_CHECKING

import structlog

from scribe_ledger.archive.archiver import Archiver, ArchiveSettings
from scribe_ledger.errors import ScribeError
from scribe_ledger.http.metrics import Metrics
from scribe_ledger.http.service import Service
from scribe_ledger.node.archiving import Archiving
from scribe_ledger.node.banner import NO_STORE, banner
from scribe_ledger.node.disk import DiskWatch
from scribe_ledger.node.server import NodeServer, connection_limit
from scribe_ledger.node.store_watch import StoreWatch

if TYPE_CHECKING:
    import socket
    from collections.abc import Callable, Coroutine

    from scribe_ledger.config import Config
    from scribe_ledger.ledger.served import ServedLedger
    from scribe_ledger.node.clustering import NodeCluster
    from scribe_ledger.node.listening import Listener
    from scribe_ledger.node.logging import Logs
    from scribe_ledger.node.stopping import StopSignals

log = structlog.get_logger("scribe.node")


class Serving:
    """The running parts. Made in the event loop."""

    def __init__(
        self,
        config: Config,
        ledger: ServedLedger,
        listener: Listener,
        logs: Logs,
        signals: StopSignals,
        *,
        cluster: NodeCluster | None = None,
        on_stopping: Callable[[], object] = lambda: None,
    ) -> None:
        """``on_stopping`` is called when the node begins to stop, while what was accepted is finished."""
        self._config = config
        self._ledger = ledger
        self._listener = listener
        self._cluster = cluster
        self._on_stopping = on_stopping
        self._failure: BaseException | None = None
        metrics = Metrics(config.metrics.latency_buckets)
        metrics.log_lines_dropped = lambda: logs.writer.dropped
        archiver = Archiver(ledger, ArchiveSettings.of(config), leading=cluster, answers=metrics.answered)
        self._archiving = Archiving(archiver, ledger)
        archives = cluster is None or config.has_explicit_object_store
        self._archiver = self._archiving.archiver if archives else None
        self.service = Service(ledger, config, metrics, access=logs.access, archiver=self._archiver, cluster=cluster)
        self._server = NodeServer(
            self.service,
            signals,
            max_connections=connection_limit(),
            on_started=self._say_started,
            on_stopping=self._begin_to_stop,
        )

    async def run(self, sockets: list[socket.socket]) -> None:
        """Returns when the node was asked to stop, and raises what it failed by. It closes the sockets."""
        disk = DiskWatch(self.service, self._config.data_dir, self._config.storage.kept_free)
        store = StoreWatch(self.service, leading=self._cluster, is_named=self._config.has_explicit_object_store)
        watches: list[asyncio.Task[None]] = []
        try:
            await disk.look()  # before the first write is taken
            await store.begin()
            if self._archiver is not None:
                self._archiving.start()
            watches = [self._start(disk.run()), self._start(store.run())]
            if self._failure is None:
                await self._server.serve(sockets)
        finally:
            for watch in watches:
                watch.cancel()
            await self._archiving.stop()
            await self.service.close()
        if self._failure is not None:
            raise ScribeError(f"a task in the background failed: {self._failure}") from self._failure

    def stop(self) -> None:
        """As a signal does."""
        self._server.should_exit = True

    def fail(self, error: BaseException) -> None:
        """Stops, and raises this in the end."""
        log.error("a task in the background failed: the node stops", exc_info=error)
        self._failure = self._failure or error
        self._server.should_exit = True

    def _start(self, work: Coroutine[None, None, None]) -> asyncio.Task[None]:
        task = asyncio.get_running_loop().create_task(work)
        task.add_done_callback(self._ended)
        return task

    def _ended(self, task: asyncio.Task[None]) -> None:
        if not task.cancelled() and (error := task.exception()) is not None:
            self.fail(error)

    def _begin_to_stop(self) -> None:
        self._archiving.begin_to_stop()
        self._on_stopping()

    def _say_started(self) -> None:
        config, url, cluster = self._config, self._listener.url, self._cluster
        try:
            has_no_store = self.service.has_no_store
            sys.stdout.write(banner(config, self._ledger, url, cluster=cluster, has_no_store=has_no_store))
            sys.stdout.flush()
        except OSError as error:  # nobody reads it; the log says the same
            log.debug("the banner could not be printed", error=str(error))
            os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())  # or it fails again when the process ends
        if cluster is None:  # a member said them before it looked for the others
            for warning in config.warnings:
                log.warning(warning)
        for warning in self._warnings():
            log.warning(warning)
        log.info(
            "listening",
            url=url,
            node_id=config.node.id,
            data_dir=str(config.data_dir),
            object_store=NO_STORE if self.service.has_no_store else self._ledger.objects.url,
            origin=self._ledger.origin,
            entries=self._ledger.size,
        )

    def _warnings(self) -> list[str]:
        config, said = self._config, []
        if self._ledger.identity.read_only:
            said.append("this ledger was restored and is read-only: writes are refused until it is promoted")
        elif self._archiver is None:
            why = "the members share no" if self.service.has_no_store else "the settings of this node name no"
            said.append(f"nothing is archived here: {why} object store, and values above inline_max are refused")
        elif not config.storage.tiering.enable_auto_archival:
            said.append("nothing is archived in the background: enable_auto_archival is false")
        if config.storage.durability == "relaxed":
            said.append("durability is relaxed: a power loss may take writes that were answered")
        return said
