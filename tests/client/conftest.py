"""A ledger, a server of it that can be told to lie, and a client of either kind that verifies."""

from __future__ import annotations

import asyncio
from contextlib import ExitStack
from typing import TYPE_CHECKING, Any

import pytest
from tests.client.honest import Honest
from tests.client.serving import serving

from scribe_ledger import Ledger
from scribe_ledger.client import AsyncClient, Client

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

    from tests.client.serving import Server


class Blocking:
    """An ``AsyncClient`` whose methods wait, so that one test can be about both clients."""

    def __init__(self, *arguments: Any, **options: Any) -> None:
        self._runner = asyncio.Runner()
        self._closed = False
        self._client = self._runner.run(self._make(arguments, options))

    async def _make(self, arguments: Any, options: Any) -> AsyncClient:
        return AsyncClient(*arguments, **options)

    def __getattr__(self, name: str) -> Any:
        found = getattr(self._client, name)
        if not callable(found):
            return found

        def call(*arguments: Any, **options: Any) -> Any:
            return self._runner.run(self._wait(found, arguments, options))

        return call

    async def _wait(self, function: Callable[..., Any], arguments: Any, options: Any) -> Any:
        result = function(*arguments, **options)
        if hasattr(result, "__await__"):
            result = await result
        return [each async for each in result] if hasattr(result, "__aiter__") else result

    def close(self) -> None:
        """As often as one likes, as with both clients."""
        if not self._closed:
            self._closed = True
            with self._runner:
                self._runner.run(self._client.close())


class World:
    """Everything that a test needs to stage a meeting."""

    def __init__(self, path: Path, make: Callable[..., Any], stack: ExitStack) -> None:
        self.path = path
        self._make = make
        self._stack = stack
        self.ledger = stack.enter_context(Ledger.open(path / "ledger", name="example.org/log"))
        self.server = self.serve(self.ledger)
        self.client = self.connect(self.server.url)

    def serve(self, ledger: Ledger) -> Server:
        return self._stack.enter_context(serving(Honest(ledger)))

    def connect(self, *urls: str, **options: Any) -> Any:
        """A client that verifies, unless told otherwise, and does not wait long."""
        options = {"public_key": self.ledger.public_key, "deadline": 10.0, **options}
        client = self._make(list(urls), **options)
        self._stack.callback(client.close)
        return client

    def twin(self, name: str) -> Ledger:
        """A copy with the same key, which then can go its own way."""
        self.ledger.snapshot(self.path / name)
        return self._stack.enter_context(Ledger.open(self.path / name))


@pytest.fixture(params=[Client, Blocking], ids=["sync", "async"])
def world(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[World]:
    with ExitStack() as stack:
        yield World(tmp_path, request.param, stack)
