"""``Keeper``: the folder ``snapshots/`` of a node, one folder a full snapshot, named by its position.

::

    snapshots/00000000000000012345/meta.json   its description
                                   store/      a copy of the ledger's store, hard links where files never change
    snapshots/making/                          one that is not complete
    snapshots/sending-<id>/                    what is sent to one member that lacks a few entries; see ``sending``

A folder that has its number as its name is complete and durable. The description is read from the copy after it was
made, so it says exactly what the copy holds. A snapshot that is being sent, or was a moment ago, is not removed. One
that does not agree with its description is removed at the start, and that is said: the ledger lacks nothing of it.
"""

from __future__ import annotations

import asyncio
import contextlib
import secrets
from dataclasses import replace
from typing import TYPE_CHECKING, NamedTuple

import structlog

from scribe_ledger.consensus.membership import Membership
from scribe_ledger.consensus.snapshots.copies import STORE
from scribe_ledger.consensus.snapshots.description import FULL, Description, File
from scribe_ledger.consensus.snapshots.files import META, describe_file, read_description, remove_tree, write_durably
from scribe_ledger.errors import Corruption, ScribeError
from scribe_ledger.objects.durable import make_root, storage_errors, sync_directory

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

    from scribe_ledger.consensus.snapshots.copies import Copies
    from scribe_ledger.consensus.statemachine import Extent

SNAPSHOTS, MAKING, SENDING = "snapshots", "making", "sending-"
GRACE_SECONDS = 60.0
"""How long a snapshot still counts as being sent after it was: its receiver may come back for the rest, and needs the
entries behind it when it has installed it."""
log = structlog.get_logger("scribe.cluster")


class Moment(NamedTuple):
    """Where the node is, all of one moment: to be asked in the thread that applies."""

    position: int
    term: int
    """Of Raft's entry at the position."""
    extent: Extent
    membership: bytes

    @property
    def record(self) -> bytes:
        """The membership as a snapshot carries it: Raft's log of whoever installs it begins here."""
        return replace(Membership.decode(self.membership), index=self.position, term=self.term).encode()


class Keeper:
    """Used in an event loop; what takes long runs in threads. One snapshot is made at a time."""

    def __init__(
        self,
        data_dir: Path,
        copies: Copies,
        *,
        ledger_id: str,
        keep: int,
        moment: Callable[[], Moment],
        term_of: Callable[[int], int],
        clock: Callable[[], int],
        monotonic: Callable[[], float],
    ) -> None:
        """``term_of`` knows the term of every index that is not cut; ``clock`` is in ms since 1970."""
        self.folder = data_dir / SNAPSHOTS
        self.ledger_id = ledger_id
        self.moment = moment
        self._copies = copies
        self._keep = keep
        self._term_of = term_of
        self.clock = clock
        self._monotonic = monotonic
        self._snapshots: dict[int, Description] = {}
        self._making: asyncio.Task[Description] | None = None
        self._made_from: int | None = None
        self._users: dict[int, int] = {}
        self._used_at: dict[int, float] = {}
        self.made = 0
        """Since the start, those that are gone by now too."""
        self.seconds = 0.0
        """That the making took."""

    def start(self) -> None:
        """Reads what is there, and removes what is left of makings and sendings that were cut short. May take long."""
        with storage_errors("read", self.folder):
            make_root(self.folder)
            for child in sorted(self.folder.iterdir()):
                if child.name == MAKING or child.name.startswith(SENDING):
                    remove_tree(child)
                elif child.name.isdecimal():
                    self._take(child)

    def _take(self, folder: Path) -> None:
        """What cannot be sent is no reason not to start: a new one is made when somebody needs it."""
        try:
            found = read_description(folder / META)
            _check_files(folder / STORE, found)
            if folder.name != f"{found.position:020}":
                raise Corruption(f"{folder / META} is that of position {found.position}")
        except ScribeError as error:
            log.warning("a damaged snapshot is removed: the ledger has all of it", path=str(folder), error=str(error))
            remove_tree(folder)
        else:
            self._snapshots[found.position] = found

    async def make(self) -> Description:
        """A snapshot of now, or the one there is if nothing has changed since. Who asks meanwhile gets the same."""
        if self._making is None:
            self._made_from = self.moment().position
            self._making = asyncio.ensure_future(self._make(self._made_from))
            self._making.add_done_callback(self._made)
        return await asyncio.shield(self._making)  # a caller that leaves does not stop it half-way

    async def _make(self, position: int) -> Description:
        if position in self._snapshots:
            return self._snapshots[position]
        making, begun = self.folder / MAKING, self._monotonic()
        try:
            position = await asyncio.to_thread(self._copy, making)
            made = await asyncio.to_thread(self._complete, making, self._term_of(position))
        except BaseException:
            await asyncio.to_thread(remove_tree, making)  # it may be what fills the disk
            raise
        self.made += 1
        self.seconds += self._monotonic() - begun
        self._snapshots[made.position] = made
        await self._remove_old()
        return made

    def _made(self, _: object) -> None:
        self._making = self._made_from = None

    def list(self) -> list[Description]:
        """Newest first."""
        return [self._snapshots[position] for position in sorted(self._snapshots, reverse=True)]

    def newest(self, least: int = 0) -> Description | None:
        """The newest, unless it is of a position before ``least``."""
        position = max(self._snapshots, default=-1)
        return self._snapshots[position] if position >= least else None

    def path(self, snapshot: Description) -> Path:
        """Where its files are."""
        return self.folder / f"{snapshot.position:020}" / STORE

    @contextlib.contextmanager
    def sending(self, position: int) -> Iterator[None]:
        """While a snapshot of that position is sent. The log must not be cut beyond it, nor the snapshot removed."""
        self._users[position] = self._users.get(position, 0) + 1
        try:
            yield
        finally:
            self._users[position] -= 1
            self._used_at[position] = self._monotonic()
            if not self._users[position]:
                del self._users[position]

    async def stop(self) -> None:
        """Waits for what is being made."""
        if self._making is not None:
            await asyncio.gather(self._making, return_exceptions=True)

    @property
    def held(self) -> int | None:
        """The lowest position that is being made, or sent, or was a moment ago: what ``compaction`` asks."""
        made_from = [self._made_from] if self._made_from is not None else []
        return min((*made_from, *self._in_use()), default=None)

    # --- in threads --------------------------------------------------------------------------------------------

    def _copy(self, making: Path) -> int:
        remove_tree(making)
        with storage_errors("make a snapshot in", making):
            making.mkdir(mode=0o700)
        self._copies.make(making / STORE)
        return self._copies.read(making / STORE).position

    def _complete(self, making: Path, term: int) -> Description:
        """Lets the copy say at which term its position stands, describes it, and gives it its name."""
        store = making / STORE
        copied = self._copies.read(store)
        record = Moment(copied.position, term, copied.extent, copied.membership).record
        self._copies.set_membership(store, record)
        copied = self._copies.read(store)
        with storage_errors("make a snapshot in", making):
            description = describe(
                FULL,
                Moment(copied.position, term, copied.extent, copied.membership),
                self.ledger_id,
                tuple(map(describe_file, sorted(store.iterdir()))),
                self.clock(),
            )
            write_durably(making / META, description.encode())
            making.rename(self.folder / f"{copied.position:020}")
            sync_directory(self.folder)
        return description

    async def _remove_old(self) -> None:
        in_use = self._in_use()
        for snapshot in self.list()[self._keep :]:
            if snapshot.position not in in_use:
                del self._snapshots[snapshot.position]
                await asyncio.to_thread(self._remove, snapshot.position)

    def _remove(self, position: int) -> None:
        """Under another name first: what has a number for its name is complete."""
        gone = self.folder / f"{SENDING}removed-{position}"
        with storage_errors("remove a snapshot from", self.folder):
            (self.folder / f"{position:020}").rename(gone)
        remove_tree(gone)

    def _in_use(self) -> set[int]:
        since = self._monotonic() - GRACE_SECONDS
        self._used_at = {position: at for position, at in self._used_at.items() if at > since}
        return {*self._users, *self._used_at}


def _check_files(store: Path, description: Description) -> None:
    """That they are there, and as long as they were. Their content is compared by whoever receives them."""
    for file in description.files:
        path = store / file.name
        with storage_errors("read", path):
            size = path.stat().st_size
        if size != file.size:
            raise Corruption(f"{path} has {size} bytes, not {file.size}")


def describe(kind: str, moment: Moment, ledger_id: str, files: tuple[File, ...], made_at: int) -> Description:
    """The description of a snapshot of that moment."""
    size, root, version, digest = moment.extent
    name = f"{moment.position:020}-{secrets.token_hex(8)}"
    where = (moment.position, moment.term)
    return Description(name, kind, ledger_id, *where, size, root, version, digest, moment.record, files, made_at)
