"""Where the time goes: a stopwatch on the steps of a batch, and a profile of functions.

The stopwatch wraps the steps from outside while it runs, a few calls a batch, and gives each the time that is not
spent in another step inside it. A step that a later version no longer has is left out; its time shows as ``rest``.
"""

from __future__ import annotations

import cProfile
import pstats
from collections import defaultdict
from contextlib import ExitStack, contextmanager
from time import perf_counter
from typing import TYPE_CHECKING, Any
from unittest.mock import patch

from scribe_ledger.ledger import commands, encoding, machine

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from scribe_ledger import Ledger

PROFILED_FUNCTIONS = 15


class Stopwatch:
    """Seconds by step, each without those of the steps inside it.

    For steps that one thread at a time runs, as whoever leads in the sequencer does.
    """

    def __init__(self) -> None:
        self.seconds: dict[str, float] = defaultdict(float)
        self._inner = [0.0]

    def wrap(self, step: str, function: Callable[..., Any]) -> Callable[..., Any]:
        def timed(*arguments: Any, **named: Any) -> Any:
            self._inner.append(0.0)
            started = perf_counter()
            try:
                return function(*arguments, **named)
            finally:
                spent = perf_counter() - started
                self.seconds[step] += spent - self._inner.pop()
                self._inner[-1] += spent

        return timed

    def per_entry_us(self, total_seconds: float, entries: int) -> dict[str, float]:
        """Microseconds per entry by step, and the rest of the whole."""
        split = {step: seconds / entries * 1e6 for step, seconds in self.seconds.items()}
        split["rest"] = total_seconds / entries * 1e6 - sum(split.values())
        return {step: round(spent, 2) for step, spent in split.items()}


@contextmanager
def watching(ledger: Ledger) -> Iterator[Stopwatch]:
    """Times the steps of the ledger's batched writes while the block runs."""
    watch = Stopwatch()
    steps: list[tuple[str, object, str]] = [
        ("commands", commands, "put_many"),
        ("look up keys", ledger._machine, "look_up"),
        ("judge", machine, "judge"),
        ("encode and hash", machine, "encode"),
        ("tree", encoding, "grow"),
        ("group records", encoding, "_write_groups"),
        ("key records", encoding, "_write_keys"),
        ("write", ledger._store, "write"),
        ("sync", ledger._store, "sync"),
        ("publish", ledger._cache, "commit"),
    ]
    with ExitStack() as wrapped:
        for step, owner, name in steps:
            function = getattr(owner, name, None)
            if function is not None:
                wrapped.enter_context(patch.object(owner, name, watch.wrap(step, function)))
        yield watch


def profiled(work: Callable[[], object]) -> list[dict[str, Any]]:
    """The functions in which one call spent most time of their own. A profile slows Python down: compare its shares."""
    profile = cProfile.Profile()
    profile.runcall(work)
    statistics: Any = pstats.Stats(profile)
    rows = [
        {
            "function": f"{_short(file)}:{line} {name}" if line else name,
            "calls": calls,
            "own_ms": round(own * 1e3, 2),
            "total_ms": round(total * 1e3, 2),
        }
        for (file, line, name), (_, calls, own, total, _) in statistics.stats.items()
    ]
    return sorted(rows, key=lambda row: -float(row["own_ms"]))[:PROFILED_FUNCTIONS]


def _short(file: str) -> str:
    """Without the folder in which the package happens to be installed."""
    return "/".join(file.split("/")[-2:])
