"""A member whose disk went back behind what it had acknowledged: it is stopped, and stops nobody else."""

from __future__ import annotations

from copy import copy
from typing import TYPE_CHECKING

import pytest
from scribe_raft import RaftPanic
from tests.consensus.group import Group

from scribe_ledger.errors import Corruption

if TYPE_CHECKING:
    from collections.abc import Callable

pytestmark = pytest.mark.consensus


def keep(group: Group, raft_id: int) -> Callable[[], None]:
    """A copy of its folder. Gives what puts it back and starts the member on it."""
    member = group.members[raft_id]
    log, machine = copy(member.log), copy(member.machine)
    machine.units = [*machine.units]

    def put_back() -> None:
        member.log, member.machine = log, machine
        member.start(group)

    return put_back


def test_it_is_stopped_by_the_leader_that_counts_on_it() -> None:
    """It would vote for who lacks what it has lost; so that the engine panics there is right."""
    group = Group(1, 2, 3)
    group.lead(1)
    put_back = keep(group, 2)
    group.write(1, "a", "b")
    group.pass_time(2)
    group.crash(2)
    put_back()
    with pytest.raises(Corruption, match=r"forgotten what it acknowledged: its Raft log ends at entry \d+,") as broke:
        group.pass_time(3)
    assert "replace the node" in broke.value.hint
    assert isinstance(broke.value.__cause__, RaftPanic)
    assert group[2].poisoned == broke.value.message
    group.crash(2)
    group.write(1, "c")
    group.pass_time(2)
    assert group.names() == {1: ["a", "b", "c"], 3: ["a", "b", "c"]}


@pytest.mark.parametrize("lost", [1, 3])
@pytest.mark.parametrize("leader", [2, 3])
def test_a_cluster_that_forgot_with_it_does_not_stop_a_member_that_remembers(lost: int, leader: int) -> None:
    """Two that lack the entries elect one of them. To the third it says only what the engine bears."""
    group = Group(1, 2, 3, max_entry_bytes=1)
    group.lead(1)
    group.isolate(3)
    put_back = keep(group, 2)
    group.write(1, *"abc"[:lost])
    group.pass_time(1, 1, 2)
    remembered = [*group.members[1].machine.units]
    assert len(remembered) == lost
    group.crash(2)
    put_back()
    group.isolate(1)
    first = group.await_leader(2, 3)
    if first != leader:
        group[first].transfer(leader)
        group.settle()
    assert group[leader].is_leader
    group.write(leader, *"stuvwxyz")
    group.heal()
    group.pass_time(20)
    assert [each.raft_id for each in group if each.replica.poisoned] == []
    assert group.members[1].machine.units[:lost] == remembered
