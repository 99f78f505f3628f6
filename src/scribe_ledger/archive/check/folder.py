"""The check of a store against the ledger in a data folder, which knows better whose store it is, and how far it goes.

What the folder says is taken for true: it is checked by itself, elsewhere.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import orjson

from scribe_ledger.errors import counted
from scribe_ledger.ledger.policy import Policy
from scribe_ledger.model import Kind
from scribe_ledger.objects import paths

if TYPE_CHECKING:
    from scribe_ledger.archive.check.report import Report
    from scribe_ledger.archive.check.tree import Signed
    from scribe_ledger.ledger.served import ServedLedger
    from scribe_ledger.objects.epochs import Lineage
    from scribe_ledger.objects.identity import StoreIdentity


def check_owner_is(ledger: ServedLedger, lineage: Lineage, report: Report) -> None:
    """``scribe.json`` and the epochs are those of this ledger."""
    found = lineage.identity
    if found.ledger_id != ledger.ledger_id:
        report.fault(paths.IDENTITY, f"the store is of the ledger {found.ledger_id}, not {ledger.ledger_id}")
        return
    if ledger.manifest.store_id not in ("", found.store_id):
        report.fault(paths.IDENTITY, f"the ledger's objects are in the store {ledger.manifest.store_id}")
    if found.origin != ledger.identity.base_name:
        report.fault(paths.IDENTITY, f"its ledger is {found.origin!r}, and this one {ledger.identity.base_name!r}")
    _check_created(ledger, found, report)
    _check_epoch(ledger, lineage, report)


def _check_created(ledger: ServedLedger, found: StoreIdentity, report: Report) -> None:
    """A restored ledger has this time from the store. In others it was taken by a clock that may have been set back."""
    created = ledger.identity.created
    if (ledger.identity.read_only or ledger.identity.epoch) and found.created != created:
        report.fault(paths.IDENTITY, f"it was made at {found.created}, and the ledger was restored with {created}")


def _check_epoch(ledger: ServedLedger, lineage: Lineage, report: Report) -> None:
    epoch = ledger.identity.epoch
    place = paths.epoch_path(epoch) if epoch else paths.IDENTITY
    if lineage.epoch < epoch:
        report.fault(place, "missing: the ledger began that epoch")
    elif lineage.epoch > epoch:
        later = f"the ledger goes on elsewhere since this epoch began, and its folder is of epoch {epoch}"
        (report.warn if ledger.identity.read_only else report.fault)(paths.epoch_path(epoch + 1), later)
    if lineage.epoch >= epoch and str(lineage.keys[epoch]) != ledger.public_key:
        report.fault(place, f"its key is {lineage.keys[epoch]}, and that of the ledger {ledger.public_key}")


def check_heads_are(ledger: ServedLedger, checkpoints: list[Signed], report: Report) -> None:
    """Every root that was published is one of this ledger. What was published after a restore is not for a folder that
    only reads what was restored."""
    published = checkpoints[-1].size if checkpoints else 0
    for signed in checkpoints:
        if signed.size <= ledger.size:
            if ledger.root(signed.size) != signed.root:
                report.fault(signed.path, "its root is not that of the ledger at this size")
        elif not ledger.identity.read_only:
            report.fault(signed.path, f"the ledger has only {counted(ledger.size)}: its folder is an older copy")
    if published > ledger.size and ledger.identity.read_only:
        what = f"{counted(published)} published since, and {ledger.size} were restored"
        report.warn(paths.CHECKPOINTS, f"{what}: the ledger goes on elsewhere")
    if published < ledger.manifest.archived_size:
        what = f"{counted(ledger.manifest.archived_size)} archived, and {published} published"
        report.warn(paths.CHECKPOINTS, f"{what}: the next pass of the archiver goes on")


def check_policies_are(
    ledger: ServedLedger, lineage: Lineage, changed: set[str], archived: int, report: Report
) -> None:
    """``changed`` are the policies that config entries in the store tell, which count there; ``archived``, up to where.

    The others can only have the value that the ledger has, unless it was changed since.
    """
    said, ours = Policy().changed(lineage.identity.policies).choices(), ledger.policy.choices()
    doubtful = {name for name in ours if name not in changed and said[name] != ours[name]}
    if not doubtful:
        return
    for entry in ledger.log(archived):
        if entry.kind is Kind.CONFIG and entry.value is not None:
            doubtful -= changed_by(entry.value)
    for name in sorted(doubtful):
        report.fault(paths.IDENTITY, f"it says that {name} is {said[name]!r}, and it is {ours[name]!r} in the ledger")


def changed_by(config: bytes) -> set[str]:
    """The names of the policies that a config entry changes, by its value."""
    try:
        return {*orjson.loads(config)}
    except (ValueError, TypeError):
        return set()  # not one of this program's; what becomes of it, ``apply`` decides
