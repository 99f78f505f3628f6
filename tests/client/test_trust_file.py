"""What a client remembers from one run to the next, and that nothing makes it forget in silence."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from scribe_ledger.client.trust_file import HEADER, TrustFile
from scribe_ledger.errors import (
    ConfigurationError,
    NetworkError,
    ScribeError,
    SerializationError,
    StorageError,
    Unavailable,
    VerificationError,
)
from scribe_ledger.merkle import Checkpoint, Signer, sign_checkpoint

if TYPE_CHECKING:
    from pathlib import Path

    from tests.client.conftest import World

pytestmark = pytest.mark.http

SIGNER = Signer.generate("example.org/log")
KEY = str(SIGNER.verifier)


def head(size: int, mark: int = 0) -> Checkpoint:
    return sign_checkpoint(SIGNER, size, bytes([mark]) * 32)


def test_a_head_is_there_in_the_next_run(world: World) -> None:
    path = world.path / "deep" / "trust"
    world.ledger.put("k", "1")
    first = world.connect(world.server.url, trust=path)
    assert first.get("k") == b"1"
    first.close()
    old = world.twin("old")
    world.ledger.put("k", "2")
    second = world.connect(world.server.url, trust=path)
    assert second.trusted.size == 1
    assert second.get("k") == b"2"
    second.close()
    assert path.read_text().startswith(f"{HEADER}\n{world.ledger.public_key}\n\nexample.org/log\n2\n")
    world.server.answer = world.answers(old)
    third = world.connect(world.server.url, trust=path, retries=0)
    with pytest.raises(ScribeError, match="1 entry here"):
        third.get("k")


def test_a_rolled_back_ledger_is_found_out_in_the_next_run(world: World) -> None:
    path = world.path / "trust"
    world.ledger.put("k", "1")
    fork = world.twin("fork")
    world.ledger.put("k", "2")
    first = world.connect(world.server.url, trust=path)
    first.get("k")
    first.close()
    fork.put("k", "other")
    world.server.answer = world.answers(fork)
    with pytest.raises(VerificationError, match="two different logs of 2 entries"):
        world.connect(world.server.url, trust=path).get("k")


def test_it_never_goes_back(tmp_path: Path) -> None:
    file, other = TrustFile(tmp_path / "trust", KEY), TrustFile(tmp_path / "trust", KEY)
    file.save(head(5), 0.0)
    there = other.save(head(3), 0.0)
    assert there is not None
    other.joined(there)
    assert other.save(head(3), 0.0) is None
    found = TrustFile(tmp_path / "trust", KEY).load()
    assert found is not None
    assert found.size == 5


def test_two_processes_that_were_shown_two_logs_find_out(tmp_path: Path) -> None:
    TrustFile(tmp_path / "trust", KEY).save(head(5, 1), 0.0)
    with pytest.raises(VerificationError, match="another log of 5 entries"):
        TrustFile(tmp_path / "trust", KEY).save(head(5, 2), 0.0)


@pytest.mark.parametrize("size", [3, 7])
def test_what_another_process_saved_stays_until_it_is_joined(tmp_path: Path, size: int) -> None:
    path = tmp_path / "trust"
    TrustFile(path, KEY).save(head(2), 0.0)
    file, other = TrustFile(path, KEY), TrustFile(path, KEY)
    file.load()
    other.load()
    assert file.save(head(5, 1), 0.0) is None
    there = other.save(head(size, 2), 0.0)
    assert there is not None
    assert (there.size, there.root) == (5, head(5, 1).root)
    assert other.save(head(size, 2), 0.0) is not None
    found = TrustFile(path, KEY).load()
    assert found is not None
    assert found.size == 5
    other.joined(there)
    assert other.save(head(size, 2), 0.0) is None
    found = TrustFile(path, KEY).load()
    assert found is not None
    assert found.size == max(5, size)


@pytest.mark.parametrize("beyond", [3, 9])
def test_two_processes_on_two_forks_find_out(world: World, beyond: int) -> None:
    path = world.path / "trust"
    world.ledger.put("k", "1")
    fork = world.twin("fork")
    first = world.connect(world.server.url, trust=path)
    second = world.connect(world.url_of(fork), trust=path, retries=0)
    for at in range(5):
        world.ledger.put("k", f"true {at}")
    for at in range(beyond):
        fork.put("k", f"forged {at}")
    first.get("k")
    first.close()
    kept = path.read_bytes()
    if beyond > 5:
        with pytest.raises(VerificationError, match="does not lead to the old root"):
            second.get("k")
    else:  # the fork has nothing yet to prove or disprove it with
        assert second.get("k") == b"forged 2"
    with pytest.raises((VerificationError, Unavailable), match=r"does not lead to the old root|4 entries here"):
        second.close()
    assert path.read_bytes() == kept


@pytest.mark.parametrize("newer", ["first", "second"])
def test_two_processes_on_one_log_share_a_file(world: World, newer: str) -> None:
    path = world.path / "trust"
    world.ledger.put("k", "1")
    clients = {name: world.connect(world.server.url, trust=path) for name in ("first", "second")}
    older = next(name for name in clients if name != newer)
    clients[older].checkpoint()
    world.ledger.put_many([("a", "2"), ("b", "3")])
    clients[newer].checkpoint()
    clients["first"].close()
    clients["second"].close()
    found = TrustFile(path, world.ledger.public_key).load()
    assert found is not None
    assert found.size == 3


def test_a_file_that_cannot_be_joined_for_now_stays_and_the_close_says_so(world: World) -> None:
    path = world.path / "trust"
    world.ledger.put("k", "1")
    first = world.connect(world.server.url, trust=path)
    second = world.connect(world.server.url, trust=path, retries=0)
    first.checkpoint()
    first.close()
    kept = path.read_bytes()
    world.ledger.put("k", "2")
    world.server.lie = lambda target, reply: None if "consistency" in target else reply
    assert second.get("k") == b"2"  # what was asked for went well
    with pytest.raises(NetworkError, match="no node answered"):
        second.close()
    assert path.read_bytes() == kept


def test_a_moving_head_is_not_written_each_time(tmp_path: Path) -> None:
    file = TrustFile(tmp_path / "trust", KEY)
    first, second = head(5), head(6)
    assert file.due(first, 100.0)
    file.save(first, 100.0)
    assert not file.due(first, 900.0)
    assert not file.due(second, 100.9)
    assert file.due(second, 101.1)


@pytest.mark.parametrize(
    "content",
    [b"", b"\xff", b"scribe-ledger/trust@v2\n", f"{HEADER}\n{KEY}\n\n".encode(), f"{HEADER}\n{KEY}\n\nx\n1\n".encode()],
    ids=["empty", "not text", "another version", "no head", "no checkpoint"],
)
def test_a_damaged_file_is_refused(tmp_path: Path, content: bytes) -> None:
    path = tmp_path / "trust"
    path.write_bytes(content)
    with pytest.raises(SerializationError, match="does not remember a checkpoint"):
        TrustFile(path, KEY).load()
    assert path.read_bytes() == content


def test_a_checkpoint_that_nobody_signed_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "trust"
    TrustFile(path, KEY).save(head(5), 0.0)
    path.write_text(path.read_text().replace("\n5\n", "\n4\n"))
    with pytest.raises(SerializationError, match="is not valid"):
        TrustFile(path, KEY).load()


def test_a_file_of_another_ledger_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "trust"
    TrustFile(path, KEY).save(head(5), 0.0)
    other = str(Signer.generate("example.org/other").verifier)
    with pytest.raises(ConfigurationError, match="another key"):
        TrustFile(path, other).load()


def test_a_crash_while_writing_leaves_the_old_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    import os

    path = tmp_path / "trust"
    file = TrustFile(path, KEY)
    file.save(head(5), 0.0)
    before = path.read_bytes()

    def fail(_: int) -> None:
        raise OSError(5, "Input/output error")

    monkeypatch.setattr(os, "fsync", fail)
    with pytest.raises(ScribeError, match=r"cannot write .*Input/output error"):
        file.save(head(6), 0.0)
    assert path.read_bytes() == before
    assert sorted(each.name for each in tmp_path.iterdir()) == ["trust", "trust.lock"]


def test_a_disk_that_fails_is_told_when_the_client_is_closed(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    client = world.connect(world.server.url, trust=world.path / "trust")
    client.put("k", "1")

    def fail(*_: object) -> None:
        raise StorageError("cannot write it")

    with monkeypatch.context() as patched:
        patched.setattr(TrustFile, "_replace", fail)
        assert client.get("k") == b"1"  # what was asked for went well
        with pytest.raises(StorageError, match="cannot write it"):
            client.close()
