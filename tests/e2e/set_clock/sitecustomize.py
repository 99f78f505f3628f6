"""On the PYTHONPATH of a child alone: its clock is wrong by as many seconds as the file ``SET_CLOCK_BY`` says by now.

Only the clock on the wall: the one by which Python waits, that of the machine since its start, never jumps.
"""

import mmap
import os
import struct
import time

_SHIFT = struct.Struct("d")
_time, _time_ns = time.time, time.time_ns

with open(os.environ["SET_CLOCK_BY"], "rb") as file:
    _shift = mmap.mmap(file.fileno(), _SHIFT.size, access=mmap.ACCESS_READ)


def _shifted_time() -> float:
    return _time() + float(_SHIFT.unpack(_shift[:])[0])


def _shifted_time_ns() -> int:
    return _time_ns() + int(_SHIFT.unpack(_shift[:])[0] * 1e9)


time.time, time.time_ns = _shifted_time, _shifted_time_ns
