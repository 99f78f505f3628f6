"""``scribe restore``: from a folder and from a bucket, what it says, and its exit codes."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest
from tests.archive.lost import LARGE, NAME, lose

from scribe_ledger import verify
from scribe_ledger.ledger.folder import KEY
from scribe_ledger.ledger.rocks import RocksStore, raise_engine_error
from scribe_ledger.merkle.note import Signer
from scribe_ledger.objects import paths
from scribe_ledger.objects.folder import FolderStore
from scribe_ledger.objects.opening import open_object_store

if TYPE_CHECKING:
    from pathlib import Path

    from tests.cli.conftest import Cli
    from tests.s3_server import S3Server

pytestmark = pytest.mark.storage


@pytest.fixture
def store(tmp_path: Path) -> FolderStore:
    """Of a lost ledger, whose folder is ``lost``."""
    found = FolderStore(tmp_path / "store")
    lose(tmp_path / "lost", found, parts=1)
    return found


def test_a_ledger_is_restored_promoted_and_written(cli: Cli, tmp_path: Path, store: FolderStore) -> None:
    said = cli("restore", "--from", store.url, "--data", tmp_path / "new").text
    assert NAME in said
    assert "read-only" in said
    assert "had not been archived" in said
    assert f"--object-store {store.url}" in said
    there = ("--data", tmp_path / "new", "--object-store", store.url)
    assert cli("get", "text", *there).out == b"part 0"
    assert "--promote" in cli("put", "key", "value", *there, code=1).err

    said = cli("--data", tmp_path / "new", "restore", "--from", store.url, "--promote").text
    assert "epoch 1" in said
    assert f"{NAME}/e1+" in said
    cli("put", "key", "value", *there)
    assert cli("get", "large", *there).out == LARGE + b"\0"


def test_the_same_again_is_no_error(cli: Cli, tmp_path: Path, store: FolderStore) -> None:
    """Whoever repeats it until it succeeds comes to an end."""
    command = ("restore", "--from", store.url, "--data", tmp_path / "new")
    cli(*command)
    said = cli(*command).text
    assert "was restored already, with" in said
    assert "had not been archived" not in said
    assert "scribe restore --promote" in said
    assert cli(*command, "--json").document["repeated"]


def test_who_restores_onto_a_full_disk_is_told_to_do_it_again(
    cli: Cli, tmp_path: Path, store: FolderStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(*_: object) -> None:
        raise_engine_error(Exception("IO error: No space left on device: While appending"))

    command = ("restore", "--from", store.url, "--data", tmp_path / "new")
    with monkeypatch.context() as full:
        full.setattr(RocksStore, "sync", fail)
        told = cli(*command, code=3).err
    assert "free space, then call the same `scribe restore` again" in told
    assert "open the ledger" not in told
    assert NAME in cli(*command).text


def test_the_answer_as_json(cli: Cli, tmp_path: Path, store: FolderStore) -> None:
    answer = cli("restore", "--from", store.root, "--data", tmp_path / "new", "--json").document
    head = verify.checkpoint(answer["checkpoint"], public_key=answer["public_key"])
    assert (answer["size"], answer["origin"], answer["epoch"], answer["read_only"]) == (head.size, NAME, 0, True)
    assert answer["object_store"] == store.url
    assert answer["timestamp"] > 1_600_000_000_000


def test_the_lost_key_vouches_for_the_new_one(cli: Cli, tmp_path: Path, store: FolderStore) -> None:
    old = tmp_path / "lost" / KEY
    known = str(Signer.parse(old.read_text().strip()).verifier)
    key_file = tmp_path / "known.vkey"
    key_file.write_text(known + "\n")
    cli(
        "restore",
        "--from",
        store.url,
        "--data",
        tmp_path / "new",
        "--promote",
        "--old-key",
        old,
        "--public-key",
        key_file,
    )
    handover = store.get(paths.epoch_path(1))
    assert handover is not None
    assert verify.epoch(handover.decode(), old_public_key=known).is_endorsed


def test_the_folders_own_objects_need_not_be_named_later(cli: Cli) -> None:
    lose(cli.data, FolderStore(cli.data / "objects"), parts=1)
    for child in cli.data.iterdir():
        if child.is_file():
            child.unlink()
    for child in (cli.data / "store").iterdir():
        child.unlink()
    said = cli("restore", "--from", cli.data / "objects").text
    assert "--object-store" not in said
    assert cli("get", "text").out == b"part 0"


@pytest.mark.s3
def test_from_a_bucket(cli: Cli, tmp_path: Path, s3_server: S3Server) -> None:
    bucket = s3_server.bucket()
    remote = open_object_store(bucket.url, bucket.options())
    size = lose(tmp_path / "lost", remote, parts=1)
    remote.close()
    settings = {name: value for name, value in bucket.settings().items() if not name.endswith("_BUCKET")}
    cli.environment |= settings
    answer = cli("restore", "--from", bucket.url, "--data", tmp_path / "new", "--promote", "--json").document
    assert (answer["size"], answer["epoch"], answer["object_store"]) == (size, 1, bucket.url)
    assert cli("get", "text", "--data", tmp_path / "new", "--object-store", bucket.url).out == b"part 0"


def test_what_is_wrong_and_its_exit_code(cli: Cli, tmp_path: Path, store: FolderStore) -> None:
    new = ("--data", tmp_path / "new")
    assert "--from" in cli("restore", *new, code=2).err
    cli("restore", "--from", store.url, *new, "--old-key", tmp_path / "lost" / KEY, code=2)
    cli("restore", "--from", store.url, "--url", "http://127.0.0.1:1", code=2)
    assert (
        "private key"
        in cli("restore", "--from", store.url, *new, "--promote", "--old-key", store.root / paths.IDENTITY, code=2).err
    )
    assert "no such folder" in cli("restore", "--from", (tmp_path / "typo").as_uri(), *new, code=3).err
    assert "not the URL" in cli("restore", "--from", "typo", *new, code=3).err
    stranger = Signer.generate(NAME).verifier
    assert str(stranger) in cli("restore", "--from", store.url, *new, "--public-key", str(stranger), code=1).err
    empty = FolderStore(tmp_path / "empty")
    assert "holds no ledger" in cli("restore", "--from", empty.url, *new, code=3).err

    lost = next(found.path for found in store.list(paths.SEGMENTS))
    store.delete(lost)
    error = cli("restore", "--from", store.url, *new, "--json", code=3).error
    assert error["kind"] == "corruption"
    assert lost in error["message"]
    assert "being restored" in cli("ls", *new, code=3).err


def test_a_handover_is_verified_offline(cli: Cli, tmp_path: Path, store: FolderStore) -> None:
    old = tmp_path / "lost" / KEY
    known = str(Signer.parse(old.read_text().strip()).verifier)
    restored = cli("restore", "--from", store.url, "--data", tmp_path / "new", "--promote", "--json").document
    handover = store.root / paths.epoch_path(1)
    refused = cli("verify", handover, "--public-key", known, "--json", code=1).error
    assert restored["public_key"] in refused["hint"]
    told = cli("verify", handover, "--public-key", known, "--new-key", restored["public_key"], "--json").document
    assert (told["kind"], told["epoch"], told["size"]) == ("epoch", 1, restored["size"])
    assert (told["new_public_key"], told["signed_by_old_key"]) == (restored["public_key"], False)
    again = cli("verify", handover, "--public-key", known, "--new-key", told["new_public_key"])
    assert restored["public_key"] in again.text
    cli("verify", handover, "--public-key", known, "--value", handover, code=2)
    proof = tmp_path / "proof"
    proof.write_bytes(cli("prove", "text", "--data", tmp_path / "new", "--object-store", store.url).out)
    cli("verify", proof, "--public-key", restored["public_key"], "--new-key", known, code=2)
