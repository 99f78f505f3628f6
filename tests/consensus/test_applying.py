"""What the applier knows of terms where a snapshot was installed whose entries the engine's log held already."""

from __future__ import annotations

from typing import TYPE_CHECKING, cast

import pytest
from tests.consensus.group import Machine

from scribe_ledger.consensus.applying import Applier
from scribe_ledger.consensus.changes import Changes
from scribe_ledger.consensus.exchange import Counters, ReplicaSettings
from scribe_ledger.consensus.membership import Membership
from scribe_ledger.consensus.proposals import Proposals

if TYPE_CHECKING:
    from scribe_raft import Node

    from scribe_ledger.consensus.statemachine import StateMachine

pytestmark = pytest.mark.consensus


def test_entries_that_a_snapshot_held_keep_their_terms_for_the_cut_of_the_log() -> None:
    machine, counters = Machine(), Counters()
    machine.set_membership(2, b"")
    applier = Applier(
        (1, 1),
        cast("StateMachine", machine),
        Membership(2, 1, voters=(1,)),
        [(2, 1)],
        Proposals(1, ReplicaSettings(), counters),
        Changes(),
        counters,
    )
    applier.installed(Membership(9, 4, voters=(1,)))
    applier.take([(index, term, 0, b"", b"") for index, term in ((3, 1), (4, 2), (5, 2), (6, 3), (9, 4), (10, 5))])
    applier.run(cast("Node", None))  # no entry here changes the configuration
    assert applier.applied == applier.worked_off == 10
    assert [applier.term_at(index) for index in (2, 3, 4, 5, 6, 8, 9, 10)] == [1, 1, 2, 2, 3, 3, 4, 5]
    applier.forget(5)
    assert [applier.term_at(index) for index in (5, 6, 9, 10)] == [2, 3, 4, 5]
