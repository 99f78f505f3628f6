"""Newer rules: a leader raises them once every member knows them, and not before."""

from __future__ import annotations

from dataclasses import replace
from types import SimpleNamespace
from typing import TYPE_CHECKING, Any

import pytest

from scribe_ledger.consensus.membership import MemberInfo, Membership
from scribe_ledger.consensus.steward import PAUSE_TICKS, Steward
from scribe_ledger.consensus.stewarding import Stewarding
from scribe_ledger.errors import Unavailable

if TYPE_CHECKING:
    from collections.abc import Callable

pytestmark = pytest.mark.consensus

INFOS = {each: MemberInfo(each, each, f"10.0.0.{each}:1", f"10.0.0.{each}:2") for each in (1, 2, 3)}


class Rules:
    """A ledger that may be slow to agree."""

    def __init__(self) -> None:
        self.version = 1
        self.asked: list[int] = []
        self.answer: Callable[[], object] = lambda: None

    def raise_to(self, version: int, done: Callable[[object], object]) -> None:
        self.asked.append(version)
        outcome = self.answer()
        if outcome is None:
            self.version = version
        done(outcome)


class Leader:
    def __init__(self) -> None:
        self.membership = Membership(5, 1, (1, 2), (3,), members=INFOS)
        self.rules = Rules()
        replica: Any = SimpleNamespace(
            is_leader=True, raft_id=1, membership=self.membership, progress=dict, last_index=100, leader=1, unfit=set
        )
        self.replica = replica
        liveness: Any = SimpleNamespace(states=lambda _: dict.fromkeys((2, 3), "alive"))
        self.stewarding = Stewarding(replica, Steward(), liveness, rules=self.rules, wake=lambda: None)

    def know(self, raft_id: int, version: int) -> None:
        members = {**self.membership.members, raft_id: replace(INFOS[raft_id], apply_version=version)}
        self.membership = replace(self.membership, members=members, index=self.membership.index + 1)
        self.replica.membership = self.membership

    def beat(self, ticks: int = 1) -> None:
        for _ in range(ticks):
            self.stewarding.beat(0.0)


def test_rules_rise_when_the_last_member_knows_them() -> None:
    leader = Leader()
    for raft_id in (1, 2):
        leader.know(raft_id, 2)
        leader.beat(100)
    assert leader.rules.asked == []
    leader.know(3, 3)
    leader.beat(100)
    assert (leader.rules.asked, leader.rules.version) == ([2], 2), "what all know, and once"


def test_rules_that_were_not_agreed_on_are_tried_again() -> None:
    leader = Leader()
    leader.rules.answer = lambda: Unavailable("no quorum")
    for raft_id in (1, 2, 3):
        leader.know(raft_id, 2)
    leader.beat()
    assert (leader.rules.asked, leader.rules.version) == ([2], 1)
    leader.rules.answer = lambda: None
    leader.beat(PAUSE_TICKS + 1)
    assert (leader.rules.asked, leader.rules.version) == ([2, 2], 2)


def test_what_cannot_be_recorded_is_refused_and_ends_nobody() -> None:
    leader = Leader()

    def propose(*_: object, **__: object) -> None:
        raise TypeError("Integer exceeds 64-bit range")

    leader.replica.propose_members = propose
    told: list[object] = []
    leader.beat()
    leader.stewarding.steward.update(replace(INFOS[2], node_id=1 << 70), done=told.append, ticks=5)
    leader.beat(10)
    assert len(told) == 1
    assert told[0] is not None
