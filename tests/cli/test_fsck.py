"""``fsck`` over a folder with its store, over a store by its URL, and over both."""

from __future__ import annotations

import contextlib
from typing import TYPE_CHECKING

import pytest
from tests.s3_server import SECRET_KEY

from scribe_ledger.archive.archiver import Archiver, ArchiveSettings
from scribe_ledger.ledger.served import ServedLedger
from scribe_ledger.merkle.note import Signer
from scribe_ledger.objects.folder import FolderStore
from scribe_ledger.objects.opening import open_object_store

if TYPE_CHECKING:
    from pathlib import Path

    from tests.cli.conftest import Cli
    from tests.s3_server import S3Server

    from scribe_ledger.objects.store import ObjectStore

pytestmark = pytest.mark.storage

SETTINGS = ArchiveSettings(segment_size=32 << 10, hot_size=0, age_threshold_secs=1 << 40, auto=False)


def archived(folder: Path, object_store: ObjectStore | str = "") -> str:
    """A ledger, archived, evicted, with an entry that is pending; its public key."""
    with ServedLedger.open(folder, name="example.org/log", object_store=object_store) as ledger:
        ledger.put_many([(f"key/{number}", b"value %d" % number) for number in range(600)])
        ledger.put("large", bytes(1 << 20) + b"end")
        Archiver(ledger, SETTINGS).run_once(everything=True)
        assert ledger.evicted == 601
        ledger.put("pending", "value")
        return ledger.public_key


@pytest.fixture
def objects(cli: Cli) -> Path:
    archived(cli.data)
    return cli.data / "objects"


def a_segment(objects: Path) -> Path:
    return min((objects / "segments").iterdir())


def path_of(objects: Path, file: Path) -> str:
    return str(file.relative_to(objects))


def test_a_folder_is_checked_with_its_store(cli: Cli, objects: Path) -> None:
    found = cli("fsck", "--json").document
    assert (found["ok"], found["entries"], found["problems"]) == (True, 602, [])
    assert (found["store"]["ok"], found["store"]["entries"], found["store"]["warnings"]) == (True, 601, [])
    assert found["store"]["url"] == objects.as_uri()
    shown = cli("fsck").text
    assert "602 entries checked" in shown
    assert "601 entries in" in shown
    assert shown.count("no faults") == 2


def test_a_store_is_checked_by_its_url(cli: Cli, objects: Path) -> None:
    found = cli("fsck", objects.as_uri(), "--json", "--jobs", "2").document
    assert (found["ok"], found["entries"], found["size"], found["origin"]) == (True, 601, 601, "example.org/log")
    assert ", 1 large value, " in cli("fsck", objects.as_uri()).text


def test_a_store_with_a_typo_is_not_made_by_who_reads(cli: Cli, tmp_path: Path) -> None:
    archived(cli.data)
    typo = tmp_path / "typo"
    assert "is not the object store" in cli("--object-store", typo.as_uri(), "get", "large", code=3).err
    assert cli("--object-store", typo.as_uri(), "get", "pending").text == "value"
    assert not typo.exists()


def test_a_store_that_is_a_folder_is_checked_by_its_path_too(cli: Cli, objects: Path) -> None:
    by_url, by_path = (cli("fsck", given, "--json").document for given in (objects.as_uri(), str(objects)))
    assert by_path["ok"]
    assert by_path | {"seconds": 0} == by_url | {"seconds": 0}


def test_both_are_held_against_each_other(cli: Cli, objects: Path, tmp_path: Path) -> None:
    assert cli("fsck", objects.as_uri(), "--data", cli.data, "--json").document["store"]["ok"]
    archived(tmp_path / "other")
    found = cli("fsck", (tmp_path / "other" / "objects").as_uri(), "--data", cli.data, "--json", code=1).document
    assert "scribe.json" in [problem["place"] for problem in found["problems"]]


@pytest.mark.parametrize("with_url", [True, False])
def test_the_place_of_a_fault_is_said_and_the_exit_code_is_1(cli: Cli, objects: Path, with_url: bool) -> None:
    arguments = ["fsck", objects.as_uri()] if with_url else ["fsck"]
    segment = a_segment(objects)
    content = segment.read_bytes()
    segment.write_bytes(content[:-1])
    place = path_of(objects, segment)
    assert f"{place}: its {len(content) - 1} bytes do not have the digest in its name\n" in cli(*arguments, code=1).text
    found = cli(*arguments, "--json", code=1).document
    assert not found["ok"]
    assert [problem["place"] for problem in found["problems"]] == [place]


def test_orphans_are_warned_of_and_repaired(cli: Cli, objects: Path) -> None:
    orphan = objects / "tile" / "0" / "000.p" / "77"
    FolderStore(objects).put_bytes("tile/0/000.p/77", b"no matter")
    answer = cli("fsck")
    assert "1 warning" in answer.text
    assert "tile/0/000.p/77: an orphan" in answer.err
    assert cli("fsck", "--repair", "--json").document["store"]["removed"] == []
    assert orphan.exists()
    assert "removed: tile/0/000.p/77\n" in cli("fsck", "--repair", "--grace", "0").text
    assert not orphan.exists()
    assert cli("fsck", "--json").document["store"]["warnings"] == []


def test_the_store_must_be_of_the_key_that_is_given(cli: Cli, objects: Path, tmp_path: Path) -> None:
    other = str(Signer.generate("example.org/log").verifier)
    found = cli("fsck", objects.as_uri(), "--public-key", other, "--json", code=1).document
    assert [problem["place"] for problem in found["problems"]] == ["scribe.json"]
    (tmp_path / "vkey").write_text(str(Signer.parse((cli.data / "ledger.key").read_text().strip()).verifier))
    cli("fsck", objects.as_uri(), "--public-key", "vkey")
    cli.environment["SCRIBE_PUBLIC_KEY"] = other
    cli("fsck", objects.as_uri(), code=1)


def test_what_is_no_store_cannot_be_checked(cli: Cli, tmp_path: Path) -> None:
    cli("fsck", (tmp_path / "nowhere").as_uri(), code=3)
    (tmp_path / "empty").mkdir()
    cli("fsck", (tmp_path / "empty").as_uri(), code=3)
    cli("fsck", "gopher://somewhere", code=3)
    assert [*(tmp_path / "empty").iterdir()] == []
    assert not (tmp_path / "nowhere").exists()
    cli("fsck", "--jobs", "-1", code=2)
    cli("fsck", "--jobs", "99999999999", code=2)
    cli("fsck", "--grace", "-1", code=2)
    cli("fsck", "file:///a", "--object-store", "file:///b", code=2)
    cli("fsck", "file:///a", "--url", "http://localhost:1", code=2)


def test_a_folder_whose_store_is_not_named_is_told_so(cli: Cli, objects: Path, tmp_path: Path) -> None:
    assert "--object-store" not in cli("fsck").err
    objects.rename(tmp_path / "elsewhere")
    assert "objects is not the store" in cli("fsck", code=3).err
    cli("fsck", "--object-store", (tmp_path / "elsewhere").as_uri())
    archived(tmp_path / "another")
    assert "--object-store" in cli("fsck", "--object-store", (tmp_path / "another" / "objects").as_uri(), code=1).err


def test_a_store_that_is_only_looked_at_is_not_written_to(cli: Cli, objects: Path) -> None:
    def state() -> list[tuple[str, int, float]]:
        return sorted((str(path), path.stat().st_size, path.stat().st_mtime) for path in objects.rglob("*"))

    before = state()
    cli("fsck", objects.as_uri())
    assert state() == before


# --- a bucket ----------------------------------------------------------------------------------------------------


@pytest.mark.s3
def test_a_bucket_is_checked_by_processes_with_the_settings_of_the_environment(
    cli: Cli, s3_server: S3Server, monkeypatch: pytest.MonkeyPatch
) -> None:
    bucket = s3_server.bucket()
    with contextlib.closing(open_object_store(bucket.url, bucket.options())) as store:
        archived(cli.data, store)
    for name, value in bucket.settings().items():
        monkeypatch.setenv(name, value)
    for arguments in ([bucket.url], [bucket.url, "--data", str(cli.data)], []):
        found = cli("fsck", *arguments, "--jobs", "2", "--json").document
        assert found["ok"], found
        assert found.get("store", found)["warnings"] == []
    with contextlib.closing(open_object_store(bucket.url, bucket.options())) as store:
        segment = next(store.list("segments")).path
        content = store.get(segment)
        assert content is not None
        store.put_bytes(segment, content[:-1] + b"x", replace=True)
        (blob,) = [listed.path for listed in store.list("blobs") if not listed.path.endswith(".chunks")]
        store.delete(blob)
    answer = cli("fsck", bucket.url, "--jobs", "2", "--json", code=1)
    assert [problem["place"] for problem in answer.document["problems"]] == [segment, blob]
    assert SECRET_KEY not in answer.out.decode() + answer.err


@pytest.mark.s3
def test_a_bucket_that_cannot_be_asked_is_no_fault(
    cli: Cli, s3_server: S3Server, monkeypatch: pytest.MonkeyPatch
) -> None:
    bucket = s3_server.bucket()
    with contextlib.closing(open_object_store(bucket.url, bucket.options())) as store:
        archived(cli.data, store)
    for name, value in bucket.settings(ENDPOINT="http://127.0.0.1:9", MAX_RETRIES="0").items():
        monkeypatch.setenv(name, value)
    answer = cli("fsck", bucket.url, "--json", code=3)
    assert answer.error["kind"] in {"unavailable", "network"}
    assert SECRET_KEY not in answer.err
