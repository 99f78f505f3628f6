"""Ports for servers that come back under the same one: nobody else takes them while the server is away.

They lie below the range out of which the kernel gives ports to whoever asks for any, so that no client and no server on
port 0 is ever given one of them. Each worker of a test run has a part of its own, and gives no port twice.
"""

from __future__ import annotations

import itertools
import os
import random
import socket
from pathlib import Path

_FIRST = 10_000
_PARTS = 16
_ANY = Path("/proc/sys/net/ipv4/ip_local_port_range")


def _own() -> range:
    """The part of this process."""
    end = int(_ANY.read_text().split()[0]) if _ANY.exists() else 32_768
    worker = os.environ.get("PYTEST_XDIST_WORKER", "")
    part = int(worker.removeprefix("gw")) if worker else os.getpid()
    return range(_FIRST + part % _PARTS, end, _PARTS)


_ports = itertools.cycle(random.sample(_own(), len(_own())))


def free_ports(count: int) -> list[int]:
    """That many ports, on which nothing listens."""
    return [next(port for port in _ports if _is_free(port)) for _ in range(count)]


def _is_free(port: int) -> bool:
    with socket.socket() as probe:
        try:
            probe.bind(("127.0.0.1", port))
        except OSError:
            return False
        return True
