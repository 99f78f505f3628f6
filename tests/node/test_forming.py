"""Founding and joining, cut short at every step: the next start goes on, and the folder is never somebody else's."""

from __future__ import annotations

import asyncio
from contextlib import closing, contextmanager
from dataclasses import replace
from random import Random
from typing import TYPE_CHECKING, Any

import pytest

from scribe_ledger import Ledger
from scribe_ledger.config import Config
from scribe_ledger.consensus.formation import forming as formation
from scribe_ledger.consensus.formation.forming import Founded, Restart
from scribe_ledger.consensus.formation.identity import NodeIdentity
from scribe_ledger.consensus.formation.joining import Joined
from scribe_ledger.consensus.membership import MemberInfo, Membership
from scribe_ledger.errors import ConfigurationError, Conflict, Forbidden
from scribe_ledger.ledger import belonging, folder
from scribe_ledger.ledger.belonging import read_belonging
from scribe_ledger.ledger.replicated import ReplicatedMachine
from scribe_ledger.ledger.served import MemberLedger
from scribe_ledger.merkle.note import Signer
from scribe_ledger.node import forming
from scribe_ledger.node.opening import open_ledger
from scribe_ledger.node.own_record import check_is_meant
from scribe_ledger.node.refusals import is_member
from scribe_ledger.node.switchboard import Switchboard

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

pytestmark = pytest.mark.consensus

KEY = Signer.generate("example.org/ledger")
JOINED = Joined("ab" * 16, KEY.name, 1, 0, {}, str(KEY.verifier), KEY, (), "127.0.0.1:1")


class Crash(BaseException):
    """The process ends here."""


@pytest.fixture
def config(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Config:
    """Of a node that would found a cluster whenever it were asked."""

    async def run(self: formation.Formation) -> Any:
        found = self._identity.cluster_id
        return Restart(found) if found else Founded(bootstrap=True)

    monkeypatch.setattr(formation.Formation, "run", run)
    return Config.load(environ={}, overrides={"node.data_dir": str(tmp_path / "data")})


@contextmanager
def dying(monkeypatch: pytest.MonkeyPatch, owner: object, name: str, *, after: bool) -> Iterator[None]:
    """The process ends at this call, before or after it has its effect."""
    original = getattr(owner, name)

    def die(*arguments: Any, **options: Any) -> None:
        if after:
            original(*arguments, **options)
        raise Crash

    with monkeypatch.context() as patch:
        patch.setattr(owner, name, die)
        with pytest.raises(Crash):
            yield


def start(
    config: Config, joined: Joined | None = None, *, bootstrap: bool = True
) -> tuple[object, Membership | None, int]:
    """One start, as ``MemberNode`` does it: how this node stands, the record of the members, and its Raft id."""
    with closing(NodeIdentity.load_or_create(config.data_dir)) as identity:
        outcome = asyncio.run(
            forming.find_cluster(config, identity, None, Switchboard(), "", Random(1), bootstrap=bootstrap)  # type: ignore[arg-type]
        )
        if isinstance(outcome, Founded) and joined is not None:
            outcome = joined
        forming.join_folder(config, identity, outcome)
        with open_ledger(config, "", MemberLedger) as ledger:
            if isinstance(outcome, Founded):
                forming.found(config, identity, ledger)
            record = ledger.state_machine.membership
            assert identity.cluster_id == ledger.ledger_id
            return outcome, Membership.decode(record) if record else None, identity.raft_id


@pytest.mark.parametrize(("after", "entries"), [(False, 3), (True, 0)], ids=["before", "after"])
@pytest.mark.parametrize(
    ("owner", "step"),
    [
        (forming, "write_belonging"),
        (ReplicatedMachine, "set_membership"),
        (ReplicatedMachine, "flush"),
        (NodeIdentity, "save_member"),
    ],
    ids=["mark", "members", "sync", "identity"],
)
def test_founding_goes_on_from_where_it_was_cut(
    config: Config, monkeypatch: pytest.MonkeyPatch, owner: object, step: str, after: bool, entries: int
) -> None:
    if entries:
        with Ledger.open(config.data_dir, name="example.org/mine") as ledger:
            ledger.put_many((f"key/{number}", b"x") for number in range(entries))
    with dying(monkeypatch, owner, step, after=after):
        start(config)
    marked = step != "write_belonging" or after
    with Ledger.open(config.data_dir, create=False) as ledger:
        assert ledger.size == entries
        if marked:
            with pytest.raises(Forbidden, match="belongs to member"):
                ledger.put("alone", b"x")
    outcome, members, raft_id = start(config)
    assert isinstance(outcome, Restart if (step, after) == ("save_member", True) else Founded)
    assert members is not None
    assert (members.voters, set(members.members)) == ((raft_id,), {raft_id})
    again, same, _ = start(config)
    assert (type(again), same) == (Restart, members)


@pytest.mark.parametrize("after", [False, True], ids=["before", "after"])
@pytest.mark.parametrize(
    ("owner", "step", "is_member"),
    [
        (belonging, "write_belonging", False),
        (belonging, "_create_store", False),
        (folder.DataFolder, "create_head", False),
        (folder.DataFolder, "save_identity", True),
        (NodeIdentity, "save_member", True),
    ],
    ids=["mark", "store", "head", "ledger", "identity"],
)
def test_joining_goes_on_from_where_it_was_cut(
    config: Config, monkeypatch: pytest.MonkeyPatch, owner: object, step: str, is_member: bool, after: bool
) -> None:
    with dying(monkeypatch, owner, step, after=after):
        start(config, JOINED)
    is_member = is_member and (after or step == "save_member")
    outcome, members, raft_id = start(config, JOINED)
    assert isinstance(outcome, Restart if is_member else Joined)
    assert members is None, "the leader tells them"
    mark = read_belonging(config.data_dir)
    assert mark is not None
    assert (mark.ledger_id, mark.raft_id, mark.founded) == (JOINED.cluster_id, raft_id, False)


def test_who_began_to_join_a_cluster_founds_no_other(config: Config, monkeypatch: pytest.MonkeyPatch) -> None:
    with dying(monkeypatch, belonging, "_create_store", after=False):
        start(config, JOINED)
    with pytest.raises(Conflict, match="was to be that of a member of cluster"):
        start(config)


def test_without_settings_of_a_cluster_a_folder_goes_on_only_by_its_record(
    config: Config, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert not is_member(config, bootstrap=False)
    with dying(monkeypatch, belonging, "_create_store", after=False):
        start(config, JOINED)
    assert is_member(config, bootstrap=False)
    with pytest.raises(ConfigurationError, match="it was about to join when it ended"):
        start(config, bootstrap=False)
    _, _, raft_id = start(config, JOINED)
    assert isinstance(start(config, bootstrap=False)[0], Restart)
    with pytest.raises(ConfigurationError, match="its record of them has not come yet"):
        check_is_meant(config, raft_id, Membership(0, 0))
    me = MemberInfo(raft_id, 1, config.advertised_raft_address, "")
    check_is_meant(config, raft_id, Membership(5, 1, (raft_id,), members={raft_id: me}))
    for other in (replace(me, node_id=2), replace(me, raft_address="10.0.0.1:9001")):
        with pytest.raises(ConfigurationError, match=f"as node {other.node_id} at {other.raft_address}"):
            check_is_meant(config, raft_id, Membership(5, 1, (raft_id,), members={raft_id: other}))


def test_a_folder_that_was_put_together_of_two_is_refused(config: Config) -> None:
    start(config, JOINED)
    for name in ("node.json", "node.key"):
        (config.data_dir / name).unlink()
    (config.data_dir / "cluster.json").rename(config.data_dir / "aside")
    with closing(NodeIdentity.load_or_create(config.data_dir)):
        (config.data_dir / "aside").rename(config.data_dir / "cluster.json")
    with pytest.raises(Conflict, match="put together of two"):
        start(config)
