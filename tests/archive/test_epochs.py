"""A promotion begins one epoch, whoever else tries; the old key's heads lead there, and what that proves is said."""

from __future__ import annotations

import shutil
import stat
import threading
from concurrent.futures import ThreadPoolExecutor
from typing import TYPE_CHECKING, NamedTuple

import pytest
from tests.archive.lost import NAME, archive, everything, lose, opened, write
from tests.s3_server import S3Server, needs_versitygw

from scribe_ledger import verify
from scribe_ledger.archive.promotion import promote
from scribe_ledger.archive.recovery import restore
from scribe_ledger.errors import ConfigurationError, Conflict, Corruption, Forbidden, InvalidRequest, VerificationError
from scribe_ledger.ledger.folder import KEY, DataFolder, Identity
from scribe_ledger.merkle.checkpoint import Checkpoint, sign_checkpoint
from scribe_ledger.merkle.handover import Handover, base_origin, may_be_later, next_origin, sign_handover
from scribe_ledger.merkle.note import Signature, Signer
from scribe_ledger.objects import paths
from scribe_ledger.objects.epochs import Superseded, newest_checkpoint, required_lineage
from scribe_ledger.objects.folder import FolderStore
from scribe_ledger.objects.opening import open_object_store

if TYPE_CHECKING:
    from pathlib import Path

pytestmark = pytest.mark.storage

LEDGER_ID = "0123456789abcdef" * 2


class Lost(NamedTuple):
    store: FolderStore
    size: int
    key: Signer
    folder: Path


@pytest.fixture
def lost(tmp_path: Path) -> Lost:
    store = FolderStore(tmp_path / "store")
    size = lose(tmp_path / "old", store, parts=1)
    return Lost(store, size, Signer.parse((tmp_path / "old" / KEY).read_text().strip()), tmp_path / "old")


def handover_in(store: FolderStore, epoch: int = 1) -> str:
    content = store.get(paths.epoch_path(epoch))
    assert content is not None
    return content.decode()


# --- promoting -------------------------------------------------------------------------------------------------


def test_a_promoted_ledger_takes_writes_under_a_new_key(tmp_path: Path, lost: Lost) -> None:
    restored = restore(lost.store, tmp_path / "new", promote=True)
    assert (restored.origin, restored.epoch, restored.read_only) == (f"{NAME}/e1", 1, False)
    assert stat.S_IMODE((tmp_path / "new" / KEY).stat().st_mode) == 0o600
    with opened(tmp_path / "new", lost.store, name=NAME) as ledger:  # the name that it was created with still does
        assert ledger.public_key == restored.public_key != str(lost.key.verifier)
        assert ledger.checkpoint() == restored.checkpoint
        assert ledger.checkpoint().size == lost.size
        receipt = ledger.put("never archived", "written again")
        assert receipt.index == lost.size
        ledger.put("large", b"large" * 1000)
        verify.inclusion(ledger.prove("never archived"), public_key=restored.public_key)
        archive(ledger)
        assert ledger.verify().ok
        before, size = everything(ledger, ledger.size), ledger.size

    again = restore(lost.store, tmp_path / "third")
    assert (again.origin, again.epoch, again.size) == (f"{NAME}/e1", 1, size)
    with opened(tmp_path / "third", lost.store) as ledger:
        assert everything(ledger, size) == before


def test_a_restored_folder_is_promoted_later(tmp_path: Path, lost: Lost) -> None:
    restore(lost.store, tmp_path / "new")
    assert restore(lost.store, tmp_path / "new", promote=True).epoch == 1
    with pytest.raises(Conflict, match="takes writes already"):
        promote(lost.store, tmp_path / "new")


def test_the_second_promotion_follows_the_first(tmp_path: Path, lost: Lost) -> None:
    first = restore(lost.store, tmp_path / "first", promote=True)
    second = restore(lost.store, tmp_path / "second", promote=True, public_key=first.public_key)
    assert (second.origin, second.epoch, second.size) == (f"{NAME}/e2", 2, lost.size)
    with opened(tmp_path / "second", lost.store) as ledger:
        write(ledger, 1)
        archive(ledger)
    assert restore(lost.store, tmp_path / "third").size > lost.size
    handover = verify.epoch(
        handover_in(lost.store, 2), old_public_key=first.public_key, new_public_key=second.public_key
    )
    assert handover.head.origin == f"{NAME}/e1"


def test_of_two_promotions_one_wins(tmp_path: Path, lost: Lost, monkeypatch: pytest.MonkeyPatch) -> None:
    restore(lost.store, tmp_path / "one")
    restore(lost.store, tmp_path / "two")
    promote(lost.store, tmp_path / "one")
    with pytest.raises(Superseded, match="epoch 1"):
        promote(lost.store, tmp_path / "two")
    assert not (tmp_path / "two" / KEY).exists()

    # At the very same moment: the second looked before the first had put its handover.
    restore(lost.store, tmp_path / "three")
    restore(lost.store, tmp_path / "four")
    seen = required_lineage(lost.store)
    promote(lost.store, tmp_path / "three")
    monkeypatch.setattr("scribe_ledger.archive.promotion.required_lineage", lambda _: seen)
    with pytest.raises(Superseded, match="epochs/0000000002"):
        promote(lost.store, tmp_path / "four")
    with opened(tmp_path / "four", lost.store) as loser, pytest.raises(Forbidden, match="read-only"):
        loser.put("key", "value")
    with opened(tmp_path / "three", lost.store) as winner:
        winner.put("key", "value")


@pytest.mark.s3
@needs_versitygw
def test_of_many_promotions_at_once_one_wins(tmp_path: Path, s3_server: S3Server) -> None:
    bucket = s3_server.bucket()
    remote = open_object_store(bucket.url, bucket.options())
    lose(tmp_path / "old", remote, parts=1)
    folders = [tmp_path / f"folder {number}" for number in range(4)]
    for folder in folders:
        restore(remote, folder)
    together = threading.Barrier(len(folders))

    def run(folder: Path) -> bool:
        together.wait()
        try:
            promote(remote, folder)
        except Superseded:
            return False
        return True

    with ThreadPoolExecutor(len(folders)) as threads:
        won = [*threads.map(run, folders)]
    assert won.count(True) == 1
    for folder, is_winner in zip(folders, won, strict=True):
        with opened(folder, remote) as ledger:
            assert ledger.stats()["writable"] is is_winner
            if is_winner:
                ledger.check_store()
            else:
                with pytest.raises(Superseded):
                    ledger.check_store()
    remote.close()


@pytest.mark.parametrize("at", ["put_handover", "write_head", "save_identity"])
def test_a_promotion_that_was_cut_short_goes_on(
    tmp_path: Path, lost: Lost, monkeypatch: pytest.MonkeyPatch, at: str
) -> None:
    class Killed(BaseException):
        pass

    def die(*_: object) -> None:
        raise Killed

    restore(lost.store, tmp_path / "new")
    with monkeypatch.context() as patch:
        if at == "put_handover":
            patch.setattr("scribe_ledger.archive.promotion.put_handover", die)
        else:
            patch.setattr(DataFolder, at, die)
        with pytest.raises(Killed):
            promote(lost.store, tmp_path / "new")
    with opened(tmp_path / "new", lost.store) as ledger:  # it is what it was
        assert ledger.checkpoint().origin == NAME
        with pytest.raises(Forbidden, match="read-only"):
            ledger.put("key", "value")
    key = (tmp_path / "new" / KEY).read_text()
    promote(lost.store, tmp_path / "new")
    assert (tmp_path / "new" / KEY).read_text() == key
    with opened(tmp_path / "new", lost.store) as ledger:
        ledger.put("key", "value")


def test_a_store_that_went_on_is_not_promoted_from_an_older_folder(tmp_path: Path, lost: Lost) -> None:
    restore(lost.store, tmp_path / "new")
    with opened(lost.folder, lost.store) as old:  # it was not lost after all
        archive(old)
        larger = old.size
    with pytest.raises(Superseded, match=f"{larger} entries") as error:
        promote(lost.store, tmp_path / "new")
    assert "old node is stopped" in error.value.hint
    assert lost.store.stat(paths.epoch_path(1)) is None


def test_what_the_old_node_published_too_late_is_passed_over(tmp_path: Path, lost: Lost) -> None:
    """It had passed the guard a moment before the promotion."""
    aside = FolderStore(shutil.copytree(lost.store.root, tmp_path / "aside"))
    restore(lost.store, tmp_path / "new", promote=True)
    with opened(lost.folder, aside) as old:
        archive(old)
        old_size = old.size
        late = paths.checkpoint_path(old_size)
        content = aside.get(late)
    assert content is not None
    lost.store.put_bytes(late, content)
    lineage = required_lineage(lost.store)
    newest = newest_checkpoint(lost.store, lineage)
    assert newest is not None
    assert (newest.size, newest.origin) == (lost.size, f"{NAME}/e1")
    assert restore(lost.store, tmp_path / "third").size == lost.size

    with opened(tmp_path / "new", lost.store) as new:  # nor does it keep the new ledger from publishing its own
        new.put("short", "of what the old node has")
        archive(new)
        write(new, 1)
        archive(new)
        size = new.size
    assert size > old_size
    assert restore(lost.store, tmp_path / "fourth").size == size


def test_promoting_from_another_store_is_refused(tmp_path: Path, lost: Lost) -> None:
    restore(lost.store, tmp_path / "new")
    other = FolderStore(tmp_path / "other store")
    lose(tmp_path / "other", other, parts=1)
    with pytest.raises(ConfigurationError, match="is the store of"):
        promote(other, tmp_path / "new")


@pytest.mark.parametrize("damage", ["missing", "altered", "foreign", "no text"])
def test_a_damaged_epoch_is_named(tmp_path: Path, lost: Lost, damage: str) -> None:
    restore(lost.store, tmp_path / "one", promote=True)
    restore(lost.store, tmp_path / "two", promote=True)
    path = paths.epoch_path(1)
    text = handover_in(lost.store)
    lost.store.delete(path)
    if damage == "altered":
        lost.store.put_bytes(path, text.replace("epoch 1\n", "epoch 3\n").encode())
    if damage == "foreign":
        lost.store.put_bytes(path, handover_in(lost.store, 2).encode())
    if damage == "no text":
        lost.store.put_bytes(path, b"\xff")
    what = "it is no text" if damage == "no text" else ""
    with pytest.raises(Corruption, match=f"{path} .*{what}"):
        restore(lost.store, tmp_path / "new")


# --- the way across --------------------------------------------------------------------------------------------


def test_with_the_old_key_its_word_is_enough(tmp_path: Path, lost: Lost) -> None:
    restored = restore(lost.store, tmp_path / "new", promote=True, old_key=lost.key, public_key=str(lost.key.verifier))
    handover = verify.epoch(handover_in(lost.store), old_public_key=str(lost.key.verifier))
    assert str(handover.key) == restored.public_key
    assert handover.is_endorsed
    assert (handover.epoch, handover.head.size) == (1, lost.size)
    with opened(tmp_path / "new", lost.store) as ledger:
        ledger.put("more", "entries")
        verify.consistency(
            ledger.prove_consistency(handover.first.size),
            handover.first,
            ledger.checkpoint(),
            public_key=handover.key,
        )
    restore(lost.store, tmp_path / "again", public_key=str(lost.key.verifier))


def test_without_the_old_key_somebody_must_vouch_for_the_new_one(tmp_path: Path, lost: Lost) -> None:
    restored = restore(lost.store, tmp_path / "new", promote=True)
    text, old = handover_in(lost.store), str(lost.key.verifier)
    with pytest.raises(VerificationError, match="says nothing of the new key") as error:
        verify.epoch(text, old_public_key=old)
    assert restored.public_key in error.value.hint
    assert not verify.epoch(text, old_public_key=old, new_public_key=restored.public_key).is_endorsed
    stranger = str(Signer.generate(f"{NAME}/e1").verifier)
    with pytest.raises(VerificationError, match="not to"):
        verify.epoch(text, old_public_key=old, new_public_key=stranger)
    with pytest.raises(VerificationError, match="without the key"):
        restore(lost.store, tmp_path / "pinned", public_key=old)
    restore(lost.store, tmp_path / "pinned", public_key=restored.public_key)


def test_a_reader_with_the_old_key_is_told_where_to_look(tmp_path: Path, lost: Lost) -> None:
    restored = restore(lost.store, tmp_path / "new", promote=True)
    with pytest.raises(VerificationError) as error:
        verify.checkpoint(restored.checkpoint, public_key=lost.key.verifier)
    assert "handover" in error.value.hint
    with pytest.raises(VerificationError) as error:
        verify.checkpoint(restored.checkpoint, public_key=Signer.generate("example.org/another").verifier)
    assert "handover" not in error.value.hint


def test_an_old_key_that_is_another_is_refused(tmp_path: Path, lost: Lost) -> None:
    restore(lost.store, tmp_path / "new")
    with pytest.raises(ConfigurationError, match="the old key is"):
        promote(lost.store, tmp_path / "new", old_key=Signer.generate(NAME))
    assert lost.store.stat(paths.epoch_path(1)) is None


# --- the text --------------------------------------------------------------------------------------------------


OLD, NEW = Signer.generate(NAME), Signer.generate(f"{NAME}/e1")
HEAD = sign_checkpoint(OLD, 5, bytes(32))


def signed(**changes: object) -> Handover:
    given: dict[str, object] = {"after": OLD.verifier, "new": NEW, "old": OLD}
    return sign_handover(LEDGER_ID, 1, HEAD, **(given | changes))  # type: ignore[arg-type]


def test_a_handover_is_read_as_it_was_written() -> None:
    handover = signed()
    assert Handover.parse(str(handover)) == handover
    assert (handover.ledger_id, handover.epoch, handover.head) == (LEDGER_ID, 1, HEAD)
    assert (handover.first.size, handover.first.root, handover.first.origin) == (5, bytes(32), f"{NAME}/e1")
    assert verify.epoch(handover, old_public_key=OLD.verifier) == handover


def test_a_handover_is_never_a_checkpoint() -> None:
    """Its signature must not pass for one: the first line of a checkpoint is an origin, which has no spaces."""
    text = str(signed())
    with pytest.raises(VerificationError):
        verify.checkpoint(text, public_key=NEW.verifier)


@pytest.mark.parametrize(
    ("what", "by"),
    [
        (LEDGER_ID, "f" * 32),
        ("epoch 1\n", "epoch 2\n"),
        (str(NEW.verifier), str(Signer.generate(f"{NAME}/e1").verifier)),
        (str(OLD.verifier), str(Signer.generate(NAME).verifier)),
        ("\n5\n", "\n6\n"),
        ("scribe-ledger epoch v1", "scribe-ledger epoch v2"),
    ],
    ids=["ledger", "epoch", "new key", "old key", "size", "format"],
)
def test_a_handover_that_was_changed_is_refused(what: str, by: str) -> None:
    text = str(signed())
    assert what in text
    with pytest.raises(VerificationError):
        verify.epoch(text.replace(what, by), old_public_key=OLD.verifier)


def test_every_single_character_of_a_handover_counts() -> None:
    text = str(signed())
    for place in range(0, len(text), 7):
        changed = text[:place] + ("A" if text[place] != "A" else "B") + text[place + 1 :]
        with pytest.raises(VerificationError):
            verify.epoch(changed, old_public_key=OLD.verifier)


def test_a_line_that_claims_to_be_by_the_old_key_must_be_good() -> None:
    unendorsed = str(signed(old=None))
    assert not Handover.parse(unendorsed).is_endorsed
    forged = unendorsed + str(Signature(NAME, OLD.verifier.key_id, OLD.verifier.key_id.to_bytes(4, "big") + bytes(64)))
    assert Handover.parse(forged).is_endorsed, "that is what it claims"
    with pytest.raises(VerificationError):
        verify.epoch(forged, old_public_key=OLD.verifier, new_public_key=NEW.verifier)


def test_a_head_by_nobody_is_not_handed_over() -> None:
    stranger = sign_checkpoint(Signer.generate(NAME), 5, bytes(32))
    with pytest.raises(VerificationError):
        sign_handover(LEDGER_ID, 1, stranger, after=OLD.verifier, new=NEW)
    with pytest.raises(InvalidRequest):
        signed(old=Signer.generate(NAME))
    with pytest.raises(VerificationError):  # the origin of an epoch is the name and its number, nothing else
        signed(new=Signer.generate(f"{NAME}/e2"))


def test_origins_of_epochs() -> None:
    assert next_origin("example.org/log", 0) == "example.org/log/e1"
    assert next_origin("example.org/log/e1", 1) == "example.org/log/e2"
    assert next_origin("example.org/e9", 0) == "example.org/e9/e1", "a name may end so of itself"
    assert may_be_later("example.org/log/e1", "example.org/log")
    assert may_be_later("example.org/log/e2", "example.org/log/e1")
    assert may_be_later("example.org/log/e7", "example.org/log")
    assert not may_be_later("example.org/log", "example.org/log/e1")
    assert not may_be_later("example.org/log/e1", "example.org/log/e1")
    assert base_origin("example.org/log/e12", 12) == "example.org/log"
    assert base_origin("example.org/e9", 0) == "example.org/e9"
    assert Identity("id", "example.org/e9/e1", 0, 1).base_name == "example.org/e9"


def test_checkpoints_inside_of_a_handover_may_be_cosigned() -> None:
    from scribe_ledger.merkle.checkpoint import cosign

    witness = Signer.generate("witness.example")
    head = cosign(HEAD, witness, 1)
    handover = sign_handover(LEDGER_ID, 1, head, after=OLD.verifier, new=NEW)
    assert Handover.parse(str(handover)).head == head
    assert isinstance(handover.head, Checkpoint)
