"""Values of every size and kind over the wire, up and down, whole and in pieces; and answers that are cut."""

from __future__ import annotations

import io
import socket
import subprocess
import sys
import threading
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

import pytest

from scribe_ledger.client import Client
from scribe_ledger.client.http1 import AnswerReader, BadAnswer
from scribe_ledger.client.messages import Upload
from scribe_ledger.client.values import CheckedPieces
from scribe_ledger.errors import InvalidRequest, LedgerClosed, NetworkError, NotFound, TooLarge, VerificationError
from scribe_ledger.http import lookup
from scribe_ledger.merkle import chunk_digests, chunk_root

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from tests.client.conftest import World

pytestmark = pytest.mark.http

MIB = 1 << 20
KEYS = ["k", "a/b//c", "/k", "..", "ä ö?&=#%+", "health", b"\xff\x00\xfe", "k" * 4096, "a\nb"]


def read_all(opened: Any) -> bytes:
    return opened.read() if hasattr(opened, "read") else b"".join(opened)


@pytest.mark.parametrize("key", KEYS)
def test_any_key_and_any_bytes_come_back(world: World, key: str | bytes) -> None:
    value = bytes(range(256)) * 3
    receipt = world.client.put(key, value, content_type="text/x; a=b", metadata={"Team": "größer", "x": ""})
    assert world.client.get(key) == value
    assert world.client.get_many([key]) == [value]
    entry = world.client.entry(key)
    assert (entry.index, entry.leaf_hash, entry.content_type) == (0, receipt.leaf_hash, "text/x; a=b")
    assert entry.metadata == {"team": "größer", "x": ""}
    assert [each.key for each in world.client.scan()] == [entry.key]
    assert [each.version for each in world.client.history(key)] == [1]


@pytest.mark.parametrize("verify", [True, False])
def test_what_is_too_much_for_one_answer_comes_in_several(
    world: World, monkeypatch: pytest.MonkeyPatch, verify: bool
) -> None:
    monkeypatch.setattr(lookup, "MAX_ANSWER_BYTES", 4000)
    keys = [f"k{number}" for number in range(9)]
    values = [b"%d" % number * 600 for number in range(9)]
    world.ledger.put_many(zip(keys, values, strict=True))
    assert world.client.get_many([*keys, "absent"], verify=verify) == [*values, None]
    world.ledger.put("k8", bytes(5000))
    with pytest.raises(TooLarge):
        world.client.get_many(keys, verify=verify)


def test_a_blocking_client_loads_no_asyncio() -> None:
    probe = "import sys; from scribe_ledger.client import Client; print(*sys.modules)"
    loaded = subprocess.run([sys.executable, "-c", probe], check=True, capture_output=True, text=True, timeout=60)
    assert "asyncio" not in loaded.stdout.split()


def test_metadata_that_a_header_would_change_comes_back_as_it_was(world: World) -> None:
    receipt = world.client.put("k", "v", metadata={"x": " two "}, request_id="r")
    assert world.client.entry("k").metadata == {"x": " two "}
    assert world.client.put("k", "v", metadata={"x": " two "}, request_id="r")[:5] == receipt[:5]
    world.client.delete("k", metadata={"why": " because"})
    assert world.client.entry("k").metadata == {"why": " because"}


@pytest.mark.parametrize("size", [0, 1, 65_536, 300_000, 3 * MIB, 3 * MIB + 1])
@pytest.mark.parametrize("known", [True, False], ids=["length known", "chunked"])
def test_a_value_goes_up_and_down_in_pieces(world: World, size: int, known: bool) -> None:
    value = bytes(range(251)) * (size // 251 + 1)
    value = value[:size]
    pieces = (value[at : at + 100_000] for at in range(0, size, 100_000))
    world.client.put_stream("k", io.BytesIO(value) if known else pieces)
    sent = world.server.asked[-1][2]
    assert ("content-length" in sent) is known
    assert world.client.get("k") == value
    opened = world.client.open_value("k")
    assert read_all(opened) == value


def test_a_file_is_sent_from_where_it_stands_and_again_if_need_be(world: World) -> None:
    file = io.BytesIO(b"head" + b"x" * MIB)
    file.seek(4)
    lost: list[str] = []

    def lose_first(target: str, reply: Any) -> Any:
        lost.append(target)
        return None if len(lost) == 1 else reply

    world.server.lie = lose_first
    assert world.client.put_stream("k", file).created is False
    world.server.lie = None
    assert world.client.get("k") == b"x" * MIB


def test_a_large_value_can_be_sought_in(tmp_path: Any, world: World) -> None:
    value = bytes(range(256)) * 8192
    world.ledger.put("k", value)
    with (
        Client(world.server.url, public_key=world.ledger.public_key) as client,
        client.open_value("k") as opened,  # type: ignore[union-attr]
    ):
        assert opened.seek(0, io.SEEK_END) == len(value)
        assert opened.seek(1_500_000) == 1_500_000
        assert opened.read(10) == value[1_500_000:1_500_010]
        opened.seek(3)
        assert opened.read(5) == value[3:8]
        opened.seek(0)
        assert opened.read() == value


def test_what_is_not_there(world: World) -> None:
    world.ledger.put("gone", "1")
    world.ledger.delete("gone")
    client = world.client
    assert client.get("no") is client.entry("no") is client.open_value("no") is None
    assert client.get("gone") is client.open_value("gone") is None
    assert client.entry("gone").deleted
    assert client.entry("gone").value == b""
    assert list(client.history("no")) == []
    assert client.get("gone", version=1) == b"1"
    assert client.get("gone", version=9) is None
    assert client.get("gone", as_of=1) == b"1"
    with pytest.raises(NotFound):
        client.delete("no")
    with pytest.raises(NotFound):
        client.entry_at(7)


def test_a_file_as_a_value_is_told_where_files_go(world: World) -> None:
    file: Any = io.BytesIO(b"v")
    for place in (world.client, world.ledger):
        with pytest.raises(InvalidRequest, match="put_stream"):
            place.put("k", file)


@pytest.mark.parametrize(
    ("call", "error"),
    [
        (lambda client: client.put("", "v"), InvalidRequest),
        (lambda client: client.put("k" * 4097, "v"), TooLarge),
        (lambda client: client.put("k", 5), InvalidRequest),
        (lambda client: client.put("k", "v", if_version=-1), InvalidRequest),
        (lambda client: client.put("k", "v", dedupe=1), InvalidRequest),
        (lambda client: client.put("k", "v", metadata={"bad name": "x"}), InvalidRequest),
        (lambda client: client.put("k", "v", metadata={"x": "a\r\nb"}), InvalidRequest),
        (lambda client: client.put("k", "v", content_type="a\r\nb"), InvalidRequest),
        (lambda client: client.put("k", "v", request_id="a\r\nb"), InvalidRequest),
        (lambda client: client.put("k", "v", request_id=""), InvalidRequest),
        (lambda client: client.put_stream("k", b"bytes"), InvalidRequest),
        (lambda client: client.put_many({"k": "v"}), InvalidRequest),
        (lambda client: client.get_many("keys"), InvalidRequest),
        (lambda client: client.get("k", version=0), InvalidRequest),
        (lambda client: client.entry_at(-1), InvalidRequest),
    ],
)
def test_wrong_arguments_are_refused_before_anything_is_sent(world: World, call: Any, error: type[Exception]) -> None:
    with pytest.raises(error):
        call(world.client)
    assert not world.server.asked


def test_verifying_without_a_key_is_an_error(world: World) -> None:
    world.ledger.put("k", "1")
    blind = world.connect(world.server.url, public_key=None)
    assert blind.get("k") == b"1"
    with pytest.raises(InvalidRequest, match="without the ledger's public key"):
        blind.get("k", verify=True)
    assert world.client.get("k", verify=False) == b"1"
    assert "proof" not in world.server.asked[-1][1]


def test_a_closed_client_says_so(world: World) -> None:
    client = Client(world.server.url)
    client.close()
    client.close()
    with pytest.raises(LedgerClosed):
        client.get("k")


# --- without a server ------------------------------------------------------------------------------------------


def test_the_chunk_root_of_an_upload_does_not_depend_on_its_pieces() -> None:
    value = bytes(range(253)) * 20_000
    for step in (1000, MIB, 3 * MIB, len(value)):
        upload = Upload(iter([value[at : at + step] for at in range(0, len(value), step)]), chunked=True)
        assert b"".join(upload.pieces()) == value
        assert upload.chunk_root() == chunk_root(chunk_digests(value))


def test_a_file_that_shrinks_or_grows_is_refused() -> None:
    changes: list[Callable[[io.BytesIO], object]] = [lambda file: file.truncate(3), lambda file: file.write(b"x" * MIB)]
    for change in changes:
        file = io.BytesIO(b"x" * 1000)
        upload = Upload(file, chunked=False)
        file.seek(0)
        change(file)
        file.seek(0)
        with pytest.raises(InvalidRequest, match="while it was read"):
            list(upload.pieces())


def test_the_last_piece_is_kept_back_until_all_is_right(world: World) -> None:
    world.ledger.put("k", "abcd")
    entry = world.ledger.entry("k")
    assert entry is not None
    check = CheckedPieces(entry)
    assert (check.take(b"ab"), check.take(b"cx")) == (b"", b"ab")
    with pytest.raises(VerificationError):
        check.finish()
    with pytest.raises(VerificationError):
        CheckedPieces(entry).take(b"abcde")


# --- answers ---------------------------------------------------------------------------------------------------

OK = b"HTTP/1.1 200 OK\r\nContent-Length: 3\r\nX-Y: z\r\n\r\nabc"
CHUNKED = b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n1\r\na\r\n2\r\nbc\r\n0\r\n\r\n"
CONTINUED = b"HTTP/1.1 100 Continue\r\n\r\n" + OK


@pytest.mark.parametrize("answer", [OK, CHUNKED, CONTINUED], ids=["length", "chunked", "after 100"])
@pytest.mark.parametrize("step", [1, 7, 1000])
def test_an_answer_is_read_however_it_is_cut(answer: bytes, step: int) -> None:
    reader = AnswerReader()
    for at in range(0, len(answer), step):
        assert not reader.complete
        reader.feed(answer[at : at + step])
    assert (reader.complete, reader.status, reader.reusable, reader.take()) == (True, 200, True, b"abc")


def test_what_nobody_asked_for_ends_the_connection() -> None:
    reader = AnswerReader()
    reader.feed(OK + OK.replace(b"abc", b"xyz"))
    assert (reader.take(), reader.reusable) == (b"abc", False)


@pytest.mark.parametrize(
    "answer",
    [b"hello\r\n\r\n", b"HTTP/1.1 200 OK\r\n\r\n", b"HTTP/1.1 200 OK\r\nx: " + b"y" * 200_000],
    ids=["no HTTP", "no length", "endless headers"],
)
def test_an_answer_that_is_none(answer: bytes) -> None:
    with pytest.raises(BadAnswer):
        AnswerReader().feed(answer)


@contextmanager
def saying(*answers: bytes) -> Iterator[str]:
    """A server that says these bytes, one after each request, and then closes."""
    with socket.create_server(("127.0.0.1", 0)) as listener:

        def serve() -> None:
            for answer in answers:
                connection, _ = listener.accept()
                with connection:
                    connection.recv(65_536)
                    connection.sendall(answer)

        thread = threading.Thread(target=serve)
        thread.start()
        yield f"http://127.0.0.1:{listener.getsockname()[1]}"
        thread.join()


@pytest.mark.parametrize("answer", [OK[:-1], OK[:20], b"", b"nonsense\r\n\r\n"])
def test_an_answer_that_is_cut_is_never_taken_for_whole(world: World, answer: bytes) -> None:
    with saying(answer, answer) as url, pytest.raises(NetworkError):
        world.connect(url, public_key=None, retries=1).get("k")


def test_a_cut_answer_is_asked_for_again(world: World) -> None:
    with saying(OK[:-1], OK) as url:
        assert world.connect(url, public_key=None).get("k") == b"abc"
