"""A member's folder that is made a ledger of its own, cut short at every step: the same call goes on."""

from __future__ import annotations

from contextlib import closing
from typing import TYPE_CHECKING

import pytest
from click.testing import CliRunner

from scribe_ledger import Ledger
from scribe_ledger.cli.main import scribe
from scribe_ledger.config import Config
from scribe_ledger.consensus.agreement import ENTRIES, Divergence, Point
from scribe_ledger.consensus.bundles import BUNDLE, Header, encode_entry, encode_units
from scribe_ledger.consensus.formation.identity import IDENTITY, NodeIdentity
from scribe_ledger.consensus.log.files import FileLog
from scribe_ledger.consensus.log.store import LogWrite
from scribe_ledger.consensus.membership import MemberInfo, Membership
from scribe_ledger.errors import Conflict, Corruption, Forbidden, LedgerLocked
from scribe_ledger.ledger.belonging import Belonging, read_belonging, write_belonging
from scribe_ledger.ledger.commands import put
from scribe_ledger.ledger.served import MemberLedger
from scribe_ledger.ledger.wire import encode_unit
from scribe_ledger.node import forming
from scribe_ledger.node.rescuing import rescue

if TYPE_CHECKING:
    from pathlib import Path

pytestmark = pytest.mark.consensus

BEFORE, LOGGED, COMMITTED = 2, 4, 2
"""Entries from before the cluster; entries of Raft's log after them; of which so many are known to be committed."""
MEMBER = "raft", "snapshots", "incoming", "node.json", "node.key", "node.head", "cluster.json"
"""The last goes last."""


MARK = Divergence(Point(ENTRIES, 2), b"h" * 32, b"m" * 32, "2, 3")


class Crash(BaseException):
    """The process ends here."""


@pytest.fixture
def member(tmp_path: Path) -> Path:
    """One of three, which has applied less than is committed, and has more in its log than that."""
    data = tmp_path / "data"
    with Ledger.open(data, name="example.org/rescued") as ledger:
        ledger.put_many([(b"before/%d" % number, b"x") for number in range(BEFORE)])
        ledger_id = ledger.ledger_id
    with closing(NodeIdentity.load_or_create(data)) as identity:
        raft_id = identity.raft_id
        write_belonging(data, Belonging(ledger_id, raft_id))
        identity.save_member(ledger_id)
    with MemberLedger.open(data) as replicated:
        machine = replicated.state_machine
        begin = machine.position + 1
        voters = (raft_id, 7, 8)
        infos = {each: MemberInfo(each, place, "a:1", "a:2") for place, each in enumerate(voters, 1)}
        machine.set_membership(begin, Membership(begin, 1, voters=voters, members=infos).encode())
        entries = [(begin + 1, 2, 0, b"", b"")]
        for number in range(LOGGED):
            unit = encode_unit([put(b"logged/%d" % number, b"%d" % number)])
            data_bytes = encode_entry(Header(BUNDLE, 7, 1, number + 1, 1000 + number), encode_units([unit]))
            entries.append((begin + 2 + number, 2, 0, data_bytes, b""))
        machine.apply(begin + 2, 1000, [encode_unit([put(b"logged/0", b"0")])], None)
        machine.flush()
    with closing(FileLog(data / "raft")) as log:
        log.load()
        log.write(LogWrite(hard_state=(2, 7, begin), reset=(begin, 1)))
        log.write(LogWrite(entries=entries, hard_state=(2, 7, begin + 1 + COMMITTED)))
        log.sync()
    (data / "snapshots").mkdir()
    (data / "incoming").mkdir()
    (data / "node.head").write_bytes(b"what it has cosigned")
    return data


def check_alone(data: Path) -> None:
    """It is a ledger with everything, and takes writes."""
    assert not [name for name in MEMBER if (data / name).exists()]
    with Ledger.open(data, create=False) as ledger:
        assert ledger.origin == "example.org/rescued"
        assert ledger.size == BEFORE + LOGGED
        assert [ledger.get(b"logged/%d" % number) for number in range(LOGGED)] == [b"%d" % n for n in range(LOGGED)]
        ledger.verify()
        assert ledger.put("after", b"it").index == BEFORE + LOGGED


def test_all_of_the_log_is_applied_and_the_uncommitted_part_is_counted(member: Path) -> None:
    with Ledger.open(member, create=False) as before:
        ledger_id, key = before.ledger_id, before.public_key
        with pytest.raises(Forbidden):
            before.put("a", b"")
    rescued = rescue(member)
    assert (rescued.ledger_id, rescued.origin) == (ledger_id, "example.org/rescued")
    assert (rescued.entries, rescued.added, rescued.unconfirmed) == (BEFORE + LOGGED, LOGGED - 1, LOGGED - COMMITTED)
    with Ledger.open(member, create=False) as after:
        assert (after.public_key, after.checkpoint().root.hex()) == (key, rescued.root)
    check_alone(member)
    with pytest.raises(Conflict, match="is not the folder of a member"):
        rescue(member)


def test_a_rescue_that_is_cut_short_at_every_step_goes_on(member: Path) -> None:
    died: list[str] = []

    def step(name: str) -> None:
        if name == "applying" or name not in died:  # one entry more in each life
            died.append(name)
            raise Crash

    def is_done() -> bool:
        try:
            rescue(member, step=step)
        except Crash:
            return False
        return True

    while not is_done():
        with pytest.raises(Conflict, match="cut short"):
            forming.check_not_being_rescued(member)
        with Ledger.open(member, create=False) as ledger, pytest.raises(Forbidden):
            ledger.put("a", b"")
    removed = [f"without {name}" for name in MEMBER[:-1]]
    assert sorted(died) == sorted(["marked", *["applying"] * (LOGGED - 1), "applied", "alone", *removed])
    check_alone(member)


def test_a_ledger_that_was_rescued_founds_a_cluster_with_its_history(member: Path) -> None:
    old = read_belonging(member)
    rescue(member)
    config = Config.load(environ={}, overrides={"node.data_dir": str(member)})
    with closing(NodeIdentity.load_or_create(member)) as identity:
        assert old is not None
        assert identity.raft_id != old.raft_id
        with MemberLedger.open(member) as ledger:
            forming.found(config, identity, ledger)
            machine = ledger.state_machine
            membership = Membership.decode(machine.membership)
            assert membership.voters == (identity.raft_id,)
            assert membership.index == machine.position


def test_a_record_of_members_that_are_no_more_does_not_outlive_founding(member: Path) -> None:
    rescue(member)
    config = Config.load(environ={}, overrides={"node.data_dir": str(member)})
    with (
        closing(NodeIdentity.load_or_create(member)) as identity,
        MemberLedger.open(member) as ledger,
    ):
        machine = ledger.state_machine
        machine.set_membership(machine.position + 1, Membership(machine.position + 1, 9, voters=(7, 8)).encode())
        forming.found(config, identity, ledger)
        assert Membership.decode(machine.membership).voters == (identity.raft_id,)


def test_the_folder_of_a_node_that_runs_is_left_alone(member: Path) -> None:
    with closing(NodeIdentity.load_or_create(member)), pytest.raises(LedgerLocked):
        rescue(member)
    assert read_belonging(member) is not None


def test_a_folder_without_its_log_is_not_rescued(member: Path) -> None:
    (member / "raft").rename(member.parent / "raft")
    with pytest.raises(Corruption, match="is missing"):
        rescue(member)


def test_a_ledger_that_stands_alone_needs_no_rescue(tmp_path: Path) -> None:
    with pytest.raises(Conflict):
        rescue(tmp_path / "none")
    Ledger.open(tmp_path / "alone").close()
    with pytest.raises(Conflict):
        rescue(tmp_path / "alone")


# --- a ledger that a majority contradicted ---------------------------------------------------------------------


@pytest.fixture
def marked(member: Path) -> Path:
    with closing(NodeIdentity.load_or_create(member)) as identity:
        identity.save_mark(MARK)
    return member


def test_a_folder_that_a_majority_contradicted_is_rescued_only_where_that_is_said(marked: Path) -> None:
    with pytest.raises(Conflict) as refused:
        rescue(marked)
    for told in ("the first 2 entries", MARK.theirs.hex(), b"h".hex() * 32, "nodes 2, 3"):
        assert told in refused.value.message
    assert "another survivor" in refused.value.hint
    assert "--diverged" in refused.value.hint
    assert read_belonging(marked) is not None
    with pytest.raises(Crash):
        rescue(marked, diverged=True, step=_crash)
    rescue(marked)  # what was begun goes on
    check_alone(marked)


def _crash(_: str) -> None:
    raise Crash


def test_a_folder_that_does_not_say_whether_it_was_contradicted_is_refused_too(member: Path) -> None:
    (member / IDENTITY).write_text("{")
    with pytest.raises(Corruption, match="cannot be read") as refused:
        rescue(member)
    assert "--diverged" in refused.value.hint
    rescue(member, diverged=True)
    check_alone(member)


def test_every_command_on_a_folder_that_a_majority_contradicted_says_so(marked: Path) -> None:
    def run(*arguments: str) -> tuple[int, str]:
        answer = CliRunner().invoke(scribe, ["--data", str(marked), *arguments])
        return answer.exit_code, answer.stderr

    said = "and a majority of the voters (nodes 2, 3) has " + MARK.theirs.hex()
    for command in (["get", "before/0"], ["fsck"], ["stats"]):
        code, told = run(*command)
        assert (code, said in told) == (0, True), told
    for command in (["checkpoint"], ["prove", "before/0"], ["cluster", "rescue", "--yes"]):
        code, told = run(*command)
        assert (code != 0, said in told) == (True, True), told
    code, told = run("cluster", "rescue", "--diverged", "--yes")
    assert (code, said in told) == (0, True), told
    check_alone(marked)
