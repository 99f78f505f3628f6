"""``Fetcher``: pulls a snapshot into the folder ``incoming/``, checks it, and marks it ready.

::

    incoming/meta.json   the description of what is being fetched
             files/      its files; the last may be incomplete
             ready       the same description again: all is here, checked and durable; see ``installing``

What was fetched is kept over broken connections and restarts: the next request names it, and the sender goes on if it
still has that snapshot. Every piece has a checksum, every file a digest; a file that does not match is fetched again.
"""

from __future__ import annotations

import asyncio
import contextlib
import os
from hashlib import sha256
from typing import TYPE_CHECKING, BinaryIO, NamedTuple

from scribe_ledger.consensus.snapshots.description import FULL, Description, File
from scribe_ledger.consensus.snapshots.files import META, describe_file, read_description, remove_tree, write_durably
from scribe_ledger.consensus.snapshots.installing import (
    FILES,
    INCOMING,
    READY,
    REMOVED,
    Refused,
    check_head,
    check_outline,
)
from scribe_ledger.consensus.snapshots.pieces import Data, End, Wait, decode_piece
from scribe_ledger.consensus.snapshots.sending import Request
from scribe_ledger.errors import Conflict, NetworkError, StorageError, Unavailable, VerificationError
from scribe_ledger.model import CHUNK_BYTES
from scribe_ledger.objects.durable import make_root, storage_errors, sync_directory, write_all

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator, AsyncIterator, Awaitable, Callable
    from pathlib import Path

    from scribe_ledger.consensus.snapshots.copies import Copies

    OpenStream = Callable[[bytes], AsyncIterator[bytes]]

ATTEMPTS = 5
"""In a row that brought nothing new."""
RETRY_SECONDS = 0.5


class Progress(NamedTuple):
    bytes: int
    total: int


class Fetcher:
    """One for a node, for one fetch at a time."""

    def __init__(
        self,
        data_dir: Path,
        copies: Copies,
        *,
        ledger_id: str,
        open_stream: OpenStream,
        vouch: Callable[[Description], Awaitable[None]] | None = None,
        retry_seconds: float = RETRY_SECONDS,
    ) -> None:
        """``open_stream`` sends a request to whoever leads now, and gives the pieces of the answer. ``vouch`` raises
        ``Conflict`` for a snapshot that other members contradict."""
        self._data_dir = data_dir
        self._copies = copies
        self._ledger_id = ledger_id
        self._open_stream = open_stream
        self._vouch = vouch
        self._retry_seconds = retry_seconds
        self._fetched = 0
        self._total = 0

    @property
    def progress(self) -> Progress:
        return Progress(self._fetched, self._total)

    async def fetch(self, *, have: bytes, size: int, least: int, overwrite: bool = False) -> Description:
        """Durable on return, and to be installed even if the process dies. What is not to be had raises; ``Refused``
        if it came, and is not what it says: it is removed.

        ``have`` and ``size`` describe this node's ledger, ``least`` is the position from which a snapshot is of use.
        """
        left = ATTEMPTS
        while True:
            before = self._fetched
            partial = await asyncio.to_thread(_Partial.load, self._data_dir)
            request = Request(self._ledger_id, have, size, least, *partial.resume, overwrite)
            try:
                await self._pull(partial, request)
                await self._have_it_vouched_for(partial)
                return await asyncio.to_thread(self._finish, partial)
            except Unavailable:
                left = left - 1 if self._fetched <= before else ATTEMPTS
                if not left:
                    raise
            except (StorageError, Refused):
                await asyncio.to_thread(partial.remove)  # a full disk is given back what was fetched
                raise
            finally:
                await asyncio.to_thread(partial.close)
            await asyncio.sleep(self._retry_seconds)

    async def _pull(self, partial: _Partial, request: Request) -> None:
        ended = False
        async with contextlib.aclosing(_from_peer(self._open_stream(request.encode()))) as stream:
            async for message in stream:
                piece = await asyncio.to_thread(decode_piece, message)
                if isinstance(piece, Description):
                    self._check(piece, request)
                    await asyncio.to_thread(partial.begin, piece)
                    self._fetched, self._total = partial.total_bytes, piece.total_bytes
                elif isinstance(piece, Data):
                    await asyncio.to_thread(partial.write, piece)
                    self._fetched = partial.total_bytes
                elif isinstance(piece, End):
                    ended = True
                    break
                else:
                    assert isinstance(piece, Wait)
        if not ended:
            raise NetworkError("the transfer of a snapshot broke off")

    async def _have_it_vouched_for(self, partial: _Partial) -> None:
        """Before it is marked as ready: from then on it is installed whatever happens."""
        if self._vouch is None or partial.description is None:
            return
        try:
            await self._vouch(partial.description)
        except Conflict:
            await asyncio.to_thread(partial.remove)
            raise

    def _check(self, description: Description, request: Request) -> None:
        if description.ledger_id != self._ledger_id:
            raise Conflict(f"the snapshot is of the ledger {description.ledger_id}, this one is {self._ledger_id}")
        if description.position < request.least:
            raise Refused(f"the snapshot is of position {description.position}, and {request.least} was asked for")
        if description.kind == FULL:
            check_head(self._data_dir, self._copies, description)

    def _finish(self, partial: _Partial) -> Description:
        description = partial.complete()
        if description.kind == FULL:
            self._prove(description, partial.files)
        write_durably(partial.folder / READY, description.encode())
        return description

    def _prove(self, description: Description, files: Path) -> None:
        """An incremental one follows on the open ledger, so it is proven where it is taken: see ``installing``."""
        try:
            check_outline(description, self._copies.prove(files))
        except (StorageError, VerificationError) as error:
            raise Refused(error.message, hint=REMOVED) from error


class _Partial:
    """What is there of a snapshot. Used by one thread at a time."""

    def __init__(self, folder: Path, description: Description | None, offsets: dict[str, int]) -> None:
        self.folder = folder
        self.files = folder / FILES
        self._description = description
        self._offsets = offsets
        self._writing: tuple[int, BinaryIO] | None = None
        self._verified: set[str] = set()
        self._digest = sha256()

    @classmethod
    def load(cls, data_dir: Path) -> _Partial:
        folder = data_dir / INCOMING
        with storage_errors("read", folder):
            make_root(folder / FILES)
            if not (folder / META).exists():
                return cls(folder, None, {})
            description = read_description(folder / META)
            there = {path.name: path.stat().st_size for path in (folder / FILES).iterdir()}
        return cls(folder, description, there)

    @property
    def description(self) -> Description | None:
        return self._description

    @property
    def resume(self) -> tuple[str, dict[str, int]]:
        return (self._description.snapshot_id, self._offsets) if self._description is not None else ("", {})

    @property
    def total_bytes(self) -> int:
        return sum(self._offsets.values())

    def begin(self, description: Description) -> None:
        """Goes on with what is there if it is of the same snapshot; otherwise begins anew."""
        if description == self._description:
            return
        remove_tree(self.folder)
        with storage_errors("fetch a snapshot into", self.folder):
            make_root(self.files)
        write_durably(self.folder / META, description.encode())
        self._description, self._offsets, self._verified = description, {}, set()

    def write(self, piece: Data) -> None:
        if self._description is None or piece.file >= len(self._description.files):
            raise NetworkError("a piece of a snapshot came that nobody has announced")
        file = self._description.files[piece.file]
        have = self._offsets.get(file.name, 0)
        if piece.offset != have or have + len(piece.content) > file.size:
            raise NetworkError(f"a piece of {file.name} came that does not follow on the last")
        path = self.files / file.name
        with storage_errors("write", path):
            if self._writing is None or self._writing[0] != piece.file:
                self._open(piece.file, path)
            assert self._writing is not None
            write_all(self._writing[1].fileno(), piece.content)
            self._digest.update(piece.content)
            self._offsets[file.name] = have + len(piece.content)
            if self._offsets[file.name] == file.size:
                self._finish_file(path, file)

    def complete(self) -> Description:
        """Requires that nothing is missing, and makes it durable."""
        self.close()
        description = self._description
        if description is None or any(self._offsets.get(f.name, 0) != f.size for f in description.files):
            raise NetworkError("the transfer of a snapshot ended before all was sent")
        for file in description.files:
            if file.name not in self._verified:  # it was complete, or nearly, when an earlier process ended
                self._check_again(file)
        with storage_errors("sync", self.files):
            sync_directory(self.files)
            sync_directory(self.folder)
        return description

    def close(self) -> None:
        if self._writing is not None:
            self._writing[1].close()
            self._writing = None

    def remove(self) -> None:
        self.close()
        remove_tree(self.folder)

    def _open(self, number: int, path: Path) -> None:
        """The digest of a file that was begun earlier goes over what is there, as the disk gives it now."""
        self.close()
        self._digest = sha256()
        file = path.open("ab+", buffering=0)
        self._writing = (number, file)
        file.seek(0)
        while content := file.read(CHUNK_BYTES):
            self._digest.update(content)

    def _check_again(self, file: File) -> None:
        path = self.files / file.name
        with storage_errors("sync", path), path.open("ab") as there:
            os.fsync(there.fileno())
        self._require(path, describe_file(path).sha256, file)

    def _finish_file(self, path: Path, file: File) -> None:
        assert self._writing is not None
        os.fsync(self._writing[1].fileno())
        self.close()
        self._require(path, self._digest.digest(), file)

    def _require(self, path: Path, found: bytes, file: File) -> None:
        if found == file.sha256:
            self._verified.add(file.name)
        else:
            path.unlink()
            self._offsets.pop(file.name, None)
            raise NetworkError(f"{path.name} of a snapshot is not what was sent: it is fetched again")


async def _from_peer(stream: AsyncIterator[bytes]) -> AsyncGenerator[bytes, None]:
    """A generator, whatever iterator the transport gives; closing it closes that too.

    Errors keep their class on the way from a peer. What is wrong with *its* disk is no reason for this node to stop.
    """
    try:
        async for message in stream:
            yield message
    except (StorageError, VerificationError) as error:
        raise Unavailable(f"the other member cannot send a snapshot: {error.message}", hint=error.hint) from error
    finally:
        close = getattr(stream, "aclose", None)
        if close is not None:
            await close()
