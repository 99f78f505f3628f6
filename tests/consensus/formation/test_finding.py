"""Where nodes may be: by names, by multicast, and what happens where there is neither."""

from __future__ import annotations

import asyncio
import socket
from typing import TYPE_CHECKING

import pytest

from scribe_ledger.consensus.formation import finding
from scribe_ledger.consensus.formation.finding import DnsNames, Mdns
from scribe_ledger.consensus.formation.messages import Standing

if TYPE_CHECKING:
    from collections.abc import Sequence

pytestmark = pytest.mark.consensus


def standing(raft_id: int, port: int, cluster_id: str = "") -> Standing:
    return Standing(raft_id=raft_id, node_id=raft_id, address=f"127.0.0.1:{port}", cluster_id=cluster_id)


def test_a_name_stands_for_all_its_addresses_and_is_looked_up_anew() -> None:
    known = {"nodes": ["10.0.0.1", "10.0.0.2"]}

    async def resolve(name: str) -> Sequence[str]:
        return known[name]

    async def run() -> None:
        names = DnsNames(["nodes", "nodes:9005"], 9001, resolve=resolve)
        assert await names.addresses() == ["10.0.0.1:9001", "10.0.0.2:9001", "10.0.0.1:9005", "10.0.0.2:9005"]
        known["nodes"] = ["fd00::3"]
        assert await names.addresses() == ["[fd00::3]:9001", "[fd00::3]:9005"]

    asyncio.run(run())


def test_a_name_that_fails_is_told_once_and_tried_again(capsys: pytest.CaptureFixture[str]) -> None:
    answers: list[Sequence[str] | OSError] = [socket.gaierror("unknown"), OSError("no network"), ["10.0.0.1"]]

    async def resolve(name: str) -> Sequence[str]:
        answer = answers.pop(0)
        if isinstance(answer, OSError):
            raise answer
        return answer

    async def run() -> None:
        names = DnsNames(["nodes"], 9001, resolve=resolve)
        assert [await names.addresses() for _ in range(3)] == [[], [], ["10.0.0.1:9001"]]

    asyncio.run(run())
    assert capsys.readouterr().out.count("cannot be resolved") == 1


def test_a_resolver_that_hangs_is_asked_once_and_holds_up_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(finding, "RESOLVE_SECONDS", 0.01)
    asked = []

    async def run() -> None:
        answered = asyncio.Event()

        async def resolve(name: str) -> Sequence[str]:
            asked.append(name)
            await answered.wait()
            return ["10.0.0.1"]

        names = DnsNames(["nodes"], 9001, resolve=resolve)
        assert [await names.addresses() for _ in range(3)] == [[], [], []]
        answered.set()
        assert await names.addresses() == ["10.0.0.1:9001"]
        assert asked == ["nodes"]
        answered.clear()
        assert await names.addresses() == []
        await names.close()

    asyncio.run(run())


def test_a_member_is_announced_until_it_stops() -> None:
    class Recorder:
        def __init__(self) -> None:
            self.told: list[str] = []
            self.announced, self.closed = asyncio.Event(), asyncio.Event()

        async def addresses(self) -> Sequence[str]:
            return []

        async def announce(self, standing: Standing) -> None:
            self.told.append(standing.cluster_id)
            self.announced.set()

        async def close(self) -> None:
            self.closed.set()

    async def run() -> None:
        source = Recorder()
        async with asyncio.timeout(5), finding.announced([source], lambda: standing(1, 9001, "ab")):
            await source.announced.wait()
        assert source.told[0] == "ab" and source.closed.is_set()

    asyncio.run(run())


def test_the_real_resolver_knows_this_machine() -> None:
    assert "127.0.0.1:9001" in asyncio.run(DnsNames(["127.0.0.1"], 9001).addresses())


def test_no_more_addresses_are_taken_than_one_can_ask() -> None:
    async def resolve(name: str) -> Sequence[str]:
        return [f"10.0.{each // 250}.{each % 250}" for each in range(2000)]

    assert len(asyncio.run(DnsNames(["nodes"], 9001, resolve=resolve).addresses())) == finding.MAX_FOUND


def multicast_works() -> bool:
    """Whether a datagram to mDNS's group comes back on loopback."""
    with (
        socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as receiver,
        socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as sender,
    ):
        try:
            receiver.bind(("", 0))
            group = socket.inet_aton("224.0.0.251") + socket.inet_aton("127.0.0.1")
            receiver.setsockopt(socket.IPPROTO_IP, socket.IP_ADD_MEMBERSHIP, group)
            sender.setsockopt(socket.IPPROTO_IP, socket.IP_MULTICAST_IF, socket.inet_aton("127.0.0.1"))
            receiver.settimeout(0.5)
            sender.sendto(b"here", ("224.0.0.251", receiver.getsockname()[1]))
            return receiver.recv(10) == b"here"
        except OSError:
            return False


async def finds(source: Mdns, port: int) -> bool:
    return f"127.0.0.1:{port}" in await source.addresses()


def test_nodes_on_one_network_find_each_other_by_multicast() -> None:
    if not multicast_works():
        pytest.skip("this machine's loopback carries no multicast")

    async def run() -> None:
        one, two = Mdns("127.0.0.1"), Mdns("127.0.0.1")
        try:
            await asyncio.gather(one.announce(standing(1, 9101)), two.announce(standing(2, 9102)))
            async with asyncio.timeout(8):
                while not (await finds(one, 9102) and await finds(two, 9101)):  # noqa: ASYNC110 - nothing tells
                    await asyncio.sleep(0.02)
        finally:
            await asyncio.gather(one.close(), two.close())

    asyncio.run(run())


def test_a_machine_without_multicast_is_told_once(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    asyncio_part = pytest.importorskip("zeroconf.asyncio")

    def refuse(**_: object) -> None:
        raise OSError(19, "No such device")

    monkeypatch.setattr(asyncio_part, "AsyncZeroconf", refuse)

    async def run() -> None:
        source = Mdns("0.0.0.0")
        for _ in range(3):
            await source.announce(standing(1, 9001))
            assert await source.addresses() == []
        await source.close()

    asyncio.run(run())
    assert capsys.readouterr().out.count("No such device") == 1
