from __future__ import annotations

from typing import TYPE_CHECKING

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from tests.segments.example import LEDGER, Log, logs, many

from scribe_ledger.errors import Corruption, InvalidRequest
from scribe_ledger.segments.checking import check_segment
from scribe_ledger.segments.merging import merge
from scribe_ledger.segments.writing import gather, seal

if TYPE_CHECKING:
    from pathlib import Path

    from scribe_ledger.segments.segment import Segment

pytestmark = pytest.mark.storage


def sealed_in_parts(log: Log, folder: Path, size: int) -> list[tuple[bytes, Segment]]:
    parts = []
    for group in log.groups(size):
        with seal(gather([group]), ledger_id=LEDGER, folder=folder) as sealed:
            parts.append((sealed.path.read_bytes(), sealed.segment))
    return parts


@settings(max_examples=40, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(log=logs(), size=st.integers(1, 20))
def test_merged_segments_are_the_segment_that_would_have_been_sealed(tmp_path: Path, log: Log, size: int) -> None:
    parts = sealed_in_parts(log, tmp_path, size)
    with (
        merge(parts, ledger_id=LEDGER, folder=tmp_path) as merged,
        log.seal(tmp_path) as sealed,
    ):
        assert merged.segment == sealed.segment
        assert merged.path.read_bytes() == sealed.path.read_bytes()
        check_segment(merged.path, merged.segment, ledger_id=LEDGER)


def test_merging_paces_and_may_change_the_codec(tmp_path: Path) -> None:
    calls: list[int] = []
    log = many(20_000, keys=50)
    parts = sealed_in_parts(log, tmp_path, 4000)
    with merge(
        parts, ledger_id=LEDGER, folder=tmp_path, compression="gzip", level=1, pace=lambda: calls.append(1)
    ) as merged:
        check_segment(merged.path, merged.segment, ledger_id=LEDGER)
        assert (merged.segment.count, merged.segment.log_bytes) == (20_000, sum(part.log_bytes for _, part in parts))
    assert len(calls) > 20
    assert [*tmp_path.iterdir()] == []


def test_what_are_no_neighbours_is_not_merged(tmp_path: Path) -> None:
    parts = sealed_in_parts(many(9), tmp_path, 3)
    for wrong in ([], parts[::-1], [parts[0], parts[2]], [parts[0], parts[0]]):
        with pytest.raises(InvalidRequest):
            merge(wrong, ledger_id=LEDGER, folder=tmp_path)
    with pytest.raises(Corruption, match="of the ledger"):
        merge(parts, ledger_id="another", folder=tmp_path)
    assert [*tmp_path.iterdir()] == []


def test_a_damaged_input_is_refused_and_leaves_no_file(tmp_path: Path) -> None:
    parts = sealed_in_parts(many(300), tmp_path, 100)
    content = bytearray(parts[1][0])
    content[40] ^= 1
    with pytest.raises(Corruption, match=parts[1][1].path):
        merge([parts[0], (bytes(content), parts[1][1])], ledger_id=LEDGER, folder=tmp_path)
    assert [*tmp_path.iterdir()] == []
