"""Who owns a store, and which of its checkpoints are signed by that owner: ``scribe.json``, epochs and checkpoints.

Checkpoints are found by listing them, and by what was made from them: one that a listing leaves out still counts.
"""

from __future__ import annotations

from bisect import insort
from functools import partial
from operator import attrgetter
from typing import TYPE_CHECKING

from scribe_ledger.archive.check.looking import is_missing
from scribe_ledger.archive.check.report import Finding
from scribe_ledger.archive.check.tree import Signed
from scribe_ledger.errors import ConfigurationError, Corruption, SerializationError, VerificationError, counted
from scribe_ledger.ledger.policy import Policy
from scribe_ledger.merkle.checkpoint import Checkpoint
from scribe_ledger.merkle.handover import may_be_later
from scribe_ledger.merkle.note import Verifier
from scribe_ledger.objects import paths
from scribe_ledger.objects.epochs import read_lineage

if TYPE_CHECKING:
    from collections.abc import Iterable

    from scribe_ledger.archive.check.looking import Looks
    from scribe_ledger.archive.check.report import Report
    from scribe_ledger.objects.epochs import Lineage
    from scribe_ledger.objects.store import ListedObject, ObjectStore


def check_owner(looks: Looks, report: Report, public_key: str) -> Lineage | None:
    """``public_key`` is one that the caller trusts: it must be that of the store, or of one of its epochs."""
    store = looks.store
    try:
        lineage = looks.twice(read_lineage, is_wrong=is_missing)
    except (Corruption, SerializationError) as error:
        epochs = (listed.path for listed in store.list(paths.EPOCHS))
        place = next((path for path in epochs if store.place(path) in error.message), paths.IDENTITY)
        report.fault(place, error.message.removeprefix(f"{store.place(place)} "))
        return None
    if lineage is None:
        if next(iter(store.list("")), None) is None:
            raise ConfigurationError(f"{store.url} is empty: no ledger has used it", hint="check the URL")
        report.fault(paths.IDENTITY, "missing: nothing says whose store this is")
        return None
    report.ledger_id, report.origin = lineage.identity.ledger_id, lineage.key.name
    if lineage.keys[0].name != lineage.identity.origin:
        report.fault(paths.IDENTITY, f"its key is of {lineage.keys[0].name!r}, and its origin another")
    try:
        Policy().changed(lineage.identity.policies)
    except ConfigurationError as error:
        report.fault(paths.IDENTITY, f"this program does not know its policies: {error.message}")
    if public_key:
        try:
            lineage.check_pinned(public_key)
        except VerificationError as error:
            report.fault(_place_of_distrust(lineage, public_key), str(error))
    return lineage


def _place_of_distrust(lineage: Lineage, public_key: str) -> str:
    """What that key does not vouch for: the store, or the first epoch after its own that was begun without it."""
    pinned = Verifier.parse(public_key)
    later = lineage.handovers[lineage.keys.index(pinned) :] if pinned in lineage.keys else ()
    return next((paths.epoch_path(handover.epoch) for handover in later if not handover.is_endorsed), paths.IDENTITY)


class Heads:
    """What the owner has signed: the checkpoints in a store, and the first heads of its epochs."""

    def __init__(self, looks: Looks, lineage: Lineage | None, report: Report) -> None:
        self._looks = looks
        self._lineage = lineage
        self._report = report
        self._seen: set[int] = set()
        self.signed = [
            Signed(handover.first.size, handover.first.root, paths.epoch_path(handover.epoch))
            for handover in (lineage.handovers if lineage is not None else ())
        ]
        """Those whose signatures hold, in the order of their sizes."""

    @property
    def published(self) -> int:
        return self.signed[-1].size if self.signed else 0

    def look_at(self, size: int, missing: str) -> None:
        """Takes in the checkpoint of a size. ``missing`` says why it must be there; empty if it need not."""
        if size in self._seen:
            return
        self._seen.add(size)
        path = paths.checkpoint_path(size)
        found = self.read(path)
        if found is None:
            if missing:
                self._report.fault(path, f"missing: {missing}")
            return
        self._report.counts.checkpoints += 1
        if isinstance(found, Finding):
            self._report.fault(*found)
        elif found.size != size:
            self._report.fault(path, f"it is of {counted(found.size)}, and not of those in its name")
        elif self.is_too_late(found):
            self._report.warn(path, "its epoch had ended: these entries are not in this ledger")
        else:
            insort(self.signed, Signed(size, found.root, path), key=attrgetter("size"))

    def read(self, path: str) -> Checkpoint | Finding | None:
        """The checkpoint, if it is one and signed by the owner, else what is wrong; None if there is none."""
        return self._looks.twice(
            partial(_read, path, self._lineage), is_wrong=lambda found: not isinstance(found, Checkpoint)
        )

    def is_too_late(self, checkpoint: Checkpoint) -> bool:
        """Whether its key did not sign for the ledger any more."""
        epoch = None if self._lineage is None else self._lineage.epoch_of(checkpoint)
        end = None if self._lineage is None or epoch is None else self._lineage.end_of(epoch)
        return end is not None and checkpoint.size > end


def check_checkpoints(looks: Looks, lineage: Lineage | None, report: Report) -> Heads:
    """Those that are listed, and the copy for tile clients."""
    heads = Heads(looks, lineage, report)
    for listed in looks.store.list(paths.CHECKPOINTS):
        size = paths.parse_checkpoint_path(listed.path)
        if size is not None:  # else it is named as foreign, with all that is
            heads.look_at(size, "it is listed, and cannot be read")
    _check_copy(heads, report)
    return heads


def look_beyond(segments: Iterable[ListedObject], heads: Heads) -> None:
    """Whoever published had put a segment up to there: a head beyond those known would be at the end of one."""
    named = [found for each in segments if (found := paths.range_of_segment_path(each.path)) is not None]
    for stop in sorted({last + 1 for _, last, _ in named if last >= heads.published}):
        heads.look_at(stop, "")


def check_ends(ends: Iterable[int], heads: Heads) -> set[int]:
    """Of the ends of segments those that are published. Each was, before the next segment was sealed."""
    sizes = {size for size in ends if size <= heads.published}
    for size in sorted(sizes):
        heads.look_at(size, "a segment was sealed up to there, and a later checkpoint was published")
    return sizes


def _read(path: str, lineage: Lineage | None, store: ObjectStore) -> Checkpoint | Finding | None:
    content = store.get(path)
    if content is None:
        return None
    try:
        checkpoint = Checkpoint.parse(content.decode())
        if lineage is None or lineage.epoch_of(checkpoint) is not None:
            return checkpoint
    except UnicodeDecodeError:
        return Finding(path, "it is no text")
    except VerificationError as error:
        return Finding(path, error.message)
    if may_be_later(checkpoint.origin, lineage.key.name):  # not the fault of each of its checkpoints
        return Finding(paths.epoch_path(lineage.epoch + 1), f"missing: {path} is of {checkpoint.origin!r}")
    return Finding(path, f"it is of {checkpoint.origin!r}, whose store this is not")


def _check_copy(heads: Heads, report: Report) -> None:
    """``checkpoint`` is nobody's authority, but tile clients begin with it, and it shows that another is there."""
    copy = heads.read(paths.CHECKPOINT)
    if copy is None:
        if heads.signed:
            report.warn(paths.CHECKPOINT, "missing: tile clients look for it")
        return
    if isinstance(copy, Finding):
        report.fault(*copy)
        return
    if heads.is_too_late(copy):
        return
    heads.look_at(copy.size, f"{paths.CHECKPOINT!r} was copied from it")
    if any(signed.size == copy.size and signed.root != copy.root for signed in heads.signed):
        report.fault(paths.CHECKPOINT, f"it has another root than {paths.checkpoint_path(copy.size)}")
    elif copy.size < heads.published:
        report.warn(paths.CHECKPOINT, f"it is behind: of {counted(copy.size)}, and {heads.published} are published")
