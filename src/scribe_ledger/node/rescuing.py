"""``rescue``: the folder of a member whose cluster lost its majority becomes a ledger that stands alone.

Offline, and for good. All of the local Raft log is applied, committed or not: what is not known here to be committed
may have been acknowledged. Then everything that made the folder a member's goes. Ledger id, origin, key, head and
entries stay; the next node of this folder has a new Raft id.

A folder whose ledger a majority contradicted is refused, unless the caller says that it is the one to keep: it signs
what it has under the same key from then on, beside what the others signed.

Each step is durable before the next one, and may be repeated, so after a crash the same call goes on:

1. ``cluster.json`` says that the folder is being rescued: no node starts on it, and it is nobody's to write to;
2. the log is applied and synced;
3. the record of the members is emptied and synced: from here on the log is not read again;
4. what is the node's is removed, ``cluster.json`` last.
"""

from __future__ import annotations

import contextlib
import time
from contextlib import closing
from typing import TYPE_CHECKING, NamedTuple

from scribe_ledger.consensus.bundles import BUNDLE, decode_header, decode_units
from scribe_ledger.consensus.cosigning import NODE_HEAD
from scribe_ledger.consensus.formation.identity import IDENTITY, KEY, kept_from_nodes, read_mark
from scribe_ledger.consensus.log.files import FileLog
from scribe_ledger.consensus.membership import Membership
from scribe_ledger.consensus.snapshots.files import remove_tree
from scribe_ledger.consensus.snapshots.installing import INCOMING, finish_installation, install_incremental
from scribe_ledger.consensus.snapshots.keeper import SNAPSHOTS
from scribe_ledger.consensus.starting import start_from
from scribe_ledger.errors import Conflict, Corruption, Overloaded
from scribe_ledger.ledger.belonging import RAFT_LOG, read_belonging, remove_belonging, write_belonging
from scribe_ledger.ledger.served import MemberLedger, ServedLedger
from scribe_ledger.node.opening import copies_of
from scribe_ledger.objects.durable import storage_errors, sync_directory

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence
    from pathlib import Path

    from scribe_ledger.consensus.agreement import Divergence
    from scribe_ledger.consensus.log.store import Entry
    from scribe_ledger.ledger.belonging import Belonging
    from scribe_ledger.ledger.replicated import ReplicatedMachine

STALL_SECONDS = 0.05
"""Before a store that is catching up is asked again."""
_RIGHT_ONE = "if its ledger is the right one all the same, and the others' is lost or wrong, rescue it with --diverged"


class Rescued(NamedTuple):
    """What the ledger has now."""

    ledger_id: str
    origin: str
    raft_id: int
    """Of the member that is no more."""
    entries: int
    root: str
    """In hexadecimal."""
    added: int
    """Entries of the ledger that came out of the Raft log now."""
    unconfirmed: int
    """Entries of the Raft log that were not known here to be committed."""


def rescue(data_dir: Path, *, diverged: bool = False, step: Callable[[str], object] = lambda _: None) -> Rescued:
    """``Conflict`` if it is no member's folder; ``LedgerLocked`` while a node runs on it.

    ``diverged``: its ledger is the one to keep, though a majority has another. ``step`` is called after each step, for
    tests that crash there.
    """
    if not data_dir.is_dir() or read_belonging(data_dir) is None:
        raise _no_member(data_dir)
    with kept_from_nodes(data_dir):
        belonging = read_belonging(data_dir)
        if belonging is None:
            raise _no_member(data_dir)
        checked_mark(data_dir, diverged=diverged)
        finish_installation(data_dir, copies_of())
        with closing(MemberLedger.open(data_dir, create=False)) as ledger:
            install_incremental(ledger.state_machine, data_dir)
            rescued = _stand_alone(data_dir, belonging, ledger, step)
        _remove_parts(data_dir, step)
    return rescued


def checked_mark(data_dir: Path, *, diverged: bool) -> Divergence | None:
    """What a majority found of this folder's ledger; ``Conflict`` if that is something, unless it is ``diverged``."""
    belonging = read_belonging(data_dir)
    if belonging is None or belonging.rescuing:  # settled when the rescue was begun
        return None
    try:
        mark = read_mark(data_dir)
    except Corruption as error:
        if diverged:
            return None
        why = "it would say whether a majority has another ledger"
        raise Corruption(error.message, hint=f"{why}: bring it back; {_RIGHT_ONE}") from error
    if mark is not None and not diverged:
        raise Conflict(mark.error.message, hint=f"rescue the folder of another survivor; {_RIGHT_ONE}")
    return mark


def _no_member(data_dir: Path) -> Conflict:
    return Conflict(
        f"{data_dir} is not the folder of a member of a cluster",
        hint="a ledger that stands alone needs no rescue: start a node on it, with --bootstrap for a new cluster",
    )


def _stand_alone(data_dir: Path, belonging: Belonging, ledger: ServedLedger, step: Callable[[str], object]) -> Rescued:
    machine, before, unconfirmed = ledger.state_machine, ledger.size, 0
    if not machine.position:
        raise Conflict(
            f"{data_dir} has nothing of the cluster's ledger yet", hint="rescue the folder of another member"
        )
    if machine.membership:
        _check_complete(data_dir, machine)
        write_belonging(data_dir, belonging._replace(rescuing=True))
        step("marked")
        unconfirmed = _apply_log(data_dir / RAFT_LOG, machine, step)
        machine.flush()
        step("applied")
        machine.set_membership(machine.position + 1, b"")
        machine.flush()
        step("alone")
    return Rescued(
        ledger.ledger_id,
        ledger.origin,
        belonging.raft_id,
        ledger.size,
        machine.extent.root.hex(),
        ledger.size - before,
        unconfirmed,
    )


def _check_complete(data_dir: Path, machine: ReplicatedMachine) -> None:
    if machine.machine.taking:
        raise Corruption(
            f"{data_dir} has entries of another member in part, and the rest is lost",
            hint="rescue the folder of another member",
        )
    if not (data_dir / RAFT_LOG).exists():
        raise Corruption(
            f"{data_dir / RAFT_LOG} is missing: acknowledged entries may be in it alone",
            hint="bring that folder back, or rescue that of another member",
        )


def _apply_log(folder: Path, machine: ReplicatedMachine, step: Callable[[str], object]) -> int:
    """The number of entries that were not known to be committed."""
    with closing(FileLog(folder)) as raft_log:
        start = start_from(raft_log.load(), machine.position, Membership.decode(machine.membership))
    _, _, commit = start.hard_state
    for entry in start.entries:
        if entry[0] > machine.position:
            _apply(entry, machine)
            step("applying")
    return sum(1 for entry in start.entries if entry[0] > commit)


def _apply(entry: Entry, machine: ReplicatedMachine) -> None:
    """What changes the members is passed over: there are none any more."""
    index, _, kind, data, _ = entry
    if kind or not data:
        return
    try:
        header = decode_header(data)
        units: Sequence[bytes] = decode_units(data) if header.kind == BUNDLE else ()
    except ValueError as error:
        raise Corruption(f"entry {index:,} of the cluster's log cannot be read: {error}") from error
    while units:
        with contextlib.suppress(Overloaded):  # nothing was written: the storage engine is catching up
            machine.apply(index, header.timestamp, units, None)
            return
        time.sleep(STALL_SECONDS)


def _remove_parts(data_dir: Path, step: Callable[[str], object]) -> None:
    for folder in (RAFT_LOG, INCOMING, SNAPSHOTS):
        remove_tree(data_dir / folder)
        step(f"without {folder}")
    with storage_errors("remove what was a member's from", data_dir):
        for name in (NODE_HEAD, KEY, IDENTITY):
            (data_dir / name).unlink(missing_ok=True)
            step(f"without {name}")
        sync_directory(data_dir)
    remove_belonging(data_dir)
