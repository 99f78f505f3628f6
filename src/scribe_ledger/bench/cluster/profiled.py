"""A node under a profiler that is switched by signals: SIGUSR1 begins, SIGUSR2 ends and writes the file.

So neither the start of Python nor the forming of the cluster is in the profile. Only the main thread is seen.
"""

from __future__ import annotations

import cProfile
import runpy
import signal
import sys
from pathlib import Path

NODE = "scribe_ledger.cli.node"
BEGIN, END = signal.SIGUSR1, signal.SIGUSR2


def main() -> None:
    """The first argument is the file; all others are those of ``scribe-node``."""
    profile, file = cProfile.Profile(), Path(sys.argv.pop(1))

    def begin(*_: object) -> None:
        profile.clear()
        profile.enable()

    def end(*_: object) -> None:
        profile.disable()
        unfinished = file.with_suffix(".unfinished")
        profile.dump_stats(unfinished)
        unfinished.rename(file)

    signal.signal(BEGIN, begin)
    signal.signal(END, end)
    runpy.run_module(NODE, run_name="__main__")


if __name__ == "__main__":
    main()
