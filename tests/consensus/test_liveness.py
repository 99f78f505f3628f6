"""Who counts as alive, and when no longer."""

from __future__ import annotations

import pytest

from scribe_ledger.consensus.liveness import Liveness

pytestmark = pytest.mark.consensus


def watching(*raft_ids: int) -> Liveness:
    liveness = Liveness(1500)
    liveness.expect(raft_ids, 100.0)
    return liveness


def test_silence_makes_a_member_suspect_and_then_failed() -> None:
    liveness = watching(7)
    liveness.note(7, 101.0, 5_000)
    assert [liveness.state(7, 101.0 + after) for after in (0.0, 0.89, 0.9, 1.49, 1.5, 60)] == [
        *("alive", "alive", "suspect", "suspect", "failed", "failed")
    ]


def test_a_failed_member_that_is_heard_again_is_alive() -> None:
    liveness = watching(7)
    assert liveness.state(7, 110.0) == "failed"
    liveness.note(7, 110.0, 9_000)
    assert liveness.states(110.1) == {7: "alive"}
    assert liveness.last_heard_ms(7) == 9_000


def test_who_was_never_heard_counts_from_when_it_was_expected() -> None:
    liveness = watching(7)
    assert liveness.states(100.1) == {7: "alive"}
    assert liveness.last_heard_ms(7) == 0
    liveness.expect([7, 8], 105.0)
    assert liveness.states(105.1) == {7: "failed", 8: "alive"}


def test_silence_of_who_was_never_heard_grows_from_when_it_was_expected() -> None:
    liveness = watching(7)
    assert liveness.silence(7, 175.0) == 75.0
    liveness.note(7, 180.0, 1)
    assert liveness.silence(7, 181.0) == 1.0
    assert liveness.silence(9, 181.0) == float("inf")


def test_who_is_not_expected_is_not_kept() -> None:
    liveness = watching(7)
    liveness.note(9, 101.0, 1)
    liveness.expect([8], 101.0)
    liveness.note(7, 101.0, 1)
    assert liveness.states(101.0) == {8: "alive"}
    assert liveness.state(9, 101.0) == "failed"


def test_a_sign_that_comes_late_does_not_turn_back_the_clock() -> None:
    liveness = watching(7)
    liveness.note(7, 102.0, 2_000)
    liveness.note(7, 101.0, 1_000)
    assert liveness.last_heard_ms(7) == 2_000
