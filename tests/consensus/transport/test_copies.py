"""Two processes with one Raft id: the copy of a folder is kept out, and a node that moves or starts again is not."""

from __future__ import annotations

import asyncio

import pytest
from structlog.testing import capture_logs
from tests.consensus.transport.meeting import CLUSTER, QUICK, SECRET, meeting, node, run, until
from tests.consensus.transport.wire import Relay, hello, prove, wire

from scribe_ledger.consensus.transport import Me, Reason, Refused
from scribe_ledger.consensus.transport.handshake import WELCOME, Challenge, Hello

pytestmark = pytest.mark.consensus


def test_a_node_that_dials_itself_is_neither_counted_nor_told() -> None:
    async def work() -> None:
        async with node(1) as one:
            with pytest.raises(Refused) as caught:
                await one.transport.request(one.address, b"x", timeout=5)
            assert caught.value.reason == Reason.OURSELVES
            assert one.transport.refused == {}

    with capture_logs() as said:
        run(work())
    assert said == []


def test_a_copy_of_our_own_folder_is_counted_and_told_at_both_ends() -> None:
    async def work() -> None:
        async with node(1) as one, node(1) as copy:
            with pytest.raises(Refused) as caught:
                await copy.transport.request(one.address, b"x", timeout=5)
            assert caught.value.reason == Reason.COPY and "stop the copy" in str(caught.value)
            assert one.transport.refused == {Reason.COPY: 1}

    with capture_logs() as said:
        run(work())
    assert [each["reason"] for each in said] == ["copy"]


def test_a_copy_is_not_heard_while_the_member_lives() -> None:
    async def work() -> None:
        async with meeting(1, 2, 3) as (one, two, _), node(2) as copy:
            copy.transport.set_peers({1: one.address})
            await until(lambda: one.transport.refused.get(Reason.COPY, 0) >= 2)
            refusal = copy.transport.refusal(1)
            assert refusal is not None and (refusal.reason, refusal.proven) == (Reason.COPY, False)
            with pytest.raises(Refused, match="two nodes run with Raft id 2, one of them as node 2"):
                await copy.transport.request(one.address, b"I have moved", timeout=5)
            assert not copy.transport.connected(1)
            assert two.transport.connected(1) and one.transport.connected(2)
            assert two.transport.send(1, [b"\x01still here"])
            await until(lambda: (2, b"\x01still here") in one.seen.frames)
            assert one.seen.events == [("connected", 2), ("connected", 3)], "nobody was interrupted"

    with capture_logs() as said:
        run(work())
    assert len([each for each in said if "was refused" in each["event"]]) == 1, "once a minute"


def test_a_copy_that_came_first_goes_when_the_member_answers_at_its_address() -> None:
    async def work() -> None:
        async with node(1) as one, node(2) as two, node(2) as copy:
            copy.transport.set_peers({1: one.address})
            await until(lambda: copy.transport.connected(1))
            one.transport.set_peers({2: two.address})
            await until(lambda: not copy.transport.connected(1) and one.transport.refused.get(Reason.COPY, 0) >= 1)
            two.transport.set_peers({1: one.address})
            await until(lambda: two.transport.connected(1))
            refused = one.transport.refused[Reason.COPY]
            await until(lambda: one.transport.refused[Reason.COPY] > refused)  # it has tried again
            assert two.transport.connected(1) and not copy.transport.connected(1)

    run(work())


def test_who_starts_again_or_moves_is_heard_at_once() -> None:
    async def work() -> None:
        async with node(1) as one:
            async with node(2) as two:
                one.transport.set_peers({2: two.address})
                two.transport.set_peers({1: one.address})
                await until(lambda: one.transport.connected(2) and two.transport.connected(1))
            async with node(2, port=two.port) as again:
                again.transport.set_peers({1: one.address})
                await until(lambda: one.transport.connected(2) and again.transport.connected(1))
            async with node(2) as moved:
                moved.transport.set_peers({1: one.address})
                await until(lambda: moved.transport.connected(1))
                assert (await moved.transport.request(one.address, b"moved", timeout=5))[0] == b"echo moved"
            assert Reason.COPY not in one.transport.refused

    run(work())


def test_who_vanished_without_a_word_may_come_again_elsewhere() -> None:
    """A machine that lost its power says nothing: its connections stand until they are found dead."""

    async def work() -> None:
        patient = QUICK._replace(silent_pings=1000)
        async with node(1, limits=patient) as one, node(2) as two, Relay().to(two.port) as between:
            one.transport.set_peers({2: f"127.0.0.1:{between.port}"})
            await until(lambda: one.transport.connected(2))
            between.flowing.clear()
            async with node(2) as moved:
                moved.transport.set_peers({1: one.address})
                await until(lambda: moved.transport.connected(1))
                await asyncio.sleep(3 * QUICK.ping)
                assert moved.transport.connected(1) and one.transport.connected(2), "the dead one still stands"

    run(work())


def test_a_process_that_comes_twice_takes_its_own_place() -> None:
    async def work() -> None:
        async with node(1) as one, wire(one.port) as first, wire(one.port) as second:
            said = hello(2, me=Me(2, CLUSTER, 2, run=7))
            assert (await prove(first, SECRET.secret, said))[0] == WELCOME
            assert (await prove(second, SECRET.secret, said))[0] == WELCOME
            await first.ended()
            assert one.transport.refused == {}

    run(work())


def test_programs_that_do_not_say_their_run_are_understood() -> None:
    old = hello(2).encode()[:-8]
    assert Hello.decode(old) == hello(2)
    challenge = Challenge(Me(2, CLUSTER, 2), 1, bytes(32), True)
    assert Challenge.decode(challenge.encode()[:-8]) == challenge

    async def work() -> None:
        async with meeting(1, 2) as (one, _), wire(one.port) as end:
            assert (await prove(end, SECRET.secret, hello(2)))[0] == WELCOME, "as before"

    run(work())
