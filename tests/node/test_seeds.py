"""The seeds of a member that reaches no leader: who is found there, and what is said of those of another cluster."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING

import pytest
from structlog.testing import capture_logs
from tests.consensus.transport.meeting import CLUSTER, node, run, until

from scribe_ledger.consensus.formation.messages import Standing, encode
from scribe_ledger.consensus.membership import MemberInfo, Membership
from scribe_ledger.consensus.transport import Me
from scribe_ledger.consensus.transport.refusals import QUIET_SECONDS
from scribe_ledger.errors import Conflict
from scribe_ledger.node.own_record import check_runs_once
from scribe_ledger.node.seeds import Seeds

if TYPE_CHECKING:
    from collections.abc import Sequence

    from tests.consensus.transport.meeting import Node

pytestmark = pytest.mark.consensus


def answers_as_member(member: Node) -> None:
    async def answer(_: bytes) -> bytes:
        me = member.me
        standing = Standing(
            raft_id=me.raft_id,
            node_id=me.node_id,
            address=member.address,
            cluster_id=me.cluster_id,
            stage="member",
            leader_address="",
            entries=0,
        )
        return encode(standing)

    member.seen.answer = answer


def info(member: Node) -> MemberInfo:
    me = member.me
    return MemberInfo(me.raft_id, me.node_id, member.address, "", "", 1)


class Found:
    """A source that finds whom it is told to find."""

    def __init__(self, *addresses: str) -> None:
        self.found = addresses

    async def addresses(self) -> Sequence[str]:
        return self.found

    async def announce(self, standing: Standing) -> None: ...

    async def close(self) -> None: ...


def test_a_seed_of_another_cluster_is_said_once_a_minute_and_the_others_are_asked() -> None:
    async def work() -> None:
        async with node(1) as me, node(2, cluster="ff" * 16) as foreign, node(3) as friend, node(4) as removed:
            answers_as_member(friend)
            answers_as_member(removed)
            found: list[tuple[int, str]] = []
            now = 0.0
            addresses = [foreign.address, "127.0.0.1:1", removed.address, friend.address]
            seeds = Seeds(
                addresses,
                me.transport,
                me=info(me),
                cluster_id=CLUSTER,
                on_found=lambda *each: found.append(each),
                clock=lambda: now,
            )
            with capture_logs() as said:
                await seeds.look({1, 2, 3})
                await seeds.look({1, 2, 3})
                assert found == [(3, friend.address)] * 2
                [line] = [each for each in said if each["log_level"] == "warning" and "seed" in each["event"]]
                assert (line["address"], line["reason"]) == (foreign.address, "cluster")
                assert "another cluster" in line["event"] and "[network] seed_peers" in line["event"]
                assert "ff" * 16 in line["error"]
                now = QUIET_SECONDS
                await seeds.look({1, 2, 3})
                assert len([each for each in said if each["event"] == line["event"]]) == 2
            await asyncio.sleep(0)

    run(work())


def test_members_are_found_by_discovery_too_and_each_at_one_address() -> None:
    async def work() -> None:
        async with node(1) as me, node(2, cluster="ff" * 16) as foreign, node(3) as friend, node(4) as near:
            for each in (friend, near):
                answers_as_member(each)
            me.transport.set_peers({4: near.address})
            await until(lambda: me.transport.connected(4))
            found: list[tuple[int, str]] = []
            source = Found(me.address, foreign.address, near.address, friend.address, f"localhost:{friend.port}")
            seeds = Seeds(
                [me.address],
                me.transport,
                me=info(me),
                sources=[source],
                cluster_id=CLUSTER,
                on_found=lambda *each: found.append(each),
                clock=lambda: 0.0,
            )
            with capture_logs() as said:
                await seeds.look({1, 3, 4})
                await seeds.look({1, 3, 4})
            assert found == [(3, friend.address)] * 2, "there is a connection with the other"
            assert not [each for each in said if "seed" in each["event"]], "nobody wrote that stranger into a setting"
            assert foreign.transport.refused == {"cluster": 1}, "strangers are left alone for a while"
            assert me.transport.refused == {}, "its own address is nobody's"

    run(work())


def test_a_node_that_was_removed_and_knows_nobody_is_told_so_by_a_seed() -> None:
    async def work() -> None:
        async with node(1) as me, node(2) as member:
            answers_as_member(member)
            told: list[object] = []
            seeds = Seeds(
                [member.address],
                me.transport,
                me=info(me),
                cluster_id=CLUSTER,
                on_found=lambda *each: told.append(each),
                on_removed=lambda: told.append("removed"),
                clock=lambda: 0.0,
            )
            await seeds.look(set())
            assert told == []
            member.seen.unwanted = 1
            await seeds.look(set())
            assert told == ["removed"]

    run(work())


def test_a_copy_of_a_folder_does_not_start_while_the_original_runs() -> None:
    async def work() -> None:
        async with node(2) as original, node(2) as copy:
            membership = Membership(5, 1, voters=(1, 2, 3), members={2: info(original)})
            copy.me = Me(2, CLUSTER, 9)
            with pytest.raises(Conflict, match="one of the two folders is a copy") as caught:
                await check_runs_once(2, membership, copy.transport)
            assert original.address in caught.value.message
            assert original.transport.refused == {"copy": 1}
            answers_as_member(original)
            await check_runs_once(2, membership, original.transport)
            await check_runs_once(3, membership, copy.transport)
        async with node(2) as moved, node(4) as stranger:
            answers_as_member(stranger)
            await check_runs_once(2, membership, moved.transport)
            await check_runs_once(2, Membership(5, 1, members={2: info(stranger)}), moved.transport)
            assert moved.transport.refused == stranger.transport.refused == {}

    with capture_logs() as said:
        run(work())
    assert [(each["reason"], each["log_level"]) for each in said] == [("copy", "warning")]
