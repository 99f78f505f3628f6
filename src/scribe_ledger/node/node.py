"""``run_node``: one node from its settings to its end. It puts the parts together, and owns their order.

Up: refusals, port, log, object store, ledger, and then what ``serving`` has. Down, in reverse: the last sync, the
ledger closed, the log flushed. A member of a cluster takes ``member_node``'s way from the log on.
"""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING

import structlog

from scribe_ledger.node.listening import Listener, listen
from scribe_ledger.node.logging import Logs, start_logging
from scribe_ledger.node.opening import open_ledger, open_store
from scribe_ledger.node.refusals import check_may_start, is_member
from scribe_ledger.node.restoring import restored_or_there
from scribe_ledger.node.serving import Serving
from scribe_ledger.node.stopping import StopSignals

if TYPE_CHECKING:
    from scribe_ledger.config import Config
    from scribe_ledger.ledger.served import ServedLedger

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
        in_cluster = is_member(config, bootstrap=bootstrap)
        if in_cluster:
            listen(config.listen_host, config.raft_port, setting="[network] raft_port").close()
        logs = start_logging(config.logging)
        try:
            if in_cluster:
                from scribe_ledger.node.member_node import run_member

                run_member(config, listener, logs, signals, bootstrap=bootstrap)
                log.info("stopped")
            elif restored_or_there(config, signals):
                with open_store(config) as store, open_ledger(config, store) as ledger:
                    _run(config, ledger, listener, logs, signals)
                log.info("stopped")
        finally:
            logs.close()


def _run(config: Config, ledger: ServedLedger, listener: Listener, logs: Logs, signals: StopSignals) -> None:
    import uvloop

    async def serve() -> None:
        await Serving(config, ledger, listener, logs, signals).run(listener.sockets)

    with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        runner.run(serve())


def _with_port(config: Config, port: int) -> Config:
    """The settings with the port that was really taken, for all who tell it to others."""
    if port == config.client_port:
        return config
    return config.model_copy(update={"network": config.network.model_copy(update={"client_port": port})})
