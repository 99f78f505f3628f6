"""When the log is cut, and what never is."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from scribe_ledger.config.sections import ConsensusSettings
from scribe_ledger.consensus.compaction import Compaction, CompactionSettings, LogState

pytestmark = pytest.mark.consensus

MIB = 1 << 20


def log(applied: int, *, truncated: int = 1, **others: int | None) -> LogState:
    fields = {"truncated": truncated, "applied": applied, "position": applied, "last": applied, "bytes": 0, **others}
    return LogState(**fields)  # type: ignore[arg-type]


def cut(settings: CompactionSettings, state: LogState, *, durable: int | None = None, now: float = 0.0) -> int:
    return Compaction(settings).cut(state, state.position if durable is None else durable, now)


def test_the_log_is_cut_after_so_many_entries_and_keeps_some() -> None:
    settings = CompactionSettings(entries=5000, keep=1000)
    assert cut(settings, log(6000)) == 0
    assert cut(settings, log(6001)) == 5001
    assert cut(settings, log(11_000, truncated=5001)) == 0
    assert cut(settings, log(11_001, truncated=5001)) == 10_001


def test_settings_come_from_the_configuration() -> None:
    settings = CompactionSettings.of(ConsensusSettings(log_max_age_secs=60))
    assert settings == CompactionSettings(5000, 1000, 256 * MIB, 60)


def test_never_beyond_what_the_ledger_has_flushed() -> None:
    settings = CompactionSettings(entries=10, keep=0)
    assert cut(settings, log(100), durable=40) == 40
    assert cut(settings, log(100, truncated=40), durable=40) == 0


def test_it_is_due_only_if_a_flush_would_let_it_be_cut() -> None:
    compaction = Compaction(CompactionSettings(entries=10, keep=0))
    assert compaction.due(log(100), 0.0)
    assert not compaction.due(log(100, position=1), 0.0)
    assert not compaction.due(log(100, sending=1), 0.0)


def test_a_transfer_keeps_the_entries_behind_its_snapshot_but_not_for_ever() -> None:
    settings = CompactionSettings(entries=10, keep=0, max_bytes=MIB)
    assert cut(settings, log(100, sending=30, bytes=4 * MIB)) == 30
    assert cut(settings, log(100, sending=30, bytes=4 * MIB + 1)) == 100


def test_a_log_without_a_limit_is_not_held_for_ever_either() -> None:
    settings = CompactionSettings(entries=10, keep=0, max_bytes=0)
    assert cut(settings, log(100, sending=30, bytes=1 << 30)) == 30
    assert cut(settings, log(100, sending=30, bytes=(1 << 30) + 1)) == 100


def test_a_log_that_is_too_large_is_cut_to_half_of_its_limit() -> None:
    settings = CompactionSettings(entries=5000, keep=1000, max_bytes=100)
    assert cut(settings, log(101, bytes=100)) == 0
    assert cut(settings, log(101, bytes=200)) == 101 - 25
    assert cut(settings, log(10_001, bytes=10_000)) == 10_001 - 50


def test_a_log_of_few_large_entries_is_cut_below_what_is_kept_otherwise() -> None:
    assert cut(CompactionSettings(keep=1000, max_bytes=MIB), log(11, bytes=10 * MIB)) == 11


def test_what_is_older_than_its_greatest_age_is_cut() -> None:
    compaction = Compaction(CompactionSettings(max_age_seconds=64))
    for second in range(100):
        compaction.mark(10 + second, float(second))
    assert compaction.cut(log(109), 109, now=99.0) == 10 + 35
    assert compaction.cut(log(109), 20, now=99.0) == 20


def test_age_without_a_limit_remembers_nothing() -> None:
    compaction = Compaction(CompactionSettings(max_age_seconds=0))
    compaction.mark(10, 0.0)
    assert compaction.cut(log(20), 20, now=1e9) == 0
    assert not compaction._marks


def test_the_marks_of_time_are_bounded() -> None:
    compaction = Compaction(CompactionSettings(max_age_seconds=10))
    for tick in range(100_000):
        compaction.mark(tick, tick * 0.05)
    assert len(compaction._marks) <= 66


def test_a_position_that_lags_behind_asks_to_be_moved() -> None:
    compaction = Compaction(CompactionSettings(entries=100))
    assert not compaction.position_lags(log(1099, position=1000))
    assert compaction.position_lags(log(1100, position=1000))


@given(
    st.builds(
        CompactionSettings,
        entries=st.integers(1, 100),
        keep=st.integers(0, 100),
        max_bytes=st.integers(0, 1000),
        max_age_seconds=st.sampled_from([0, 5, 50]),
    ),
    st.lists(
        st.tuples(st.integers(1, 50), st.integers(0, 100), st.integers(0, 20), st.integers(0, 20), st.booleans()),
        max_size=40,
    ),
)
def test_whatever_happens_nothing_is_cut_that_is_needed(
    settings: CompactionSettings, steps: list[tuple[int, int, int, int, bool]]
) -> None:
    compaction = Compaction(settings)
    truncated, last, log_bytes, now, sending = 1, 1, 0, 0.0, None
    for grown, more_bytes, behind, unflushed, send in steps:
        last, log_bytes, now = last + grown, log_bytes + more_bytes, now + grown
        applied = max(last - behind, truncated)
        durable = max(applied - unflushed, truncated)
        sending = applied if send and sending is None else sending
        state = LogState(truncated, applied, applied, last, log_bytes, sending)
        compaction.mark(applied, now)
        upto = compaction.cut(state, durable, now)
        if not upto:
            continue
        assert truncated < upto <= durable
        if sending is not None and log_bytes <= settings.held_bytes:
            assert upto <= sending
        assert compaction.due(state, now)
        log_bytes = log_bytes * (last - upto) // (last - truncated)
        truncated = upto
        sending = None if sending is not None and sending < upto else sending
