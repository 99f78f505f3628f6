"""What a member is told that asks while nobody leads."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING

import pytest
from tests.consensus.looping import in_loop

from scribe_ledger.consensus.formation.messages import Done, Standing, Transfer, encode
from scribe_ledger.consensus.formation.reception import LEADERLESS_SECONDS, Place, Reception
from scribe_ledger.consensus.steward import Steward
from scribe_ledger.consensus.transport.contract import Caller, Reason, Refused
from scribe_ledger.errors import Conflict, NetworkError, Unavailable

if TYPE_CHECKING:
    from collections.abc import Callable

pytestmark = pytest.mark.consensus

OTHER = "127.0.0.1:2"


class Requests:
    """The other member: silent, or one that says who leads, and does what it is asked."""

    def __init__(self, answer: Callable[[], bytes]) -> None:
        self._answer = answer

    async def request(self, address: str, request: bytes, *, timeout: float, expect: int = 0) -> tuple[bytes, Caller]:  # noqa: ASYNC109
        return self._answer(), Caller(2, "", 2, address, None, False, True)


def standing(leader_address: str) -> Standing:
    return Standing(
        raft_id=2, node_id=2, address=OTHER, cluster_id="ab" * 16, stage="member", leader_address=leader_address
    )


def reception(requests: Requests, place: Callable[[], Place]) -> Reception:
    def facts() -> None:
        raise AssertionError("nobody asks")

    return Reception(
        Steward(),
        requests,
        standing=lambda: standing(""),
        place=place,
        facts=facts,  # type: ignore[arg-type]
        others=lambda: [OTHER],
        tick_seconds=0.05,
    )


@pytest.mark.parametrize("silent", [True, False])
@in_loop
async def test_without_a_leader_an_order_is_refused_soon(silent: bool) -> None:
    def answer() -> bytes:
        if silent:
            raise NetworkError("nobody there")
        return encode(standing(""))

    loop = asyncio.get_running_loop()
    begun = loop.time()
    with pytest.raises(Unavailable, match="has no leader"):
        await reception(Requests(answer), lambda: Place(0, "")).ask(Transfer(node_id=2), seconds=60)
    assert LEADERLESS_SECONDS <= loop.time() - begun < LEADERLESS_SECONDS + 2


@in_loop
async def test_a_leader_that_is_elected_meanwhile_is_asked() -> None:
    elected = asyncio.get_running_loop().time() + 0.3

    def place() -> Place:
        return Place(2, OTHER) if asyncio.get_running_loop().time() > elected else Place(0, "")

    def answer() -> bytes:
        return encode(Done(text="node 2 leads") if place().leader else standing(""))

    done = await reception(Requests(answer), place).ask(Transfer(node_id=2), seconds=60)
    assert done.text == "node 2 leads"


@in_loop
async def test_what_is_no_raft_port_is_no_node_that_could_join() -> None:
    def answer() -> bytes:
        raise Refused("that is an HTTP port, and not a Raft port", reason=Reason.GARBAGE)

    with pytest.raises(Conflict, match="no node that could join: that is an HTTP port") as refused:
        await reception(Requests(answer), lambda: Place(0, "")).invite(2, OTHER, seconds=1)
    assert "raft_port" in refused.value.hint
