"""What a check of a store says: faults and warnings, each with its place, and how much was looked at.

A fault is something that a reader, or a recovery, would stumble over. A warning is something to know: an object that
nothing names, a copy that is behind. Places are paths in the store, or indexes of entries.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import NamedTuple

MAX_FINDINGS = 1000
"""So many of each kind are kept; all are counted."""


class Finding(NamedTuple):
    """One thing that is not as it should be."""

    place: str
    what: str

    def __str__(self) -> str:
        return f"{self.place}: {self.what}"


@dataclass
class Counts:
    """What was read and held against the tree."""

    entries: int = 0
    segments: int = 0
    checkpoints: int = 0
    tiles: int = 0
    blobs: int = 0
    objects: int = 0
    stored_bytes: int = 0


@dataclass
class Report:
    """The outcome of one check of a store. A place is named once, with the first thing that was found there."""

    url: str
    ledger_id: str = ""
    origin: str = ""
    size: int = 0
    """Of the largest checkpoint that holds."""
    root: bytes = b""
    seconds: float = 0.0
    counts: Counts = field(default_factory=Counts)
    faults: list[Finding] = field(default_factory=list)
    warnings: list[Finding] = field(default_factory=list)
    removed: list[str] = field(default_factory=list)
    """Paths of orphans that a repair took away."""
    more_faults: int = 0
    """Faults that are counted, and not kept."""
    more_warnings: int = 0
    _places: set[str] = field(default_factory=set)

    @property
    def ok(self) -> bool:
        return not self.faults

    def fault(self, place: str, what: str) -> None:
        if place in self._places:
            return
        if len(self.faults) >= MAX_FINDINGS:
            self.more_faults += 1
            return
        self._places.add(place)
        self.faults.append(Finding(place, what))

    def warn(self, place: str, what: str) -> None:
        if len(self.warnings) >= MAX_FINDINGS:
            self.more_warnings += 1
        else:
            self.warnings.append(Finding(place, what))

    def to_json(self) -> dict[str, object]:
        return {
            "ok": self.ok,
            "url": self.url,
            "ledger_id": self.ledger_id,
            "origin": self.origin,
            "size": self.size,
            "root": self.root.hex(),
            **vars(self.counts),
            "seconds": round(self.seconds, 3),
            "problems": [_to_json(fault) for fault in self.faults],
            "more_problems": self.more_faults,
            "warnings": [_to_json(warning) for warning in self.warnings],
            "more_warnings": self.more_warnings,
            "removed": self.removed,
        }


def _to_json(finding: Finding) -> dict[str, str]:
    return {"place": finding.place, "problem": finding.what}
