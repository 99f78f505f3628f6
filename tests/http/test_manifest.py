"""The manifest as clients read it, and orders to archive: shared, bounded, and clear when they cannot be done."""

from __future__ import annotations

import asyncio
import threading
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

import pytest
from tests.http.asking import ask, get, put
from tests.http.serving import Served, serve

from scribe_ledger.archive.archiver import ArchiveResult
from scribe_ledger.errors import Corruption, Unavailable
from scribe_ledger.http.archiving import ArchiveDesk
from scribe_ledger.ledger.manifest import Archive
from scribe_ledger.segments.segment import Segment

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

pytestmark = pytest.mark.http

FIELDS = {
    "segment_id",
    "first_index",
    "last_index",
    "min_key",
    "max_key",
    "count",
    "size",
    "log_bytes",
    "path",
    "sha256",
    "merkle_root",
    "timestamp",
}


@pytest.fixture(scope="module")
def served(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Served]:
    with serve(tmp_path_factory.mktemp("manifest") / "data") as running:
        yield running


# --- the manifest ----------------------------------------------------------------------------------------------


def test_the_manifest_of_a_new_ledger_is_empty(tmp_path: Path) -> None:
    with serve(tmp_path / "data") as served:
        answer = get(served, "/v1/manifest")
        assert answer.status == 200
        assert answer.json == {"version": 0, "archived_size": 0, "segments": []}
        assert get(served, "/v1/manifest?since=0").json == {
            "version": 0,
            "archived_size": 0,
            "added": [],
            "removed": [],
        }
        head = ask(served, "HEAD", "/v1/manifest")
        assert head.headers["content-length"] == answer.headers["content-length"]


@pytest.mark.parametrize("since", ["999999", "-1", "", "x", "99999999999999999999"])
def test_a_version_that_it_never_had_is_refused(served: Served, since: str) -> None:
    answer = get(served, f"/v1/manifest?since={since}")
    assert (answer.status, answer.error["kind"]) == (400, "invalid")


def test_what_is_archived_is_in_the_manifest_and_in_the_difference(tmp_path: Path) -> None:
    with serve(tmp_path / "data") as served:
        put(served, "/b", b"1")
        put(served, "/a", b"2")
        before = ask(served, "POST", "/v1/archive").json
        put(served, "/c", b"3")
        answer = ask(served, "POST", "/v1/archive")
        assert answer.status == 200
        manifest = get(served, "/v1/manifest").json
        assert (answer.json["version"], answer.json["archived_size"]) == (manifest["version"], 3)
        assert (answer.json["sealed"], before["sealed"]) == (1, 1)
        assert [set(segment) for segment in manifest["segments"]] == [FIELDS, FIELDS]
        first, second = manifest["segments"]
        assert (first["first_index"], first["last_index"], first["count"]) == (0, 1, 2)
        assert (first["min_key"], first["max_key"]) == ("a", "b")
        assert (second["first_index"], second["last_index"]) == (2, 2)
        objects = served.ledger.path / "objects"
        assert all((objects / segment["path"]).stat().st_size == segment["size"] for segment in manifest["segments"])
        difference = get(served, f"/v1/manifest?since={before['version']}").json
        assert difference == {"version": manifest["version"], "archived_size": 3, "added": [second], "removed": []}


def test_the_etag_says_whether_anything_changed(tmp_path: Path) -> None:
    with serve(tmp_path / "data") as served:
        put(served, "/a")
        ask(served, "POST", "/v1/archive")
        tag = get(served, "/v1/manifest").headers["etag"]
        for path in ("/v1/manifest", "/v1/manifest?since=1"):
            unchanged = get(served, path, If_None_Match=tag)
            assert (unchanged.status, unchanged.body, unchanged.headers["etag"]) == (304, b"", tag)
        put(served, "/b")
        ask(served, "POST", "/v1/archive")
        changed = get(served, "/v1/manifest", If_None_Match=tag)
        assert changed.status == 200
        assert changed.headers["etag"] != tag


def test_a_manifest_of_thousands_of_segments_is_streamed_whole(tmp_path: Path) -> None:
    with serve(tmp_path / "data") as served:
        count = 3000
        served.ledger.put_many([(f"k{number}", b"") for number in range(count)])
        added = tuple(segment_of(index) for index in range(count))
        served.ledger.change_manifest(Archive(0, added))
        answer = get(served, "/v1/manifest")
        assert "content-length" not in answer.headers, "it was not held whole"
        assert answer.json["segments"] == [segment.to_json() for segment in added]
        assert get(served, "/v1/manifest?since=0").json["added"] == answer.json["segments"]
        head = ask(served, "HEAD", "/v1/manifest")
        assert (head.status, head.body, head.headers["etag"]) == (200, b"", answer.headers["etag"])


def test_keys_that_are_no_text_are_given_in_base64(tmp_path: Path) -> None:
    with serve(tmp_path / "data") as served:
        put(served, "/%ff")
        ask(served, "POST", "/v1/archive")
        (segment,) = get(served, "/v1/manifest").json["segments"]
        assert (segment["min_key_base64"], segment["max_key_base64"]) == ("/w==", "/w==")


def segment_of(index: int) -> Segment:
    digest = index.to_bytes(32, "big")
    name = f"{index:020}-{index:020}-{digest.hex()}"
    path = f"segments/{name}.parquet"
    return Segment(name, index, index, b"a", b"b", 1, 10, 0, path, digest, digest, 1)


# --- archiving -------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("body", [None, b"{}", b"anything"])
def test_archiving_answers_what_it_did(served: Served, body: bytes | None) -> None:
    put(served, f"/k{len(body or b'')}")
    answer = ask(served, "POST", "/v1/archive", body)
    assert answer.status == 200
    assert set(answer.json) == {"version", "archived_size", "sealed", "evicted", "compacted", "removed"}
    assert answer.json["archived_size"] == served.ledger.size
    assert get(served, "/v1/archive").status == 405


def test_a_store_that_cannot_be_reached_is_503_and_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with serve(tmp_path / "data") as served:
        put(served, "/a")

        def fail(path: str, *_: Any, **__: Any) -> bool:
            raise Unavailable(f"cannot write {served.ledger.objects.place(path)} after 4 tries: no route")

        monkeypatch.setattr(served.ledger.objects, "put_file", fail)
        answer = ask(served, "POST", "/v1/archive")
        assert (answer.status, answer.error["kind"]) == (503, "unavailable")
        assert "segments/" in answer.error["message"]
        assert answer.headers["retry-after"]
        health = get(served, "/health")
        assert (health.status, health.json["status"]) == (200, "degraded")
        assert "segments/" in health.json["archive"]["last_error"]
        put(served, "/b", b"writes go on")
        monkeypatch.undo()
        assert ask(served, "POST", "/v1/archive").json["archived_size"] == 2
        assert get(served, "/health").json["status"] == "ok"


def test_a_fork_is_told_to_who_archives_and_reads_and_writes_go_on(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with serve(tmp_path / "data") as served:
        put(served, "/a", b"v")

        def fork(*_: Any, **__: Any) -> bool:
            raise Corruption("tile/0/000 holds another log")

        monkeypatch.setattr(served.ledger.objects, "put_file", fork)
        answer = ask(served, "POST", "/v1/archive")
        assert (answer.status, answer.error["kind"]) == (503, "corruption")
        assert get(served, "/health").json["status"] == "degraded"
        assert "another log" in get(served, "/health").json["archive"]["last_error"]
        put(served, "/b", b"w")
        assert get(served, "/a").body == b"v"
        samples = get(served, "/metrics/prometheus").text
        assert '\nscribe_archive_runs_total{result="failed"} 1\n' in samples
        assert "\nscribe_healthy 1\n" in samples


class SlowArchiver:
    """Counts its passes; each ends when it is let."""

    def __init__(self) -> None:
        self.begun = self.ended = 0
        self._may_end = threading.Semaphore(0)

    def run_once(self, *, everything: bool) -> ArchiveResult:
        assert everything
        self.begun += 1
        assert self._may_end.acquire(timeout=30)
        self.ended += 1
        return ArchiveResult(self.ended, 0, 0, 0, 0, 0)

    def let(self, passes: int = 1) -> None:
        for _ in range(passes):
            self._may_end.release()


@contextmanager
def desk_of(archiver: SlowArchiver) -> Iterator[tuple[ArchiveDesk, asyncio.Runner]]:
    with asyncio.Runner() as runner:
        desk = ArchiveDesk(archiver)  # type: ignore[arg-type]
        try:
            yield desk, runner
        finally:
            archiver.let(100)
            runner.run(desk.close())


def test_orders_that_come_during_a_pass_share_the_next() -> None:
    archiver = SlowArchiver()

    async def order(desk: ArchiveDesk) -> list[int]:
        first = asyncio.ensure_future(desk.archive())
        await asyncio.sleep(0)
        others = [asyncio.ensure_future(desk.archive()) for _ in range(50)]
        await asyncio.sleep(0)
        others[0].cancel()  # its client went away
        archiver.let()
        found = [(await first).manifest_version]
        archiver.let()
        return found + [(await other).manifest_version for other in others[1:]]

    with desk_of(archiver) as (desk, runner):
        assert runner.run(order(desk)) == [1] + [2] * 49
        assert archiver.begun == 2


def test_an_order_after_a_pass_begins_one_of_its_own() -> None:
    archiver = SlowArchiver()
    archiver.let(2)
    with desk_of(archiver) as (desk, runner):
        assert [runner.run(desk.archive()).manifest_version for _ in range(2)] == [1, 2]


def test_no_order_is_taken_by_a_desk_that_is_closed() -> None:
    archiver = SlowArchiver()

    async def order(desk: ArchiveDesk) -> None:
        running = asyncio.ensure_future(desk.archive())
        await asyncio.sleep(0)
        owed = asyncio.ensure_future(desk.archive())
        await asyncio.sleep(0)
        closing = asyncio.ensure_future(desk.close())
        await asyncio.sleep(0)
        archiver.let()
        await closing
        assert (await running).manifest_version == 1
        for late in (owed, asyncio.ensure_future(desk.archive())):
            with pytest.raises(Unavailable, match="stopping"):
                await late

    with desk_of(archiver) as (desk, runner):
        runner.run(order(desk))
        assert archiver.begun == 1
