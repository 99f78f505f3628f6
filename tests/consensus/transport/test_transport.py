"""Peers: connecting, sending in order, losing and finding each other again, and what is bounded."""

from __future__ import annotations

import math

import pytest
from tests.consensus.transport.meeting import meeting, node, run, until

from scribe_ledger.consensus.transport import Purpose

pytestmark = pytest.mark.consensus

BOTH_LOOPS = pytest.mark.parametrize("on_uvloop", [False, True], ids=["asyncio", "uvloop"])


@BOTH_LOOPS
def test_three_nodes_send_to_each_other_in_order(on_uvloop: bool) -> None:
    async def work() -> None:
        async with meeting(1, 2, 3) as nodes:
            sent = [b"\x01" + bytes([each]) * (each * 997 % 40_000) for each in range(200)]
            for one in nodes:
                for other in nodes:
                    if one is not other:
                        assert one.transport.send(other.me.raft_id, sent[:120])
                        assert one.transport.send(other.me.raft_id, sent[120:])
            for one in nodes:
                await until(lambda one=one: len(one.seen.frames) == 400)
                for other in nodes:
                    got = [frame for sender, frame in one.seen.frames if sender == other.me.raft_id]
                    assert got == ([] if one is other else sent)
            assert nodes[0].transport.last_heard(2) < 5.0
            assert math.isinf(nodes[0].transport.last_heard(77))
            assert {event for event, _ in nodes[0].seen.events} == {"connected"}

    run(work(), on_uvloop=on_uvloop)


@BOTH_LOOPS
def test_the_largest_frame_arrives_whole(on_uvloop: bool) -> None:
    async def work() -> None:
        async with meeting(1, 2) as (one, two):
            frame = b"\x01" + bytes(range(256)) * ((16 << 20) // 256)
            assert one.transport.send(2, [b"\x01before", frame, b"\x01after"])
            await until(lambda: len(two.seen.frames) == 3)
            assert [each for _, each in two.seen.frames] == [b"\x01before", frame, b"\x01after"]
            with pytest.raises(ValueError, match="limit"):
                one.transport.send(2, [bytes(17 << 20)])

    run(work(), on_uvloop=on_uvloop)


@BOTH_LOOPS
def test_a_caller_knows_who_answered_and_both_know_one_key(on_uvloop: bool) -> None:
    async def work() -> None:
        async with node(1) as one, node(2) as two:
            answer, other = await one.transport.request(two.address, b"hello", timeout=5, expect=2)
            again, _ = await one.transport.request(two.address, b"", timeout=5)
            assert (answer, again) == (b"echo hello", b"echo ")
            assert (other.raft_id, other.cluster_id, other.node_id) == (2, one.me.cluster_id, 2)
            caller = two.seen.callers[0]
            assert (caller.raft_id, caller.purpose, caller.loopback, caller.encrypted) == (
                1,
                Purpose.REQUEST,
                True,
                False,
            )
            assert caller.channel_key == other.channel_key and len(other.channel_key or b"") == 32
            assert two.seen.callers[1].channel_key != caller.channel_key

    run(work(), on_uvloop=on_uvloop)


def test_sending_without_a_connection_is_refused() -> None:
    async def work() -> None:
        async with node(1) as one:
            assert not one.transport.send(2, [b"\x01x"])
            one.transport.set_peers({1: one.address, 2: "127.0.0.1:1"})
            assert not one.transport.send(2, [b"\x01x"])
            assert not one.transport.send(1, [b"\x01x"]), "a node is no peer of its own"

    run(work())
