"""``check``: whether a history is linearizable, by the search of Wing and Gong with the memory of Lowe.

Keys are independent, so each is searched alone. The state is (version, value). A branch takes one operation that may be
next: no other one had returned before it was called. What leads to the same set of taken operations and the same state
is searched once. What only looks, and fits, is taken at once: that forbids nothing later.

An operation of unknown outcome may be taken at any time after its call, or never. Unconditional puts of that kind whose
value nobody ever saw differ in nothing but their call, so they are taken in that order.

The search is bounded, and a history that it cannot decide counts as a failure.
"""

from __future__ import annotations

import time
from collections import Counter
from typing import TYPE_CHECKING, Literal, NamedTuple

from tests.linearizability.history import Operation, merge_tries, twice

if TYPE_CHECKING:
    from collections.abc import Iterable

STATES_MAX = 500_000
SECONDS_MAX = 60.0
_UNSEEN = b"\0a value that nobody saw"
_NEVER = float("inf")

State = tuple[int, bytes | None]
"""version, value; (0, None) before the first."""


class Verdict(NamedTuple):
    """True only where the history is linearizable."""

    result: Literal["linearizable", "violated", "undecided"]
    key: bytes = b""
    """Of the first key that is not."""
    report: str = ""
    """What was taken at best, and what could not follow."""
    operations: int = 0
    states: int = 0

    def __bool__(self) -> bool:
        return self.result == "linearizable"


def check(history: Iterable[Operation], *, states_max: int = STATES_MAX, seconds_max: float = SECONDS_MAX) -> Verdict:
    """Whether one order of the operations explains all answers. Tries of one request id count as one operation."""
    until = time.monotonic() + seconds_max
    by_key: dict[bytes, list[Operation]] = {}
    for operation in history:
        by_key.setdefault(operation.key, []).append(operation)
    operations = states = 0
    for key in sorted(by_key):
        if again := twice(by_key[key]):
            return Verdict("violated", key, again, operations, states)
        search = _Search(merge_tries(by_key[key]), states_max, until)
        found = search.run()
        operations += len(by_key[key])
        states += search.states
        if found != "linearizable":
            return Verdict(found, key, search.report(), operations, states)
    return Verdict("linearizable", operations=operations, states=states)


class _Search:
    def __init__(self, operations: list[Operation], states_max: int, until: float) -> None:
        self.states = 0
        self._states_max, self._until = states_max, until
        known = [each for each in operations if each.outcome != "unknown" and each.returned is not None]
        known.sort(key=lambda each: (each.called, each.returned))
        self._known = known
        open_ended = (each for each in operations if each.outcome == "unknown" or each.returned is None)
        self._unknown = sorted((each for each in open_ended if each.kind != "get"), key=lambda each: each.called)
        self._seen = {each.value for each in known if each.kind == "get"}
        self._writers = Counter(each.value for each in operations if each.kind == "put")
        self._fix_versions()
        self._best = 0
        self._best_state: State = (0, None)

    def _fix_versions(self) -> None:
        """A put of unknown outcome whose value was seen, and written by no other, has the version that was seen."""
        versions = {each.value: each.version for each in self._known if each.kind == "get" and each.version is not None}
        self._unknown = [
            each._replace(version=versions[each.value])
            if each.kind == "put" and each.value in versions and self._writers[each.value] == 1
            else each
            for each in self._unknown
        ]

    def run(self) -> Literal["linearizable", "violated", "undecided"]:
        everything = (1 << len(self._known)) - 1
        stack: list[tuple[int, int, State]] = [(0, 0, (0, None))]
        been: set[tuple[int, int, State]] = set()
        while stack:
            taken, maybe, state = stack.pop()
            taken = self._take_what_looks(taken, state)
            if taken == everything:
                return "linearizable"
            point = taken, maybe, state
            if point in been:
                continue
            been.add(point)
            self.states += 1
            if self.states > self._states_max or (not self.states & 1023 and time.monotonic() > self._until):
                return "undecided"
            if taken.bit_count() >= self._best.bit_count():
                self._best, self._best_state = taken, state
            stack += self._next(taken, maybe, state)
        return "violated"

    def _open(self, taken: int) -> tuple[list[int], float]:
        """The known operations that may be next, and the first return among those that were not taken."""
        at = (~taken & (taken + 1)).bit_length() - 1  # the lowest that is not taken
        found, first_return = [], _NEVER
        known = self._known
        while at < len(known) and known[at].called <= first_return:
            if not taken >> at & 1:
                found.append(at)
                first_return = min(first_return, known[at].returned or 0.0)
            at += 1
        return [at for at in found if known[at].called <= first_return], first_return

    def _take_what_looks(self, taken: int, state: State) -> int:
        while True:
            looks = [at for at in self._open(taken)[0] if _after(self._known[at], state) == state]
            if not looks:
                return taken
            for at in looks:
                taken |= 1 << at

    def _next(self, taken: int, maybe: int, state: State) -> list[tuple[int, int, State]]:
        candidates, first_return = self._open(taken)
        found: list[tuple[int, int, State]] = []
        passed: set[tuple[object, ...]] = set()
        for at, operation in enumerate(self._unknown):
            if operation.called > first_return:
                break
            if maybe >> at & 1:
                continue
            unseen = self._is_unseen(operation)
            likes = (operation.kind, _UNSEEN if unseen else operation.value, *operation[6:9])
            if likes in passed:
                continue  # an earlier one does the same
            passed.add(likes)
            after = _after(operation, state)
            if after is not None and after != state:
                found.append((taken, maybe | 1 << at, (after[0], _UNSEEN) if unseen else after))
        for at in candidates:
            after = _after(self._known[at], state)
            if after is not None:
                found.append((taken | 1 << at, maybe, after))
        return found  # the last is searched first

    def _is_unseen(self, operation: Operation) -> bool:
        value = operation.value
        return operation.kind == "put" and value not in self._seen and self._writers[value] == 1

    def report(self) -> str:
        waiting = [self._known[at] for at in self._open(self._best)[0]]
        taken = [each for at, each in enumerate(self._known) if self._best >> at & 1]
        version, value = self._best_state
        lines = [
            f"{len(taken)} of {len(self._known)} answered operations can be put in order; the last of them:",
            *(f"  {each}" for each in taken[-8:]),
            f"then the key is at version {version}, value {value!r:.40}, and none of these can be next:",
            *(f"  {each}" for each in waiting),
            f"of unknown outcome ({len(self._unknown)}):",
            *(f"  {each}" for each in self._unknown[:12]),
        ]
        return "\n".join(lines)


def _after(operation: Operation, state: State) -> State | None:
    """The state after it, if what it was told is what it is told in this state; else None."""
    version, value = state
    if operation.kind == "get":
        fits = operation.value == value and operation.version in {None, version}
        return state if fits else None
    holds = operation.if_version in {None, version} and not (operation.if_absent and value is not None)
    if operation.kind == "delete":
        holds = holds and value is not None
    if operation.outcome == "refused":
        return None if holds else state
    if not holds:
        return None
    if operation.kind == "put" and operation.dedupe and operation.value == value:
        return state if operation.version in {None, version} else None
    if operation.version not in {None, version + 1}:
        return None
    return version + 1, operation.value if operation.kind == "put" else None
