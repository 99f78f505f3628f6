"""On the PYTHONPATH of a child alone: every sync of its Raft log takes longer, as on a disk that is busy.

The ledger's own store is RocksDB's and syncs without Python; it is not synced each turn.
"""

import os
import random
import time

_WORST_SECONDS = 0.25
_sync = os.fdatasync


def _slow_fdatasync(descriptor: int) -> None:
    time.sleep(random.random() ** 4 * _WORST_SECONDS)
    _sync(descriptor)


os.fdatasync = _slow_fdatasync  # type: ignore[assignment]
