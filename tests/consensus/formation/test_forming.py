"""Which nodes found a cluster and which join: never two founders, and always one in the end."""

from __future__ import annotations

import asyncio
import itertools
from random import Random
from typing import TYPE_CHECKING

import pytest
from tests.consensus.formation.fabric import LEDGER_KEY, Network, Node, after, found_in, simulate

from scribe_ledger.consensus.formation.forming import Founded, Holdings, Restart
from scribe_ledger.consensus.formation.identity import Promise
from scribe_ledger.consensus.formation.joining import Joined
from scribe_ledger.consensus.formation.messages import Invite, Leave, encode
from scribe_ledger.consensus.transport.contract import Reason, Refused
from scribe_ledger.errors import ConfigurationError, Conflict, Forbidden, Unavailable

if TYPE_CHECKING:
    from collections.abc import Sequence

    from scribe_ledger.consensus.formation.forming import Outcome

pytestmark = pytest.mark.consensus


def three(network: Network, *, bootstrap: Sequence[int] = ()) -> list[Node]:
    return [
        Node(network, each, [other for other in (1, 2, 3) if other != each], bootstrap=each in bootstrap)
        for each in (1, 2, 3)
    ]


async def start(nodes: Sequence[Node], starts: Sequence[float]) -> tuple[float, list[Outcome]]:
    outcomes = await asyncio.gather(*(after(at, node.run) for node, at in zip(nodes, starts, strict=True)))
    return asyncio.get_running_loop().time(), list(outcomes)


def one_cluster(nodes: Sequence[Node]) -> bool:
    return len({node.identity.cluster_id for node in nodes} - {""}) == 1


# --- three nodes with the shipped settings ---------------------------------------------------------------------


@pytest.mark.parametrize("bootstrap", [(), (1,), (3,)], ids=["by agreement", "node 1", "node 3"])
@pytest.mark.parametrize("order", list(itertools.permutations([0.0, 0.1, 0.2])))
def test_three_nodes_form_one_cluster_in_any_order(order: Sequence[float], bootstrap: Sequence[int]) -> None:
    async def run() -> None:
        nodes = three(Network(Random(1)), bootstrap=bootstrap)
        seconds, _ = await start(nodes, order)
        assert seconds < 1.5
        assert len(found_in(nodes)) == 1
        assert one_cluster(nodes)
        if bootstrap and order[bootstrap[0] - 1] == 0:
            assert found_in(nodes)[0].node_id == bootstrap[0]

    simulate(run)


def test_of_nodes_that_see_each_other_the_lowest_label_founds() -> None:
    async def run() -> None:
        nodes = three(Network(Random(2), delay=0.001))
        await start(nodes, [0, 0, 0])
        assert [node.founded for node in nodes] == [True, False, False]
        assert nodes[0].outcome == Founded(bootstrap=False, awaits=2)

    simulate(run)


def test_with_bootstrap_a_node_need_not_wait_for_others() -> None:
    async def run() -> None:
        node = three(Network(Random(3)), bootstrap=(1,))[0]
        seconds, outcomes = await start([node], [0])
        assert outcomes == [Founded(bootstrap=True)]
        assert seconds < 0.5

    simulate(run)


class Refusing:
    """Somebody who is there and would not speak with us."""

    caller = None

    def __init__(self) -> None:
        self.asked: list[float] = []

    async def answer(self, *_: object) -> bytes:
        self.asked.append(asyncio.get_running_loop().time())
        raise Refused("the other node does not know the cluster's secret", hint="set it", reason=Reason.SECRET)


def test_with_bootstrap_a_node_does_not_found_beside_one_that_refuses_it(capsys: pytest.CaptureFixture[str]) -> None:
    async def run() -> None:
        network, refusing = Network(Random(3)), Refusing()
        node = three(network, bootstrap=(1,))[0]
        network.nodes["127.0.0.1:9002"] = refusing  # type: ignore[assignment]
        with pytest.raises(TimeoutError):
            await asyncio.wait_for(node.run(), 60)
        assert node.identity.promised_to is None
        assert refusing.asked[4] - refusing.asked[0] >= 1.5  # 0.1, 0.2, 0.4 and 0.8 s apart, and then more
        assert 15 <= len(refusing.asked) <= 20
        assert "is refused; 127.0.0.1:9002 refuses: the other node does not know" in node.waiting_for
        del network.nodes["127.0.0.1:9002"]
        assert await node.run() == Founded(bootstrap=True)

    simulate(run)
    said = [line for line in capsys.readouterr().out.splitlines() if "is refused" in line]
    assert len(said) in (2, 3)
    assert all("warning" in line for line in said)


def test_who_refuses_one_node_does_not_keep_two_others_from_founding() -> None:
    async def run() -> None:
        network = Network(Random(5))
        nodes = three(network)
        network.nodes["127.0.0.1:9003"] = Refusing()  # type: ignore[assignment]
        seconds, _ = await start(nodes[:2], [0, 0])
        assert seconds < 1
        assert [node.founded for node in nodes] == [True, False, False]

    simulate(run)


def test_without_bootstrap_a_node_alone_waits() -> None:
    async def run() -> None:
        node = three(Network(Random(4)))[0]
        with pytest.raises(TimeoutError):
            await asyncio.wait_for(node.run(), 90)
        assert node.identity.promised_to is None

    simulate(run)


def test_waiting_is_told_once_and_then_every_half_minute(capsys: pytest.CaptureFixture[str]) -> None:
    async def run() -> None:
        with pytest.raises(TimeoutError):
            await asyncio.wait_for(three(Network(Random(4)))[0].run(), 75)

    simulate(run)
    lines = [line for line in capsys.readouterr().out.splitlines() if "sees nobody" in line]
    assert len(lines) == 3
    assert "127.0.0.1:9003: nobody listens" in lines[0]


def test_a_node_without_seeds_does_not_found_by_agreement_with_itself() -> None:
    async def run() -> None:
        with pytest.raises(TimeoutError):
            await asyncio.wait_for(Node(Network(Random(4)), 1, [1]).run(), 60)

    simulate(run)


# --- a network that is not kind --------------------------------------------------------------------------------


@pytest.mark.parametrize("seed", range(40))
def test_nobody_founds_beside_another(seed: int) -> None:
    """Losses, long delays, partitions that change, and nodes that die and come back with what they promised."""

    async def run() -> None:
        random = Random(seed)
        network = Network(random, delay=random.choice([0.01, 0.2, 0.5]), loss=random.choice([0.0, 0.2, 0.5]))
        labels = list(range(1, random.choice([3, 4, 5]) + 1))
        nodes = [Node(network, each, [other for other in labels if other != each]) for each in labels]
        running = {node: asyncio.create_task(after(random.random(), node.run)) for node in nodes}
        for _ in range(12):
            await asyncio.sleep(random.random())
            split = random.randrange(len(nodes))
            shuffled = random.sample(nodes, len(nodes))
            network.partition(shuffled[:split], shuffled[split:])
            victim = random.choice(nodes)
            if random.random() < 0.5 and not running[victim].done():
                running[victim].cancel()
                network.nodes.pop(victim.address, None)
                running[victim] = asyncio.create_task(after(random.random(), victim.run))
            assert len(found_in(nodes)) <= 1
        network.heal()
        async with asyncio.timeout(60):
            await asyncio.gather(*running.values())
        assert len(found_in(nodes)) == 1
        assert one_cluster(nodes)

    simulate(run)


@pytest.mark.parametrize("seed", range(20))
def test_two_bootstraps_against_each_other_found_once(seed: int) -> None:
    async def run() -> None:
        random = Random(seed)
        network = Network(random, delay=random.choice([0.001, 0.05, 0.1]))
        nodes = three(network, bootstrap=(1, 2))
        await start(nodes, [random.random() * 0.1, random.random() * 0.1, random.random()])
        assert len(found_in(nodes)) == 1
        assert one_cluster(nodes)

    simulate(run)


def test_halves_of_a_divided_network_found_nothing_until_they_meet() -> None:
    async def run() -> None:
        network = Network(Random(5))
        nodes = [Node(network, each, [other for other in (1, 2, 3, 4) if other != each]) for each in (1, 2, 3, 4)]
        network.partition(nodes[:2], nodes[2:])
        running = [asyncio.create_task(node.run()) for node in nodes]
        await asyncio.sleep(20)
        assert not any(task.done() for task in running)
        network.heal()
        async with asyncio.timeout(10):
            await asyncio.gather(*running)
        assert len(found_in(nodes)) == 1

    simulate(run)


def test_a_promise_is_kept_while_the_other_may_count_on_it() -> None:
    async def run() -> None:
        network = Network(Random(6))
        nodes = three(network)
        gone = Promise(12345, "127.0.0.1:9001")
        nodes[1].identity.promise(gone)
        with pytest.raises(TimeoutError):
            await asyncio.wait_for(start(nodes[1:], [0, 0]), 20)
        assert nodes[1].identity.promised_to == gone

    simulate(run)


def test_a_promise_is_released_when_the_other_has_given_up() -> None:
    async def run() -> None:
        network = Network(Random(7))
        nodes = three(network)
        nodes[1].identity.promise(Promise(nodes[2].identity.raft_id, nodes[2].address))
        async with asyncio.timeout(5):
            await start(nodes[:2] + nodes[2:], [0, 0, 0])
        assert len(found_in(nodes)) == 1

    simulate(run)


def test_lists_of_seeds_that_disagree_found_nothing_and_say_so(capsys: pytest.CaptureFixture[str]) -> None:
    async def run() -> None:
        network = Network(Random(8))
        nodes = [Node(network, 1, [2]), Node(network, 2, [1, 3])]
        with pytest.raises(TimeoutError):
            await asyncio.wait_for(start(nodes, [0, 0]), 20)

    simulate(run)
    assert "the lists must agree" in capsys.readouterr().out


# --- what the node has already ---------------------------------------------------------------------------------


@pytest.mark.parametrize("bootstrap", [False, True])
def test_a_member_starts_again_whatever_its_flags(bootstrap: bool) -> None:
    async def run() -> None:
        node = three(Network(Random(9)), bootstrap=(1,) if bootstrap else ())[0]
        node.identity.save_member("ab" * 16)
        assert await node.run() == Restart("ab" * 16)

    simulate(run)


def test_bootstrap_joins_a_cluster_that_a_seed_reports() -> None:
    async def run() -> None:
        nodes = three(Network(Random(10)), bootstrap=(1, 3))
        await start(nodes[:2], [0, 0])
        assert isinstance(await nodes[2].run(), Joined)
        assert one_cluster(nodes)

    simulate(run)


def test_a_standalone_ledger_becomes_the_first_member() -> None:
    async def run() -> None:
        nodes = three(Network(Random(11)), bootstrap=(3,))
        nodes[2].holdings = Holdings("cd" * 16, 500)
        await start(nodes, [0.2, 0.1, 0])
        assert [node.founded for node in nodes] == [False, False, True]

    simulate(run)


@pytest.mark.parametrize("bootstrap", [False, True])
def test_a_standalone_ledger_does_not_join(bootstrap: bool) -> None:
    async def run() -> None:
        nodes = three(Network(Random(12)), bootstrap=(1, 3) if bootstrap else (1,))
        nodes[2].holdings = Holdings("cd" * 16, 500)
        await start(nodes[:2], [0, 0])
        with pytest.raises(ConfigurationError, match="500 entries"):
            await nodes[2].run()
        assert not nodes[2].identity.cluster_id

    simulate(run)


def test_an_empty_ledger_of_its_own_does_not_join_either() -> None:
    async def run() -> None:
        nodes = three(Network(Random(12)), bootstrap=(1,))
        nodes[2].holdings = Holdings("cd" * 16, 0)
        await start(nodes[:2], [0, 0])
        with pytest.raises(ConfigurationError, match=r"has another.*--bootstrap first"):
            await nodes[2].run()

    simulate(run)


def test_a_join_that_was_cut_short_goes_on() -> None:
    async def run() -> None:
        nodes = three(Network(Random(12)), bootstrap=(1,))
        await start(nodes[:2], [0, 0])
        nodes[2].holdings = Holdings(nodes[0].identity.cluster_id, 0, str(LEDGER_KEY.verifier))
        assert isinstance(await nodes[2].run(), Joined)

    simulate(run)


def test_a_cluster_whose_seeds_say_otherwise_is_not_joined() -> None:
    """A member that tells of one cluster and takes into another is not to be trusted with either."""

    async def run() -> None:
        nodes = three(Network(Random(12)), bootstrap=(1,))
        await nodes[0].run()
        nodes[0].welcomes_to = "ef" * 16
        with pytest.raises(ConfigurationError, match="efef"):
            await nodes[1].run()

    simulate(run)


def test_a_refusal_for_good_ends_the_start_and_others_do_not() -> None:
    async def run() -> None:
        nodes = three(Network(Random(12)), bootstrap=(1,))
        await nodes[0].run()
        nodes[0].refuses = Conflict("node 2 is a member that answers")
        running = asyncio.create_task(nodes[1].run())
        await asyncio.sleep(60)
        assert not running.done()
        nodes[0].refuses = None
        assert isinstance(await running, Joined)
        nodes[0].refuses = Forbidden("removed")
        with pytest.raises(Forbidden, match="removed"):
            await nodes[2].run()

    simulate(run)


def test_bootstrap_is_refused_where_the_store_holds_a_ledger() -> None:
    async def run() -> None:
        network = Network(Random(13))
        node = Node(network, 1, [2], bootstrap=True, store="ee" * 16)
        with pytest.raises(ConfigurationError, match="ee" * 16):
            await node.run()
        own = Node(network, 1, [2], bootstrap=True, store="ee" * 16, holdings=Holdings("ee" * 16, 5))
        assert await own.run() == Founded(bootstrap=True)

    simulate(run)


def test_equal_labels_name_both_addresses() -> None:
    async def run() -> None:
        network = Network(Random(14))
        one, two = Node(network, 1, [2]), Node(network, 2, [1])
        two.node_id = 1
        outcomes = await asyncio.gather(
            asyncio.wait_for(one.run(), 10), asyncio.wait_for(two.run(), 10), return_exceptions=True
        )
        for outcome in outcomes:
            assert isinstance(outcome, ConfigurationError)
            assert "127.0.0.1:9001" in outcome.message and "127.0.0.1:9002" in outcome.message

    simulate(run)


def test_two_clusters_among_the_seeds_are_refused() -> None:
    async def run() -> None:
        network = Network(Random(15))
        one, two = Node(network, 1, [], bootstrap=True), Node(network, 2, [], bootstrap=True)
        await start([one, two], [0, 0])
        with pytest.raises(ConfigurationError, match="more than one cluster"):
            await Node(network, 3, [1, 2]).run()

    simulate(run)


# --- invitations -----------------------------------------------------------------------------------------------


def test_an_invited_node_joins() -> None:
    async def run() -> None:
        network = Network(Random(16))
        member, waiting = Node(network, 1, [], bootstrap=True), Node(network, 2, [])
        await member.run()
        running = asyncio.create_task(waiting.run())
        await asyncio.sleep(5)
        assert not running.done()
        invite = Invite(cluster_id=member.identity.cluster_id, node_id=2, address=member.address)
        await member.request(waiting.address, encode(invite), timeout=1)
        assert isinstance(await running, Joined)
        assert one_cluster([member, waiting])

    simulate(run)


def test_an_invitation_by_a_stranger_or_for_another_is_refused() -> None:
    async def run() -> None:
        network = Network(Random(17))
        member, waiting, stranger = Node(network, 1, [], bootstrap=True), Node(network, 2, []), Node(network, 3, [])
        await member.run()
        running = asyncio.create_task(waiting.run())
        await asyncio.sleep(1)
        invite = Invite(cluster_id=member.identity.cluster_id, node_id=2, address=member.address)
        with pytest.raises(Forbidden):
            await stranger.request(waiting.address, encode(invite), timeout=1)
        with pytest.raises(Conflict):
            await member.request(waiting.address, encode(invite.model_copy(update={"node_id": 4})), timeout=1)
        await asyncio.sleep(5)
        assert not running.done()
        running.cancel()

    simulate(run)


def test_who_belongs_to_nothing_takes_nobody_in() -> None:
    async def run() -> None:
        network = Network(Random(18))
        nodes = three(network)
        running = asyncio.create_task(nodes[0].run())
        await asyncio.sleep(1)
        with pytest.raises(Unavailable):
            await nodes[1].request(nodes[0].address, encode(Leave(node_id=1)), timeout=1)
        running.cancel()

    simulate(run)
