"""``run_member``: a node that belongs to a cluster, from its settings to its end.

Up: who this node is (with the lock of its folder), an installation that was begun, the Raft port, the way into a
cluster, the ledger, Raft's log, the member, and then what ``serving`` has. While it finds its cluster, ``waiting_room``
answers on the HTTP port. Down, in reverse: leadership handed over first, so that requests that are still open are
finished.

After a full snapshot everything begins again in this process, on the same ports: ``run_member`` is a loop.
"""

from __future__ import annotations

import asyncio
from contextlib import AsyncExitStack, closing, contextmanager
from random import Random
from typing import TYPE_CHECKING, TypeVar

import structlog

from scribe_ledger.consensus.cosigning import NODE_HEAD, NodeHead
from scribe_ledger.consensus.formation.forming import Founded
from scribe_ledger.consensus.formation.identity import NodeIdentity
from scribe_ledger.consensus.formation.joining import Joined
from scribe_ledger.consensus.log.files import FileLog
from scribe_ledger.consensus.membership import Membership
from scribe_ledger.consensus.snapshots.installing import Refused, finish_installation, install_incremental
from scribe_ledger.consensus.transport import Auth, Me, Transport
from scribe_ledger.ledger.folder import system_clock
from scribe_ledger.ledger.served import MemberLedger
from scribe_ledger.merkle.note import Verifier
from scribe_ledger.node.exposure import exposure
from scribe_ledger.node.forming import check_not_being_rescued, find_cluster, found, join_folder
from scribe_ledger.node.opening import copies_of, open_ledger, open_store
from scribe_ledger.node.own_record import check_is_meant
from scribe_ledger.node.running_member import RunningMember
from scribe_ledger.node.switchboard import Switchboard
from scribe_ledger.node.waiting_room import WaitingRoom

if TYPE_CHECKING:
    from collections.abc import Coroutine, Iterator

    from scribe_ledger.config import Config
    from scribe_ledger.consensus.membership import MemberInfo
    from scribe_ledger.ledger.served import ServedLedger
    from scribe_ledger.node.listening import Listener
    from scribe_ledger.node.logging import Logs
    from scribe_ledger.node.stopping import StopSignals
    from scribe_ledger.objects.store import ObjectStore

_T = TypeVar("_T")
RAFT_LOG = "raft"
"""The folder of Raft's log, within the data folder."""
SIGNAL_SECONDS = 0.05
"""Between two looks whether the node was asked to stop, while it waits for others."""
log = structlog.get_logger("scribe.cluster")


def run_member(config: Config, listener: Listener, logs: Logs, signals: StopSignals, *, bootstrap: bool) -> None:
    """Serves until a signal asks it to stop."""
    import uvloop

    for warning in config.member_warnings:  # before the way into a cluster, which they may explain
        log.warning(warning)
    if warning := exposure(config):
        log.warning(warning)
    with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        while True:
            node = MemberNode(config, listener, logs, signals, bootstrap=bootstrap)
            runner.run(node.run())
            if not node.begins_again or signals.asked:
                return


class MemberNode:
    """One life of a member's node."""

    def __init__(
        self, config: Config, listener: Listener, logs: Logs, signals: StopSignals, *, bootstrap: bool
    ) -> None:
        self._config = config
        self._listener = listener
        self._logs = logs
        self._signals = signals
        self._bootstrap = bootstrap
        self._acquaintances: tuple[MemberInfo, ...] = ()
        self.begins_again = False
        """Whether it ended only to begin anew, with a ledger that was fetched."""

    async def run(self) -> None:
        config = self._config
        check_not_being_rescued(config.data_dir)
        async with AsyncExitStack() as parts:
            identity = parts.enter_context(closing(NodeIdentity.load_or_create(config.data_dir)))
            await asyncio.to_thread(self._finish_installation, identity)
            switchboard = Switchboard()
            transport = Transport(
                lambda: Me(identity.raft_id, identity.cluster_id, config.node.id),
                Auth.of(config.cluster),
                switchboard,
                insecure=config.network.insecure,
            )
            parts.push_async_callback(transport.close)
            await transport.listen(config.listen_host, config.raft_port)
            store = parts.enter_context(open_store(config, late=True))  # it may be known, and not be mounted
            room = WaitingRoom(config.node.id)
            await room.open(self._listener.sockets)
            parts.push_async_callback(room.close)
            ledger = await self._ledger_of(identity, transport, switchboard, store, room)
            if ledger is None:
                return  # it was asked to stop before it found a cluster
            await parts.enter_async_context(_closing(ledger))
            await asyncio.to_thread(self._take_what_is_ready, ledger)
            if not config.is_cluster_member(self._bootstrap):
                check_is_meant(config, identity.raft_id, _record_of(ledger))
            is_new = not (config.data_dir / RAFT_LOG).exists()
            head = parts.enter_context(closing(_node_head(config, identity, ledger, create=is_new)))
            raft_log = parts.enter_context(closing(FileLog(config.data_dir / RAFT_LOG)))
            running = RunningMember(
                config,
                self._listener,
                self._logs,
                self._signals,
                identity,
                ledger,
                raft_log,
                head,
                self._acquaintances,
                transport,
                switchboard,
            )
            await room.close()
            self.begins_again = await running.run()

    def _finish_installation(self, identity: NodeIdentity) -> None:
        with _without_what_is_bad():
            installed = finish_installation(self._config.data_dir, copies_of())
            if installed is not None:
                log.info("a full snapshot is installed", position=installed.position, entries=installed.size)

    def _take_what_is_ready(self, ledger: ServedLedger) -> None:
        with _without_what_is_bad():
            install_incremental(ledger.state_machine, self._config.data_dir)

    async def _ledger_of(
        self,
        identity: NodeIdentity,
        transport: Transport,
        switchboard: Switchboard,
        store: ObjectStore | str,
        room: WaitingRoom,
    ) -> ServedLedger | None:
        """The ledger of this member, after it has become one."""
        config = self._config
        outcome = await self._until_stopped(
            find_cluster(
                config,
                identity,
                transport,
                switchboard,
                store,
                Random(),
                bootstrap=self._bootstrap,
                on_waiting=room.say,
            )
        )
        if outcome is None:
            return None
        if isinstance(outcome, Joined):
            self._acquaintances = outcome.members
        await asyncio.to_thread(join_folder, config, identity, outcome)
        ledger = await asyncio.to_thread(open_ledger, config, store, MemberLedger)
        try:
            if isinstance(outcome, Founded):
                await asyncio.to_thread(found, config, identity, ledger, awaits=outcome.awaits)
        except BaseException:
            ledger.close()
            raise
        return ledger

    async def _until_stopped(self, work: Coroutine[None, None, _T]) -> _T | None:
        """What the work gives; None if the node was asked to stop meanwhile."""
        task = asyncio.ensure_future(work)
        while not self._signals.asked:
            if (await asyncio.wait([task], timeout=SIGNAL_SECONDS))[0]:
                return task.result()
        task.cancel()
        await asyncio.wait([task])
        return None


class _closing:  # noqa: N801 - as contextlib's
    """Closes a ledger in a thread: it syncs."""

    def __init__(self, ledger: ServedLedger) -> None:
        self._ledger = ledger

    async def __aenter__(self) -> ServedLedger:
        return self._ledger

    async def __aexit__(self, *_: object) -> None:
        await asyncio.to_thread(self._ledger.close)


@contextmanager
def _without_what_is_bad() -> Iterator[None]:
    """A snapshot that is not what it says is no reason not to start: it is gone, and the ledger is as it was."""
    try:
        yield
    except Refused as error:
        log.warning("a snapshot is not what it says: it is removed", error=error.message)


def _record_of(ledger: ServedLedger) -> Membership:
    record = ledger.state_machine.membership
    return Membership.decode(record) if record else Membership(0, 0)


def _node_head(config: Config, identity: NodeIdentity, ledger: ServedLedger, *, create: bool) -> NodeHead:
    return NodeHead(
        config.data_dir / NODE_HEAD,
        identity.key,
        create=create,
        ledger_key=lambda: Verifier.parse(ledger.public_key),
        root_at=ledger.root,
        flush=ledger.state_machine.flush,
        clock=system_clock,
    )
