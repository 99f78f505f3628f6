"""Reading many entries from a real node: history, scan, log and watch, with proof and without."""

from __future__ import annotations

import asyncio
import threading
from itertools import islice
from typing import TYPE_CHECKING, Any

import pytest

from scribe_ledger.client import AsyncClient, Client
from scribe_ledger.client.events import EventReader
from scribe_ledger.client.frontier import Frontier, nearest_edge
from scribe_ledger.errors import InvalidRequest, PreconditionFailed, VerificationError
from scribe_ledger.merkle import EMPTY_EDGE, Nodes, grow, hash_leaf

if TYPE_CHECKING:
    from collections.abc import Callable

    from tests.client.conftest import World

pytestmark = pytest.mark.http


def shown(entries: Any) -> list[Any]:
    return [(entry.to_json(), entry.leaf_hash) for entry in entries]


@pytest.fixture(params=[True, False], ids=["verified", "believed"])
def client(world: World, request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> Any:
    """Pages of a few entries, so that there are several."""
    monkeypatch.setattr("scribe_ledger.client.requests.PAGE_ENTRIES", 4)
    monkeypatch.setattr("scribe_ledger.client.requests.PAGE_VALUES", 3)
    return world.connect(world.server.url, public_key=world.ledger.public_key if request.param else None)


def fill(world: World) -> None:
    ledger = world.ledger
    ledger.put_many([(f"k{at:02}", f"value {at}") for at in range(11)])
    ledger.configure(deletes="tombstone")
    for value in ("a", "b", "c", "d", "e"):
        ledger.put(b"\xff key", value, content_type="text/plain", metadata={"x": "y"})
    ledger.delete("k03")
    ledger.put("large", b"x" * 300_000)


@pytest.mark.parametrize(
    "options",
    [
        {},
        {"prefix": "k"},
        {"prefix": "k", "start": "k05"},
        {"reverse": True},
        {"prefix": "k", "start": "k05", "reverse": True},
        {"limit": 0},
        {"limit": 6},
        {"as_of": 5},
        {"prefix": "none"},
        {"values": True},
    ],
)
def test_scan_is_what_the_ledger_gives(world: World, client: Any, options: dict[str, Any]) -> None:
    fill(world)
    expected = world.ledger.scan(**{name: given for name, given in options.items() if name != "values"})
    assert shown(client.scan(**options)) == shown(expected)


def test_a_listing_is_one_moment(world: World) -> None:
    fill(world)
    before = shown(world.ledger.scan())
    pages = Client(world.server.url, public_key=world.ledger.public_key)
    listing = pages.scan()
    found = [next(listing)]
    world.ledger.put("k05", "changed")
    world.ledger.delete("k07")
    assert shown([*found, *listing]) == before
    pages.close()


@pytest.mark.parametrize("as_of", [None, 13, 0])
@pytest.mark.parametrize("key", [b"\xff key", "k03", "none"])
def test_history_is_what_the_ledger_gives(world: World, client: Any, key: Any, as_of: int | None) -> None:
    fill(world)
    assert shown(client.history(key, as_of=as_of)) == shown(world.ledger.history(key, as_of=as_of))


@pytest.mark.parametrize(
    ("start", "stop"), [(0, None), (0, 7), (1, 2), (3, 100), (4, None), (8, 16), (11, 12), (19, None)]
)
def test_log_is_what_the_ledger_gives(world: World, client: Any, start: int, stop: int | None) -> None:
    fill(world)
    assert shown(client.log(start, stop)) == shown(world.ledger.log(start, stop))
    assert shown(client.log(start, stop, values=True)) == shown(world.ledger.log(start, stop))


def test_values_of_what_was_listed(world: World, client: Any) -> None:
    fill(world)
    expected = [entry.value for entry in world.ledger.log()]
    fetch = getattr(client, "value", None)
    for values in (True, False):
        found = list(client.log(values=values))
        assert [entry.value if fetch is None else fetch(entry) for entry in found] == expected
    if fetch is not None:
        assert next(iter(client.log(values=True))).value == expected[0]
        with pytest.raises(InvalidRequest, match="the value did not come along"):
            next(iter(client.log())).value  # noqa: B018


def test_each_entry_by_its_place(world: World, client: Any) -> None:
    fill(world)
    for entry in world.ledger.log():
        assert client.entry_at(entry.index).to_json() == entry.to_json()


def test_checkpoints_and_proofs_stand_alone(world: World, client: Any) -> None:
    from scribe_ledger import verify

    fill(world)
    key = world.ledger.public_key
    assert client.checkpoint(5) == world.ledger.checkpoint(5)
    assert client.checkpoint().size == world.ledger.size == (client.size() if callable(client.size) else client.size)
    assert verify.inclusion(client.prove("k01", at=5), public_key=key, key="k01").version == 1
    assert [leaf.version for leaf in verify.history(client.prove_history(b"\xff key"), public_key=key)] == [
        5,
        4,
        3,
        2,
        1,
    ]
    verify.consistency(client.prove_consistency(5, 9), client.checkpoint(5), client.checkpoint(9), public_key=key)


def test_an_atomic_batch_is_all_or_nothing(world: World) -> None:
    with Client(world.server.url, public_key=world.ledger.public_key) as client:
        client.put("gone", "1")
        with client.batch() as batch:
            batch.put("a", "1", content_type="text/plain", metadata={"x": " y "}, if_absent=True)
            batch.put(b"\xff", "2")
            batch.delete("gone", if_version=1)
        assert [receipt.index for receipt in batch.receipts] == [1, 2, 3]
        assert world.ledger.entry("a").metadata == {"x": " y "}  # type: ignore[union-attr]
        refused = client.batch()
        refused.put("b", "1")
        refused.put("a", "1", if_absent=True, dedupe=False)
        with pytest.raises(PreconditionFailed, match="operation 1"), refused:
            pass
        assert world.ledger.get("b") is None
        with client.batch():
            pass
        assert world.ledger.size == 4


@pytest.mark.no_cover
def test_many_threads_share_a_client_of_a_growing_ledger(world: World) -> None:
    """Heads overtake each other, and each is joined to the one before or refused."""
    world.ledger.put("k", "0")
    failures: list[BaseException] = []
    with Client(world.server.url, public_key=world.ledger.public_key) as client:

        def work(name: str) -> None:
            try:
                for at in range(15):
                    client.put(name, f"{at}")
                    assert client.get(name) == f"{at}".encode()
                    assert client.get_many(["k", name])[0] == b"0"
                    world.ledger.checkpoint()
            except BaseException as error:  # the test's thread raises it
                failures.append(error)

        threads = [threading.Thread(target=work, args=(f"t{at}",)) for at in range(6)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        assert not failures, failures[0]
        assert client.trusted is not None
        assert client.trusted.size > 60


# --- watch -----------------------------------------------------------------------------------------------------


def watching(world: World, kind: str, count: int, act: Callable[[int], None], **options: Any) -> list[Any]:
    """The first entries that a watch gives; ``act`` is called after each."""
    prefix, verified = options.pop("prefix", b""), options.pop("verified", True)
    key = world.ledger.public_key if verified else None
    found: list[Any] = []
    if kind == "sync":
        with Client(world.server.url, public_key=key) as client:
            for entry in islice(client.watch(prefix, **options), count):
                found.append(entry)
                act(len(found))
        return found

    async def run() -> None:
        async with AsyncClient(world.server.url, public_key=key) as client:
            entries = client.watch(prefix, **options)
            async for entry in entries:
                found.append(entry)
                act(len(found))
                if len(found) == count:
                    break
            await entries.aclose()  # type: ignore[attr-defined]

    asyncio.run(run())
    return found


@pytest.fixture
def direct(world: World) -> World:
    """A watch never ends, so it goes to the node itself."""
    world.server.url = world.url_of(world.ledger)
    return world


@pytest.mark.parametrize("verified", [True, False])
@pytest.mark.parametrize("kind", ["sync", "async"])
def test_watch_gives_what_is_and_what_comes(direct: World, kind: str, verified: bool) -> None:
    direct.ledger.put_many([("a", "1"), ("b", "2")])

    def grow_by_one(count: int) -> None:
        direct.ledger.put("c", f"{count}")

    found = watching(direct, kind, 5, grow_by_one, start=1, values=True, verified=verified)
    assert [(entry.index, entry.key, entry.value) for entry in found[:3]] == [
        (1, b"b", b"2"),
        (2, b"c", b"1"),
        (3, b"c", b"2"),
    ]
    assert [entry.index for entry in found] == [1, 2, 3, 4, 5]


@pytest.mark.parametrize("kind", ["sync", "async"])
def test_watch_of_a_prefix_and_of_entries_without_a_key(direct: World, kind: str) -> None:
    fill(direct)
    assert [entry.key for entry in watching(direct, kind, 2, lambda _: None, prefix="k0", start=2)] == [b"k02", b"k03"]
    assert [entry.index for entry in watching(direct, kind, 3, lambda _: None, start=10)] == [10, 11, 12]


# --- without a node --------------------------------------------------------------------------------------------


def test_events_are_read_however_they_are_cut() -> None:
    stream = b": hello\n\nid: 4\nevent: entry\ndata: {\r\ndata: }\n\nid: 9\n\nevent: error\ndata: x\n\n"
    for step in (1, 5, 1000):
        reader = EventReader()
        found = [each for at in range(0, len(stream), step) for each in reader.feed(stream[at : at + step])]
        assert [tuple(each) for each in found] == [
            ("entry", b"{\n}", b"4"),
            ("message", b"", b"9"),
            ("error", b"x", b""),
        ]


def test_the_frontier_grows_as_the_tree_does() -> None:
    hashes = [hash_leaf(bytes([at])) for at in range(70)]
    tree = Nodes(grow(EMPTY_EDGE, hashes)[0], lambda _level, _index: b"")
    frontier = Frontier()
    for size, leaf_hash in enumerate(hashes):
        assert frontier.root() == tree.root(size)
        frontier.append(leaf_hash)
    for new in range(1, 71):
        for start in range(new):
            old = nearest_edge(start)
            assert start - 2 <= old <= start
            if old:
                edge = Frontier.of_proof(old, new, tree.consistency(old, new))
                for leaf_hash in hashes[old:new]:
                    edge.append(leaf_hash)
                assert edge.root() == tree.root(new)


def test_a_frontier_of_too_few_peaks_is_refused() -> None:
    with pytest.raises(VerificationError, match="has 2 peaks, not 1"):
        Frontier.of_proof(3, 4, [bytes(32)])
