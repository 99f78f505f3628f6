"""``Batch``: several puts and deletes that take effect together or not at all."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Self, Unpack

from scribe_ledger.client import requests
from scribe_ledger.client.arguments import key_bytes, value_bytes
from scribe_ledger.errors import InvalidRequest

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Sequence

    from scribe_ledger.client.arguments import DeleteOptions, Key, PutOptions, Value
    from scribe_ledger.model import Receipt


class Collected:
    """What both batches share."""

    def __init__(self) -> None:
        self.commands: list[tuple[bytes, bytes | None, dict[str, Any]]] = []
        self.receipts: Sequence[Receipt] = ()
        """Filled when the block has ended."""
        self._ended = False

    def put(self, key: Key, value: Value, **options: Unpack[PutOptions]) -> None:
        self._check_not_ended()
        name = key_bytes(key)
        self.commands.append((name, value_bytes(value), requests.put_tail(name, **options)))

    def delete(self, key: Key, **options: Unpack[DeleteOptions]) -> None:
        self._check_not_ended()
        name = key_bytes(key)
        self.commands.append((name, None, requests.delete_tail(name, **options)))

    def _check_not_ended(self) -> None:
        if self._ended:
            raise InvalidRequest("the batch has ended", hint="begin another: with client.batch() as batch")

    def __len__(self) -> int:
        return len(self.commands)


class Batch(Collected):
    """Written when its ``with`` block ends well."""

    def __init__(self, write: Callable[[Collected], Sequence[Receipt]]) -> None:
        super().__init__()
        self._write = write

    def __enter__(self) -> Self:
        self._check_not_ended()
        return self

    def __exit__(self, kind: type[BaseException] | None, *_: object) -> None:
        self._ended = True
        if kind is None:
            self.receipts = self._write(self)


class AsyncBatch(Collected):
    """Written when its ``async with`` block ends well."""

    def __init__(self, write: Callable[[Collected], Awaitable[Sequence[Receipt]]]) -> None:
        super().__init__()
        self._write = write

    async def __aenter__(self) -> Self:
        self._check_not_ended()
        return self

    async def __aexit__(self, kind: type[BaseException] | None, *_: object) -> None:
        self._ended = True
        if kind is None:
            self.receipts = await self._write(self)
