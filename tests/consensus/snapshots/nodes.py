"""Members with real ledgers on disk, and the way from one to another without a network."""

from __future__ import annotations

from typing import TYPE_CHECKING

from scribe_ledger.consensus.membership import MemberInfo, Membership
from scribe_ledger.consensus.snapshots.fetching import Fetcher
from scribe_ledger.consensus.snapshots.keeper import Keeper, Moment
from scribe_ledger.consensus.snapshots.sending import Sender
from scribe_ledger.errors import NetworkError
from scribe_ledger.ledger import commands, wire
from scribe_ledger.ledger.belonging import create_member_folder
from scribe_ledger.ledger.policy import Policy
from scribe_ledger.ledger.served import MemberLedger
from scribe_ledger.ledger.store_copies import StoreCopies
from scribe_ledger.merkle.note import Signer

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Awaitable, Callable
    from pathlib import Path

    from scribe_ledger.consensus.snapshots.description import Description
    from scribe_ledger.consensus.statemachine import StateMachine
    from scribe_ledger.errors import ScribeError

LEDGER_ID = "0123456789abcdef" * 2
KEY = Signer.generate("example.com/ledger")
TERM = 3
MEMBERS = Membership(1, 1, (1, 2), members={each: MemberInfo(each, each, "", "") for each in (1, 2)})


class Node:
    """A member's folder, its ledger open."""

    def __init__(self, path: Path, *, create: bool = True) -> None:
        self.path = path
        self.now = 0.0
        self.doubt: ScribeError | None = None
        self.vouch: Callable[[Description], Awaitable[None]] | None = None
        self._opened = False
        if create:
            self.create()
            self.open()

    def create(self) -> None:
        create_member_folder(
            self.path,
            ledger_id=LEDGER_ID,
            origin=KEY.name,
            created=1,
            epoch=0,
            policy=Policy(),
            private_key_text=KEY.private_text(),
            raft_id=1,
        )

    def open(self) -> None:
        self._opened = True
        self.ledger = MemberLedger.open(self.path)
        self.machine: StateMachine = self.ledger.state_machine
        self.copies = StoreCopies(self.ledger._store)

    def close(self) -> None:
        if self._opened:
            self.ledger.close()

    def found(self) -> None:
        self.machine.set_membership(1, MEMBERS.encode())

    def fill(self, count: int, *, name: str = "", batch: int = 500) -> None:
        """Applies so many entries, in Raft entries of ``batch``."""
        size = self.machine.extent.size
        for start in range(size, size + count, batch):
            unit = [
                commands.put(f"{name}key-{index}", f"value-{index}" * 8, request_id=f"{name}{index}")
                for index in range(start, min(start + batch, size + count))
            ]
            self.machine.apply(self.machine.position + 1, 1_700_000_000_000 + start, [wire.encode_unit(unit)], None)

    def moment(self) -> Moment:
        return Moment(self.machine.position, TERM, self.machine.extent, self.machine.membership)

    def keeper(self, *, keep: int = 2) -> Keeper:
        keeper = Keeper(
            self.path,
            self.copies,
            ledger_id=LEDGER_ID,
            keep=keep,
            moment=self.moment,
            term_of=lambda _: TERM,
            clock=lambda: 1_700_000_000_000,
            monotonic=lambda: self.now,
        )
        keeper.start()
        return keeper

    def sender(self, keeper: Keeper | None = None) -> Sender:
        return Sender(
            keeper or self.keeper(), self.machine.export, monotonic=lambda: self.now, doubt=lambda: self.doubt
        )

    def fetcher(self, open_stream: Callable[[bytes], AsyncIterator[bytes]]) -> Fetcher:
        return Fetcher(
            self.path, self.copies, ledger_id=LEDGER_ID, open_stream=open_stream, vouch=self.vouch, retry_seconds=0
        )

    async def fetch(
        self, open_stream: Callable[[bytes], AsyncIterator[bytes]], *, least: int = 0, overwrite: bool = False
    ) -> Description:
        return await self.fetcher(open_stream).fetch(
            have=self.machine.describe(), size=self.machine.extent.size, least=least, overwrite=overwrite
        )


class Line:
    """A way to a sender that breaks off, or changes a piece, where it is told to."""

    def __init__(
        self,
        sender: Sender,
        *,
        breaks_after: int | None = None,
        change: Callable[[int, bytes], bytes] = lambda _, piece: piece,
    ) -> None:
        self.sender = sender
        self.breaks_after = breaks_after
        self.change = change
        self.pieces = 0
        self.calls = 0

    async def __call__(self, request: bytes) -> AsyncIterator[bytes]:
        self.calls += 1
        stream = self.sender.on_stream(request)
        count = 0
        try:
            async for piece in stream:
                if count == self.breaks_after:
                    raise NetworkError("the line broke")
                count += 1
                self.pieces += 1
                yield self.change(self.pieces - 1, piece)
        finally:
            await stream.aclose()
