"""What travels: a request that is ready to be sent, the answer to it, and a body that is sent in pieces. No I/O.

A ``Request`` may be sent more than once, unless its body can be read only once: reads change nothing, and every write
carries the id by which the ledger recognises a repetition.
"""

from __future__ import annotations

from dataclasses import dataclass
from hashlib import sha256
from typing import TYPE_CHECKING, Any, NamedTuple

from scribe_ledger.errors import InvalidRequest
from scribe_ledger.merkle.chunks import chunk_root
from scribe_ledger.merkle.hashing import ZERO_HASH
from scribe_ledger.model import CHUNK_BYTES

if TYPE_CHECKING:
    from collections.abc import AsyncIterable, Iterable, Iterator


@dataclass(slots=True)
class Request:
    """One HTTP request without the node that it goes to."""

    method: bytes
    target: bytes
    """Path and query, percent-encoded, below the node's own path."""
    headers: bytes = b""
    """Complete header lines."""
    body: bytes | Upload | None = None
    request_id: str = ""
    """Of a write; empty for a read."""
    retried: bool = True
    """False for a question about one node, whose 503 is the answer."""
    timeout: float | None = None
    """Seconds without a byte that are still no failure, where they are more than the client's."""
    deadline: float = 0
    """Seconds that the call may take altogether, where they are more than the client's."""

    @property
    def writes(self) -> bool:
        return bool(self.request_id)

    @property
    def repeatable(self) -> bool:
        return not isinstance(self.body, Upload) or self.body.repeatable

    def head(self, host: bytes, prefix: bytes) -> bytes:
        """Everything before the body, for one node."""
        length = b""
        if isinstance(self.body, Upload):
            known = self.body.length
            length = b"transfer-encoding: chunked\r\n" if known is None else b"content-length: %d\r\n" % known
        elif self.body is not None:
            length = b"content-length: %d\r\n" % len(self.body)
        return b"%b %b%b HTTP/1.1\r\nhost: %b\r\n%b%b\r\n" % (
            self.method,
            prefix,
            self.target,
            host,
            self.headers,
            length,
        )


class Answer(NamedTuple):
    """One whole answer."""

    status: int
    headers: dict[bytes, bytes]
    """Names in lower case."""
    body: bytes


class Upload:
    """A body in pieces, hashed on its way out.

    It can be sent again only if it comes from a file that can be rewound. ``chunked`` also computes the chunk root,
    which the leaf of a large value holds.
    """

    def __init__(self, source: Any, *, chunked: bool) -> None:
        if isinstance(source, bytes | bytearray | memoryview | str):
            raise InvalidRequest("a value is streamed from a binary file or from an iterable of bytes")
        if not any(hasattr(source, name) for name in ("read", "__iter__", "__aiter__")):
            raise InvalidRequest(f"the value is {type(source).__name__}", hint="give a binary file, or pieces of bytes")
        self._source = source
        self._chunked = chunked
        self.started = False
        self._origin, self.length = _extent(source)
        self._reset()

    @property
    def repeatable(self) -> bool:
        return self._origin is not None or not self.started

    @property
    def asynchronous(self) -> bool:
        return hasattr(self._source, "__aiter__") and not hasattr(self._source, "read")

    def pieces(self) -> Iterator[bytes]:
        """The body from its beginning. A piece that is too much or too little for the length is refused."""
        if self.asynchronous:
            raise InvalidRequest("the value is an asynchronous iterable", hint="use AsyncClient")
        self._begin()
        for piece in self._read():
            yield from self._passed(piece)
        self._check_length()

    async def pieces_asynchronously(self) -> AsyncIterable[bytes]:
        """The same from an asynchronous iterable."""
        self._begin()
        async for piece in self._source:
            for part in self._passed(piece):
                yield part
        self._check_length()

    def sha256(self) -> bytes:
        return self._hash.digest()

    def chunk_root(self) -> bytes:
        if not self.size:
            return ZERO_HASH
        return chunk_root([*self._digests, self._chunk.digest()] if self._in_chunk else self._digests)

    def _begin(self) -> None:
        if self.started:
            assert self._origin is not None, "whoever sends again has looked at `repeatable`"
            self._source.seek(self._origin)
        self.started = True
        self._reset()

    def _reset(self) -> None:
        self.size = 0
        self._hash = sha256()
        self._chunk = sha256()
        self._in_chunk = 0
        self._digests: list[bytes] = []

    def _read(self) -> Iterable[bytes]:
        if not hasattr(self._source, "read"):
            yield from self._source
            return
        while piece := self._source.read(CHUNK_BYTES):
            yield piece
        if piece is None:
            # A non-blocking file that has nothing yet: taking this for the end would store half a value.
            raise InvalidRequest("the stream of the value does not block until bytes are there; give one that does")

    def _passed(self, piece: object) -> Iterator[bytes]:
        if not isinstance(piece, bytes | bytearray | memoryview):
            raise InvalidRequest(f"a piece of the value is {type(piece).__name__}", hint="open the file as binary")
        view = memoryview(piece).cast("B")
        self.size += len(view)
        if self.length is not None and self.size > self.length:
            raise InvalidRequest("the file grew while it was read", hint="store a file that nobody writes to")
        self._hash.update(view)
        if self._chunked:
            self._hash_chunks(view)
        for at in range(0, len(view), CHUNK_BYTES):
            yield bytes(view[at : at + CHUNK_BYTES])

    def _hash_chunks(self, view: memoryview) -> None:
        while view:
            part, view = view[: CHUNK_BYTES - self._in_chunk], view[CHUNK_BYTES - self._in_chunk :]
            self._chunk.update(part)
            self._in_chunk += len(part)
            if self._in_chunk == CHUNK_BYTES:
                self._digests.append(self._chunk.digest())
                self._chunk, self._in_chunk = sha256(), 0

    def _check_length(self) -> None:
        if self.length is not None and self.size != self.length:
            raise InvalidRequest("the file shrank while it was read", hint="store a file that nobody writes to")


def _extent(source: Any) -> tuple[int | None, int | None]:
    """Where a file that can be rewound stands, and how many bytes follow."""
    if not hasattr(source, "read") or not getattr(source, "seekable", lambda: False)():
        return None, None
    origin = source.tell()
    length = source.seek(0, 2) - origin
    source.seek(origin)
    return origin, length
