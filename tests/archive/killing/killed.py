"""Archives a growing ledger in children that are killed at steps, and checks what the next child finds.

Run by ``test_archiver_kill.py`` in a process of its own, because it forks: this process never opens a ledger, so that
its children may. ``each`` kills in the middle of the times that a step is reached (``every``: at each of them), always
in a new ledger. ``loop`` kills one ledger's archiver at its first step, the next at its second, and so on. Prints how
often each step is reached without a kill.
"""

from __future__ import annotations

import json
import os
import signal
import sys
import tempfile
import traceback
from collections import Counter
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pyarrow.compute
import pyarrow.parquet  # noqa: F401  # imported once, before the forks
from tests.archive.rounds import archiver, check_archived, check_ledger, open_ledger, rounds_in, write_round

from scribe_ledger.archive.archiver import STEPS
from scribe_ledger.objects.opening import StoreOptions, open_object_store

if TYPE_CHECKING:
    from collections.abc import Callable

    from scribe_ledger.ledger.served import ServedLedger

ROUNDS = 18


class Places:
    """Where ledgers and their stores lie."""

    def __init__(self, root: Path, url: str, options: dict[str, Any]) -> None:
        self._root = root
        self._url = url
        self._options = options

    def open(self, name: str) -> ServedLedger:
        """Only in a child: a store far away has threads."""
        url = f"{self._url}/{name}" if self._url else (self._root / f"store {name}").as_uri()
        return open_ledger(self._root / name, open_object_store(url, StoreOptions(**self._options)))


def main(mode: str, places: Places, wanted: list[str]) -> None:
    reached = _steps_of_a_whole_run(places)
    missing = set(STEPS) - set(reached)
    assert not missing, f"no kill can happen at {missing}"
    if mode == "loop":
        _kill_in_a_loop(places, sum(reached.values()))
    for step in wanted:
        for time in range(1, reached[step] + 1) if mode == "every" else [(reached[step] + 1) // 2]:
            _kill_at(places, f"{step}-{time}", step, time)
    print(json.dumps(reached))


def _kill_at(places: Places, name: str, step: str, time: int) -> None:
    seen: Counter[str] = Counter()

    def at_step(reached: str) -> None:
        seen[reached] += 1
        if (reached, seen[reached]) == (step, time):
            os.kill(os.getpid(), signal.SIGKILL)

    assert in_child(lambda: work(places, name, at_step)) == -signal.SIGKILL, f"{step} {time} was not reached"
    assert in_child(lambda: check(places, name)) == 0, f"after a kill at {step} {time} the ledger is not as it was"
    assert in_child(lambda: finish(places, name)) == 0, f"after a kill at {step} {time} it cannot be finished"


def _kill_in_a_loop(places: Places, most: int) -> None:
    name = "loop"
    for number in range(1, most):
        left = number

        def at_step(_: str) -> None:
            nonlocal left
            left -= 1
            if left == 0:
                os.kill(os.getpid(), signal.SIGKILL)

        code = in_child(lambda: work(places, name, at_step))
        assert code in (0, -signal.SIGKILL), f"run {number} ended with {code}"
        assert in_child(lambda: check(places, name)) == 0, f"after run {number} the ledger is not as it was"
        if code == 0:
            break
    assert in_child(lambda: finish(places, name)) == 0


def _steps_of_a_whole_run(places: Places) -> Counter[str]:
    with tempfile.NamedTemporaryFile("r") as file:

        def run() -> None:
            with Path(file.name).open("w") as out:
                work(places, "whole", lambda step: print(step, file=out))
            finish(places, "whole")

        assert in_child(run) == 0, "without any kill it does not work either"
        return Counter(file.read().split())


def work(places: Places, name: str, at_step: Callable[[str], None]) -> None:
    """Goes on with the rounds, archiving after each."""
    with places.open(name) as ledger:
        archive = archiver(ledger, at_step)
        for number in range(rounds_in(ledger), ROUNDS):
            write_round(ledger, number)
            archive.run_once(everything=True)


def check(places: Places, name: str) -> None:
    """What is there before anything is repaired."""
    with places.open(name) as ledger:
        check_ledger(ledger, rounds_in(ledger))


def finish(places: Places, name: str) -> None:
    """As the next process does."""
    work(places, name, lambda _: None)
    with places.open(name) as ledger:
        archiver(ledger).run_once(everything=True)
        check_ledger(ledger, ROUNDS)
        check_archived(ledger, ROUNDS)
        assert ledger.evicted > ledger.size // 2
        assert len(ledger.manifest.segments) < ROUNDS - 8, "nothing was merged"


def in_child(run: Callable[[], None]) -> int:
    """The child's exit code, negative for a signal."""
    sys.stdout.flush()
    child = os.fork()
    if child == 0:
        try:
            run()
            os._exit(0)
        except BaseException:
            traceback.print_exc()
        finally:
            sys.stderr.flush()
            os._exit(1)
    _, status = os.waitpid(child, 0)
    return os.waitstatus_to_exitcode(status)


if __name__ == "__main__":
    arguments = json.loads(sys.argv[1])
    main(arguments["mode"], Places(Path(arguments["root"]), arguments["url"], arguments["options"]), arguments["steps"])
