"""The disk under the spool: archiving leaves the reserve to the ledger.

A segment is written as a file beside the data before it goes into the store. A disk that this filled would stop the
ledger, so sealing and merging are refused first. Evicting needs no room, and goes on.
"""

from __future__ import annotations

from shutil import disk_usage
from typing import TYPE_CHECKING

from scribe_ledger.errors import StorageError
from scribe_ledger.objects.durable import storage_errors

if TYPE_CHECKING:
    from scribe_ledger.archive.work import Work


def check_room(work: Work, size: int) -> None:
    """Raises if a file of about ``size`` bytes would leave less than the reserve free. A reserve of 0 is none."""
    reserve, spool = work.settings.disk_reserve, work.ledger.spool
    if not reserve:
        return
    with storage_errors("tell the free space of", spool):
        free = disk_usage(spool).free
    if free - size < reserve:
        raise StorageError(
            f"the disk of {spool} has {free} bytes free: a segment of about {size} bytes would leave less than the"
            f" reserve of {reserve}",
            hint="make room there, or lower [storage] disk_reserve or segment_size",
        )
