"""The machine under the figures: what it is, where the files lie, how fast its disk syncs and how busy it is."""

from __future__ import annotations

import os
import platform
import resource
from hashlib import sha256
from importlib import metadata
from pathlib import Path
from statistics import median
from tempfile import TemporaryDirectory
from time import perf_counter
from typing import TYPE_CHECKING, Any

from scribe_ledger.bench.engines import GrowingFile
from scribe_ledger.version import __version__

if TYPE_CHECKING:
    from collections.abc import Callable

IN_MEMORY = frozenset({"tmpfs", "ramfs", "devtmpfs", "hugetlbfs"})
PACKAGES = ("rocksdict", "cryptography", "pyarrow", "pydantic", "uvicorn", "uvloop", "httptools")
SYNCED_BYTES = 256
_SYNCS = 300


def facts(folder: Path) -> dict[str, Any]:
    """Everything about the machine that does not change during a run."""
    return {
        "cpu": _cpu(),
        "cores": os.cpu_count(),
        "usable_cores": len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count(),
        "memory_mib": _memory_mib(),
        "kernel": f"{platform.system()} {platform.release()}",
        "filesystem": filesystem(folder),
        "python": f"{platform.python_implementation()} {platform.python_version()}",
        "packages": {"scribe-ledger": __version__, **{name: _version(name) for name in PACKAGES}},
    }


def pulse(folder: Path) -> dict[str, float]:
    """How fast the machine is just now. Taken before and after a run: where the two differ, so do absolute figures."""
    syncs = _sync_seconds(folder)
    return {
        "load_average": round(os.getloadavg()[0], 2),
        "fdatasync_per_second": round(1 / median(syncs)),
        "fdatasync_us": round(median(syncs) * 1e6, 1),
        "sha256_per_second": round(_rate(_hash)),
        "python_per_second": round(_rate(_interpret)),
    }


def filesystem(folder: Path) -> str:
    """The type of the filesystem that holds the folder, such as ``ext4``; ``unknown`` where nothing tells."""
    device = folder.stat().st_dev
    wanted = f"{os.major(device)}:{os.minor(device)}"
    try:
        mounts = Path("/proc/self/mountinfo").read_text().splitlines()
    except OSError:
        return "unknown"
    for mount in reversed(mounts):  # of several mounts on one place the last is the one that is seen
        before, _, after = mount.partition(" - ")
        if before.split()[2] == wanted:
            return after.split()[0]
    return "unknown"


def memory() -> dict[str, float]:
    """This process: MiB resident now, and at most so far."""
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
    try:
        status = Path("/proc/self/status").read_text()
    except OSError:
        return {"rss_mib": round(peak, 1), "peak_mib": round(peak, 1)}
    fields = dict(line.split(":", 1) for line in status.splitlines())
    resident, highest = (int(fields[name].split()[0]) / 1024 for name in ("VmRSS", "VmHWM"))
    return {"rss_mib": round(resident, 1), "peak_mib": round(highest, 1)}


def free_bytes(folder: Path) -> int:
    room = os.statvfs(folder)
    return room.f_bavail * room.f_frsize


def _sync_seconds(folder: Path) -> list[float]:
    data = os.urandom(SYNCED_BYTES)
    seconds = []
    with TemporaryDirectory(dir=folder) as place, GrowingFile(Path(place) / "syncs") as file:
        for _ in range(_SYNCS):
            started = perf_counter()
            file.append(data)
            seconds.append(perf_counter() - started)
    return seconds


def _rate(work: Callable[[], int]) -> float:
    """How often a second; ``work`` says how often it did it."""
    rates = []
    for _ in range(5):
        started = perf_counter()
        times = work()
        rates.append(times / (perf_counter() - started))
    return median(rates)


def _hash() -> int:
    data = bytes(65)
    for _ in range(20_000):
        sha256(data).digest()
    return 20_000


def _interpret() -> int:
    """Interpreters of one version differ by half as much again: by how they were built."""
    places: dict[int, tuple[int, bytes]] = {}
    for number in range(20_000):
        places[number & 1023] = (number, b"%d" % number)
    return 20_000


def _cpu() -> str:
    try:
        lines = Path("/proc/cpuinfo").read_text().splitlines()
    except OSError:
        lines = []
    names = [line.partition(":")[2].strip() for line in lines if line.startswith("model name")]
    return names[0] if names else platform.processor() or platform.machine()


def _memory_mib() -> int:
    return os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") >> 20


def _version(package: str) -> str:
    try:
        return metadata.version(package)
    except metadata.PackageNotFoundError:
        return "not installed"
