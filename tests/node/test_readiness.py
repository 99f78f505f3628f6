"""What a member says that is not to be sent work yet."""

from __future__ import annotations

from types import SimpleNamespace
from typing import TYPE_CHECKING, Any

import pytest

from scribe_ledger.consensus.membership import Membership
from scribe_ledger.errors import ScribeError, Unavailable
from scribe_ledger.node.readiness import Readiness

if TYPE_CHECKING:
    from pathlib import Path

pytestmark = pytest.mark.consensus


@pytest.mark.parametrize("voters", [(1,), (1, 2)], ids=["learner", "voter"])
def test_a_member_that_is_given_only_bad_snapshots_says_so_and_not_that_it_will_pass(
    tmp_path: Path, voters: tuple[int, ...]
) -> None:
    stuck: list[ScribeError] = []
    replica = SimpleNamespace(raft_id=2, membership=Membership(1, 1, voters), installing=False)
    member: Any = SimpleNamespace(replica=replica, on_membership=[])
    readiness = Readiness(tmp_path, member, stuck=lambda: stuck[0] if stuck else None)
    before = readiness.not_ready
    assert before is None or "it becomes a voter by itself" in before.hint
    stuck.append(Unavailable("this node does not catch up: node 1 gave a bad snapshot", hint="look at node 1"))
    assert str(readiness.not_ready) == str(stuck[0])
