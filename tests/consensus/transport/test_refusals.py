"""What comes to the port and does not belong there: refused with a reason, counted, and the node goes on."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from structlog.testing import capture_logs
from tests.consensus.transport.meeting import CLUSTER, QUICK, SECRET, meeting, node, run, until
from tests.consensus.transport.wire import Relay, answering, hello, prove, wire

from scribe_ledger.consensus.transport import Auth, Limits, Me, Purpose, Reason, Refused
from scribe_ledger.consensus.transport.frames import HEAD, FrameReader, encode_frame, encode_frames
from scribe_ledger.consensus.transport.handshake import WELCOME, Challenge, Hello
from scribe_ledger.consensus.transport.refusals import Refusals
from scribe_ledger.errors import ConfigurationError, NetworkError

if TYPE_CHECKING:
    from collections.abc import Iterator

    from tests.consensus.transport.meeting import Node
    from tests.consensus.transport.wire import Wire

pytestmark = pytest.mark.consensus

OTHER_CLUSTER = "ff" * 16


async def still_well(one: Node, other: Node) -> None:
    """Frames arrive in both directions."""
    for sender, receiver in ((one, other), (other, one)):
        count = len(receiver.seen.frames)
        assert sender.transport.send(receiver.me.raft_id, [b"\x01alive"])
        await until(lambda receiver=receiver, count=count: len(receiver.seen.frames) > count)


# --- strangers -------------------------------------------------------------------------------------------------


def test_garbage_on_the_port_disturbs_nobody() -> None:
    async def work(pieces: list[bytes]) -> None:
        async with meeting(1, 2) as (one, two):
            for piece in pieces:
                async with wire(two.port) as stranger:
                    stranger.writer.write(piece)
                    if stranger.writer.can_write_eof():
                        stranger.writer.write_eof()
                    await stranger.ended()
            assert sum(two.transport.refused.values()) == len(pieces)
            await still_well(one, two)

    greeting = encode_frames([hello().encode()])
    garbage = st.binary(max_size=200) | st.builds(
        lambda cut, tail: greeting[:cut] + tail, st.integers(0, 100), st.binary(max_size=100)
    )

    @settings(max_examples=15, deadline=None, suppress_health_check=list(HealthCheck))
    @given(st.lists(garbage, min_size=1, max_size=20))
    def holds(pieces: list[bytes]) -> None:
        run(work(pieces))

    holds()


def test_a_frame_too_large_for_a_stranger_is_refused_at_its_length() -> None:
    async def work() -> None:
        async with node(1) as one:
            for head, reason in ((HEAD.pack(2000, 0), Reason.OVERSIZED), (HEAD.pack(4, 1) + b"abcd", Reason.CHECKSUM)):
                async with wire(one.port) as stranger:
                    stranger.writer.write(head)
                    await stranger.ended()
                assert one.transport.refused[reason] == 1

    run(work())


def test_who_says_nothing_is_given_up() -> None:
    async def work() -> None:
        async with node(1, limits=QUICK._replace(handshake=0.1)) as one, wire(one.port) as stranger:
            stranger.writer.write(b"\0")
            await stranger.ended()
            assert one.transport.refused == {Reason.TIMEOUT: 1}

    run(work())


@pytest.mark.parametrize(
    "limits", [QUICK._replace(waiting_handshakes=3), QUICK._replace(waiting_handshakes_per_address=3)]
)
def test_strangers_at_the_door_are_bounded_and_members_come_in_after_them(limits: Limits) -> None:
    async def work() -> None:
        async with node(1, limits=limits) as one, node(2) as two:
            held = [await asyncio.open_connection("127.0.0.1", one.port) for _ in range(3)]
            async with wire(one.port) as fourth:
                assert (await fourth.refusal()).reason == Reason.TOO_MANY
            with pytest.raises(Refused) as caught:
                await two.transport.request(one.address, b"x", timeout=5)
            assert caught.value.reason == Reason.TOO_MANY
            for _, writer in held:
                writer.close()
                await writer.wait_closed()
            await until(lambda: one.transport.refused[Reason.TOO_MANY] == 2 and Reason.HALF in one.transport.refused)
            await until(lambda: one.transport.refused[Reason.HALF] == 3)
            assert (await two.transport.request(one.address, b"x", timeout=5))[0] == b"echo x"

    run(work())


# --- what the greeting says ------------------------------------------------------------------------------------

SAID: dict[str, tuple[Hello, Reason]] = {
    "a newer version": (hello(oldest=2, newest=3), Reason.VERSION),
    "another cluster": (hello(cluster=OTHER_CLUSTER), Reason.CLUSTER),
    "another Raft id expected": (hello(expect=7), Reason.RAFT_ID),
    "a copy of our folder": (hello(1), Reason.COPY),
    "no secret": (hello(has_secret=False), Reason.SECRET),
}


@pytest.mark.parametrize(("said", "reason"), SAID.values(), ids=SAID)
def test_a_greeting_that_does_not_fit_is_refused_with_a_reason(said: Hello, reason: Reason) -> None:
    async def work() -> None:
        async with node(1) as one, wire(one.port) as stranger:
            stranger.send(said.encode())
            assert (await stranger.refusal()).reason == reason
            assert one.transport.refused == {reason: 1}
            assert one.seen.callers == [], "who has not proven itself is not spoken of"

    run(work())


def test_a_dialler_refuses_an_answer_that_does_not_fit() -> None:
    answers = {
        "another cluster": (Challenge(Me(2, OTHER_CLUSTER, 2), 1, bytes(32), True).encode(), Reason.CLUSTER),
        "another Raft id": (Challenge(Me(3, CLUSTER, 2), 1, bytes(32), True).encode(), Reason.RAFT_ID),
        "a copy of our folder": (Challenge(Me(1, CLUSTER, 2), 1, bytes(32), True).encode(), Reason.COPY),
        "no secret": (Challenge(Me(2, CLUSTER, 2), 1, bytes(32), False).encode(), Reason.SECRET),
        "a newer version": (
            Challenge(Me(2, CLUSTER, 2), 1, bytes(32), True).encode().replace(b"\0\x01\0\x01", b"\0\x02\0\x03", 1),
            Reason.VERSION,
        ),
        "another protocol": (b"HTTP/1.1 400 Bad Request", Reason.GARBAGE),
    }

    async def work(challenge: bytes, reason: Reason) -> None:
        told: list[Refused] = []

        async def serve(end: Wire) -> None:
            await end.frame()
            end.send(challenge)
            told.append(await end.refusal())

        async with node(1) as one, answering(serve) as port:
            with pytest.raises(Refused) as caught:
                await one.transport.request(f"127.0.0.1:{port}", b"x", timeout=5, expect=2)
            assert (caught.value.reason, caught.value.proven) == (reason, False)
            await until(lambda: bool(told))
            assert told[0].reason == reason, "the other end can tell its operator too"

    for challenge, reason in answers.values():
        run(work(challenge, reason), on_uvloop=True)
        run(work(challenge, reason))


def test_both_operators_learn_of_versions_that_have_nothing_in_common(monkeypatch: pytest.MonkeyPatch) -> None:
    async def work() -> None:
        async with node(1) as one, node(2) as two:
            two.transport.set_peers({1: one.address})
            await until(lambda: two.transport.refusal(1) is not None)
            refusal = two.transport.refusal(1)
            assert refusal is not None and refusal.reason == Reason.VERSION
            assert "1 to 1" in refusal.message and "2 to 3" in refusal.message
            await until(lambda: one.transport.refused.get(Reason.VERSION, 0) > 0)

    encode = Hello.encode
    monkeypatch.setattr(Hello, "encode", lambda self: encode(self._replace(oldest=2, newest=3)))
    with capture_logs() as logs:
        run(work())
    assert {each["event"] for each in logs} == {"a connection to the Raft port was refused", "a peer is not connected"}


# --- proofs ----------------------------------------------------------------------------------------------------


def test_a_wrong_secret_is_refused_at_both_ends_and_a_right_one_is_not() -> None:
    async def work() -> None:
        async with node(1) as one, node(2, Auth(secret="another")) as two, node(3) as three:
            with pytest.raises(Refused) as caught:
                await two.transport.request(one.address, b"x", timeout=5)
            assert (caught.value.reason, caught.value.proven) == (Reason.SECRET, False)
            assert one.transport.refused == {Reason.SECRET: 1}
            assert one.seen.callers == []
            assert (await three.transport.request(one.address, b"x", timeout=5))[0] == b"echo x"

    run(work())


def test_a_dialler_does_not_believe_who_cannot_prove_the_secret() -> None:
    async def serve(end: Wire) -> None:
        await end.frame()
        end.send(Challenge(Me(2, CLUSTER, 2), 1, bytes(32), True).encode())
        proof = await end.frame()
        end.send(bytes((WELCOME,)) + proof[1:])  # its own proof, thrown back
        await end.ended()

    async def work() -> None:
        async with node(1) as one, answering(serve) as port:
            with pytest.raises(Refused) as caught:
                await one.transport.request(f"127.0.0.1:{port}", b"x", timeout=5)
            assert caught.value.reason == Reason.SECRET

    run(work())


def test_a_refusal_that_was_changed_on_the_way_is_not_believed() -> None:
    async def work() -> None:
        async with node(1) as one, wire(one.port) as member:
            one.seen.refusal = "removed"
            welcome = await prove(member, SECRET.secret, hello())
            assert welcome[33:] == b"removed"
        async with node(1) as one, node(2) as two, Relay().to(one.port) as between:
            one.seen.refusal = "removed"
            between.change = lambda data: encode_frames(
                bytes(each).replace(b"removed", b"replace") for each in FrameReader().feed(data)
            )
            with pytest.raises(Refused) as caught:
                await two.transport.request(f"127.0.0.1:{between.port}", b"x", timeout=5)
            assert (caught.value.reason, caught.value.proven) == (Reason.SECRET, False)

    run(work())


def test_a_handshake_cannot_be_replayed() -> None:
    async def work() -> None:
        async with node(1) as one, node(2) as two, Relay().to(one.port) as between:
            await two.transport.request(f"127.0.0.1:{between.port}", b"x", timeout=5)
            async with wire(one.port) as thief:
                thief.writer.write(bytes(between.forth))
                await thief.frame()
                assert (await thief.refusal()).reason == Reason.SECRET
            assert len(one.seen.callers) == 1

    run(work())


def test_a_proof_cannot_be_reflected() -> None:
    """A stranger lets the node dial it, and gives the node's own words back to the node's port."""

    async def work() -> None:
        verdicts: list[Reason | str] = []
        async with node(1) as one:

            async def serve(end: Wire) -> None:
                said = await end.frame()
                async with wire(one.port) as other:
                    other.send(said)
                    verdicts.append((await other.refusal()).reason)
                disguised = Hello.decode(said)._replace(me=Me(9, CLUSTER, 9))
                async with wire(one.port) as other:
                    other.send(disguised.encode())
                    theirs = Challenge.decode(await other.frame())
                    end.send(theirs._replace(me=Me(9, CLUSTER, 9)).encode())
                    other.send(await end.frame())
                    verdicts.append((await other.refusal()).reason)

            async with answering(serve) as port:
                with pytest.raises(NetworkError):
                    await one.transport.request(f"127.0.0.1:{port}", b"x", timeout=5)
                await until(lambda: len(verdicts) == 2)
            assert verdicts == [Reason.OURSELVES, Reason.SECRET]
            assert one.seen.callers == []

    run(work())


@pytest.mark.parametrize("steps", range(4))
def test_a_dialler_that_dies_at_any_step_leaves_nothing_behind(steps: int) -> None:
    async def work() -> None:
        async with meeting(1, 2) as (one, two):
            async with wire(two.port) as member:
                said = hello()
                if steps == 3:
                    assert (await prove(member, SECRET.secret, said))[0] == WELCOME
                elif steps:
                    member.send(said.encode())
                    await member.frame() if steps == 2 else None
            await until(lambda: steps == 3 or two.transport.refused == {Reason.HALF: 1})
            await still_well(one, two)

    run(work())


@pytest.mark.parametrize("steps", range(3))
def test_an_answerer_that_dies_at_any_step_is_dialled_again(steps: int) -> None:
    async def work() -> None:
        dialled = 0

        async def serve(end: Wire) -> None:
            nonlocal dialled
            dialled += 1
            for step in range(steps):
                await end.frame()
                if step == 0:
                    end.send(Challenge(Me(2, CLUSTER, 2), 1, bytes(32), True).encode())

        async with node(1) as one, answering(serve) as port:
            one.transport.set_peers({2: f"127.0.0.1:{port}"})
            await until(lambda: dialled > 3)
            assert not one.transport.connected(2) and one.seen.events == []

    run(work())


# --- members that do not keep to the rules ---------------------------------------------------------------------


@pytest.mark.parametrize(
    ("sent", "reason"),
    [
        (HEAD.pack((16 << 20) + (1 << 17), 0), Reason.OVERSIZED),
        (HEAD.pack(4, 1) + b"\x01abc", Reason.CHECKSUM),
        (encode_frame(0xE5, b"?"), Reason.GARBAGE),
        (encode_frame(99, b"?"), Reason.MALFORMED),
        (HEAD.pack(100, 1) + b"\x01", Reason.HALF),
    ],
)
def test_a_member_that_sends_nonsense_is_told_so_and_counted(sent: bytes, reason: Reason) -> None:
    async def work() -> None:
        async with meeting(1, 2) as (one, two), wire(two.port) as member:
            assert (await prove(member, SECRET.secret, hello()))[0] == WELCOME
            member.writer.write(encode_frames([b"\x01good"]) + sent)
            await until(lambda: (9, b"\x01good") in two.seen.frames)
            if reason is Reason.HALF:
                member.writer.write_eof()
                await member.ended()
            else:
                assert (await member.refusal()).reason == reason
            await until(lambda: two.transport.refused == {reason: 1})
            await still_well(one, two)

    run(work())


@pytest.mark.parametrize(
    ("sent", "reason"), [(HEAD.pack(4, 1) + b"\xe0abc", Reason.CHECKSUM), (encode_frame(0x01, b"?"), Reason.GARBAGE)]
)
def test_nonsense_in_place_of_a_request_is_refused_and_counted(sent: bytes, reason: Reason) -> None:
    async def work() -> None:
        async with node(1) as one, wire(one.port) as member:
            assert (await prove(member, SECRET.secret, hello(purpose=Purpose.REQUEST)))[0] == WELCOME
            member.writer.write(sent)
            assert (await member.refusal()).reason == reason
            await until(lambda: one.transport.refused == {reason: 1})

    run(work())


def test_who_belongs_to_no_cluster_may_ask_and_not_take_part() -> None:
    async def work() -> None:
        async with node(1) as one, node(2, cluster="") as two:
            assert (await two.transport.request(one.address, b"join", timeout=5))[0] == b"echo join"
            assert one.seen.callers[0].cluster_id == ""
            two.transport.set_peers({1: one.address})
            await until(lambda: two.transport.refusal(1) is not None)
            refusal = two.transport.refusal(1)
            assert refusal is not None and refusal.reason == Reason.UNADMITTED and refusal.proven

    run(work())


# --- without any proof -----------------------------------------------------------------------------------------


def test_without_secret_and_tls_nodes_of_one_machine_speak() -> None:
    async def work() -> None:
        async with meeting(1, 2, auth=Auth()) as (one, two):
            await still_well(one, two)
            _, other = await one.transport.request(two.address, b"x", timeout=5)
            assert other.channel_key is None and two.seen.callers[-1].purpose is Purpose.REQUEST

    run(work())


def test_without_secret_and_tls_other_machines_are_not_spoken_with(monkeypatch: pytest.MonkeyPatch) -> None:
    async def work() -> None:
        async with node(1, Auth()) as one, node(2, Auth()) as two:
            with pytest.raises(ConfigurationError, match=r"0\.0\.0\.0"):
                await one.transport.listen("0.0.0.0", 0)
            monkeypatch.setattr("scribe_ledger.consensus.transport.connection.is_loopback", lambda _: False)
            with pytest.raises(Refused) as caught:
                await two.transport.request(one.address, b"x", timeout=5)
            assert caught.value.reason == Reason.INSECURE
            async with wire(one.port) as stranger:
                assert (await stranger.refusal()).reason == Reason.INSECURE

    run(work())


# --- what is told ----------------------------------------------------------------------------------------------


def test_the_same_refusal_is_logged_once_a_minute_and_counted_each_time() -> None:
    def clock() -> Iterator[float]:
        yield from (0.0, 1.0, 59.9, 60.0, 61.0)

    times = clock()
    refusals = Refusals(lambda: next(times))
    with capture_logs() as logs:
        for _ in range(5):
            refusals.note(Refused("why", reason=Reason.SECRET), "10.0.0.1")
    assert [(each["log_level"], each["reason"], each["address"]) for each in logs] == [
        ("warning", "secret", "10.0.0.1")
    ] * 2
    assert refusals.counts == {"secret": 5}


def test_many_addresses_do_not_make_many_lines() -> None:
    refusals = Refusals(lambda: 0.0)
    with capture_logs() as logs:
        for each in range(1000):
            refusals.note(Refused("why", reason=Reason.GARBAGE), f"10.0.{each // 256}.{each % 256}")
    assert len(logs) == 257 and refusals.counts == {"garbage": 1000}


def test_the_text_of_a_stranger_cannot_write_the_log() -> None:
    async def work() -> None:
        async def serve(end: Wire) -> None:
            await end.frame()
            end.send(b"\xff\x06secret" + b"\x1b[31m\nroot logged in" + b"x" * 500)
            await end.ended()

        async with node(1) as one, answering(serve) as port:
            with pytest.raises(Refused) as caught:
                await one.transport.request(f"127.0.0.1:{port}", b"x", timeout=5)
            assert caught.value.message.startswith("?[31m?root") and len(caught.value.message) == 400
            assert not caught.value.proven

    run(work())
