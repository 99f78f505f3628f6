"""Connections to peers that end, move, fall silent, are slow, or are not wanted any more."""

from __future__ import annotations

import asyncio
import math

import pytest
from tests.consensus.transport.meeting import QUICK, SECRET, meeting, node, run, until
from tests.consensus.transport.wire import Relay, Wire, answering, hello, prove, wire

from scribe_ledger.consensus.transport import Me, Reason
from scribe_ledger.consensus.transport.frames import encode_frame
from scribe_ledger.consensus.transport.handshake import WELCOME, Challenge, Hello, Proofs

pytestmark = pytest.mark.consensus


def test_a_peer_that_comes_back_is_found_again() -> None:
    async def work() -> None:
        async with node(1) as one:
            async with node(2) as two:
                one.transport.set_peers({2: two.address})
                await until(lambda: one.transport.connected(2))
            await until(lambda: ("lost", 2) in one.seen.events)
            assert not one.transport.send(2, [b"\x01lost"])
            async with node(2, port=two.port) as again:
                await until(lambda: one.transport.connected(2))
                assert one.transport.send(2, [b"\x01found"])
                await until(lambda: again.seen.frames == [(1, b"\x01found")])
            await until(lambda: len(one.seen.events) == 4)
            assert one.seen.events == [("connected", 2), ("lost", 2)] * 2

    run(work())


def test_a_peer_that_calls_is_called_back_at_once() -> None:
    async def work() -> None:
        patient = QUICK._replace(redial_first=30.0, redial_longest=30.0)
        async with node(1, limits=patient) as one, node(2) as two:
            two_address = two.address
            await two.transport.close()
            one.transport.set_peers({2: two_address})
            await asyncio.sleep(0.05)  # it has failed once, and would try again in half a minute
            async with node(2, port=two.port) as again:
                again.transport.set_peers({1: one.address})
                await until(lambda: one.transport.connected(2))

    run(work())


def test_a_new_address_takes_effect_and_the_old_is_left() -> None:
    async def work() -> None:
        async with node(1) as one, node(2) as old, node(2) as new:
            one.transport.set_peers({2: old.address})
            await until(lambda: one.transport.connected(2))
            one.transport.set_peers({2: new.address})
            await until(lambda: one.transport.connected(2))
            assert one.transport.send(2, [b"\x01here"])
            await until(lambda: new.seen.frames == [(1, b"\x01here")])
            one.transport.set_peers({})
            assert not one.transport.send(2, [b"\x01nobody"])
            assert old.seen.frames == []
            assert ("lost", 2) not in one.seen.events, "its owner knows whom it dropped"

    run(work())


def test_another_node_at_the_address_is_not_taken_for_the_peer() -> None:
    async def work() -> None:
        async with node(1) as one, node(3) as three:
            one.transport.set_peers({2: three.address})
            await until(lambda: one.transport.refusal(2) is not None)
            refusal = one.transport.refusal(2)
            assert refusal is not None and refusal.reason == Reason.RAFT_ID and "3" in refusal.message
            assert not one.transport.connected(2) and three.transport.refused[Reason.RAFT_ID] >= 1
            assert one.transport.refusal(3) is None

    run(work())


def test_a_member_that_is_not_wanted_learns_why_from_a_member() -> None:
    async def work() -> None:
        async with node(1) as one, node(2) as two:
            two.seen.refusal = "Raft id 1 was removed"
            one.transport.set_peers({2: two.address})
            await until(lambda: one.transport.refusal(2) is not None)
            assert one.transport.refusal(2) == (Reason.UNADMITTED, "Raft id 1 was removed", True)
            assert one.seen.events == [] and two.transport.refused[Reason.UNADMITTED] >= 1
            two.seen.refusal = ""
            await until(lambda: one.transport.connected(2))
            assert one.transport.refusal(2) is None

    run(work())


def test_who_is_removed_while_connected_is_told_and_kept_out() -> None:
    async def work() -> None:
        async with meeting(1, 2, 3) as (one, two, three):
            one.seen.unwanted = 3
            one.transport.set_peers({2: two.address})
            await until(lambda: not three.transport.connected(1))
            await until(lambda: three.transport.refusal(1) == (Reason.UNADMITTED, "removed", True))
            assert one.transport.connected(2) and two.transport.connected(1)

    run(work())


def test_a_line_on_which_nothing_passes_is_given_up_by_both_ends() -> None:
    async def work() -> None:
        async with node(1) as one, node(2) as two, Relay().to(two.port) as between:
            one.transport.set_peers({2: f"127.0.0.1:{between.port}"})
            await until(lambda: one.transport.connected(2) and two.transport.last_heard(1) < math.inf)
            between.flowing.clear()
            await until(lambda: ("lost", 2) in one.seen.events)
            await until(lambda: two.transport.refused.get(Reason.SILENT) == 1)
            assert one.transport.last_heard(2) >= QUICK.ping * (QUICK.silent_pings - 1)
            between.flowing.set()
            await until(lambda: one.transport.connected(2))

    run(work())


def test_a_line_that_is_used_in_one_direction_only_stays() -> None:
    async def work() -> None:
        async with node(1) as one, node(2) as two:
            one.transport.set_peers({2: two.address})
            await until(lambda: one.transport.connected(2))
            await asyncio.sleep(QUICK.ping * QUICK.silent_pings * 2)
            assert one.seen.events == [("connected", 2)]
            assert max(one.transport.last_heard(2), two.transport.last_heard(1)) < QUICK.ping * QUICK.silent_pings

    run(work())


@pytest.mark.parametrize("on_uvloop", [False, True], ids=["asyncio", "uvloop"])
def test_a_peer_that_reads_nothing_costs_bounded_memory(on_uvloop: bool) -> None:
    bound = 1 << 20
    done = asyncio.Event()

    async def serve(end: Wire) -> None:
        said = await end.frame()
        challenge = Challenge(Me(2, Hello.decode(said).me.cluster_id, 2), 1, bytes(32), True).encode()
        end.send(challenge)
        await end.frame()
        end.writer.write(encode_frame(WELCOME, Proofs(SECRET.secret, said, challenge).of_answerer()))
        await done.wait()

    async def work() -> None:
        limits = QUICK._replace(queued_bytes=bound, ping=30.0)
        async with node(1, limits=limits) as one, answering(serve) as port:
            one.transport.set_peers({2: f"127.0.0.1:{port}"})
            await until(lambda: one.transport.connected(2))
            frame = b"\x01" + bytes(100_000)
            sent = 0
            while one.transport.send(2, [frame]):
                sent += 1
                if sent == 1000:  # sockets do not hold that much
                    break
                await asyncio.sleep(0)
            done.set()
            assert bound <= one.transport.queued_bytes(2) < bound + 2 * len(frame)
            await one.transport.close()
            assert one.transport.queued_bytes(2) == 0

    run(work(), on_uvloop=on_uvloop)


def test_a_slow_reader_is_not_taken_for_a_dead_one() -> None:
    async def work() -> None:
        limits = QUICK._replace(ping=0.05, silent_pings=3)
        async with node(1, limits=limits) as one, node(2) as two, Relay().to(two.port) as between:
            two.seen.keep = False
            one.transport.set_peers({2: f"127.0.0.1:{between.port}"})
            await until(lambda: one.transport.connected(2))
            assert one.transport.send(2, [b"\x01" + bytes(1 << 20)] * 30)

            async def trickle() -> None:
                while two.seen.frame_bytes < 30 << 20:
                    between.flowing.clear()
                    await asyncio.sleep(0.02)
                    between.flowing.set()
                    await asyncio.sleep(0.005)

            await asyncio.wait_for(trickle(), 10)
            assert one.seen.events == [("connected", 2)]

    run(work())


def test_a_peer_that_dials_twice_is_heard_on_the_newer_line_only() -> None:
    async def work() -> None:
        async with node(1) as one, wire(one.port) as older, wire(one.port) as newer:
            await prove(older, SECRET.secret, hello())
            older.send(b"\x01older")
            await until(lambda: one.seen.frames == [(9, b"\x01older")])
            await prove(newer, SECRET.secret, hello(nonce=bytes(32)))
            await older.ended()
            newer.send(b"\x01newer")
            await until(lambda: one.seen.frames[1:] == [(9, b"\x01newer")])

    run(work())


def test_closing_calls_nobody_any_more() -> None:
    async def work() -> None:
        async with meeting(1, 2) as (one, two):
            before = list(one.seen.events)
            await one.transport.close()
            await one.transport.close()
            assert one.seen.events == before
            assert not one.transport.connected(2)
            await until(lambda: not two.transport.connected(1))

    run(work())
