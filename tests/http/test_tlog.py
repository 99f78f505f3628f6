"""The log as tile-log clients read it: a little client, written from the C2SP specifications alone, checks it whole.

https://c2sp.org/tlog-tiles, https://c2sp.org/tlog-checkpoint, https://c2sp.org/signed-note. Nothing of the package is
used to read or check, so a mistake that writer and reader share would be seen here.
"""

from __future__ import annotations

import base64
import hashlib
from typing import TYPE_CHECKING, NamedTuple

import pytest
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PublicKey
from tests.http.asking import Answer, ask, get, put
from tests.http.membership import FakeCluster
from tests.http.serving import Served, serve

from scribe_ledger.ledger import commands
from scribe_ledger.merkle import Signer
from scribe_ledger.merkle.checkpoint import cosign

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

pytestmark = pytest.mark.http

SIZE = 66_000
"""Three levels of tiles: 257 full ones at the bottom, one full and one partial above, a root of one over them."""
FOREVER = "public, max-age=31536000, immutable"


@pytest.fixture(scope="module")
def served(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Served]:
    with serve(tmp_path_factory.mktemp("tlog") / "data", name="log.example/tiles") as running:
        for first in range(0, SIZE, 6_000):
            running.ledger.put_many([(f"key-{number}", b"%d" % number) for number in range(first, first + 6_000)])
        yield running


# --- the client ------------------------------------------------------------------------------------------------


class Head(NamedTuple):
    origin: str
    size: int
    root: bytes


def read_head(text: str, verifier: str) -> Head:
    """Checks the signature of a checkpoint by a key in the form ``name+id+base64``."""
    body, _, signatures = text.partition("\n\n")
    name, key_id, encoded = verifier.split("+", 2)
    key = base64.b64decode(encoded)
    assert key[0] == 1
    assert hashlib.sha256(name.encode() + b"\n" + key).digest()[:4].hex() == key_id
    dash, signer, blob = signatures.removesuffix("\n").split(" ")
    assert (dash, signer) == ("\u2014", name)
    signature = base64.b64decode(blob)
    assert signature[:4].hex() == key_id
    Ed25519PublicKey.from_public_bytes(key[1:]).verify(signature[4:], f"{body}\n".encode())
    origin, size, root = body.split("\n")
    return Head(origin, int(size), base64.b64decode(root))


def encode_index(index: int) -> str:
    parts = [f"{index % 1000:03d}"]
    while index >= 1000:
        index //= 1000
        parts.insert(0, f"x{index % 1000:03d}")
    return "/".join(parts)


def tile_paths(kind: str, count: int) -> list[tuple[str, int]]:
    """Path and width of all tiles that hold ``count`` nodes: full ones, and the partial one at the end."""
    paths = [(f"/tlog/tile/{kind}/{encode_index(index)}", 256) for index in range(count // 256)]
    if count % 256:
        paths.append((f"/tlog/tile/{kind}/{encode_index(count // 256)}.p/{count % 256}", count % 256))
    return paths


def read_level(served: Served, level: int, size: int) -> list[bytes]:
    hashes = []
    for path, width in tile_paths(str(level), size >> 8 * level):
        body = get_tile(served, path).body
        assert len(body) == 32 * width
        hashes += [body[at : at + 32] for at in range(0, len(body), 32)]
    return hashes


def get_tile(served: Served, path: str) -> Answer:
    answer = get(served, path)
    assert answer.status == 200, (path, answer.body)
    assert answer.headers["content-type"] == "application/octet-stream"
    assert answer.headers["cache-control"] == FOREVER
    return answer


def split_bundle(bundle: bytes) -> list[bytes]:
    entries = []
    while bundle:
        length = int.from_bytes(bundle[:2], "big")
        assert len(bundle) >= 2 + length
        entries.append(bundle[2 : 2 + length])
        bundle = bundle[2 + length :]
    return entries


def node(left: bytes, right: bytes) -> bytes:
    return hashlib.sha256(b"\x01" + left + right).digest()


def root_of(hashes: list[bytes]) -> bytes:
    """RFC 6962, 2.1: split at the largest power of two below the count."""
    if not hashes:
        return hashlib.sha256(b"").digest()
    if len(hashes) == 1:
        return hashes[0]
    split = 1 << (len(hashes) - 1).bit_length() - 1
    return node(root_of(hashes[:split]), root_of(hashes[split:]))


def head_of(served: Served) -> Head:
    answer = get(served, "/tlog/checkpoint")
    assert answer.status == 200
    assert answer.headers["content-type"] == "text/plain; charset=utf-8"
    assert answer.headers["cache-control"] == "no-store"
    return read_head(answer.text, get(served, "/v1/key").json["vkey"])


# --- what it finds ---------------------------------------------------------------------------------------------


def test_the_checkpoint_covers_every_write_that_was_answered(served: Served) -> None:
    for number in range(5):
        index = put(served, "/cover", b"%d" % number).json["index"]
        assert head_of(served).size > index


@pytest.mark.no_cover
def test_the_root_follows_from_the_tiles_of_every_level(served: Served) -> None:
    head = head_of(served)
    assert head.origin == "log.example/tiles"
    assert head.size >= SIZE
    bottom = read_level(served, 0, head.size)
    assert root_of(bottom) == head.root
    for level in (1, 2):
        above = read_level(served, level, head.size)
        assert above == [root_of(bottom[at : at + 256]) for at in range(0, len(bottom) - 255, 256)]
        bottom = above


@pytest.mark.no_cover
def test_the_root_follows_from_the_entry_bundles(served: Served) -> None:
    head = head_of(served)
    entries = []
    for path, width in tile_paths("entries", head.size):
        bundle = split_bundle(get_tile(served, path).body)
        assert len(bundle) == width
        entries += bundle
    assert root_of([hashlib.sha256(b"\x00" + entry).digest() for entry in entries]) == head.root
    assert b"key-65999" in entries[65_999]


def test_tiles_of_a_checkpoint_are_there_when_the_tree_has_grown_past_it(served: Served) -> None:
    put(served, "/grow", b"0")
    old = head_of(served)
    served.ledger.write([commands.put(f"grown/{number}", b"v") for number in range(700)])
    new = head_of(served)
    assert new.size == old.size + 700
    for size in (old.size, old.size + 1, new.size - 1):
        hashes = [get_tile(served, path).body for path, _ in tile_paths("0", size)[-4:]]
        assert len(hashes[-1]) == 32 * (size % 256 or 256)
    partial = tile_paths("0", old.size)[-1][0]
    full = get_tile(served, partial.partition(".p")[0])
    assert full.body.startswith(get_tile(served, partial).body)
    bundle = tile_paths("entries", old.size)[-1][0]
    assert get_tile(served, bundle.partition(".p")[0]).body.startswith(get_tile(served, bundle).body)


def test_nothing_is_there_beyond_the_published_checkpoint(served: Served) -> None:
    head = head_of(served)
    committed = head.size + 600
    served.ledger.write([commands.put(f"beyond/{number}", b"v") for number in range(600)])
    assert served.ledger.size == committed
    assert served.ledger.published.size == head.size
    at, width = divmod(head.size, 256)
    beyond = [
        f"/tlog/tile/{kind}/{encode_index(index)}{partial}"
        for kind in ("0", "entries")
        for index, partial in ((at, f".p/{width + 1}"), (at, ""), (at + 1, ""), (at + 1, ".p/1"))
    ]
    for path in beyond:
        answer = get(served, path)
        assert (answer.status, answer.error["kind"]) == (404, "not_found"), path
        assert answer.headers["cache-control"] == "no-store"
    assert head_of(served).size == committed
    for path in beyond:
        assert get(served, path).status == 200, path


@pytest.mark.parametrize(
    "tile",
    [
        "0/x999/999",
        "3/000.p/1",
        "63/000",
        "64/000",
        "00/000",
        "0/0",
        "0/x000/001",
        "0/000.p/0",
        "0/000.p/256",
        "0/000.p/300",
        "0/000.p/01",
        "0/000.p/",
        "0/-01",
        "entries/00",
        "entry/000",
        "0",
        "",
        "0/000/",
        "0/%FF",
        "0/000?x",
        "8/x999/x999/x999/x999/x999/x999/999",
    ],
)
def test_a_path_that_names_no_tile_is_not_found(served: Served, tile: str) -> None:
    answer = get(served, f"/tlog/tile/{tile}")
    assert (answer.status, answer.error["kind"]) == ((400, "invalid") if "?" in tile else (404, "not_found"))


@pytest.mark.parametrize("path", ["/tlog/checkpoint", "/tlog/tile/0/000", "/tlog/tile/entries/000.p/7"])
def test_head_says_what_get_says_without_the_body(served: Served, path: str) -> None:
    head_of(served)
    whole, head = get(served, path), ask(served, "HEAD", path)
    assert (head.status, head.body) == (200, b"")
    assert head.headers["content-length"] == whole.headers["content-length"]
    assert head.headers["cache-control"] == whole.headers["cache-control"]


def test_what_was_published_is_so_after_a_restart(tmp_path_factory: pytest.TempPathFactory) -> None:
    path = tmp_path_factory.mktemp("restart") / "data"
    with serve(path) as served:
        put(served, "/a")
        assert get(served, "/tlog/tile/0/000.p/1").status == 404  # committed, and not published
        assert head_of(served).size == 1
        put(served, "/b")
    with serve(path) as served:
        assert get(served, "/tlog/tile/0/000.p/1").status == 200
        assert get(served, "/tlog/tile/0/000.p/2").status == 404
        assert head_of(served).size == 2
        assert get(served, "/tlog/tile/0/000.p/2").status == 200


def test_an_empty_log_has_a_checkpoint_and_no_tiles(tmp_path_factory: pytest.TempPathFactory) -> None:
    with serve(tmp_path_factory.mktemp("empty") / "data") as served:
        head = head_of(served)
        assert (head.size, head.root) == (0, root_of([]))
        assert get(served, "/tlog/tile/0/000.p/1").status == 404
        assert get(served, "/tlog/tile/entries/000").status == 404


# --- in a cluster ----------------------------------------------------------------------------------------------


def test_a_cluster_gives_the_cosigned_checkpoint_where_it_covers_what_is_asked(tmp_path: Path) -> None:
    with serve(tmp_path / "data", cluster=FakeCluster) as served:
        cluster = served.service.cluster
        assert isinstance(cluster, FakeCluster)
        put(served, "/a")
        assert get(served, "/tlog/checkpoint").text == served.ledger.published.text, "no quorum answers"
        cosigned = cosign(served.ledger.checkpoint(), Signer.generate("example.org/node"), 1_700_000_000)
        cluster.with_cosignatures = cosigned
        put(served, "/b")
        assert get(served, "/tlog/checkpoint").text == cosigned.text
        assert get(served, "/tlog/checkpoint?after=0").text == cosigned.text
        own = get(served, "/tlog/checkpoint?after=1").text
        assert own != cosigned.text
        assert own.splitlines()[1] == "2"


def test_a_member_gives_tiles_that_another_has_published(tmp_path: Path) -> None:
    with serve(tmp_path / "data", cluster=FakeCluster) as served:
        cluster = served.service.cluster
        assert isinstance(cluster, FakeCluster)
        for key in ("/a", "/b"):
            put(served, key)
        assert served.ledger.published.size < 2
        assert len(get(served, "/tlog/tile/0/000.p/2").body) == 64
        assert cluster.reads == 0
        assert get(served, "/tlog/tile/0/000.p/3").status == 404
        assert cluster.reads == 1, "it might only be behind"
