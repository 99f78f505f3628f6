"""A member that died with a bad snapshot in its folder starts, and goes on."""

from __future__ import annotations

from contextlib import closing
from typing import TYPE_CHECKING

import pytest
from tests.cluster_of_nodes import ClusterOfNodes

from scribe_ledger.consensus.membership import Membership
from scribe_ledger.consensus.snapshots.description import INCREMENTAL
from scribe_ledger.consensus.snapshots.files import META, describe_file
from scribe_ledger.consensus.snapshots.installing import FILES, INCOMING, READY
from scribe_ledger.consensus.snapshots.keeper import Moment, describe
from scribe_ledger.consensus.snapshots.sending import PIECES
from scribe_ledger.consensus.snapshots.spool import LENGTH
from scribe_ledger.ledger.served import MemberLedger

if TYPE_CHECKING:
    from pathlib import Path

pytestmark = pytest.mark.cluster


def test_a_bad_snapshot_that_is_ready_is_removed_at_the_start(tmp_path: Path) -> None:
    with ClusterOfNodes(tmp_path) as cluster:
        one = cluster.nodes[0]
        one.start("--bootstrap")
        cluster.wait(lambda: one.is_healthy, "it serves alone")
        one.put("key", b"one")
        one.kill()
        leave_bad_snapshot(one.data_dir)
        one.start()
        cluster.wait(lambda: one.is_healthy, "it serves as before")
        assert not (one.data_dir / INCOMING).exists()
        assert "a snapshot is not what it says: it is removed" in one.log
        assert one.put("key", b"two")["index"] == 1


def leave_bad_snapshot(data_dir: Path) -> None:
    """Nothing follows on what the member has, and the root is said to be another."""
    files = data_dir / INCOMING / FILES
    files.mkdir(parents=True)
    with closing(MemberLedger.open(data_dir, create=False)) as ledger:
        machine = ledger.state_machine
        extent = machine.extent._replace(root=bytes(32))
        term = Membership.decode(machine.membership).term
        moment = Moment(machine.position + 1, term, extent, machine.membership)
        given = list(machine.export(machine.describe(), extent.size, moment.position, moment.record))
        given[0] = given[0].replace(machine.extent.root.hex().encode(), extent.root.hex().encode())
        (files / PIECES).write_bytes(b"".join(LENGTH.pack(len(piece)) + piece for piece in given))
        found = describe(INCREMENTAL, moment, ledger.ledger_id, (describe_file(files / PIECES),), 1)
    for name in (META, READY):
        (data_dir / INCOMING / name).write_bytes(found.encode())
