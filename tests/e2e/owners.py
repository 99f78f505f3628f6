"""Which process has the other end of a connection on this machine: the kernel is asked for that one connection.

``/proc/net/tcp`` lists them all, with what closed within the last minute. Where tests have made thousands, reading it
takes so long that whoever connects has given up.
"""

from __future__ import annotations

import contextlib
import functools
import os
import socket
import struct
from pathlib import Path

_SOCK_DIAG, _SOCK_DIAG_BY_FAMILY, _REQUEST = 4, 20, 1
_HEADER = struct.Struct("=IHHII")
_ANY = struct.Struct("=III").pack(0, 0xFFFFFFFF, 0xFFFFFFFF)
"""No interface, no cookie."""
_INODE_AT = _HEADER.size + 4 + 48 + 16

Address = tuple[str, int]


@functools.cache
def is_available() -> bool:
    """On Linux, unless it is a kernel without this interface."""
    if not hasattr(socket, "AF_NETLINK") or not Path("/proc/self/fd").exists():
        return False
    with (
        socket.create_server(("127.0.0.1", 0)) as server,
        socket.create_connection(server.getsockname()) as one,
        contextlib.suppress(OSError),
    ):
        inode = inode_of(one.getsockname(), one.getpeername())
        return inode is not None and has(os.getpid(), inode)
    return False


def inode_of(here: Address, there: Address) -> int | None:
    """Of the socket that is bound to ``here`` and connected to ``there``; None if it is gone."""
    ends = b"".join(struct.pack(">H", port) for _, port in (here, there))
    ends += b"".join(socket.inet_aton(host) + bytes(12) for host, _ in (here, there))
    body = struct.pack("=BBBBI", socket.AF_INET, socket.IPPROTO_TCP, 0, 0, 0xFFFFFFFF) + ends + _ANY
    with socket.socket(socket.AF_NETLINK, socket.SOCK_RAW, _SOCK_DIAG) as kernel:
        kernel.send(_HEADER.pack(_HEADER.size + len(body), _SOCK_DIAG_BY_FAMILY, _REQUEST, 0, 0) + body)
        answer = kernel.recv(4096)
    if _HEADER.unpack_from(answer)[1] != _SOCK_DIAG_BY_FAMILY:
        return None
    (inode,) = struct.unpack_from("=I", answer, _INODE_AT)
    return inode or None


def has(pid: int, inode: int) -> bool:
    """Whether this process has that socket open."""
    with contextlib.suppress(OSError):
        for each in Path(f"/proc/{pid}/fd").iterdir():
            with contextlib.suppress(OSError):
                if os.readlink(each) == f"socket:[{inode}]":
                    return True
    return False
