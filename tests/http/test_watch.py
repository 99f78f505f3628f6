"""The live watch: every entry once and in order, wherever a reader comes in, and a clear end for who cannot keep up."""

from __future__ import annotations

import asyncio
import base64
import json
import re
import socket
import threading
import time
from contextlib import ExitStack, contextmanager
from http.client import HTTPConnection, IncompleteRead
from types import SimpleNamespace
from typing import TYPE_CHECKING, Any, NamedTuple

import pytest
from structlog.testing import capture_logs
from tests.http.asking import ask, get, put
from tests.http.membership import FakeCluster
from tests.http.serving import Served, serve

from scribe_ledger.client import Client
from scribe_ledger.errors import ConsensusError, Corruption, Unavailable
from scribe_ledger.http import application, feed, pages, watch

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable, Iterator
    from pathlib import Path

    from scribe_ledger.http.lane import Lane

pytestmark = pytest.mark.http


@pytest.fixture
def served(tmp_path: Path) -> Iterator[Served]:
    with serve(tmp_path / "data") as running:
        yield running


@pytest.fixture
def member(tmp_path: Path) -> Iterator[Served]:
    """A node in a cluster."""
    with serve(tmp_path / "member", cluster=FakeCluster) as running:
        yield running


def cluster_of(member: Served) -> FakeCluster:
    cluster = member.service.cluster
    assert isinstance(cluster, FakeCluster)
    return cluster


REMOVED = ConsensusError("this node was removed from its cluster", hint="stop it")


def remove(member: Served) -> None:
    """Called in its loop, as by whoever finds that out."""
    cluster_of(member).trouble = REMOVED
    member.service.wake()


class Event(NamedTuple):
    """An event, or a comment alone."""

    name: str | None
    identity: int | None
    data: Any
    comment: str | None

    @property
    def place(self) -> int:
        """Its index in the log."""
        assert self.name == "entry" and self.data["index"] == self.identity
        place: int = self.data["index"]
        return place


class Watcher:
    """Reads one stream of events."""

    def __init__(self, served: Served, query: str, headers: dict[str, str]) -> None:
        self._connection = HTTPConnection(served.host, served.port, timeout=20)
        self._connection.request("GET", f"/v1/watch{query}", headers=headers)
        self.response = self._connection.getresponse()

    def events(self) -> Iterator[Event]:
        fields: dict[str, str] = {}
        while line := self.response.readline().decode():
            name, _, value = line.removesuffix("\n").partition(":")
            if line != "\n":
                assert name not in fields
                fields[name or "comment"] = value.removeprefix(" ")
                continue
            identity, data = fields.get("id"), fields.get("data")
            yield Event(
                fields.get("event"),
                None if identity is None else int(identity),
                None if data is None else json.loads(data),
                fields.get("comment"),
            )
            fields = {}

    def entries(self, count: int) -> list[Event]:
        """The next entries, without comments and ids alone."""
        found = []
        for event in self.events():
            if event.name is not None:
                found.append(event)
            if len(found) == count:
                return found
        raise AssertionError("the stream has ended")

    def close(self) -> None:
        self.response.close()
        self._connection.close()


@contextmanager
def watching(served: Served, query: str = "", **headers: str) -> Iterator[Watcher]:
    """A reader whose watch has begun."""
    watcher = Watcher(served, query, {name.replace("_", "-"): value for name, value in headers.items()})
    try:
        assert watcher.response.status == 200
        assert next(watcher.events()).comment is not None
        yield watcher
    finally:
        watcher.close()


def wait_until(condition: Callable[[], bool]) -> None:
    end = time.monotonic() + 20
    while not condition():
        assert time.monotonic() < end
        time.sleep(0.005)


def indexes(events: list[Event]) -> list[int]:
    return [event.place for event in events]


# --- what is sent ----------------------------------------------------------------------------------------------


def test_entries_come_as_they_are_written(served: Served) -> None:
    put(served, "/before")
    with watching(served) as watcher:
        assert watcher.response.headers["content-type"] == "text/event-stream"
        assert watcher.response.headers["cache-control"] == "no-store"
        for number in range(3):
            put(served, f"/k{number}")
            (event,) = watcher.entries(1)
            assert (event.name, event.identity) == ("entry", 1 + number)
            assert event.data == served.ledger.entry_at(1 + number).to_json()
        ask(served, "DELETE", "/k1")
        assert watcher.entries(1)[0].data["kind"] == "delete"


def test_values_come_along_where_they_are_asked_for(served: Served) -> None:
    put(served, "/small", b"\xff")
    put(served, "/large", b"x" * 300_000)
    ask(served, "DELETE", "/small")
    with watching(served, "?start=0&values=true") as watcher, watching(served, "?start=0") as without:
        values = [event.data.get("value_base64", "absent") for event in watcher.entries(3)]
        assert values == ["/w==", None, "absent"]
        assert not any("value_base64" in event.data for event in without.entries(3))


def test_a_watch_begins_where_it_is_told_and_resumes_behind_the_last_event(served: Served) -> None:
    served.ledger.put_many([(f"k{number}", "v") for number in range(10)])
    with watching(served, "?start=7") as watcher:
        events = watcher.entries(2)
        assert indexes(events) == [7, 8]
    with watching(served, "?start=7", last_event_id=str(events[-1].identity)) as watcher:
        put(served, "/next")
        assert indexes(watcher.entries(2)) == [9, 10]
    with watching(served, "?start=12") as watcher:  # what is not yet written is waited for
        served.ledger.put_many([(f"x{number}", "v") for number in range(3)])
        assert indexes(watcher.entries(2)) == [12, 13]


def test_a_prefix_leaves_out_other_keys_and_says_how_far_it_came(
    served: Served, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(watch, "PLACE_SECONDS", 0.05)
    served.ledger.put_many([("a:1", "v"), ("b:1", "v"), ("a:2", "v"), ("b:2", "v"), (b"\xff", "v")])
    with watching(served, "?start=0&prefix=a%3A") as watcher:
        assert indexes(watcher.entries(2)) == [0, 2]
        alone = next(watcher.events())
        assert alone == Event(None, 4, None, None)
        put(served, "/b:3")
        assert next(watcher.events()) == Event(None, 5, None, None)
        put(served, "/a:3")
        assert indexes(watcher.entries(1)) == [6]
    with watching(served, "?start=0&prefix=%FF") as watcher:
        assert indexes(watcher.entries(1)) == [4]
    with watching(served, "?prefix=a%3A", last_event_id=str(alone.identity)) as watcher:
        assert indexes(watcher.entries(1)) == [6]


def test_ids_alone_are_rare_however_much_passes(served: Served, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(watch, "PLACE_SECONDS", 3600.0)
    monkeypatch.setattr(watch, "KEEP_ALIVE_SECONDS", 3600.0)
    with watching(served, "?start=0&prefix=a") as watcher:
        put(served, "/b")
        first = next(watcher.events())
        for number in range(50):
            put(served, f"/b{number}")
        put(served, "/a")
        following = next(watcher.events())
    assert first.identity == 0
    assert following.place == 51


def test_a_comment_keeps_a_silent_connection_alive(served: Served, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(watch, "KEEP_ALIVE_SECONDS", 0.05)
    with watching(served) as watcher:
        events = watcher.events()
        for _ in range(3):
            event = next(events)
            assert event.comment is not None and event[:3] == (None, None, None)
        put(served, "/k")
        assert indexes(watcher.entries(1)) == [0]


@pytest.mark.parametrize("lane", [True, False])
@pytest.mark.no_cover
def test_thousands_of_entries_come_once_and_in_order_to_all(tmp_path: Path, lane: bool) -> None:
    count, writers = 2000, 4
    with serve(tmp_path / "data", lane=lane) as served, ExitStack() as readers:
        served.ledger.put_many([(f"old{number}", "v") for number in range(500)])

        def write(name: int) -> None:
            for number in range(0, count // writers, 5):
                served.ledger.put_many([(f"{name}:{number + at}", b"v" * (name * 100)) for at in range(5)])

        starts = [0, 17, 499, 500, 501, 1000] * 2
        watchers = [
            readers.enter_context(watching(served, f"?start={start}&values={str(place < 6).lower()}"))
            for place, start in enumerate(starts)
        ]
        threads = [threading.Thread(target=write, args=[name]) for name in range(writers)]
        for thread in threads:
            thread.start()
        for start, watcher in zip(starts, watchers, strict=True):
            events = watcher.entries(500 + count - start)
            assert indexes(events) == [*range(start, 500 + count)]
            assert events[-1].data["leaf_hash"] == served.ledger.entry_at(500 + count - 1).leaf_hash.hex()
        for thread in threads:
            thread.join()


def test_the_newest_events_are_read_once_for_all(served: Served, monkeypatch: pytest.MonkeyPatch) -> None:
    rendered: list[int] = []
    render = pages.entry_json

    def note(entry: Any, *, values: bool) -> bytes:
        rendered.append(entry.index)
        return render(entry, values=values)

    monkeypatch.setattr("scribe_ledger.http.feed.entry_json", note)
    with ExitStack() as readers:
        watchers = [readers.enter_context(watching(served)) for _ in range(20)]
        for number in range(10):
            put(served, f"/k{number}")
            for watcher in watchers:
                assert indexes(watcher.entries(1)) == [number]
    assert rendered == [*range(10)]


def test_what_is_kept_of_the_newest_events_is_bounded(served: Served, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(feed, "KEPT_ENTRIES", 50)
    monkeypatch.setattr(feed, "KEPT_BYTES", 10_000)
    with watching(served, "?values=true") as reader, watching(served, "?values=true") as late:
        for size in (10, 5000):
            start = served.ledger.size
            served.ledger.put_many([(f"k{size}-{number}", b"v" * size) for number in range(200)])
            assert indexes(reader.entries(200)) == [*range(start, start + 200)]
            end = served.service.feed._ends[True]
            assert end.stop == start + 200
            assert len(end._events) <= 50 and end._bytes == sum(len(event.data) for event in end._events) <= 10_000
        assert indexes(late.entries(400)) == [*range(400)]


def test_a_value_larger_than_what_is_kept_is_sent_all_the_same(served: Served, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(feed, "KEPT_BYTES", 1000)
    with watching(served, "?values=true") as watcher:
        put(served, "/k", b"v" * 200_000)
        assert base64.b64decode(watcher.entries(1)[0].data["value_base64"]) == b"v" * 200_000


# --- who may watch ---------------------------------------------------------------------------------------------


@pytest.mark.parametrize("query", ["?start=x", "?start=-1", "?limit=1", f"?start={1 << 64}", "?prefix=a&prefix=b"])
def test_parameters_that_are_wrong_are_refused(served: Served, query: str) -> None:
    answer = get(served, f"/v1/watch{query}")
    assert (answer.status, answer.error["kind"]) == (400, "invalid")


@pytest.mark.parametrize("identity", ["x", "-1", "1.0", "1" * 20])
def test_a_last_event_id_that_is_none_is_refused(served: Served, identity: str) -> None:
    answer = ask(served, "GET", "/v1/watch", headers={"Last-Event-ID": identity})
    assert (answer.status, answer.error["kind"]) == (400, "invalid")


def test_an_empty_last_event_id_is_none(served: Served) -> None:
    for number in range(3):
        put(served, f"/k{number}")
    with watching(served, "?start=1", **{"Last-Event-ID": ""}) as watcher:
        assert indexes(watcher.entries(2)) == [1, 2]


def test_head_of_a_watch_ends_at_once(served: Served) -> None:
    head = ask(served, "HEAD", "/v1/watch")
    assert (head.status, head.headers["content-type"], head.body) == (200, "text/event-stream", b"")
    assert served.service.watchers == 0


def test_there_is_a_limit_of_watchers_and_who_leaves_makes_room(
    served: Served, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(watch, "MAX_WATCHERS", 2)
    with watching(served), watching(served) as leaving:
        refused = get(served, "/v1/watch")
        assert (refused.status, refused.error["kind"]) == (503, "overloaded")
        assert refused.headers["retry-after"] == "1"
        assert ask(served, "HEAD", "/v1/watch").status == 200
        leaving.close()
        wait_until(lambda: served.service.watchers == 1)
        with watching(served) as another:
            put(served, "/k")
            assert indexes(another.entries(1)) == [0]
    wait_until(lambda: served.service.watchers == 0)


def test_a_watch_ends_when_its_client_sends_no_more(served: Served) -> None:
    with socket.create_connection((served.host, served.port), timeout=20) as connection:
        connection.sendall(b"GET /v1/watch HTTP/1.1\r\nHost: x\r\n\r\n")
        with connection.makefile("rb") as incoming:
            while not incoming.readline().startswith(b": the log"):
                pass
            connection.shutdown(socket.SHUT_WR)
            incoming.read()
    wait_until(lambda: served.service.watchers == 0)


def test_who_leaves_in_the_middle_of_much_leaves_nothing_behind(served: Served) -> None:
    served.ledger.put_many([(f"k{number}", b"v" * 1000) for number in range(5000)])
    for _ in range(10):
        with watching(served, "?start=0&values=true") as watcher:
            watcher.entries(1)
    wait_until(lambda: served.service.watchers == 0)
    assert not any(end.reading.locked() for end in served.service.feed._ends.values())
    assert not any(each.locked() for each in served.service.feed._behind.values())
    with watching(served, "?start=4990") as watcher:
        assert len(watcher.entries(10)) == 10


@pytest.mark.parametrize("abort", [False, True])
def test_a_reader_that_goes_away_just_as_a_piece_is_sent_is_no_failure(
    served: Served, monkeypatch: pytest.MonkeyPatch, abort: bool
) -> None:
    """Its transport is closing, and nobody was told of it yet: uvloop raises where it is written to then."""
    said: list[str] = []
    pieces = watch.EventStream._pieces

    async def leave_before_each(self: watch.EventStream) -> AsyncIterator[bytes]:
        async for piece in pieces(self):
            if b"id: 1\n" in piece:
                for connection in served._connections():
                    (connection.transport.abort if abort else connection.transport.close)()
            yield piece

    monkeypatch.setattr(watch.EventStream, "_pieces", leave_before_each)
    note = lambda event, **_: said.append(event)  # noqa: E731
    monkeypatch.setattr(application, "log", SimpleNamespace(debug=note, exception=note))
    put(served, "/k")
    with watching(served, "?start=0") as watcher:
        assert indexes(watcher.entries(1)) == [0]
        put(served, "/another")
        with pytest.raises((IncompleteRead, ConnectionError)):
            watcher.response.read()
    wait_until(lambda: served.service.watchers == 0)
    assert said == ["the client went away"]


# --- ends ------------------------------------------------------------------------------------------------------


@contextmanager
def never_reading(served: Served) -> Iterator[socket.socket]:
    """A watcher of much whose window is small and stays full."""
    connection = socket.socket()
    connection.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
    connection.settimeout(20)
    connection.connect((served.host, served.port))
    try:
        connection.sendall(b"GET /v1/watch?start=0&values=true HTTP/1.1\r\nHost: x\r\n\r\n")
        yield connection
    finally:
        connection.close()


def fill(served: Served) -> None:
    for _ in range(10):
        served.ledger.put_many([(f"k{served.ledger.size}-{number}", b"v" * 100_000) for number in range(10)])


def test_a_reader_that_never_reads_is_dropped_and_told_so(served: Served, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(watch, "SLOW_SECONDS", 0.3)
    fill(served)
    with capture_logs() as said, never_reading(served) as connection:
        wait_until(lambda: served.service.watchers == 1)
        with watching(served) as other:  # meanwhile others are served
            put(served, "/k")
            assert len(other.entries(1)) == 1
            wait_until(lambda: served.service.watchers == 1)
        assert served.service.metrics.errors["overloaded"] == 1
        with connection.makefile("rb") as incoming:
            data = incoming.read()  # to the end of the connection
    last = data.removesuffix(b"\r\n0\r\n\r\n").rpartition(b"\r\n")[2]
    assert data.endswith(b"\r\n0\r\n\r\n")
    name, _, text = last.partition(b"\ndata: ")
    assert name == b"event: error"
    assert json.loads(text)["error"]["kind"] == "overloaded"
    last_id = re.findall(rb"^id: (\d+)", data, re.MULTILINE)[-1]
    (dropped,) = [line for line in said if "dropped" in line["event"]]
    assert dropped["next_index"] == int(last_id) + 1


def test_a_reader_that_never_reads_is_dropped_without_the_lane_too(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(watch, "SLOW_SECONDS", 0.3)
    with serve(tmp_path / "data", lane=False) as served:
        fill(served)
        with never_reading(served) as connection:
            wait_until(lambda: served.service.watchers == 1)
            wait_until(lambda: served.service.watchers == 0)
            with connection.makefile("rb") as incoming:
                assert not incoming.read().endswith(b"\r\n0\r\n\r\n")


def test_a_reader_that_takes_a_little_is_kept(served: Served, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(watch, "SLOW_SECONDS", 1.0)
    monkeypatch.setattr(watch, "LOOK_SECONDS", 0.05)
    looks = looked_at(monkeypatch)
    fill(served)
    with never_reading(served) as connection:
        assert looks.wait(20)  # it is behind
        end = time.monotonic() + 3 * watch.SLOW_SECONDS
        while time.monotonic() < end:
            assert connection.recv(16 << 10)  # far less than makes room for a piece
            time.sleep(0.05)
        assert served.service.watchers == 1
        assert not served.service.metrics.errors


def test_a_reader_that_is_behind_when_the_node_stops_is_told_so(
    served: Served, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert told_behind(served, monkeypatch, served.service.drain)["kind"] == "unavailable"


def test_a_reader_that_is_behind_when_its_node_is_removed_is_told_so(
    member: Served, monkeypatch: pytest.MonkeyPatch
) -> None:
    error = told_behind(member, monkeypatch, lambda: remove(member))
    assert (error["kind"], error["message"]) == ("unavailable", REMOVED.message)


def told_behind(served: Served, monkeypatch: pytest.MonkeyPatch, end: Callable[[], object]) -> dict[str, str]:
    """The last event of a reader that takes nothing when that happens."""
    monkeypatch.setattr(watch, "LOOK_SECONDS", 0.05)
    looks = looked_at(monkeypatch)
    fill(served)
    with never_reading(served) as connection:
        assert looks.wait(20)
        served.loop.call_soon_threadsafe(end)
        wait_until(lambda: served.service.watchers == 0)
        with connection.makefile("rb") as incoming:
            data = incoming.read()
    name, _, text = data.removesuffix(b"\r\n0\r\n\r\n").rpartition(b"\r\n")[2].partition(b"\ndata: ")
    assert data.endswith(b"\r\n0\r\n\r\n")
    assert name == b"event: error"
    error: dict[str, str] = json.loads(text)["error"]
    return error


def looked_at(monkeypatch: pytest.MonkeyPatch) -> threading.Event:
    """Is set when the node first looks at what a reader that is behind has not taken."""
    happened = threading.Event()
    unsent = watch._unsent

    def look(connection: Lane | None) -> int:
        happened.set()
        return unsent(connection)

    monkeypatch.setattr(watch, "_unsent", look)
    return happened


def test_a_node_that_stops_says_so_to_all(tmp_path: Path) -> None:
    with serve(tmp_path / "data") as served:
        served.ledger.put_many([(f"k{number}", b"v" * 1000) for number in range(3000)])
        with (
            watching(served) as waiting,
            watching(served, "?start=0&values=true") as behind,
            watching(served, "?prefix=none") as silent,
        ):
            served.loop.call_soon_threadsafe(served.service.drain)
            for watcher in (waiting, behind, silent):
                *before, last = [event for event in watcher.events() if event.comment is None]
                assert (last.name, last.data["error"]["kind"]) == ("error", "unavailable")
                assert last.data["error"]["request_id"] == watcher.response.headers["x-request-id"]
                assert indexes(before) == [*range(len(before))]
            wait_until(lambda: served.service.watchers == 0)
            with watching(served) as late:
                assert late.entries(1)[0].data["error"]["kind"] == "unavailable"


def test_a_member_of_which_nothing_is_to_be_had_any_more_ends_the_watch(member: Served) -> None:
    with watching(member) as waiting, watching(member, "?prefix=none") as silent:
        member.loop.call_soon_threadsafe(remove, member)
        for watcher in (waiting, silent):
            [last] = [event for event in watcher.events() if event.comment is None]
            assert (last.name, last.data["error"]["kind"]) == ("error", "unavailable")
            assert last.data["error"]["message"] == REMOVED.message
            assert "Last-Event-ID" in last.data["error"]["hint"]
    wait_until(lambda: member.service.watchers == 0)


def test_what_a_diverged_member_has_is_not_sent_to_who_watched_before(member: Served) -> None:
    with watching(member, "?start=0") as watcher:
        member.ledger.put("before", b"x")
        assert indexes(watcher.entries(1)) == [0]
        cluster_of(member).trouble = REMOVED
        member.ledger.put("after", b"x")
        [last] = [event for event in watcher.events() if event.comment is None]
        assert (last.name, last.data["error"]["message"]) == ("error", REMOVED.message)


def test_a_watcher_of_an_ended_node_goes_on_at_another(member: Served, tmp_path: Path) -> None:
    with serve(tmp_path / "other") as other:
        for each in (member, other):
            each.ledger.put_many([(f"k{number}", b"v") for number in range(3)])
        other.ledger.put("meanwhile", b"v")
        with Client([f"http://{each.host}:{each.port}" for each in (member, other)]) as client:
            entries = client.watch(start=0)
            assert [next(entries).index for _ in range(3)] == [0, 1, 2]
            member.loop.call_soon_threadsafe(remove, member)
            assert next(entries).key == b"meanwhile"


def test_a_member_without_a_leader_keeps_its_watchers(member: Served) -> None:
    with watching(member) as watcher:
        cluster = cluster_of(member)
        cluster.has_leader, cluster.refusal = False, Unavailable("nobody leads")
        member.loop.call_soon_threadsafe(member.service.wake)
        member.ledger.put("k", b"x")
        assert indexes(watcher.entries(1)) == [0]


def test_who_waits_for_a_size_on_a_member_that_is_removed_is_told_at_once(member: Served) -> None:
    waiting = asyncio.run_coroutine_threadsafe(member.service.wait_for_size(5, seconds=60), member.loop)
    wait_until(lambda: member.service._growth is not None)
    member.loop.call_soon_threadsafe(remove, member)
    with pytest.raises(Unavailable, match=REMOVED.message):
        waiting.result(20)


def test_a_log_that_cannot_be_read_ends_the_watch_with_why(served: Served, monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(*_: object) -> None:
        raise Corruption("entry 0 is damaged")

    monkeypatch.setattr(served.ledger, "log", fail)
    with watching(served) as watcher:
        put(served, "/k")
        *_, last = watcher.events()
    assert (last.name, last.data["error"]["kind"]) == ("error", "corruption")


def test_a_failure_that_nobody_foresaw_breaks_the_connection(served: Served, monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(*_: object) -> None:
        raise RuntimeError("a bug")

    monkeypatch.setattr(served.ledger, "log", fail)
    with watching(served) as watcher:
        put(served, "/k")
        with pytest.raises(IncompleteRead):
            watcher.response.read()
    wait_until(lambda: served.service.watchers == 0)


# --- others ----------------------------------------------------------------------------------------------------


@pytest.mark.no_cover
def test_many_who_read_all_of_the_log_leave_threads_to_others(served: Served) -> None:
    served.ledger.put_many([(f"k{number}", b"v" * 100) for number in range(5000)])
    with ExitStack() as readers:
        watchers = [readers.enter_context(watching(served, "?start=0")) for _ in range(50)]
        begun = time.monotonic()
        for _ in range(10):
            assert get(served, "/v1/history/k1").status == 200
            assert put(served, "/another").status in {200, 201}
        assert time.monotonic() - begun < 10
        assert indexes(watchers[-1].entries(5000)) == [*range(5000)]
