"""Who a node is: made with the folder, counted at each start, lost with the folder."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

import pytest

from scribe_ledger.consensus.agreement import ENTRIES, Divergence, Point
from scribe_ledger.consensus.formation.identity import IDENTITY, KEY, NodeIdentity, Promise
from scribe_ledger.errors import ConfigurationError, Conflict, Corruption, LedgerLocked

if TYPE_CHECKING:
    from pathlib import Path

pytestmark = pytest.mark.consensus

CLUSTER = "ab" * 16
MARK = Divergence(Point(ENTRIES, 100), b"h" * 32, b"m" * 32, "1, 2")


def start(folder: Path) -> NodeIdentity:
    identity = NodeIdentity.load_or_create(folder)
    identity.close()
    return identity


def test_a_fresh_folder_gets_an_id_of_its_own(tmp_path: Path) -> None:
    first, second = start(tmp_path / "one"), start(tmp_path / "two")
    assert first.raft_id != second.raft_id
    assert 0 < first.raft_id < 1 << 63
    assert (first.session, first.cluster_id, first.promised_to) == (1, "", None)
    assert (tmp_path / "one" / KEY).stat().st_mode & 0o777 == 0o600


def test_an_id_is_never_zero(tmp_path: Path) -> None:
    drawn = iter([0, 0, 5])
    assert NodeIdentity.load_or_create(tmp_path, randbits=lambda _: next(drawn)).raft_id == 5


def test_each_start_is_another_session_of_the_same_node(tmp_path: Path) -> None:
    starts = [start(tmp_path) for _ in range(3)]
    assert [each.session for each in starts] == [1, 2, 3]
    assert len({each.raft_id for each in starts}) == 1
    assert len({str(each.key.verifier) for each in starts}) == 1
    assert f"{starts[0].raft_id:016x}" in starts[0].key.name


def test_what_was_promised_and_joined_outlives_a_restart(tmp_path: Path) -> None:
    start(tmp_path).promise(Promise(9, "127.0.0.1:9"))
    again = start(tmp_path)
    assert again.promised_to == Promise(9, "127.0.0.1:9")
    again.save_member(CLUSTER)
    member = start(tmp_path)
    assert (member.cluster_id, member.promised_to) == (CLUSTER, None)


def test_a_promise_can_be_released(tmp_path: Path) -> None:
    identity = start(tmp_path)
    identity.promise(Promise(9))
    identity.promise(None)
    assert start(tmp_path).promised_to is None


def test_a_mark_outlives_all_but_its_wiping_and_programs_that_know_none_refuse_the_folder(tmp_path: Path) -> None:
    def told() -> dict[str, Any]:
        fields: dict[str, Any] = json.loads((tmp_path / IDENTITY).read_text())
        return fields

    assert (start(tmp_path).mark, told()["format"]) == (None, 1)
    start(tmp_path).save_mark(MARK)
    again = start(tmp_path)
    assert (again.mark, told()["format"]) == (MARK, 2)
    again.save_member(CLUSTER)
    member = start(tmp_path)
    assert (member.mark, member.cluster_id) == (MARK, CLUSTER)
    member.save_mark(None)
    assert (start(tmp_path).mark, told()["format"]) == (None, 1)


@pytest.mark.parametrize("wrong", [None, {}, {"of": "weather"}, {"at": -1}, {"majority": "x"}])
def test_a_mark_that_cannot_be_read_is_not_forgotten(tmp_path: Path, wrong: dict[str, object] | None) -> None:
    start(tmp_path)
    fields = json.loads((tmp_path / IDENTITY).read_text())
    mark = None if wrong is None else MARK.to_json() | wrong if wrong else {}
    (tmp_path / IDENTITY).write_text(json.dumps({**fields, "format": 2, "diverged": mark}))
    with pytest.raises(Corruption):
        start(tmp_path)


def test_a_member_does_not_change_clusters(tmp_path: Path) -> None:
    identity = start(tmp_path)
    identity.save_member(CLUSTER)
    identity.save_member(CLUSTER)
    with pytest.raises(Conflict, match=CLUSTER):
        identity.save_member("cd" * 16)
    assert start(tmp_path).cluster_id == CLUSTER


def test_two_processes_are_not_the_same_node(tmp_path: Path) -> None:
    held = NodeIdentity.load_or_create(tmp_path)
    with pytest.raises(LedgerLocked):
        NodeIdentity.load_or_create(tmp_path)
    held.close()
    assert start(tmp_path).session == 2


def test_a_format_from_the_future_is_refused_and_left_alone(tmp_path: Path) -> None:
    start(tmp_path)
    fields = json.loads((tmp_path / IDENTITY).read_text())
    (tmp_path / IDENTITY).write_text(json.dumps({**fields, "format": 3}))
    before = (tmp_path / IDENTITY).read_bytes()
    with pytest.raises(ConfigurationError, match="format 3"):
        start(tmp_path)
    assert (tmp_path / IDENTITY).read_bytes() == before


@pytest.mark.parametrize("text", ["", "{}", '{"format": 1, "raft_id": "0", "session": 1}', '{"format": "x"}', "[]"])
def test_an_identity_that_cannot_be_read_is_not_replaced(tmp_path: Path, text: str) -> None:
    start(tmp_path)
    (tmp_path / IDENTITY).write_text(text)
    with pytest.raises(Corruption):
        start(tmp_path)
    assert (tmp_path / IDENTITY).read_text() == text


def test_the_folder_of_a_member_without_its_identity_gets_no_new_one(tmp_path: Path) -> None:
    (tmp_path / "raft").mkdir()
    with pytest.raises(Corruption, match="raft"):
        start(tmp_path)
    assert not (tmp_path / IDENTITY).exists()


def test_a_start_that_was_cut_short_before_the_key_goes_on(tmp_path: Path) -> None:
    first = start(tmp_path)
    (tmp_path / KEY).unlink()
    again = start(tmp_path)
    assert (again.raft_id, again.session) == (first.raft_id, 2)


def test_a_member_that_lost_its_key_is_refused(tmp_path: Path) -> None:
    start(tmp_path).save_member(CLUSTER)
    (tmp_path / KEY).unlink()
    with pytest.raises(Corruption, match=KEY):
        start(tmp_path)


def test_the_key_of_another_node_is_refused(tmp_path: Path) -> None:
    start(tmp_path / "one")
    start(tmp_path / "two")
    (tmp_path / "one" / KEY).write_bytes((tmp_path / "two" / KEY).read_bytes())
    with pytest.raises(Corruption, match="is the key of"):
        start(tmp_path / "one")
