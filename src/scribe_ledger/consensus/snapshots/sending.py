"""``Sender``: answers a member that asks for a snapshot, in pieces.

*Incremental* if the member's ledger is a prefix of this one and lacks little: what it lacks is exported into a file
first, so that a broken transfer can go on, and the ledger is not read as slowly as a network drains. *Full* otherwise:
the files of a kept snapshot, or of one that is made now. A ledger with other entries is never overwritten without the
asking member's word: to differ is for an operator to look at. A member whose own ledger is in doubt gives nothing.

Reading, exporting and compressing are done in threads; two pieces are in memory at once.
"""

from __future__ import annotations

import asyncio
import base64
import contextlib
import threading
from collections import deque
from dataclasses import dataclass, field, replace
from hashlib import sha256
from types import MappingProxyType
from typing import TYPE_CHECKING, Any, NamedTuple

import orjson

from scribe_ledger.consensus.snapshots.description import FULL, INCREMENTAL, Description, File
from scribe_ledger.consensus.snapshots.files import remove_tree
from scribe_ledger.consensus.snapshots.keeper import GRACE_SECONDS, SENDING, describe
from scribe_ledger.consensus.snapshots.pieces import PIECE_BYTES, Data, End, Wait, encode_piece
from scribe_ledger.consensus.snapshots.spool import LENGTH
from scribe_ledger.errors import Conflict, Overloaded, SerializationError, Unavailable
from scribe_ledger.objects.durable import storage_errors

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator, Callable, Iterator, Mapping
    from pathlib import Path
    from typing import TypeVar

    from scribe_ledger.consensus.snapshots.keeper import Keeper, Moment
    from scribe_ledger.errors import ScribeError

    T = TypeVar("T")

    Export = Callable[[bytes, int, int, bytes], Iterator[bytes]]

FORMAT = 1
PIECES = "pieces"
"""The one file of an incremental snapshot."""
INCREMENTAL_ENTRIES = 20_000
INCREMENTAL_SHARE = 16
"""Up to this many entries, or one in so many, a difference is taken entry by entry: files are faster beyond."""
MAX_EXPORTS = 4
"""Incremental snapshots on disk at once."""
MAX_STREAMS = 16
WAIT_SECONDS = 1.0


class Request(NamedTuple):
    """What a member asks for."""

    ledger_id: str
    have: bytes
    """Its ``StateMachine.describe``."""
    size: int
    """Its entries."""
    least: int
    """The lowest position that is of use to it."""
    resume: str = ""
    """The snapshot that it has parts of."""
    offsets: Mapping[str, int] = MappingProxyType({})
    """How many bytes it has of that snapshot's files; those it has whole, too."""
    overwrite: bool = False
    """Whether its ledger may be replaced though its entries are others."""

    def encode(self) -> bytes:
        have = base64.b64encode(self.have).decode()
        return orjson.dumps(
            {"format": FORMAT, **self._replace(have=b"")._asdict(), "have": have, "offsets": {**self.offsets}}
        )

    @classmethod
    def decode(cls, text: bytes) -> Request:
        try:
            fields = orjson.loads(text)
            if fields.pop("format") != FORMAT:
                raise ValueError("its format is another")
            request = cls(**{**fields, "have": base64.b64decode(fields["have"], validate=True)})
            counts = (request.size, request.least, *request.offsets.values())
            if any(type(count) is not int or count < 0 for count in counts):
                raise ValueError("a count is none")
        except (ValueError, KeyError, TypeError, AttributeError) as error:
            raise SerializationError(f"the request for a snapshot cannot be read: {error}") from error
        return request


@dataclass
class Figures:
    """What was sent since the start."""

    sent: dict[str, int] = field(default_factory=lambda: {FULL: 0, INCREMENTAL: 0})
    """Completed, by kind."""
    bytes: int = 0
    seconds: dict[str, float] = field(default_factory=lambda: {FULL: 0.0, INCREMENTAL: 0.0})
    """Of those."""
    under_way: int = 0


class Sender:
    """One for a node. ``export`` is the state machine's; ``make`` and the moment are the keeper's."""

    def __init__(
        self,
        keeper: Keeper,
        export: Export,
        *,
        monotonic: Callable[[], float],
        doubt: Callable[[], ScribeError | None] = lambda: None,
    ) -> None:
        """``doubt``: why this ledger is nothing to give to others."""
        self._keeper = keeper
        self._export = export
        self._monotonic = monotonic
        self._doubt = doubt
        self._exports: dict[str, tuple[Description, float]] = {}
        self._using: dict[str, int] = {}
        self._writing = 0
        self.figures = Figures()

    async def on_stream(self, request: bytes) -> AsyncGenerator[bytes, None]:
        """The pieces of a snapshot. Closing the iterator early stops all that it does."""
        wanted = Request.decode(request)
        if wanted.ledger_id != self._keeper.ledger_id:
            raise Conflict(f"this is the ledger {self._keeper.ledger_id}, not {wanted.ledger_id}")
        doubt = self._doubt()
        if doubt is not None:
            raise Unavailable(f"this node gives no snapshot: {doubt.message}", hint="ask whoever leads, in a moment")
        if self.figures.under_way >= MAX_STREAMS:
            raise Overloaded(f"{MAX_STREAMS} snapshots are being sent", hint="ask again")
        self.figures.under_way += 1
        try:
            async with contextlib.aclosing(self._answer(wanted)) as pieces:
                async for piece in pieces:
                    self.figures.bytes += len(piece)
                    yield piece
        finally:
            self.figures.under_way -= 1

    async def _answer(self, wanted: Request) -> AsyncGenerator[bytes, None]:
        begun = self._monotonic()
        with self._keeper.sending(self._keeper.moment().position):  # until it is known which
            found = self._resumable(wanted)
            if found is None:
                task = asyncio.ensure_future(self._choose(wanted))
                try:
                    async for sign in _signs_until(task):
                        yield sign
                    found = task.result()
                finally:
                    if not task.done():
                        task.cancel()
                        await asyncio.gather(task, return_exceptions=True)
        with self._keeper.sending(found.position), self._in_use(found):
            yield encode_piece(found)
            offsets = wanted.offsets if wanted.resume == found.snapshot_id else {}
            async with contextlib.aclosing(_files(self._folder(found), found, offsets)) as pieces:
                async for piece in pieces:
                    yield piece
            if self._doubt() is not None:  # it turned out on the way
                raise Unavailable("this node has found out that its ledger is in doubt", hint="ask whoever leads")
            self.figures.sent[found.kind] += 1
            self.figures.seconds[found.kind] += self._monotonic() - begun
            yield encode_piece(End())

    async def tidy(self) -> None:
        """Removes what nobody came back for. To be called every minute or so."""
        await self._remove_exports(MAX_EXPORTS)

    # --- choosing ----------------------------------------------------------------------------------------------

    def _resumable(self, wanted: Request) -> Description | None:
        there = [*self._keeper.list(), *(description for description, _ in self._exports.values())]
        for found in there:
            if found.snapshot_id == wanted.resume and found.position >= wanted.least:
                return found
        return None

    async def _choose(self, wanted: Request) -> Description:
        await self._remove_exports(MAX_EXPORTS - 1)
        moment = self._keeper.moment()
        if moment.position < wanted.least:
            raise Unavailable(f"this node is at position {moment.position}, before {wanted.least}")
        # In this thread, and at once: what is exported is as of this call, and must be of that moment.
        pieces = self._export(wanted.have, moment.extent.size, moment.position, moment.record)
        lacking = moment.extent.size - wanted.size
        try:
            if lacking <= max(INCREMENTAL_ENTRIES, moment.extent.size // INCREMENTAL_SHARE):
                return await self._exported(pieces, moment)
            await asyncio.to_thread(_check_prefix, pieces)
        except Conflict:
            if not wanted.overwrite:
                raise
        found = self._keeper.newest(wanted.least)
        while found is None or found.position < wanted.least:  # one that was begun before may be too old
            found = await self._keeper.make()
        return found

    async def _exported(self, pieces: Iterator[bytes], moment: Moment) -> Description:
        description = describe(INCREMENTAL, moment, self._keeper.ledger_id, (), self._keeper.clock())
        self._writing += 1
        try:
            file = await _written(pieces, self._folder(description))
        finally:
            self._writing -= 1
        description = replace(description, files=(file,))
        self._exports[description.snapshot_id] = description, self._monotonic()
        return description

    async def _remove_exports(self, keep: int) -> None:
        """Those that nobody came back for; more than ``keep`` there are not."""
        idle = [name for name in self._exports if not self._using.get(name)]
        idle.sort(key=lambda name: self._exports[name][1])
        since = self._monotonic() - GRACE_SECONDS
        for name in idle:
            description, used_at = self._exports[name]
            if len(self._exports) + self._writing > keep or used_at < since:
                del self._exports[name]
                await asyncio.to_thread(remove_tree, self._folder(description))
        if len(self._exports) + self._writing > keep:
            raise Unavailable(f"{keep + 1} members are being sent what they lack", hint="ask again")

    @contextlib.contextmanager
    def _in_use(self, found: Description) -> Iterator[None]:
        name = found.snapshot_id
        self._using[name] = self._using.get(name, 0) + 1
        try:
            yield
        finally:
            self._using[name] -= 1
            if not self._using[name]:
                del self._using[name]
            if name in self._exports:
                self._exports[name] = found, self._monotonic()

    def _folder(self, found: Description) -> Path:
        if found.kind == FULL:
            return self._keeper.path(found)
        return self._keeper.folder / f"{SENDING}{found.snapshot_id}"


def _check_prefix(pieces: Iterator[bytes]) -> None:
    """``Conflict`` comes with the first piece; no more of them is wanted."""
    next(pieces, None)
    _close(pieces)


def _close(pieces: Iterator[bytes]) -> None:
    close = getattr(pieces, "close", None)
    if close is not None:
        close()


async def _written(pieces: Iterator[bytes], folder: Path) -> File:
    stop = threading.Event()
    writing = asyncio.ensure_future(asyncio.to_thread(_write_pieces, folder, pieces, stop))
    try:
        return await asyncio.shield(writing)
    except BaseException:
        stop.set()
        await asyncio.gather(writing, return_exceptions=True)
        await asyncio.to_thread(remove_tree, folder)
        raise


def _write_pieces(folder: Path, pieces: Iterator[bytes], stop: threading.Event) -> File:
    digest, size = sha256(), 0
    with storage_errors("write what a member lacks to", folder):
        folder.mkdir(mode=0o700)
        with (folder / PIECES).open("wb") as file:
            for piece in pieces:
                if stop.is_set():
                    _close(pieces)
                    raise Unavailable("the member is gone that asked for a snapshot")
                record = LENGTH.pack(len(piece)) + piece
                digest.update(record)
                size += file.write(record)
    return File(PIECES, size, digest.digest())


async def _signs_until(work: asyncio.Future[Any]) -> AsyncGenerator[bytes, None]:
    """For a reader that takes silence for the end of this node."""
    while not (await asyncio.wait({work}, timeout=WAIT_SECONDS))[0]:
        yield encode_piece(Wait())


async def _files(folder: Path, found: Description, offsets: Mapping[str, int]) -> AsyncGenerator[bytes, None]:
    """All that is missing, piece by piece; while one is on its way the next is read and compressed."""
    loop = asyncio.get_running_loop()
    ahead: deque[asyncio.Future[bytes]] = deque()
    try:
        for part in _parts(found, offsets):
            ahead.append(loop.run_in_executor(None, _read, folder, *part))
            if len(ahead) > 1:
                async for sign in _signs_until(ahead[0]):
                    yield sign
                yield ahead.popleft().result()
        while ahead:
            async for sign in _signs_until(ahead[0]):
                yield sign
            yield ahead.popleft().result()
    finally:
        await asyncio.gather(*ahead, return_exceptions=True)


def _parts(found: Description, offsets: Mapping[str, int]) -> Iterator[tuple[int, str, int, int]]:
    """Number and name of a file, offset and length."""
    for number, file in enumerate(found.files):
        for offset in range(min(offsets.get(file.name, 0), file.size), file.size, PIECE_BYTES):
            yield number, file.name, offset, min(PIECE_BYTES, file.size - offset)


def _read(folder: Path, number: int, name: str, offset: int, length: int) -> bytes:
    path = folder / name
    with storage_errors("read", path), path.open("rb") as file:
        file.seek(offset)
        content = file.read(length)
    return encode_piece(Data(number, offset, content))
