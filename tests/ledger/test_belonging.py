"""The folder of a cluster's member, and its ledger, whose writes go to the cluster and come back to be applied."""

from __future__ import annotations

import threading
from collections import deque
from typing import TYPE_CHECKING, Any

import pytest
from tests.ledger.altering import alter_first_hash

from scribe_ledger import Ledger
from scribe_ledger.errors import (
    ConfigurationError,
    Conflict,
    Corruption,
    Forbidden,
    LedgerClosed,
    OutcomeUnknown,
    Overloaded,
    PreconditionFailed,
    StorageError,
    Unavailable,
)
from scribe_ledger.ledger import commands
from scribe_ledger.ledger.belonging import (
    RAFT_LOG,
    Belonging,
    create_member_folder,
    read_belonging,
    remove_belonging,
    write_belonging,
)
from scribe_ledger.ledger.folder import CLUSTER
from scribe_ledger.ledger.guard import Standing, check_standing
from scribe_ledger.ledger.manifest import Adopt, Archive
from scribe_ledger.ledger.policy import Policy
from scribe_ledger.ledger.served import MemberLedger, ServedLedger
from scribe_ledger.ledger.wire import encode_unit
from scribe_ledger.merkle.hashing import hash_leaf
from scribe_ledger.merkle.note import Signer
from scribe_ledger.objects.folder import FolderStore
from scribe_ledger.objects.paths import checkpoint_path

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence
    from pathlib import Path

    from scribe_ledger.ledger.replicated import Outcome
    from scribe_ledger.merkle.checkpoint import Checkpoint

pytestmark = pytest.mark.storage

LEDGER_ID = "ab" * 16
ORIGIN = "scribe-ledger/" + LEDGER_ID


def member(path: Path, **changes: Any) -> None:
    given: dict[str, Any] = {
        "ledger_id": LEDGER_ID,
        "origin": ORIGIN,
        "created": 1,
        "epoch": 0,
        "policy": Policy(),
        "private_key_text": Signer.generate(ORIGIN).private_text(),
        "raft_id": (1 << 63) - 5,
    }
    create_member_folder(path, **{**given, **changes})


class Cluster:
    """Agrees with itself, in a thread of its own, one entry a unit."""

    def __init__(self, ledger: ServedLedger) -> None:
        self._machine = ledger.state_machine
        self.alone: list[bool] = []
        self._queue: deque[tuple[bytes, object, Callable[[Outcome], object]]] = deque()
        self._wanted = threading.Semaphore(0)
        self._thread = threading.Thread(target=self._run, daemon=True)
        self._thread.start()
        ledger.connect(self.submit)

    def submit(self, unit: bytes, local: object, done: Callable[[Outcome], object], alone: bool) -> None:
        self.alone.append(alone)
        self._queue.append((unit, local, done))
        self._wanted.release()

    def _run(self) -> None:
        while self._wanted.acquire() and self._queue:
            unit, local, done = self._queue.popleft()
            done(self._machine.apply(self._machine.position + 1, 7, [unit], [local])[0])

    def close(self) -> None:
        self._wanted.release()
        self._thread.join()


@pytest.fixture
def ledger(tmp_path: Path) -> Iterator[ServedLedger]:
    with MemberLedger.open(tmp_path / "data", inline_max=1000) as opened:
        cluster = Cluster(opened)
        yield opened
        cluster.close()


# --- the folder ------------------------------------------------------------------------------------------------


def test_a_member_folder_is_an_empty_ledger_with_the_given_identity_and_key(tmp_path: Path) -> None:
    key = Signer.generate(ORIGIN)
    for _ in range(2):  # repeated after a crash, it is there already
        member(tmp_path / "data", private_key_text=key.private_text() + "\n", policy=Policy(overwrite="forbid"))
    with MemberLedger.open(tmp_path / "data") as ledger:
        assert (ledger.ledger_id, ledger.origin, ledger.size) == (LEDGER_ID, ORIGIN, 0)
        assert ledger.policy.overwrite == "forbid"
        assert ledger.public_key == str(key.verifier)
        assert ledger.state_machine.position == 0
    assert read_belonging(tmp_path / "data") == Belonging(LEDGER_ID, (1 << 63) - 5)


def test_a_key_of_another_ledger_makes_no_member(tmp_path: Path) -> None:
    with pytest.raises(ConfigurationError, match="the key is that of"):
        member(tmp_path / "data", private_key_text=Signer.generate("other").private_text())
    with pytest.raises(ConfigurationError, match="is none"):
        member(tmp_path / "data", private_key_text="nonsense")
    assert not (tmp_path / "data").exists()


def test_a_folder_with_another_ledger_makes_no_member(tmp_path: Path) -> None:
    Ledger.open(tmp_path / "data").close()
    with pytest.raises(Conflict, match="brings an empty folder"):
        member(tmp_path / "data")
    assert read_belonging(tmp_path / "data") is None


def test_what_the_node_keeps_there_before_is_no_stranger(tmp_path: Path) -> None:
    for name in ("node.json", "node.key"):
        (tmp_path / name).write_text("{}")
    (tmp_path / "raft").mkdir()
    member(tmp_path)
    with MemberLedger.open(tmp_path) as ledger:
        assert ledger.size == 0


@pytest.mark.parametrize("text", ["", "[]", '{"format": 1}', '{"format": 1, "ledger_id": "x", "raft_id": "y"}'])
def test_a_damaged_mark_is_not_taken_for_none(tmp_path: Path, text: str) -> None:
    (tmp_path / CLUSTER).write_text(text)
    with pytest.raises(Corruption, match="cannot be read"):
        read_belonging(tmp_path)


def test_a_mark_of_a_newer_format_says_so(tmp_path: Path) -> None:
    (tmp_path / CLUSTER).write_text('{"format": 2}')
    with pytest.raises(ConfigurationError, match="format 2"):
        read_belonging(tmp_path)


def test_the_library_reads_a_member_folder_and_does_not_write_to_it(tmp_path: Path) -> None:
    with Ledger.open(tmp_path / "data") as ledger:
        ledger.put("k", "v")
    write_belonging(tmp_path / "data", Belonging(LEDGER_ID, 5))
    with Ledger.open(tmp_path / "data") as ledger:
        assert ledger.get("k") == b"v"
        assert ledger.verify().ok
        with pytest.raises(Forbidden, match="member 5 of the cluster") as refused:
            ledger.put("k", "w")
        assert "through the cluster" in refused.value.hint
        copy = ledger.snapshot(tmp_path / "copy")
    with Ledger.open(copy) as ledger, pytest.raises(Forbidden):
        ledger.put("k", "w")
    remove_belonging(tmp_path / "data")
    with Ledger.open(tmp_path / "data") as ledger:
        ledger.put("k", "w")


def test_a_member_folder_gives_what_was_signed_before_and_signs_nothing_new(tmp_path: Path) -> None:
    with Ledger.open(tmp_path / "data") as ledger:
        ledger.put("k", "v")
        signed = ledger.checkpoint()
        ledger.put("k", "w")
    write_belonging(tmp_path / "data", Belonging(LEDGER_ID, 5))
    head = (tmp_path / "data" / "head").read_bytes()
    for kind in (Ledger, ServedLedger):
        with kind.open(tmp_path / "data") as ledger:
            copy = ledger.snapshot(tmp_path / kind.__name__)
            check_signs_nothing_new(ledger, signed)
        with Ledger.open(copy) as ledger:
            check_signs_nothing_new(ledger, signed)
    assert (tmp_path / "data" / "head").read_bytes() == head


def check_signs_nothing_new(ledger: Ledger, signed: Checkpoint) -> None:
    """It has two entries, and one of them is under a signature."""
    for ask in (ledger.checkpoint, lambda: ledger.prove("k"), lambda: ledger.prove_history("k")):
        with pytest.raises(Forbidden, match=r"not signed: 2 entries, root [0-9a-f]{64}") as refused:
            ask()
        assert "(--at 1)" in refused.value.hint
    assert ledger.checkpoint(0).size == 0
    assert ledger.checkpoint(1) == signed
    assert ledger.prove("k", at=1).checkpoint == signed
    assert ledger.prove_consistency(1, 2).new_size == 2
    assert ledger.verify().ok


def test_what_a_member_folder_has_signed_does_not_begin_with_what_was_altered(tmp_path: Path) -> None:
    """The head is far above them, so that it is the same."""
    with Ledger.open(tmp_path / "data") as ledger:
        ledger.put_many([(f"k{number}", b"v") for number in range(512)])
        ledger.checkpoint()
    write_belonging(tmp_path / "data", Belonging(LEDGER_ID, 5))
    with Ledger.open(tmp_path / "data") as ledger:
        assert [ledger.checkpoint(size).size for size in (1, 2, 511)] == [1, 2, 511]
    alter_first_hash(tmp_path / "data" / "store")
    with Ledger.open(tmp_path / "data") as ledger:
        assert [ledger.checkpoint(size).size for size in (256, 512)] == [256, 512]
        for size in (1, 2):
            with pytest.raises(Corruption, match="begins with"):
                ledger.checkpoint(size)


def test_a_member_folder_whose_mark_was_removed_is_not_taken_for_a_ledger_of_its_own(tmp_path: Path) -> None:
    member(tmp_path / "data")
    (tmp_path / "data" / RAFT_LOG).mkdir()
    (tmp_path / "data" / CLUSTER).unlink()
    with pytest.raises(Corruption, match=r"cluster\.json is missing"):
        Ledger.open(tmp_path / "data")


# --- writes ----------------------------------------------------------------------------------------------------


def test_writes_of_the_library_face_go_through_the_cluster(ledger: ServedLedger) -> None:
    first = ledger.put("k", "v")
    assert (first.index, first.timestamp) == (0, 7)
    assert ledger.put("k", "v") == first._replace(created=False)
    with pytest.raises(PreconditionFailed):
        ledger.put("k", "w", if_absent=True)
    ledger.put_many([("a", "1"), ("b", "2")])
    ledger.put_stream("large", [b"v" * 5000])
    outcomes = ledger.write_all([[commands.put("c", "3")], [commands.delete("none")]])
    assert [isinstance(outcome, Exception) for outcome in outcomes] == [False, True]
    assert (ledger.get("a"), ledger.get("large"), ledger.size) == (b"1", b"v" * 5000, 5)
    assert ledger.checkpoint().size == 5
    assert ledger.verify().ok


def test_what_is_signed_was_synced_before(ledger: ServedLedger) -> None:
    ledger.put("k", "v")
    assert ledger.stats()["syncs"] == 0
    ledger.checkpoint()
    ledger.checkpoint()
    assert ledger.stats()["syncs"] == 1


def test_a_read_after_the_answer_sees_the_write_and_not_the_cache(ledger: ServedLedger) -> None:
    for number in range(5):
        ledger.put("k", str(number))
        assert [ledger.get("k") for _ in range(3)] == [str(number).encode()] * 3


def test_manifest_changes_travel_alone_and_come_back_as_manifests(ledger: ServedLedger) -> None:
    manifest = ledger.change_manifest(Adopt("store"))
    assert (manifest.version, ledger.manifest) == (1, manifest)
    with pytest.raises(Conflict):
        ledger.change_manifest(Archive(1, ()))


def test_entries_from_elsewhere_are_refused(ledger: ServedLedger, tmp_path: Path) -> None:
    with ServedLedger.open(tmp_path / "source") as source:
        source.put("k", "v")
        leaves = source.leaves(0, 1)
    with pytest.raises(Forbidden, match="cluster"):
        ledger.take_over(leaves, [hash_leaf(leaves[0])], {})
    assert ledger.size == 0


def test_before_the_cluster_is_found_writes_are_unavailable(tmp_path: Path) -> None:
    with MemberLedger.open(tmp_path / "data") as ledger, pytest.raises(Unavailable):
        ledger.put("k", "v")


def test_what_is_refused_at_once_is_raised_or_is_that_units_outcome(tmp_path: Path) -> None:
    def full(*_: object) -> None:
        raise Overloaded("too many wait")

    with MemberLedger.open(tmp_path / "data") as ledger:
        ledger.connect(full)
        with pytest.raises(Overloaded):
            ledger.put("k", "v")
        assert isinstance(ledger.write_all([[commands.put("k", "v")]])[0], Overloaded)


def test_who_waits_while_the_ledger_closes_is_told(tmp_path: Path) -> None:
    submitted = threading.Event()
    told: list[BaseException] = []
    ledger = MemberLedger.open(tmp_path / "data")
    ledger.connect(lambda *_: submitted.set())

    def write() -> None:
        try:
            ledger.put("k", "v")
        except OutcomeUnknown as error:
            told.append(error)

    thread = threading.Thread(target=write)
    thread.start()
    submitted.wait()
    ledger.close()
    thread.join()
    assert len(told) == 1
    with pytest.raises(LedgerClosed):
        ledger.put("k", "v")


def test_a_refused_ledger_still_applies_what_others_ask(ledger: ServedLedger) -> None:
    ledger.refuse_writes(Forbidden("not here"))
    with pytest.raises(Forbidden):
        ledger.put("k", "v")
    with pytest.raises(Forbidden):
        ledger.evict(1)
    machine = ledger.state_machine
    machine.apply(5, 1, [_unit("k", "v")], None)
    assert ledger.get("k") == b"v"


def test_a_failed_write_shows_as_the_ledgers_failure(ledger: ServedLedger, monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(_: object) -> None:
        raise StorageError("the disk is gone")

    monkeypatch.setattr(ledger.state_machine._store, "write", fail)
    with pytest.raises(StorageError):
        ledger.state_machine.apply(5, 1, [_unit("k", "v")], None)
    assert ledger.failure is not None
    assert ledger.stats()["writable"] is False
    with pytest.raises(StorageError, match="nothing is applied"):
        ledger.put("k", "v")


def test_what_was_taken_is_read_at_once_whatever_was_cached(ledger: ServedLedger, tmp_path: Path) -> None:
    ledger.put("k", "old")
    forgotten: list[int] = []

    def around(keys: Sequence[bytes], publish: Callable[[], object]) -> None:
        forgotten.append(len(keys))
        publish()

    ledger.on_commit(around)
    with MemberLedger.open(tmp_path / "giver") as giver:
        other = giver.state_machine
        ours = ledger.state_machine
        other.take(ours.export(other.describe(), 1, 1, b""))
        other.apply(2, 1, [_unit("k", "new")], None)
        assert ledger.get("k") == ledger.get("k") == b"old"
        ours.take(other.export(ours.describe(), 2, 2, b""))
    assert ledger.get("k") == b"new"
    assert forgotten == [0]


def test_relaxed_durability_and_a_cluster_exclude_each_other(tmp_path: Path) -> None:
    with pytest.raises(ConfigurationError, match="relaxed"):
        MemberLedger.open(tmp_path / "data", durability="relaxed")


def test_a_ledger_of_its_own_has_no_cluster(tmp_path: Path) -> None:
    with ServedLedger.open(tmp_path / "data") as ledger:
        with pytest.raises(ConfigurationError):
            _ = ledger.state_machine
        with pytest.raises(ConfigurationError):
            ledger.connect(lambda *_: None)


def test_a_member_behind_the_archive_is_told_to_wait_and_not_that_it_was_replaced(tmp_path: Path) -> None:
    """Its cluster may have archived, and published, what this member has yet to receive."""
    objects = FolderStore(tmp_path / "objects")
    with ServedLedger.open(tmp_path / "data", object_store=objects) as ledger:
        ledger.put("k", "v")
        ledger.adopt_store()
        newest = ledger.checkpoint()
        objects.put_bytes(checkpoint_path(1), newest.text.encode())
        ours = Standing(
            ledger.ledger_id, 0, ledger.public_key, lambda: 0, ledger.manifest.store_id, 0, ledger.root, is_member=True
        )
        with pytest.raises(Unavailable, match="caught up"):
            check_standing(objects, ours)


def _unit(key: str, value: str) -> bytes:
    return encode_unit([commands.put(key, value)])


def test_a_write_that_the_cluster_never_answers_ends_at_its_deadline(tmp_path: Path) -> None:
    with MemberLedger.open(tmp_path / "data") as ledger:
        ledger.connect(lambda *_: None, seconds=0.01)
        with pytest.raises(OutcomeUnknown, match=r"0\.01 seconds"):
            ledger.put("k", "v")
