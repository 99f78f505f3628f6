"""The disk under the spool: archiving leaves the reserve to the ledger, or half of it where that makes room.

A segment is written as a file beside the data before it goes into the store. A disk that this filled would stop the
ledger. So below the reserve nothing is merged. Sealing goes on there: only what is sealed can be evicted, and nothing
else would bring writes back. It keeps to half of the reserve, with smaller segments if need be. Evicting needs no
room: an object that is looked at lies in memory where no file would fit.
"""

from __future__ import annotations

from shutil import disk_usage
from typing import TYPE_CHECKING

from scribe_ledger.config.sections import MAKE_ROOM, narrow_margin
from scribe_ledger.errors import StorageError
from scribe_ledger.objects.durable import storage_errors

if TYPE_CHECKING:
    from scribe_ledger.archive.settings import ArchiveSettings
    from scribe_ledger.archive.work import Work
    from scribe_ledger.ledger.served import ServedLedger

LEAST_BYTES = 1 << 20
"""No segment is made smaller than that to fit in."""


def check_room_to_merge(work: Work, size: int) -> None:
    """Raises if files of about ``size`` bytes would leave less than the reserve free. A reserve of 0 is none."""
    reserve = work.settings.disk_reserve
    if reserve and (free := _free(work)) - size < reserve:
        raise _too_little(work, free, size, f"the reserve of {reserve}")


def room_to_seal(work: Work, size: int) -> int:
    """How large a segment of at most ``size`` bytes may be. Raises if none that is worth it would fit."""
    reserve = work.settings.disk_reserve
    if not reserve:
        return size
    free = _free(work)
    fitting = min(size, free - reserve // 2)
    if fitting < (least := min(size, LEAST_BYTES)):
        raise _too_little(work, free, least, f"{reserve // 2}, half of the reserve of {reserve}")
    return fitting


def has_room_to_read(work: Work, size: int) -> bool:
    """Whether a file of so many bytes may be put beside the data for a moment."""
    return _free(work) - size >= max(work.settings.disk_reserve // 2, LEAST_BYTES)


def lacks_room(ledger: ServedLedger, settings: ArchiveSettings) -> bool:
    """Whether so little is free that writes are refused, or will soon be."""
    reserve = settings.disk_reserve
    return bool(reserve) and _free_at(ledger) < reserve + 2 * narrow_margin(reserve)


def _free(work: Work) -> int:
    return _free_at(work.ledger)


def _free_at(ledger: ServedLedger) -> int:
    with storage_errors("tell the free space of", ledger.spool):
        return disk_usage(ledger.spool).free


def _too_little(work: Work, free: int, size: int, limit: str) -> StorageError:
    return StorageError(
        f"the disk of {work.ledger.spool} has {free} bytes free: a segment of about {size} bytes would leave less than"
        f" {limit}",
        hint=MAKE_ROOM,
    )
