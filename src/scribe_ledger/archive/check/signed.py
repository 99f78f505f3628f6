"""Who owns a store, and which of its checkpoints are signed by that owner: ``scribe.json``, epochs and checkpoints."""

from __future__ import annotations

from typing import TYPE_CHECKING

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

    from scribe_ledger.archive.check.report import Report
    from scribe_ledger.objects.epochs import Lineage
    from scribe_ledger.objects.store import ObjectStore


def check_owner(store: ObjectStore, report: Report, public_key: str) -> Lineage | None:
    """``public_key`` is one that the caller trusts: it must be that of the store, or of one of its epochs."""
    try:
        lineage = read_lineage(store)
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


def check_checkpoints(store: ObjectStore, lineage: Lineage | None, report: Report) -> list[Signed]:
    """The heads whose signatures hold, those of handovers too, in the order of their sizes."""
    found = [
        Signed(handover.first.size, handover.first.root, paths.epoch_path(handover.epoch))
        for handover in (lineage.handovers if lineage is not None else ())
    ]
    for listed in store.list(paths.CHECKPOINTS):
        size = paths.parse_checkpoint_path(listed.path)
        if size is None:
            continue  # named as foreign, with all that is
        report.counts.checkpoints += 1
        checkpoint = _read(store, listed.path, lineage, report)
        if checkpoint is None:
            continue
        if checkpoint.size != size:
            report.fault(listed.path, f"it is of {counted(checkpoint.size)}, and not of those in its name")
        elif lineage is not None and _is_too_late(checkpoint, lineage):
            report.warn(listed.path, "its epoch had ended: these entries are not in this ledger")
        else:
            found.append(Signed(size, checkpoint.root, listed.path))
    found.sort(key=lambda signed: signed.size)
    _check_copy(store, lineage, found, report)
    return found


def check_ends(store: ObjectStore, ends: Iterable[int], checkpoints: list[Signed], report: Report) -> set[int]:
    """Of the ends of segments those that are published. Each was, before the next segment was sealed."""
    published = checkpoints[-1].size if checkpoints else 0
    found = {signed.path for signed in checkpoints}
    sizes = {size for size in ends if size <= published}
    for size in sorted(sizes):
        path = paths.checkpoint_path(size)
        if path not in found and store.stat(path) is None:  # one that is wrong was named already
            report.fault(path, "missing: a segment was sealed up to there, and a later checkpoint was published")
    return sizes


def _read(store: ObjectStore, path: str, lineage: Lineage | None, report: Report) -> Checkpoint | None:
    """The checkpoint, if it is one and signed by the owner; else a fault, and None."""
    try:
        checkpoint = Checkpoint.parse((store.get(path) or b"").decode())
        if lineage is not None and lineage.epoch_of(checkpoint) is None:
            if may_be_later(checkpoint.origin, lineage.key.name):  # not the fault of each of its checkpoints
                report.fault(paths.epoch_path(lineage.epoch + 1), f"missing: {path} is of {checkpoint.origin!r}")
            else:
                report.fault(path, f"it is of {checkpoint.origin!r}, whose store this is not")
            return None
    except UnicodeDecodeError:
        report.fault(path, "it is no text")
        return None
    except VerificationError as error:
        report.fault(path, error.message)
        return None
    return checkpoint


def _is_too_late(checkpoint: Checkpoint, lineage: Lineage) -> bool:
    epoch = lineage.epoch_of(checkpoint)
    end = lineage.end_of(epoch) if epoch is not None else None
    return end is not None and checkpoint.size > end


def _check_copy(store: ObjectStore, lineage: Lineage | None, found: list[Signed], report: Report) -> None:
    """``checkpoint`` is nobody's authority, but tile clients begin with it, and it shows that another is gone."""
    if store.stat(paths.CHECKPOINT) is None:
        if found:
            report.warn(paths.CHECKPOINT, "missing: tile clients look for it")
        return
    copy = _read(store, paths.CHECKPOINT, lineage, report)
    if copy is None or (lineage is not None and _is_too_late(copy, lineage)):
        return
    source = paths.checkpoint_path(copy.size)
    if store.stat(source) is None:
        report.fault(source, f"missing: {paths.CHECKPOINT!r} was copied from it")
    elif any(signed.size == copy.size and signed.root != copy.root for signed in found):
        report.fault(paths.CHECKPOINT, f"it has another root than {source}")
    elif found and copy.size < found[-1].size:
        report.warn(paths.CHECKPOINT, f"it is behind: of {counted(copy.size)}, and {found[-1].size} are published")
