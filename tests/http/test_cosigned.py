"""Proofs of a member: under a checkpoint that a quorum has cosigned, in one trip, while that can be had."""

from __future__ import annotations

import asyncio
import base64
from dataclasses import replace
from typing import TYPE_CHECKING

import pytest
from tests.http.asking import ask, get, put
from tests.http.membership import FakeCluster
from tests.http.serving import Served, serve

from scribe_ledger import verify
from scribe_ledger.errors import Unavailable, VerificationError
from scribe_ledger.http.checkpoints import CHECKPOINT_SECONDS, ROUNDS, Checkpoints
from scribe_ledger.http.cosigned import AGAIN_SECONDS, Cosigned
from scribe_ledger.ledger.served import ServedLedger
from scribe_ledger.merkle.checkpoint import Checkpoint, cosign
from scribe_ledger.merkle.note import Signer
from scribe_ledger.merkle.prooftext import Proof

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

    from tests.http.asking import Answer

pytestmark = pytest.mark.http
WITNESSES = [Signer.generate(f"example.org/node-{each}") for each in "abc"]
KEYS = [str(witness.cosigner) for witness in WITNESSES]


class Quorum(FakeCluster):
    """Two of three members cosign what this node has, while the test lets them."""

    def __init__(self, ledger: ServedLedger) -> None:
        super().__init__(ledger)
        self.rounds = 0
        self.cosigns = True
        self.between: Callable[[], object] = lambda: None

    async def cosigned(self) -> Checkpoint:
        self.rounds += 1
        if not self.cosigns:
            raise Unavailable("1 of the 2 voters that are needed have cosigned")
        head = self.ledger.checkpoint()
        for witness in WITNESSES[:2]:
            head = cosign(head, witness, 1_700_000_000)
        self.between()
        return head


@pytest.fixture(params=[True, False], ids=["lane", "application"])
def member(tmp_path: Path, request: pytest.FixtureRequest) -> Iterator[Served]:
    with serve(tmp_path / "data", cluster=Quorum, lane=request.param) as served:
        put(served, "/k", b"v")
        yield served


def quorum_of(served: Served) -> Quorum:
    assert isinstance(served.service.cluster, Quorum)
    return served.service.cluster


def check(served: Served, answer: Answer) -> int:
    """Holds a document against the quorum, as a client would; its checkpoint's size."""
    value, proof = base64.b64decode(answer.json["value_base64"]), answer.json["proof"]
    verify.inclusion(proof, value, public_key=served.ledger.public_key, cosigners=KEYS, quorum=2, key="k")
    return Proof.parse(proof).checkpoint.size


def test_one_trip_is_enough_for_a_client_that_requires_a_quorum(member: Served) -> None:
    assert check(member, get(member, "/k?proof=true")) == 1
    for _ in range(5):
        assert check(member, get(member, "/k?proof=true")) == 1
    assert quorum_of(member).rounds == 1, "the same head does for all, while the log does not grow"
    put(member, "/k", b"newer")
    assert check(member, get(member, "/k?proof=true&since=1")) == 2
    assert quorum_of(member).rounds == 2


def test_the_texts_of_proofs_carry_the_cosignatures(member: Served) -> None:
    put(member, "/k", b"newer")
    with_quorum = {"public_key": member.ledger.public_key, "cosigners": KEYS, "quorum": 2}
    verify.inclusion(get(member, "/v1/proof/k").text, b"newer", **with_quorum)  # type: ignore[arg-type]
    verify.history(get(member, "/v1/proof/history/k").text, **with_quorum)  # type: ignore[arg-type]
    put(member, "/k", b"newest")
    verify.inclusion(get(member, "/v1/proof/k").text, b"newest", **with_quorum)  # type: ignore[arg-type]
    earlier = get(member, "/v1/proof/k?version=2&at=2").text  # a size that was cosigned before
    verify.inclusion(earlier, b"newer", **with_quorum)  # type: ignore[arg-type]
    assert get(member, "/verify/k").json["checkpoint"].count("example.org/node-") == 2


def test_proofs_are_the_nodes_own_while_no_quorum_answers_and_nobody_waits_for_it(member: Served) -> None:
    quorum = quorum_of(member)
    quorum.cosigns = False
    for _ in range(5):
        answer = get(member, "/k?proof=true")
        verify.inclusion(answer.json["proof"], b"v", public_key=member.ledger.public_key)
        with pytest.raises(VerificationError):
            check(member, answer)
    assert quorum.rounds == 1
    quorum.cosigns = True
    assert get(member, "/tlog/checkpoint").text.count("example.org/node-") == 2
    assert check(member, get(member, "/k?proof=true")) == 1, "a round that went well ends it"


def test_the_head_does_not_go_back_to_a_smaller_one_that_is_cosigned(member: Served) -> None:
    quorum = quorum_of(member)
    check(member, get(member, "/k?proof=true"))
    put(member, "/other", b"x")
    quorum.cosigns = False
    own = Proof.parse(get(member, "/v1/proof/other").text)
    assert own.checkpoint.size == 2
    assert Proof.parse(get(member, "/v1/proof/k").text).checkpoint.size == 2


def test_what_is_written_all_the_time_is_proven_all_the_same(member: Served) -> None:
    """Each round ends with a newer version than it covers."""
    quorum = quorum_of(member)
    quorum.between = lambda: member.ledger.put("k", b"%d" % quorum.rounds)
    answer = get(member, "/v1/proof/k")
    assert answer.status == 200, answer.text
    assert quorum.rounds == ROUNDS
    verify.inclusion(answer.text, b"%d" % ROUNDS, public_key=member.ledger.public_key)


def test_cosignatures_under_another_root_are_not_passed_on(member: Served, tmp_path: Path) -> None:
    from scribe_ledger.ledger.served import ServedLedger

    with ServedLedger.open(tmp_path / "another") as another:
        another.put("k", b"other")
        quorum_of(member).with_cosignatures = cosign(another.checkpoint(), WITNESSES[0], 1)
        quorum_of(member).cosigned = lambda: FakeCluster.cosigned(quorum_of(member))  # type: ignore[method-assign]
        answer = ask(member, "GET", "/k?proof=true")
    assert answer.status == 200
    verify.inclusion(answer.json["proof"], b"v", public_key=member.ledger.public_key)


def test_the_head_does_not_go_back_from_a_cosigned_one_to_an_own_one(tmp_path: Path) -> None:
    """A round that began before the own one was signed, and ended after it: the own one stays fresh for longer."""
    now, cosigns = 10.0, False
    ended, kept = asyncio.Event(), asyncio.Event()

    async def ask() -> Checkpoint:
        if not cosigns:
            raise Unavailable("no quorum")
        await ended.wait()
        return longer

    async def under() -> int:
        async def size_of(covering: Callable[[int], Checkpoint]) -> int:
            return covering(0).size

        return await checkpoints.under(size_of)

    async def work() -> list[int]:
        nonlocal now, cosigns
        await cosigned.collect()
        now, cosigns = now + AGAIN_SECONDS, True
        await cosigned.collect()  # begins a round, for which nobody waits
        await asyncio.sleep(0)
        now += CHECKPOINT_SECONDS / 2
        sizes = [await under()]
        ledger.put("c", b"3")
        ended.set()
        await kept.wait()
        sizes.append(await under())
        ledger.put("d", b"4")
        now, cosigns = now + CHECKPOINT_SECONDS * 0.6, False
        return [*sizes, await under()]

    async def check(_: Checkpoint) -> None:
        """It has that root."""
        kept.set()

    with ServedLedger.open(tmp_path / "data") as ledger:
        ledger.put("a", b"1")
        longer = replace(ledger.checkpoint(), size=3)
        ledger.put("b", b"2")
        cosigned = Cosigned(ask, check, clock=lambda: now)
        checkpoints = Checkpoints(ledger, cosigned=cosigned, clock=lambda: now)
        assert asyncio.run(work()) == [2, 3, 4]
