"""What an operator is told who gives an order at a member: soon, and what happens next."""

from __future__ import annotations

import asyncio
from types import SimpleNamespace
from typing import TYPE_CHECKING, Any

import pytest

from scribe_ledger.consensus.formation.messages import Replace, Standing
from scribe_ledger.errors import Conflict, ConsensusError, Unavailable
from scribe_ledger.node import member_orders
from scribe_ledger.node.member_orders import MemberOrders

if TYPE_CHECKING:
    from collections.abc import Callable

pytestmark = pytest.mark.consensus

ADDRESS = "127.0.0.1:9003"


class Asked:
    """The leader, which takes every order, and the node that is called in, under the Raft id 33."""

    def __init__(self, then: Callable[[], object]) -> None:
        self.orders: list[object] = []
        self._then = then

    async def ask(self, message: object, *, seconds: float) -> None:
        self.orders.append(message)
        self._then()

    async def invite(self, node_id: int, address: str, *, seconds: float) -> Standing:
        self._then()
        return Standing(raft_id=33, node_id=node_id, address=address)


def member(raft_id: int, node_id: int = 3, role: str = "voter") -> dict[str, Any]:
    return {"node_id": node_id, "raft_id": str(raft_id), "role": role}


class Cluster:
    """As the member that is asked sees it."""

    def __init__(self, *members: dict[str, Any], then: Callable[[], object] = lambda: None) -> None:
        self.members = list(members)
        self.asked = Asked(then)
        self.removed: ConsensusError | None = None
        self.gone: tuple[int, ...] = ()
        self.leader_id = 1

    def order(self, name: str, *arguments: Any) -> dict[str, Any]:
        async def give() -> dict[str, Any]:
            own = SimpleNamespace(
                me=SimpleNamespace(node_id=1),
                removed=self.removed,
                replica=SimpleNamespace(membership=SimpleNamespace(removed=self.gone)),
                settings=SimpleNamespace(tick_seconds=0.001),
            )
            orders: Any = MemberOrders(
                own,  # type: ignore[arg-type]
                self.asked,  # type: ignore[arg-type]
                members=lambda: self.members,
                leader=lambda: {"leader_id": self.leader_id, "address": None},
            )
            answer: dict[str, Any] = await getattr(orders, name)(*arguments)
            return answer

        return asyncio.run(give())


@pytest.fixture(autouse=True)
def _soon(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(member_orders, "SOON_SECONDS", 0.02)


def test_a_replacement_that_has_not_asked_yet_is_on_record_and_that_is_the_answer() -> None:
    cluster = Cluster(member(3))
    answer = cluster.order("replace", 3, None)
    assert cluster.asked.orders == [Replace(node_id=3)]
    assert answer["node_id"] == 3
    assert "the order is recorded" in answer["waits_for"]
    assert "has its place again when it does" in answer["waits_for"]


def test_a_replacement_that_comes_is_the_answer() -> None:
    cluster = Cluster(member(3), then=lambda: cluster.members.append(member(33, role="learner")))
    assert cluster.order("replace", 3, None)["raft_id"] == "33"
    assert cluster.order("replace", 3, None)["raft_id"] == "33"  # given again, while they change places


def test_a_node_that_was_called_in_and_has_not_joined_is_told_from_the_member_that_it_follows() -> None:
    cluster = Cluster(member(3))
    assert "has not joined yet" in cluster.order("join", 3, ADDRESS)["waits_for"]
    cluster = Cluster(member(3), then=lambda: cluster.members.append(member(33, role="learner")))
    assert cluster.order("join", 3, ADDRESS) == member(33, role="learner")


def test_a_removed_node_is_not_waited_for() -> None:
    cluster = Cluster()
    cluster.gone = (33,)
    with pytest.raises(Conflict, match="node 3 was removed from this cluster") as refused:
        cluster.order("join", 3, ADDRESS)
    assert "empty folder" in refused.value.hint


@pytest.mark.parametrize("order", [("join", 3, ADDRESS), ("leave", 3), ("replace", 3, None), ("transfer", 3)])
def test_a_removed_node_gives_no_orders(order: tuple[Any, ...]) -> None:
    cluster = Cluster(member(3))
    cluster.removed = ConsensusError("this node was removed from its cluster")
    with pytest.raises(ConsensusError, match="was removed"):
        cluster.order(*order)
    assert cluster.asked.orders == []


def test_leadership_that_did_not_come_about_is_no_success() -> None:
    cluster = Cluster(member(3))
    with pytest.raises(Unavailable, match="node 3 is not known to lead"):
        cluster.order("transfer", 3)
    cluster = Cluster(member(3), then=lambda: setattr(cluster, "leader_id", 3))
    assert cluster.order("transfer", 3)["leader_id"] == 3
