"""The nodes that a client may ask, and how long it goes on asking. Decisions only: no socket, no sleep.

One node is asked as long as it answers. Where it cannot be reached or may not serve, the next one is asked at once; a
pause comes only when each was tried. A write is sent again with the id it had, so a repetition is exact; what is given
up while its outcome is open ends in ``OutcomeUnknown``, never in an error that says it did not happen. Where one of
several nodes has answered that it cannot serve now, a cluster is there and will get over it: then only the deadline
ends the call, not the number of repetitions.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple
from urllib.parse import quote, urlsplit

from scribe_ledger.client.answers import error_of
from scribe_ledger.errors import (
    ConfigurationError,
    NetworkError,
    OutcomeUnknown,
    RateLimited,
    ScribeError,
    Unavailable,
)

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from scribe_ledger.client.messages import Answer, Request

FIRST_PAUSE_SECONDS = 0.05
LONGEST_PAUSE_SECONDS = 2.0
_PORTS = {"http": 8001, "https": 443}


class Node(NamedTuple):
    """Where a node listens."""

    url: str
    host: str
    port: int
    tls: bool
    host_header: bytes
    prefix: bytes
    """Path that stands before every route, such as a proxy's; mostly empty."""

    @classmethod
    def parse(cls, url: str) -> Node:
        hint = "such as http://127.0.0.1:8001"
        if not isinstance(url, str):
            raise ConfigurationError(f"a node's URL is {type(url).__name__}", hint=hint)
        try:
            parts = urlsplit(url if "://" in url else f"http://{url}")
            port = parts.port
        except ValueError as error:
            raise ConfigurationError(f"{url!r} is not the URL of a node", hint=hint) from error
        if parts.scheme not in _PORTS or not parts.hostname or parts.query or parts.fragment or parts.username:
            raise ConfigurationError(f"{url!r} is not the URL of a node", hint=hint)
        host, port = parts.hostname, port or _PORTS[parts.scheme]
        shown = f"[{host}]" if ":" in host else host
        prefix = quote(parts.path.rstrip("/"), safe="/%")
        return cls(
            url=f"{parts.scheme}://{shown}:{port}{prefix}",
            host=host,
            port=port,
            tls=parts.scheme == "https",
            host_header=f"{shown}:{port}".encode("idna" if not shown.isascii() else "ascii"),
            prefix=prefix.encode(),
        )


class Nodes:
    """All nodes, and which one is asked first: the one that answered last."""

    def __init__(self, urls: str | Sequence[str]) -> None:
        given = [urls] if isinstance(urls, str) else list(urls)
        self.all = list(dict.fromkeys(map(Node.parse, given)))
        if not self.all:
            raise ConfigurationError("no node was named", hint="such as http://127.0.0.1:8001")
        self._first = 0

    def in_turn(self) -> list[Node]:
        return self.all if not self._first else self.all[self._first :] + self.all[: self._first]

    def prefer(self, node: Node) -> None:
        self._first = self.all.index(node)

    def __len__(self) -> int:
        return len(self.all)


class Patience(NamedTuple):
    """How long a call goes on."""

    timeout: float
    """Seconds that one node may take to answer."""
    deadline: float
    """Seconds after which a call gives up, all repetitions included."""
    retries: int
    """How often a call is repeated after every node was tried once. Above 0, rounds in which one of several nodes
    asked for patience are not counted."""


class Lost(Exception):
    """A connection that gave no whole answer. ``sent`` says whether the node may have acted on the request."""

    def __init__(self, reason: str, *, sent: bool) -> None:
        super().__init__(reason)
        self.reason = reason
        self.sent = sent


class Broken(NetworkError):
    """A stream that ended in the middle, after part of it was read."""


class Attempts:
    """The sending of one request until it is answered or given up."""

    __slots__ = (
        "_at",
        "_clock",
        "_counted",
        "_end",
        "_hope",
        "_maybe_done",
        "_nodes",
        "_patience",
        "_promised",
        "_random",
        "_request",
        "_retry_after",
        "_round",
        "_tried",
        "_turn",
    )

    def __init__(
        self,
        nodes: Nodes,
        request: Request,
        patience: Patience,
        *,
        clock: Callable[[], float],
        random: Callable[[], float],
    ) -> None:
        self._nodes = nodes
        self._request = request
        self._patience = patience
        self._clock = clock
        self._random = random
        self._turn = nodes.in_turn()
        self._at = 0
        self._round = self._counted = 0
        self._hope = False
        self._promised = False
        self._end = clock() + max(patience.deadline, request.deadline)
        self._tried: dict[str, str] = {}
        self._retry_after = 0.0
        self._maybe_done = False

    @property
    def node(self) -> Node:
        """Whom to ask now."""
        return self._turn[self._at]

    @property
    def timeout(self) -> float:
        longest = self._patience.timeout if self._request.timeout is None else self._request.timeout
        return max(min(longest, self._end - self._clock()), 0.001)

    def answered(self, answer: Answer) -> float | None:
        """None if the answer is final, else the seconds to wait before asking ``node``, which is another now."""
        if answer.status not in (429, 503):
            if self._at or self._round:
                self._nodes.prefer(self.node)
            return None
        if not self._request.retried:
            return None
        error = error_of(answer)
        self._tried[self.node.url] = error.message
        self._maybe_done |= error.kind == "outcome_unknown"
        self._retry_after = max(self._retry_after, _seconds(answer.headers.get(b"retry-after", b"")))
        self._promised |= len(self._turn) > 1 and isinstance(error, Unavailable) and not isinstance(error, RateLimited)
        pause = self._next(again=isinstance(error, Unavailable))
        if pause is None:
            raise self._ended(error)
        return pause

    def lost(self, loss: Lost) -> float:
        """The seconds to wait before asking ``node``, which is another now. Raises when it is time to give up."""
        self._tried[self.node.url] = loss.reason
        self._maybe_done |= loss.sent
        pause = self._next(again=True)
        if pause is None:
            raise self._ended(None) from loss
        return pause

    def _next(self, *, again: bool) -> float | None:
        """Turns to the next node; None when that has no use. ``again`` allows to come back to nodes that were tried."""
        self._hope |= again
        if not self._request.repeatable or self._clock() >= self._end:
            return None
        self._at += 1
        if self._at < len(self._turn):
            return 0.0
        self._at = 0
        self._round += 1
        self._counted += not (self._promised and self._patience.retries)
        hope, self._hope, self._promised = self._hope, False, False
        if not hope or self._counted > self._patience.retries:
            return None
        pause = max(longest_pause(self._round) * self._random(), self._retry_after)
        self._retry_after = 0.0
        return pause if self._clock() + pause < self._end else None

    def _ended(self, answer: ScribeError | None) -> ScribeError:
        tried = "; ".join(f"{url}: {reason}" for url, reason in self._tried.items())
        if self._request.writes and self._maybe_done:
            return OutcomeUnknown(
                f"it is not known whether the write took effect ({tried})",
                hint=f"send it again with request_id={self._request.request_id!r}: it takes effect once",
            )
        if answer is None:
            return NetworkError(f"no node answered ({tried})", hint="is a node running there? see `scribe-node --help`")
        if len(self._tried) > 1:
            answer.message = f"{answer.message} (tried {tried})"
        return answer


def longest_pause(count: int) -> float:
    """Seconds before the repetition that is the ``count``-th; a random part of it is waited."""
    return min(FIRST_PAUSE_SECONDS * 2.0 ** min(count, 16), LONGEST_PAUSE_SECONDS)


def _seconds(value: bytes) -> float:
    """``Retry-After`` in seconds; a date is not worth reading, our own pauses are near enough."""
    return float(value) if value.isdigit() and len(value) < 6 else 0.0
