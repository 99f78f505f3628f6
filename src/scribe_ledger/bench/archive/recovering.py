"""Jobs that read a whole bucket: restoring the ledger from it, and checking it. Both are of a million entries: a ledger
of another size is reckoned up."""

from __future__ import annotations

import resource
from time import perf_counter, process_time
from typing import TYPE_CHECKING

from scribe_ledger.archive.check.store import check_store_contents
from scribe_ledger.archive.recovery import restore as restore_ledger
from scribe_ledger.bench.host import memory
from scribe_ledger.errors import Corruption
from scribe_ledger.objects.folder import FolderStore

if TYPE_CHECKING:
    from scribe_ledger.bench.archive.scale import Task
    from scribe_ledger.bench.timing import Measured

MILLION = 1_000_000


def restore(task: Task) -> dict[str, Measured]:
    """Into an empty folder, every value checked."""
    before = memory()
    started = perf_counter()
    restored = restore_ledger(FolderStore(task.store, create=False), task.folder / "restored")
    seconds = perf_counter() - started
    after = memory()
    assert restored.size >= task.scale.entries
    return {
        "restore": {
            "figure": seconds * MILLION / restored.size,
            "beside": {},
            "details": {"entries": restored.size, "cpu_seconds": round(process_time(), 1)},
        },
        "restore.memory": {
            "figure": after["peak_mib"],
            "beside": {},
            "details": {"before_it_began": before, "afterwards": after},
        },
    }


def fsck(task: Task) -> dict[str, Measured]:
    """All of the bucket without the ledger, with as many processes as it takes by itself, and then in one."""
    store = FolderStore(task.store, create=False)
    seconds = {}
    for jobs in (0, 1):
        started = perf_counter()
        report = check_store_contents(store, jobs=jobs)
        seconds[jobs] = perf_counter() - started
        if not report.ok or report.counts.entries < task.scale.entries:
            raise Corruption(f"the check of the benchmark's own bucket says {report}")
    entries = report.counts.entries
    processes = max(resource.getrusage(who).ru_maxrss for who in (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN))
    return {
        "fsck": {
            "figure": seconds[0] * MILLION / entries,
            "beside": {"in one process": seconds[1] * MILLION / entries},
            "details": {"counts": vars(report.counts), "most_memory_of_a_process_mib": round(processes / 1024, 1)},
        }
    }
