"""Where other nodes may be: names that the settings give, and what announces itself on the local network.

A source gives addresses, and knows nothing of who is there. A source that fails says so once, and gives nothing until
it works again: a node must be able to wait for its network.
"""

from __future__ import annotations

import asyncio
import ipaddress
import socket
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING, Any, Protocol

import structlog

from scribe_ledger.config.addresses import join_address, split_address

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Awaitable, Callable, Sequence

    from zeroconf.asyncio import AsyncServiceBrowser, AsyncServiceInfo, AsyncZeroconf

    from scribe_ledger.consensus.formation.messages import Standing

SERVICE = "_scribe-ledger._tcp.local."
RESOLVE_SECONDS = 0.3
"""That one look waits for a name. A later one takes what comes later."""
MDNS_SECONDS = 3.0
"""That the local network may take to be joined, or to be told something."""
MAX_FOUND = 256
"""Addresses that one source may give: what answers on a network is not bounded by us."""
log = structlog.get_logger("scribe.cluster")


class Source(Protocol):
    async def addresses(self) -> Sequence[str]:
        """Where nodes may listen for members, ``host:port``."""
        ...

    async def announce(self, standing: Standing) -> None:
        """Lets others know of this node, where the source can. Called again when something has changed."""
        ...

    async def close(self) -> None: ...


class DnsNames:
    """All addresses behind names, looked up anew each time: a headless service changes them."""

    def __init__(
        self,
        names: Sequence[str],
        port: int,
        *,
        resolve: Callable[[str], Awaitable[Sequence[str]]] | None = None,
    ) -> None:
        self._names = names
        self._port = port
        self._resolve = resolve or _resolve
        self._failing: set[str] = set()
        self._pending: dict[str, asyncio.Future[Sequence[str]]] = {}

    async def addresses(self) -> Sequence[str]:
        found = await asyncio.gather(*map(self._look_up, self._names))
        return list(dict.fromkeys(address for each in found for address in each))[:MAX_FOUND]

    async def announce(self, standing: Standing) -> None:
        """Names are given by the operator."""

    async def close(self) -> None:
        pending, self._pending = self._pending, {}
        for task in pending.values():
            task.cancel()
        await asyncio.gather(*pending.values(), return_exceptions=True)

    async def _look_up(self, name: str) -> list[str]:
        """What is known in time. A resolver that takes longer is not asked again meanwhile: it holds a thread."""
        host, port = split_address(name)
        if name not in self._pending:
            self._pending[name] = asyncio.ensure_future(self._resolve(host))
        task = self._pending[name]
        done, _ = await asyncio.wait({task}, timeout=RESOLVE_SECONDS)
        if not done:
            self._failed(name, "no answer")
            return []
        del self._pending[name]
        try:
            hosts = task.result()
        except OSError as error:
            self._failed(name, str(error))
            return []
        self._failing.discard(name)
        return [join_address(each, port or self._port) for each in hosts]

    def _failed(self, name: str, reason: str) -> None:
        if name not in self._failing:
            log.warning("a name of discovery cannot be resolved", name=name, reason=reason)
        self._failing.add(name)


async def _resolve(name: str) -> list[str]:
    found = await asyncio.get_running_loop().getaddrinfo(name, None, type=socket.SOCK_STREAM)
    return list(dict.fromkeys(str(each[4][0]) for each in found))


class Mdns:
    """Multicast DNS: whoever listens beyond this machine is announced to the local network and found there."""

    def __init__(self, listen_host: str) -> None:
        self._listen_host = listen_host
        self._zeroconf: AsyncZeroconf | None = None
        self._browser: AsyncServiceBrowser | None = None
        self._info: AsyncServiceInfo | None = None
        self._given_up = False
        self._names: dict[str, None] = {}
        self._told: tuple[str, str] = ("", "")

    async def addresses(self) -> Sequence[str]:
        if not await self._started() or self._zeroconf is None:
            return []
        from zeroconf import IPVersion
        from zeroconf.asyncio import AsyncServiceInfo

        found: list[str] = []
        for name in list(self._names):
            info = AsyncServiceInfo(SERVICE, name)
            if info.load_from_cache(self._zeroconf.zeroconf) or await info.async_request(self._zeroconf.zeroconf, 300):
                addresses = info.parsed_addresses(IPVersion.V4Only) or info.parsed_addresses()
                found += [join_address(each, info.port or 0) for each in addresses]
        return list(dict.fromkeys(found))[:MAX_FOUND]

    async def announce(self, standing: Standing) -> None:
        if not await self._started() or self._zeroconf is None:
            return
        if (standing.address, standing.cluster_id) == self._told:
            return
        try:
            async with asyncio.timeout(MDNS_SECONDS):
                info = await _service(standing)
                if self._info is None:
                    await (await self._zeroconf.async_register_service(info, allow_name_change=False))
                else:
                    await (await self._zeroconf.async_update_service(info))
        except Exception as error:  # noqa: BLE001 - whatever a network may do, a node goes on without multicast
            self._give_up(error)
            return
        self._info, self._told = info, (standing.address, standing.cluster_id)

    async def close(self) -> None:
        zeroconf, self._zeroconf = self._zeroconf, None
        if self._browser is not None:
            await self._browser.async_cancel()
        if zeroconf is not None:
            await zeroconf.async_unregister_all_services()
            await zeroconf.async_close()

    async def _started(self) -> bool:
        if self._zeroconf is not None or self._given_up:
            return self._zeroconf is not None
        try:
            from zeroconf.asyncio import AsyncServiceBrowser, AsyncZeroconf

            zeroconf = AsyncZeroconf(interfaces=self._interfaces())
            self._browser = AsyncServiceBrowser(zeroconf.zeroconf, SERVICE, handlers=[self._changed])
        except ImportError as error:
            self._give_up(error, hint='pip install "scribe-ledger[cluster]"')
            return False
        except Exception as error:  # noqa: BLE001 - as above
            self._give_up(error)
            return False
        self._zeroconf = zeroconf
        return True

    def _interfaces(self) -> Any:
        from zeroconf import InterfaceChoice

        try:
            address = ipaddress.ip_address(self._listen_host)
        except ValueError:
            return InterfaceChoice.Default
        return InterfaceChoice.Default if address.is_unspecified else [str(address)]

    def _changed(self, zeroconf: Any, service_type: str, name: str, state_change: Any) -> None:
        from zeroconf import ServiceStateChange

        del zeroconf, service_type
        if state_change is ServiceStateChange.Removed:
            self._names.pop(name, None)
        elif len(self._names) < MAX_FOUND:
            self._names[name] = None

    def _give_up(self, error: Exception, *, hint: str = "list the other nodes in network.seed_peers") -> None:
        self._given_up = True
        log.warning("nodes are not looked for by multicast DNS", reason=f"{type(error).__name__}: {error}", hint=hint)


async def _service(standing: Standing) -> AsyncServiceInfo:
    from zeroconf.asyncio import AsyncServiceInfo

    host, port = split_address(standing.address)
    name = f"{standing.raft_id:016x}"
    return AsyncServiceInfo(
        SERVICE,
        f"{name}.{SERVICE}",
        port=port or 0,
        parsed_addresses=await _resolve(host),
        server=f"scribe-{name}.local.",
        properties={
            "cluster": standing.cluster_id,
            "node": str(standing.node_id),
            "raft": str(standing.raft_id),
        },
    )


@asynccontextmanager
async def announced(sources: Sequence[Source], standing: Callable[[], Standing]) -> AsyncIterator[None]:
    """For as long as this node is a member: who looks finds it by these sources. They are closed in the end."""
    announcing = asyncio.create_task(announce_forever(sources, standing))
    try:
        yield
    finally:
        announcing.cancel()
        await asyncio.gather(announcing, return_exceptions=True)
        await asyncio.gather(*(source.close() for source in sources))


async def announce_forever(sources: Sequence[Source], standing: Callable[[], Standing], seconds: float = 0.5) -> None:
    """Keeps the network told of what this node is; for a task of its own, beside looking and beside membership."""
    while sources:
        for source in sources:
            await source.announce(standing())
        await asyncio.sleep(seconds)
