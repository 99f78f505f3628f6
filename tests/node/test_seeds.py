"""The seeds of a member that reaches no leader: who is found there, and what is said of those of another cluster."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING

import pytest
from structlog.testing import capture_logs
from tests.consensus.transport.meeting import CLUSTER, node, run

from scribe_ledger.consensus.formation.messages import Standing, encode
from scribe_ledger.consensus.transport.refusals import QUIET_SECONDS
from scribe_ledger.node.seeds import Seeds

if TYPE_CHECKING:
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
