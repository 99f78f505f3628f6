"""The engine's log: bounded, filtered, and out of the way."""

from __future__ import annotations

import logging

from scribe_raft import Node

from cluster import voters


def test_lines_come_with_their_level_and_values() -> None:
    node = Node(1, conf_state=voters(1))
    node.campaign()
    lines = node.take_logs()
    assert (logging.INFO, "became leader at term 1 term=1") in lines
    assert {level for level, _ in lines} == {logging.INFO}
    assert node.take_logs() == []


def test_the_level_is_a_filter_that_can_change() -> None:
    node = Node(1, conf_state=voters(1), log_level=logging.ERROR)
    node.campaign()
    assert node.take_logs() == []
    node.set_log_level(logging.DEBUG)
    ready = node.ready()
    assert ready is not None
    node.advance(ready)
    assert any(level == logging.DEBUG for level, _ in node.take_logs())


def test_old_lines_are_dropped_and_counted() -> None:
    node = Node(1, conf_state=voters(1, 2), seed=1)
    for _ in range(30_000):
        node.tick()
    lines = node.take_logs()
    assert len(lines) == 1025
    assert lines[0][0] == logging.WARNING
    assert lines[0][1].endswith("lines were not taken in time and are lost")
