"""``Operation``: what one client asked of one key and what it was told. A history is any number of them.

The words are those of a register with versions, and of nothing else: the checker shares no code with what it checks.
"""

from __future__ import annotations

from typing import Literal, NamedTuple


class Operation(NamedTuple):
    """One try. Of a batch, one for each of its keys, all with the times of the batch."""

    kind: Literal["put", "delete", "get"]
    key: bytes
    called: float
    returned: float | None
    """On the same clock as ``called``, and after the answer was there. Not looked at if the outcome is unknown."""
    outcome: Literal["ok", "refused", "unknown"] = "ok"
    """Refused: the answer was that its condition does not hold, or that there is nothing to delete. Unknown: no answer,
    or one that leaves it open. What certainly had no effect, such as ``unavailable``, does not belong in a history."""
    value: bytes | None = None
    """Of a put, what was to be written. Of a get, what was seen; None: nothing was there, or it was deleted."""
    version: int | None = None
    """That the answer named. None: it named none."""
    if_version: int | None = None
    if_absent: bool = False
    dedupe: bool = True
    """Whether a put of what is there already has no effect, and is told the version that is there."""
    request: str = ""
    """Request id: all tries of one id on one key are one operation."""
    client: str = ""
    """For whoever reads a report."""

    def __str__(self) -> str:
        end = "…" if self.outcome == "unknown" or self.returned is None else f"{self.returned:.4f}"
        condition = f" if version {self.if_version}" if self.if_version is not None else " if absent" * self.if_absent
        version = f" at version {self.version}" if self.version is not None else ""
        shown = "" if self.kind == "delete" else f" {self.value!r:.40}"
        return f"[{self.called:.4f} {end}] {self.client} {self.kind}{shown}{condition}: {self.outcome}{version}"


def merge_tries(history: list[Operation]) -> list[Operation]:
    """One operation for all tries of a request id.

    If a try was told that it worked, the operation took effect between the first call and the first such answer. A
    refusal says what held when it was judged, and nothing of the tries whose answer was lost: these stay as one.
    """
    merged: list[Operation] = []
    tries: dict[tuple[str, bytes], list[Operation]] = {}
    for operation in history:
        if operation.request and operation.kind != "get":
            tries.setdefault((operation.request, operation.key), []).append(operation)
        else:
            merged.append(operation)
    for group in tries.values():
        merged += _merge(group)
    return merged


def twice(history: list[Operation]) -> str:
    """Of a request id that two tries were told two versions for, both; empty if there is none."""
    known: dict[tuple[str, bytes], Operation] = {}
    for operation in history:
        if operation.request and operation.outcome == "ok" and operation.version is not None:
            first = known.setdefault((operation.request, operation.key), operation)
            if first.version != operation.version:
                return f"request {operation.request} took effect twice:\n  {first}\n  {operation}"
    return ""


def _merge(tries: list[Operation]) -> list[Operation]:
    called = min(each.called for each in tries)
    told = [each for each in tries if each.outcome == "ok" and each.returned is not None]
    refused = [each for each in tries if each.outcome == "refused"]
    if told:
        first = min(told, key=lambda each: each.returned or 0.0)
        return [first._replace(called=called), *refused]
    unknown = [each for each in tries if each.outcome == "unknown"]
    return refused + [each._replace(called=called) for each in unknown[:1]]
