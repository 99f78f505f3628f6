"""One answer of HTTP/1.1 out of the bytes of a connection. No I/O: connections feed it.

The grammar is llhttp's, through httptools. An answer that says neither its length nor that it is chunked is refused:
its end could not be told from a broken connection.
"""

from __future__ import annotations

from httptools import HttpParserError, HttpResponseParser

MAX_HEADER_BYTES = 128 << 10
MAX_BODY_BYTES = 1 << 30
"""Of an answer that is held whole; larger values are streamed."""


class BadAnswer(Exception):
    """What came is not one whole answer."""


class AnswerReader:
    """Takes bytes until ``complete``; ``take`` gives what there is of the body."""

    __slots__ = (
        "_keeps_alive",
        "_parser",
        "_pieces",
        "buffered",
        "complete",
        "excess",
        "has_head",
        "headers",
        "size",
        "status",
    )

    def __init__(self) -> None:
        self._parser = HttpResponseParser(self)
        self._pieces: list[bytes] = []
        self.status = 0
        self.headers: dict[bytes, bytes] = {}
        self.has_head = False
        self.complete = False
        self.excess = False
        self.buffered = 0
        """Bytes of the body that nobody has taken yet."""
        self.size = 0
        """Bytes of header and body that have come."""

    def feed(self, data: bytes) -> None:
        self.size += len(data)
        try:
            self._parser.feed_data(data)
        except HttpParserError as error:
            cause = error.__context__ if isinstance(error.__context__, BadAnswer) else error
            raise BadAnswer(f"the answer is not HTTP that can be read: {cause}") from error
        if not self.has_head and self.size > MAX_HEADER_BYTES:
            raise BadAnswer(f"the answer has more than {MAX_HEADER_BYTES} bytes of headers")

    def take(self) -> bytes:
        """The body that has come since the last time."""
        pieces = self._pieces
        body = pieces[0] if len(pieces) == 1 else b"".join(pieces)
        self._pieces, self.buffered = [], 0
        return body

    @property
    def reusable(self) -> bool:
        """Whether the connection may carry another request."""
        return self.complete and not self.excess and self._keeps_alive

    # --- called by the parser ----------------------------------------------------------------------------------

    def on_message_begin(self) -> None:
        self.excess = self.complete  # nobody asked for a second answer, whatever it says
        if not self.complete:
            self.headers = {}

    def on_header(self, name: bytes, value: bytes) -> None:
        if not self.has_head:
            self.headers[name.lower()] = value

    def on_headers_complete(self) -> None:
        if self.complete:
            return
        self.status = self._parser.get_status_code()
        self.has_head = self.status >= 200
        if self.has_head and self.status not in (204, 304):
            known = self.headers
            if b"content-length" not in known and b"chunked" not in known.get(b"transfer-encoding", b"").lower():
                raise BadAnswer("the answer does not say where it ends")

    def on_body(self, piece: bytes) -> None:
        if not self.complete:
            self._pieces.append(piece)
            self.buffered += len(piece)

    def on_message_complete(self) -> None:
        if self.has_head:  # an answer below 200 only announces the answer
            self.complete = True
            self._keeps_alive = self._parser.should_keep_alive()  # it is forgotten after this


LAST_CHUNK = b"0\r\n\r\n"


def chunk(piece: bytes) -> bytes:
    """A piece of a body whose length nobody knows. An empty one would end the body, and is nothing."""
    return b"%x\r\n%b\r\n" % (len(piece), piece) if piece else b""
