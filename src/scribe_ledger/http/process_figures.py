"""What the operating system says of this process, under the names that Prometheus' own clients give it.

On Linux all of it, from ``/proc``; elsewhere what the standard library knows, and None for the rest.
"""

from __future__ import annotations

import os
import resource
import time
from pathlib import Path
from typing import NamedTuple, Self

_PROC = Path("/proc/self")
_LOADED = time.time()


class ProcessFigures(NamedTuple):
    """One field a metric."""

    process_cpu_seconds_total: float
    process_resident_memory_bytes: int | None
    process_open_fds: int | None
    process_max_fds: int
    process_start_time_seconds: float

    @classmethod
    def now(cls) -> Self:
        return cls(
            process_cpu_seconds_total=time.process_time(),
            process_resident_memory_bytes=_resident_bytes(),
            process_open_fds=_open_files(),
            process_max_fds=resource.getrlimit(resource.RLIMIT_NOFILE)[0],
            process_start_time_seconds=_START_TIME,
        )


def _resident_bytes() -> int | None:
    try:
        pages = int((_PROC / "statm").read_bytes().split()[1])
    except OSError:
        return None
    return pages * resource.getpagesize()


def _open_files() -> int | None:
    try:
        return sum(1 for _ in (_PROC / "fd").iterdir()) - 1  # one of them lists the others
    except OSError:
        return None


def _start_time() -> float:
    try:
        fields = (_PROC / "stat").read_bytes().rpartition(b")")[2].split()  # the name before may hold spaces
    except OSError:
        return _LOADED
    booted = time.time() - time.clock_gettime(time.CLOCK_BOOTTIME)
    return booted + int(fields[19]) / os.sysconf("SC_CLK_TCK")


_START_TIME = _start_time()
