"""Evicting: archived values leave the hot store, oldest first, when they take more than ``hot_size``.

Only after this process has read the whole object and matched its digest: what the store said when it took it is not
enough. Leaves, key index and tree stay. What is counted is the bytes of leaves and values of the segments, so somewhat
more than the values alone.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from scribe_ledger.archive.uploading import check_stored

if TYPE_CHECKING:
    from scribe_ledger.archive.work import Work
    from scribe_ledger.ledger.served import ServedLedger


def evict(work: Work) -> int:
    """Drops values until the rest fits; of how many entries."""
    ledger = work.ledger
    before = ledger.evicted
    while hot_bytes(ledger) > work.settings.hot_size:
        evicted = ledger.evicted
        segment = ledger.manifest.find(evicted)
        if segment is None:
            break
        check_stored(ledger.objects, segment, work.pace)
        ledger.evict(segment.stop)
        if ledger.evicted <= evicted:
            break
        work.reached("evict")
    return ledger.evicted - before


def hot_bytes(ledger: ServedLedger) -> int:
    """Bytes of archived entries whose values are still in the hot store."""
    manifest, evicted = ledger.manifest, ledger.evicted
    if evicted == 0:
        return manifest.archived_bytes
    if evicted >= manifest.archived_size:
        return 0
    found = 0
    for segment in reversed(manifest.segments):
        if segment.stop <= evicted:
            break
        hot = segment.stop - max(segment.first_index, evicted)
        found += segment.log_bytes * hot // segment.count
    return found
