"""``Batch``: several puts and deletes that take effect together or not at all."""

from __future__ import annotations

from typing import TYPE_CHECKING, Self, Unpack

from scribe_ledger.errors import InvalidRequest
from scribe_ledger.ledger import commands

if TYPE_CHECKING:
    from collections.abc import Sequence

    from scribe_ledger.ledger.commands import Command, DeleteOptions, Key, PutOptions, Value
    from scribe_ledger.ledger.ledger import Ledger
    from scribe_ledger.model import Receipt


class Batch:
    """Collects commands for one atomic write. ``receipts`` is filled when the ``with`` block has ended."""

    def __init__(self, ledger: Ledger) -> None:
        self._ledger = ledger
        self._commands: list[Command] = []
        self._ended = False
        self.receipts: Sequence[Receipt] = ()

    def put(self, key: Key, value: Value, **options: Unpack[PutOptions]) -> None:
        self._add(commands.put(key, value, **options))

    def delete(self, key: Key, **options: Unpack[DeleteOptions]) -> None:
        self._add(commands.delete(key, **options))

    def _add(self, command: Command) -> None:
        self._check_not_ended()
        self._commands.append(command)

    def _check_not_ended(self) -> None:
        if self._ended:
            raise InvalidRequest("the batch has ended", hint="begin another: with ledger.batch() as batch")

    def __len__(self) -> int:
        return len(self._commands)

    def __enter__(self) -> Self:
        self._check_not_ended()
        return self

    def __exit__(self, kind: type[BaseException] | None, *_: object) -> None:
        self._ended = True
        if kind is None:
            self.receipts = self._ledger.write(self._commands)
