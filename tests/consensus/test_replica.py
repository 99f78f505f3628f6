"""Replicas in one process: elections, replication, turns."""

from __future__ import annotations

import pytest
from tests.consensus.group import Group

pytestmark = pytest.mark.consensus


def test_a_write_reaches_everybody_and_is_answered_once() -> None:
    group = Group(1, 2, 3)
    group.lead(1)
    outcomes = group.write(1, "a", "b")
    group.pass_time(2)
    assert outcomes == [(3, b"a"), (3, b"b")]
    group.assert_all_have("a", "b")


def test_a_follower_forwards_and_answers_when_it_has_applied() -> None:
    group = Group(1, 2, 3)
    group.lead(1)
    outcomes = group.write(2, "a")
    assert outcomes.only is not None
    assert group[2].counters.forwarded == 1
    assert group[1].counters.taken == 1
    group.pass_time(2)
    group.assert_all_have("a")
