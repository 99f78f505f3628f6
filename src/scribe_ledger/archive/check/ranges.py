"""The check of one range of the log, in a process of its own: a segment's rows, and the tiles and bundles beside them.

Up to three kinds of object say what the leaves of a range are: the segment, the level 0 tiles, the entry bundles. This
compares them and gives what the first says and, where another says something else, that too, with what would then be
wrong in each case. Which of them is right only the signed root can tell, and that is for ``tree``.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

from scribe_ledger.archive.check.report import Finding
from scribe_ledger.archive.check.rows import RowsFound, check_rows
from scribe_ledger.archive.check.tiles import (
    Slice,
    disagreeing,
    first_difference,
    part,
    witnesses_say,
)
from scribe_ledger.merkle.hashing import HASH_BYTES

if TYPE_CHECKING:
    from collections.abc import Sequence

    from scribe_ledger.archive.check.looking import Looks


class RangeTask(NamedTuple):
    """What a process is asked to look at."""

    first: int
    stop: int
    path: str
    """Of the segment with these entries; empty if there is none."""
    ledger_id: str
    tree_size: int
    """How many entries are published: for those there must be tiles."""


class Version(NamedTuple):
    """One account of a range, and what is wrong if it is the true one."""

    hashes: bytes
    findings: list[Finding]


class RangeFound(NamedTuple):
    """What was found in a range. The findings hold in any case."""

    findings: list[Finding]
    version: Version | None
    """None if nothing in the store says what the entries are."""
    other: Version | None
    """Another account that the store gives as well."""
    rows: RowsFound | None
    """None if there is no segment, or none whose rows count."""
    tiles: int


def check_range(looks: Looks, task: RangeTask) -> RangeFound:
    findings: list[Finding] = []
    rows = None
    if task.path:
        checked = check_rows(looks, task.path, task.ledger_id)
        findings += checked.findings
        rows = checked if checked.hashes is not None else None
    by_rows = rows.hashes if rows is not None else None
    said = witnesses_say(looks, task.first, task.stop, task.tree_size, by_rows)
    tiles, bundles = [each.tile for each in said], [each.bundle for each in said]
    findings += [piece.trouble for piece in (*tiles, *bundles) if piece.trouble is not None]
    witnesses = [tiles, bundles]
    hashes = by_rows if by_rows is not None else _assemble(task, witnesses)
    if hashes is None:
        return RangeFound(findings, None, None, rows, len(tiles) + len(bundles))
    version = Version(hashes, disagreeing(tiles, task.first, hashes) + disagreeing(bundles, task.first, hashes))
    return RangeFound(findings, version, _other(task, witnesses, by_rows, hashes), rows, len(tiles) + len(bundles))


def _assemble(task: RangeTask, witnesses: Sequence[Sequence[Slice]]) -> bytes | None:
    """The hashes of a range without rows, each tile's from the first witness that has them."""
    pieces = []
    at = task.first
    for said in zip(*witnesses, strict=True):
        known = next((piece.hashes for piece in said if piece.hashes is not None), None)
        if known is None:
            return None
        pieces.append(known)
        at = said[0].stop
    return b"".join(pieces) if at == task.stop else None


def _other(
    task: RangeTask, witnesses: Sequence[Sequence[Slice]], by_rows: bytes | None, hashes: bytes
) -> Version | None:
    """The account of the next witness, where it has its own: of the tiles, or without rows of the bundles."""
    tiles, bundles = witnesses
    pieces, at = [], task.first
    for piece in tiles if by_rows is not None else bundles:
        pieces.append(piece.hashes if piece.hashes is not None else part(hashes, task.first, piece))
        at = piece.stop
    other = b"".join(pieces) + hashes[(at - task.first) * HASH_BYTES :]
    if other == hashes:
        return None
    findings = disagreeing(tiles, task.first, other) + disagreeing(bundles, task.first, other)
    if by_rows is not None:
        entry = task.first + first_difference(by_rows, other)
        findings.append(Finding(task.path, f"its row of entry {entry} is not the entry of the signed tree"))
    return Version(other, findings)
