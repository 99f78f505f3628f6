"""What goes wrong around a ledger: no room, no rights, a folder that is not ours, a second opener, a sudden close."""

from __future__ import annotations

import json
import logging
import os
import shutil
import signal
import stat
import subprocess
import sys
import threading
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
from tests.ledger.threads import LIMIT_SECONDS, spawn, wait_until

from scribe_ledger import Ledger, verify
from scribe_ledger.errors import (
    ConfigurationError,
    Corruption,
    LedgerClosed,
    LedgerLocked,
    ScribeError,
    StorageError,
)
from scribe_ledger.ledger.folder import HEAD, IDENTITY, KEY, STORE
from scribe_ledger.ledger.rocks import RocksStore, raise_engine_error
from scribe_ledger.ledger.signing import Signing
from scribe_ledger.ledger.store import Table, TableReader, TableView

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence

pytestmark = pytest.mark.storage

HERE = Path(__file__).parent


def run_script(name: str, *arguments: str, prefix: Sequence[str] = (), cwd: Path | None = None) -> str:
    command = [*prefix, sys.executable, str(HERE / name), *arguments]
    done = subprocess.run(command, capture_output=True, text=True, timeout=LIMIT_SECONDS * 2, check=False, cwd=cwd)
    assert done.returncode == 0, done.stderr
    return done.stdout


# --- no room -------------------------------------------------------------------------------------------------------


def check_filled(seen: dict[str, Any], reason: str) -> None:
    assert seen["acknowledged"] > 3
    assert seen["failure"].startswith("storage: ") and reason in seen["failure"]
    for refusal in (seen["again"], seen["later"]):
        assert "writes are refused since one failed" in refusal and reason in refusal
    assert not seen["writable"]
    assert seen["first"] and seen["unseen"], "reads go on, and never show the write that failed"
    assert seen["size"] == seen["signed"] == seen["acknowledged"]
    assert seen["acknowledged"] <= seen["reopened"] <= seen["acknowledged"] + 1
    assert seen["next"] == seen["reopened"]
    assert seen["sound"] and seen["lost"] == 0


def test_a_file_that_may_not_grow_fails_writes_and_loses_nothing(tmp_path: Path) -> None:
    check_filled(json.loads(run_script("fill_disk.py", str(tmp_path), "limit")), "File too large")


def private_mounts() -> list[str]:
    """What runs a command where it may mount, or a skip that says why there is no such thing here."""
    reasons = []
    for prefix in (["unshare", "--mount"], ["unshare", "--mount", "--map-root-user"]):
        try:
            done = subprocess.run(
                [*prefix, "mount", "-t", "tmpfs", "none", "/mnt"],
                capture_output=True, text=True, timeout=LIMIT_SECONDS, check=False,
            )  # fmt: skip
        except OSError as error:
            pytest.skip(f"no private mounts here, the file limit was tested instead: {error}")
        if done.returncode == 0:
            return prefix
        reasons.append(done.stderr.strip())
    pytest.skip(f"no private mounts here, the file limit was tested instead: {'; '.join(reasons)}")


def test_a_full_disk_fails_writes_and_loses_nothing(tmp_path: Path) -> None:
    disk = tmp_path / "disk"
    disk.mkdir()
    fill = (
        'mount -t tmpfs -o size=24m none "$1" && head -c 16000000 /dev/zero > "$1/ballast" &&'
        ' exec "$2" "$3" "$1" ballast'
    )
    command = [*private_mounts(), "sh", "-c", fill, "sh", str(disk), sys.executable, str(HERE / "fill_disk.py")]
    done = subprocess.run(command, capture_output=True, text=True, timeout=LIMIT_SECONDS * 2, check=False)
    assert done.returncode == 0, done.stderr
    check_filled(json.loads(done.stdout), "the disk is full")


def test_a_ledger_on_a_full_disk_says_what_it_needs_to_open_and_has_all_of_it_then(tmp_path: Path) -> None:
    disk = tmp_path / "disk"
    disk.mkdir()
    script = 'mount -t tmpfs -o size=24m none "$1" && exec "$2" "$3" "$1"'
    command = [*private_mounts(), "sh", "-c", script, "sh", str(disk), sys.executable, str(HERE / "full_at_start.py")]
    done = subprocess.run(command, capture_output=True, text=True, timeout=LIMIT_SECONDS * 2, check=False)
    assert done.returncode == 0, done.stderr
    seen = json.loads(done.stdout)
    for failure in seen["failures"]:
        assert failure["kind"] == "storage" and "the disk is full" in failure["message"]
        assert "nothing that was acknowledged is lost" in failure["hint"]
    assert (seen["size"], seen["sound"], seen["next"]) == (200, True, 200)


def test_what_opening_needs_on_a_full_disk_is_the_size_of_the_logs_and_a_margin(tmp_path: Path) -> None:
    store = tmp_path / "data" / STORE
    store.mkdir(parents=True)
    for name in ("000004.log", "000009.log"):
        with (store / name).open("wb") as file:
            file.truncate(20 << 20)
    (store / "000007.sst").write_bytes(bytes(100))
    with pytest.raises(StorageError, match="the disk is full in") as caught:
        raise_engine_error(Exception("IO error: No space left on device: While appending"), opening=store)
    assert caught.value.hint is not None
    assert caught.value.hint.startswith("make about 56 MiB of room on this disk")
    assert f"Remove nothing below {tmp_path / 'data'}" in caught.value.hint


# --- no rights -----------------------------------------------------------------------------------------------------


def make_ledger(path: Path) -> str:
    with Ledger.open(path) as ledger:
        ledger.put("key", "value")
        return ledger.checkpoint().text


def set_modes(path: Path, *, folders: int, files: int) -> None:
    for entry in (path, *path.rglob("*")):
        entry.chmod(folders if entry.is_dir() else files)


def test_a_read_only_filesystem_is_a_clear_error(tmp_path: Path) -> None:
    signed = make_ledger(tmp_path / "ledger")
    script = 'mount --bind "$1" "$1" && mount -o remount,bind,ro "$1" && cd "$1" && shift && exec "$@"'
    command = [*private_mounts(), "sh", "-c", script, "sh", str(tmp_path)]
    done = subprocess.run(
        [*command, sys.executable, str(HERE / "without_rights.py"), "myself", "ledger", "new"],
        capture_output=True, text=True, timeout=LIMIT_SECONDS, check=False,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    for kind, message, hint in json.loads(done.stdout):
        assert (kind, "Read-only file system" in message, "mounted read-only" in hint) == ("StorageError", True, True)
    with Ledger.open(tmp_path / "ledger") as ledger:
        assert ledger.checkpoint().text == signed


def test_a_folder_without_rights_is_a_clear_error(tmp_path: Path) -> None:
    """Modes do not bind root, so the child that opens is nobody."""
    names = ["closed", "read-only", "store read-only", "no key"]
    signed = {name: make_ledger(tmp_path / name) for name in names}
    everyone, readers = (0o777, 0o666), (0o555, 0o444)
    tmp_path.chmod(0o755)
    for name in names:
        set_modes(tmp_path / name, folders=everyone[0], files=everyone[1])
    (tmp_path / "closed").chmod(0)
    set_modes(tmp_path / "read-only", folders=readers[0], files=readers[1])
    set_modes(tmp_path / "store read-only" / STORE, folders=readers[0], files=readers[1])
    (tmp_path / "no key" / KEY).chmod(0)
    if os.getuid() == 0:
        os.chown(tmp_path / "no key" / KEY, 0, 0)
    answers = json.loads(run_script("without_rights.py", "nobody", *names, "new/ledger", cwd=tmp_path))
    for name, answer in zip([*names, "new"], answers, strict=True):
        assert answer, f"{name} was opened"
        kind, message, hint = answer
        assert (kind, "Permission denied" in message) == ("StorageError", True), answer
        assert name.split()[0] in message or name == "store read-only", "the message names the place"
        assert hint
    for name in names:
        (tmp_path / name).chmod(0o700)
        set_modes(tmp_path / name, folders=0o700, files=0o600)
        with Ledger.open(tmp_path / name) as ledger:
            assert ledger.checkpoint().text == signed[name]
            assert ledger.put("more", "value").index == 1


# --- folders that are not ours -------------------------------------------------------------------------------------


def content_of(folder: Path) -> dict[str, bytes]:
    return {str(file.relative_to(folder)): file.read_bytes() for file in folder.rglob("*") if file.is_file()}


def test_a_folder_of_a_newer_format_is_refused_and_left_alone(tmp_path: Path) -> None:
    make_ledger(tmp_path / "ledger")
    identity = tmp_path / "ledger" / IDENTITY
    fields = json.loads(identity.read_text())
    identity.write_text(json.dumps({**fields, "format": fields["format"] + 1, "more": "than this program knows"}))
    before = content_of(tmp_path / "ledger")
    with pytest.raises(ConfigurationError, match="has format 2, this program reads up to 1") as refused:
        Ledger.open(tmp_path / "ledger")
    assert "newer scribe-ledger" in refused.value.hint
    after = content_of(tmp_path / "ledger")
    assert {name: after[name] for name in after if name != "lock"} == {
        name: before[name] for name in before if name != "lock"
    }


@pytest.mark.parametrize("text", ["", "{", "[]", '{"format": "x"}', '{"format": 1}', "\x00" * 10])
def test_an_identity_that_cannot_be_read_is_refused(tmp_path: Path, text: str) -> None:
    make_ledger(tmp_path / "ledger")
    (tmp_path / "ledger" / IDENTITY).write_text(text)
    with pytest.raises(Corruption, match=r"ledger\.json cannot be read"):
        Ledger.open(tmp_path / "ledger")


def test_a_folder_with_foreign_files_is_refused_and_left_alone(tmp_path: Path) -> None:
    (tmp_path / "thesis.tex").write_text("…")
    with pytest.raises(StorageError, match=r"holds other files \(thesis\.tex\) and no ledger"):
        Ledger.open(tmp_path)
    assert [child.name for child in tmp_path.iterdir()] == ["thesis.tex"]


def test_a_file_in_the_place_of_a_folder_is_refused(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("…")
    for path, said in (("file", "/file is not a folder"), ("file/ledger", "cannot open the ledger in .*/file")):
        with pytest.raises(StorageError, match=said):
            Ledger.open(tmp_path / path)


def test_a_ledger_without_its_key_is_refused(tmp_path: Path) -> None:
    make_ledger(tmp_path / "ledger")
    key = (tmp_path / "ledger" / KEY).read_bytes()
    for content in (None, b"", key[:-10], key[1:]):
        (tmp_path / "ledger" / KEY).unlink()
        if content is not None:
            (tmp_path / "ledger" / KEY).write_bytes(content)
        with pytest.raises(StorageError, match=r"ledger\.key") as refused:
            Ledger.open(tmp_path / "ledger")
        assert key.decode().strip()[-20:] not in str(refused.value)
        if content is None:
            (tmp_path / "ledger" / KEY).touch()


# --- two openers ---------------------------------------------------------------------------------------------------

HOLDER = "import sys, scribe_ledger as s; l = s.Ledger.open(sys.argv[1]); print('open', flush=True); sys.stdin.read()"


def test_a_second_opener_in_the_same_process_is_told_who_has_it(tmp_path: Path) -> None:
    with Ledger.open(tmp_path / "ledger") as ledger:
        for _ in range(2):
            with pytest.raises(LedgerLocked, match=rf"is open in process {os.getpid()} \("):
                Ledger.open(tmp_path / "ledger")
        ledger.put("key", "value")
    with Ledger.open(tmp_path / "ledger") as ledger:
        assert ledger.get("key") == b"value"


def test_a_second_opener_in_another_process_is_told_who_has_it(tmp_path: Path) -> None:
    folder = tmp_path / "ledger"
    with subprocess.Popen(
        [sys.executable, "-c", HOLDER, folder], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    ) as holder:
        assert holder.stdout is not None and holder.stdout.readline() == "open\n"
        with pytest.raises(LedgerLocked, match=rf"is open in process {holder.pid} \(") as refused:
            Ledger.open(folder)
        assert str(folder) in refused.value.message and refused.value.hint
        holder.send_signal(signal.SIGKILL)
    with Ledger.open(folder) as ledger:
        assert ledger.put("key", "value").index == 0


def test_of_many_openers_at_once_one_creates_and_the_others_are_refused(tmp_path: Path) -> None:
    start = threading.Barrier(8)

    def open_at_once() -> Ledger:
        start.wait(LIMIT_SECONDS)
        return Ledger.open(tmp_path / "ledger")

    futures = [spawn(open_at_once) for _ in range(8)]
    errors = [future.exception(LIMIT_SECONDS) for future in futures]
    assert errors.count(None) == 1
    assert {type(error) for error in errors if error is not None} == {LedgerLocked}
    next(future for future in futures if future.exception() is None).result().close()


@pytest.mark.parametrize("what", ["use", "close", "exit"])
def test_an_open_ledger_stays_with_the_parent_of_a_forked_child(tmp_path: Path, what: str) -> None:
    run_script("fork_child.py", str(tmp_path), what)


# --- secrets -------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("umask", [0o000, 0o022, 0o077, 0o277])
def test_the_key_is_its_owners_alone_whatever_the_umask(tmp_path: Path, umask: int) -> None:
    folder = tmp_path / "ledger"
    folder.mkdir()
    (folder / f"{KEY}.new").write_text("left by a creation that was cut short")
    (folder / f"{KEY}.new").chmod(0o666)
    before = os.umask(umask)
    try:
        ledger = Ledger.open(folder)
    finally:
        os.umask(before)
    with ledger:
        os.umask(umask)
        try:
            ledger.snapshot(tmp_path / "copy")
        finally:
            os.umask(before)
    for path in (folder / KEY, tmp_path / "copy" / KEY):
        assert stat.S_IMODE(path.stat().st_mode) == 0o600


def test_the_key_is_told_to_nobody(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.DEBUG)
    folder = tmp_path / "ledger"
    told = []
    with Ledger.open(folder, name="a/ledger") as ledger:
        secret = (folder / KEY).read_text().strip().split("+", 4)[4]
        ledger.put("key", "value")
        told += [repr(ledger), repr(ledger.stats()), repr(vars(ledger)), repr(vars(ledger._signing)), ledger.public_key]
        assert isinstance(ledger._signing, Signing)
        told += [repr(ledger._signing._signer), str(ledger._signing._signer), str(ledger.prove("key"))]
        for call in (lambda: ledger.put("", ""), lambda: Ledger.open(folder), lambda: ledger.snapshot(folder)):
            with pytest.raises(ScribeError) as refused:
                call()
            told += [str(refused.value), repr(refused.value)]
    assert len(secret) > 40
    assert not [text for text in (*told, caplog.text) if secret in text]
    assert [name for name, content in content_of(tmp_path).items() if secret.encode() in content] == [f"ledger/{KEY}"]


# --- copies --------------------------------------------------------------------------------------------------------


def test_a_snapshot_opens_as_a_ledger_with_the_same_root(tmp_path: Path) -> None:
    with Ledger.open(tmp_path / "ledger", inline_max=1000) as ledger:
        ledger.put_many([(f"key {number}", "value") for number in range(700)])
        ledger.put("large", b"x" * 5000)
        ledger.delete("key 3")
        signed = ledger.checkpoint()
        assert ledger.snapshot(tmp_path / "copy") == tmp_path / "copy"
        ledger.put("key 3", "only here")
    with Ledger.open(tmp_path / "copy") as copy:
        assert copy.checkpoint() == signed
        assert copy.get("large") == b"x" * 5000
        assert (copy.get("key 3"), copy.get("key 4")) == (None, b"value")
        assert copy.verify().ok
        assert copy.put("key 3", "only there").index == signed.size
    with Ledger.open(tmp_path / "ledger") as ledger:
        assert ledger.get("key 3") == b"only here"
        assert ledger.verify().ok


@pytest.mark.no_cover
def test_a_snapshot_is_consistent_while_writes_go_on(tmp_path: Path) -> None:
    with Ledger.open(tmp_path / "ledger", inline_max=1000) as ledger:
        done = threading.Event()

        def write(writer: int) -> None:
            number = 0
            while not done.is_set():
                ledger.put_many([(f"{writer} {number} {place}", b"x" * 100) for place in range(5)])
                ledger.put(f"{writer} {number} large", os.urandom(2000))
                ledger.checkpoint()
                number += 1

        writers = [spawn(write, writer) for writer in range(3)]
        wait_until(lambda: ledger.size > 50)
        try:
            for number in range(5):
                acknowledged = ledger.size
                copied = ledger.snapshot(tmp_path / f"copy {number}")
                with Ledger.open(copied) as copy:
                    assert copy.size >= acknowledged
                    report = copy.verify()
                    assert report.ok, report.problems[:3]
                    wait_until(lambda size=copy.size: ledger.size >= size)  # type: ignore[misc]
                    proof = ledger.prove_consistency(copy.size)
                    now = ledger.checkpoint(proof.new_size)
                    verify.consistency(proof, copy.checkpoint(), now, public_key=ledger.public_key)
        finally:
            done.set()
        for writer in writers:
            writer.result(LIMIT_SECONDS)


def test_a_snapshot_into_a_folder_that_holds_something_is_refused(tmp_path: Path) -> None:
    (tmp_path / "copy").mkdir()
    (tmp_path / "copy" / "mine").write_text("…")
    with Ledger.open(tmp_path / "ledger") as ledger:
        for target in (tmp_path / "copy", tmp_path / "ledger"):
            with pytest.raises(StorageError, match=r"is not empty|lies inside"):
                ledger.snapshot(target)
    assert [child.name for child in (tmp_path / "copy").iterdir()] == ["mine"]


def test_a_snapshot_that_was_cut_short_is_not_taken_for_a_ledger(tmp_path: Path) -> None:
    make_ledger(tmp_path / "ledger")
    with Ledger.open(tmp_path / "ledger") as ledger:
        ledger.snapshot(tmp_path / "copy")
    for part in (IDENTITY, STORE, KEY):
        path = tmp_path / "copy" / part
        shutil.rmtree(path) if path.is_dir() else path.unlink()
        with pytest.raises(StorageError):
            Ledger.open(tmp_path / "copy", create=False)
    assert (tmp_path / "copy" / HEAD).exists()


# --- opening -------------------------------------------------------------------------------------------------------


class CountingTable(TableReader):
    """Counts the records that pass."""

    def __init__(self, table: TableReader) -> None:
        self._table = table
        self.read = 0

    def get(self, key: bytes, /) -> bytes | None:
        self.read += 1
        return self._table.get(key)

    def get_many(self, keys: Sequence[bytes], /) -> list[bytes | None]:
        self.read += len(keys)
        return self._table.get_many(keys)

    def seek(self, start: bytes, /, *, reverse: bool = False) -> tuple[bytes, bytes] | None:
        self.read += 1
        return self._table.seek(start, reverse=reverse)

    def scan(self, start: bytes | None = None, *, reverse: bool = False) -> Iterator[tuple[bytes, bytes]]:
        for record in self._table.scan(start, reverse=reverse):
            self.read += 1
            yield record

    def pin(self) -> TableView:
        return self._table.pin()


class CountingStore(RocksStore):
    def __init__(self, path: Path) -> None:
        super().__init__(path)
        self._counting = {table: CountingTable(super(CountingStore, self).table(table)) for table in Table}

    def table(self, table: Table) -> CountingTable:  # type: ignore[override]
        return self._counting[table]

    @property
    def read(self) -> int:
        return sum(table.read for table in self._counting.values())


def records_read_at_opening(path: Path) -> int:
    stores: list[CountingStore] = []

    def open_store(folder: Path) -> CountingStore:
        stores.append(CountingStore(folder))
        return stores[0]

    with Ledger.open(path, open_store=open_store):
        return stores[0].read


@pytest.mark.no_cover
def test_opening_reads_as_little_of_a_large_ledger_as_of_a_small_one(tmp_path: Path) -> None:
    """At most the leaves of one tile and the full tiles below one tile of each level above. The sizes are the worst."""
    counts = {}
    with Ledger.open(tmp_path / "ledger", max_cache_size=0) as ledger:
        ledger.put_many([(f"small {number}", b"") for number in range(768)])
        for number in range(255):
            ledger.put(f"single {number}", b"")  # groups of one entry: the most that a number of leaves can take
        assert ledger.size == 1023
    counts[1023] = records_read_at_opening(tmp_path / "ledger")
    with Ledger.open(tmp_path / "ledger", max_cache_size=0) as ledger:
        while ledger.size < 196_352:
            count = min(5000, 196_352 - ledger.size)
            ledger.put_many([(b"%d" % number, b"") for number in range(ledger.size, ledger.size + count)])
        for number in range(255):
            ledger.put(f"more {number}", b"")
    counts[196_607] = records_read_at_opening(tmp_path / "ledger")
    assert counts[1023] <= 255 + 3 + 8
    assert counts[196_607] <= 255 + 255 + 2 + 8


def test_the_engine_was_opened_as_it_was_meant_to(tmp_path: Path) -> None:
    """The engine writes down the options that it took."""
    with Ledger.open(tmp_path / "ledger"):
        pass
    written = max((tmp_path / "ledger" / STORE).glob("OPTIONS-*"), key=lambda file: file.name).read_text()
    options = dict(line.strip().split("=", 1) for line in written.splitlines() if "=" in line)
    assert options["wal_recovery_mode"] == "kTolerateCorruptedTailRecords"
    assert options["paranoid_checks"] == "true"
    assert options["recycle_log_file_num"] == "0", "a recycled log is one that no walk along its records can check"
    assert options["wal_compression"] == "kNoCompression", "the same"
    assert options["manual_wal_flush"] == "false", "a killed process leaves what it wrote with the system"
    assert options["unordered_write"] == "false"


# --- closing in the middle -----------------------------------------------------------------------------------------


def use_until_closed(ledger: Ledger, use: Callable[[Ledger, int], object], ready: threading.Barrier) -> str:
    """Why it ended."""
    ready.wait(LIMIT_SECONDS)
    number = 0
    while True:
        try:
            use(ledger, number)
        except LedgerClosed:
            return "closed"
        number += 1


def read_whole(entries: Iterator[Any]) -> None:
    """A listing that ends early without an error would be a wrong answer."""
    assert sum(1 for _ in entries) >= 500


@pytest.mark.parametrize("durability", ["full", "relaxed"])
@pytest.mark.no_cover
def test_close_beside_readers_and_writers_ends_each_with_one_clear_error(tmp_path: Path, durability: str) -> None:
    uses: list[Callable[[Ledger, int], object]] = [
        lambda ledger, number: ledger.get(f"key {number % 500}"),
        lambda ledger, number: ledger.get_many([f"key {number % 500}", "key 1"]),
        lambda ledger, _: read_whole(ledger.scan()),
        lambda ledger, _: read_whole(ledger.log()),
        lambda ledger, number: ledger.put(f"new {number}", "value"),
        lambda ledger, number: ledger.put_many([(f"many {number} {place}", "value") for place in range(9)]),
        lambda ledger, _: ledger.checkpoint(),
        lambda ledger, number: ledger.prove(f"key {number % 500}"),
        lambda ledger, _: ledger.flush(),
        lambda ledger, _: ledger.stats(),
        lambda ledger, _: ledger.verify(),
    ]
    for round_ in range(6):
        folder = tmp_path / str(round_)
        ledger = Ledger.open(folder, durability=durability, max_cache_size=(round_ % 2) << 20)
        ledger.put_many([(f"key {number}", b"v" * 50) for number in range(500)])
        ready = threading.Barrier(len(uses) + 1)
        users = [spawn(use_until_closed, ledger, use, ready) for use in uses]
        ready.wait(LIMIT_SECONDS)
        wait_until(lambda ledger=ledger, more=500 + 5 * round_: ledger.size > more)  # type: ignore[misc]
        closers = [spawn(ledger.close) for _ in range(2)]
        for closer in closers:
            closer.result(LIMIT_SECONDS)
        assert [user.result(LIMIT_SECONDS) for user in users] == ["closed"] * len(uses)
        with Ledger.open(folder) as again:
            assert again.size > 500
            assert again.verify().ok
