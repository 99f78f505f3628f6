"""Merging: neighbouring segments become one with the same rows, which is how compaction makes few large ones of many.

Nothing is decoded beyond columns: rows, leaf hashes included, go over as they are. Memory is two to three times the
bytes of what is merged.
"""

from __future__ import annotations

from itertools import pairwise
from typing import TYPE_CHECKING

from scribe_ledger.errors import InvalidRequest
from scribe_ledger.segments.scanning import open_segment
from scribe_ledger.segments.schema import schema
from scribe_ledger.segments.writing import SealedSegment, write_segment

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence
    from pathlib import Path

    import pyarrow as pa

    from scribe_ledger.segments.segment import Segment
    from scribe_ledger.segments.writing import Compression


def merge(
    inputs: Sequence[tuple[Path | bytes, Segment]],
    *,
    ledger_id: str,
    folder: Path,
    compression: Compression = "zstd",
    level: int = 6,
    pace: Callable[[], object] = lambda: None,
) -> SealedSegment:
    """One segment, in ``folder``, of the rows of several. They are given in order, each where the one before ends.

    The caller has held each file against its digest, as ``download`` does; page checksums and footers are checked here.
    """
    segments = [segment for _, segment in inputs]
    if not segments:
        raise InvalidRequest("there is nothing to merge")
    for first, second in pairwise(segments):
        if second.first_index != first.stop:
            raise InvalidRequest(f"the segment {second.segment_id} does not follow {first.segment_id}")
    return write_segment(
        _joined(inputs, ledger_id, pace),
        log_bytes=sum(segment.log_bytes for segment in segments),
        ledger_id=ledger_id,
        folder=folder,
        compression=compression,
        level=level,
        pace=pace,
    )


def _joined(inputs: Sequence[tuple[Path | bytes, Segment]], ledger_id: str, pace: Callable[[], object]) -> pa.Table:
    """All rows in one table, column by column so that no more than one column is held twice."""
    import pyarrow as pa

    columns: dict[str, list[pa.Array]] = {name: [] for name in schema().names}
    for file, segment in inputs:
        with open_segment(file, segment, ledger_id=ledger_id) as opened:
            table = opened.table()
        for name, parts in columns.items():
            parts.extend(table.column(name).chunks)
        pace()
    whole = {}
    for name in schema().names:
        whole[name] = pa.concat_arrays(columns.pop(name))
        pace()
    return pa.table(whole)
