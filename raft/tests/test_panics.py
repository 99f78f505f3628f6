"""A broken invariant of the engine: an exception, a node that answers nothing more, and a process that lives."""

from __future__ import annotations

import subprocess
import sys
from typing import TYPE_CHECKING

import pytest
from scribe_raft import Node, RaftError, RaftPanic

import wire
from cluster import Cluster, voters
from test_readies import OUT_OF_TURN

if TYPE_CHECKING:
    from collections.abc import Callable

LOST = wire.message(wire.HEARTBEAT, term=1, commit=9)
"""A leader that knows entries up to 9 as acknowledged by a node that has none: the node has lost its disk."""


def poisoned() -> Node:
    node = Node(1, conf_state=voters(1, 2, 3))
    with pytest.raises(
        RaftPanic, match=r"to_commit 9 is out of range \[last_index 0\], raft_id: 1 \(raft_log\.rs:\d+\)"
    ):
        node.step(LOST)
    return node


LEADERS = ("propose", "transfer", "step_down", "campaign")
ALL: dict[str, Callable[[Node], object]] = {
    **{
        name: call
        for name, call in OUT_OF_TURN.items()
        if not name.startswith(("propose", "transfer", "step_down", "campaign"))
    },
    "campaign": lambda node: node.campaign(),
    "has_ready": lambda node: node.has_ready(),
    "status": lambda node: node.status(),
    "compact": lambda node: node.compact(0),
    "term_at": lambda node: node.term_at(0),
    "clear_snapshot": lambda node: node.clear_snapshot(),
    "take_snapshots_wanted": lambda node: node.take_snapshots_wanted(),
    "apply_conf_change": lambda node: node.apply_conf_change(2, wire.octets(2, wire.number(1, 2) + wire.number(2, 4))),
}


@pytest.mark.parametrize("name", ALL)
def test_a_poisoned_node_answers_nothing(name: str) -> None:
    node = poisoned()
    with pytest.raises(RaftPanic, match="to_commit 9"):
        ALL[name](node)


def test_it_still_says_what_it_was() -> None:
    node = poisoned()
    assert node.poisoned is not None
    assert node.poisoned.startswith("to_commit 9")
    assert (node.id, node.term, node.role) == (1, 1, "follower")
    assert node.take_logs()
    assert repr(node) == "Node(id=1, role=follower, term=1, leader=2)"


def test_a_batch_stops_at_a_panic() -> None:
    node = Node(1, conf_state=voters(1, 2, 3))
    with pytest.raises(RaftPanic):
        node.step_many([LOST, LOST])


def test_a_panic_is_a_raft_error_and_no_base_exception() -> None:
    assert issubclass(RaftPanic, RaftError)
    assert issubclass(RaftError, RuntimeError)


def test_other_nodes_of_the_process_go_on() -> None:
    cluster = Cluster(1, 2, 3)
    cluster.campaign(1)
    poisoned()
    cluster.propose(1, b"x")
    assert cluster.states() == dict.fromkeys((1, 2, 3), [b"x"])


def test_nothing_is_printed_and_the_process_ends_in_order() -> None:
    program = (
        "from scribe_raft import Node, RaftPanic\n"
        "node = Node(1, conf_state=([1, 2, 3], [], [], [], False))\n"
        "try:\n"
        f"    node.step({LOST!r})\n"
        "except RaftPanic:\n"
        "    print('caught')\n"
    )
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True, timeout=60)
    assert (done.stdout, done.stderr) == ("caught\n", "")
