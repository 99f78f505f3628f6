"""Creates a ledger in a child that is killed at its first step, the next child at its second, and so on.

A step is the moment before a call that reaches the system or the engine. After each kill another child opens what is
there, writes, and checks all of it. Run by ``test_kill.py`` in a process of its own, because it forks: this process
itself never opens an engine, so that its children may. Only every ``stride``-th step is tried, then some ``times`` that
are left to chance. Prints how many steps there were, and in how many of them the folder was already a ledger.
"""

from __future__ import annotations

import os
import random
import signal
import stat
import sys
import time
import traceback
from pathlib import Path
from typing import TYPE_CHECKING

from scribe_ledger import ConfigurationError, Ledger
from scribe_ledger.ledger import folder as data_folder

if TYPE_CHECKING:
    from collections.abc import Callable
    from types import FrameType

SYSTEM_CALLS = {"close", "fchmod", "flock", "fsync", "ftruncate", "mkdir", "open", "pwrite", "rename", "write"}
ENGINE_CALLS = {"close", "flush_wal", "get_column_family", "write"}
STEPS = SYSTEM_CALLS | ENGINE_CALLS


def main(root: Path, stride: int, times: int) -> None:
    steps = ledgers = 0
    while in_child(lambda at=steps: create(root / f"step {at}", at=at)) == -signal.SIGKILL:  # type: ignore[misc]
        ledgers += (root / f"step {steps}" / "ledger" / data_folder.IDENTITY).exists()
        if in_child(lambda at=steps: use(root / f"step {at}")) != 0:  # type: ignore[misc]
            sys.exit(f"what was killed at step {steps} cannot be used")
        steps += stride
    chance = random.Random(times)
    for number in range(times):
        path = root / f"time {number}"
        in_child(lambda path=path: create(path, at=-1), kill_after=chance.random() / 20)  # type: ignore[misc]
        if in_child(lambda path=path: use(path)) != 0:  # type: ignore[misc]
            sys.exit(f"what was killed in run {number} cannot be used")
    print(steps, ledgers)


def in_child(run: Callable[[], None], *, kill_after: float | None = None) -> int:
    """The child's exit code, negative for a signal."""
    child = os.fork()
    if child == 0:
        try:
            run()
            os._exit(0)
        except BaseException:
            traceback.print_exc()
        finally:
            os._exit(1)
    if kill_after is not None:
        time.sleep(kill_after)
        os.kill(child, signal.SIGKILL)
    _, status = os.waitpid(child, 0)
    return os.waitstatus_to_exitcode(status)


def create(path: Path, *, at: int) -> None:
    path.mkdir()
    left = at

    def step(_frame: FrameType, event: str, call: object) -> None:
        nonlocal left
        if event == "c_call" and getattr(call, "__name__", "") in STEPS:
            if left == 0:
                os.kill(os.getpid(), signal.SIGKILL)
            left -= 1

    sys.setprofile(step)
    Ledger.open(path / "ledger", name="cut/short", overwrite="forbid").close()


def use(path: Path) -> None:
    """As somebody would who starts the program again, even with other options."""
    try:
        ledger = Ledger.open(path / "ledger", name="another")
    except ConfigurationError:  # the creation was complete
        ledger = Ledger.open(path / "ledger", name="cut/short", overwrite="forbid")
    assert ledger.size == 0
    complete = ledger.origin == "cut/short"
    assert ledger.policy.overwrite == ("forbid" if complete else "version")
    ledger.put("key", "value")
    checkpoint = ledger.checkpoint()
    assert checkpoint.origin == ledger.origin
    key = ledger.public_key
    ledger.close()
    assert stat.S_IMODE((path / "ledger" / data_folder.KEY).stat().st_mode) == 0o600
    with Ledger.open(path / "ledger") as again:
        assert (again.get("key"), again.public_key) == (b"value", key)
        assert again.verify().ok
        assert again.checkpoint().root == checkpoint.root


if __name__ == "__main__":
    main(Path(sys.argv[1]), int(sys.argv[2]), int(sys.argv[3]))
