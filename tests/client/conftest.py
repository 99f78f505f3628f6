"""A node, a way to it on which lies can be told, and a client of either kind that verifies."""

from __future__ import annotations

import asyncio
from contextlib import ExitStack
from typing import TYPE_CHECKING, Any

import pytest
from tests.client.serving import forwarding, serving
from tests.http.serving import serve

from scribe_ledger.client import AsyncClient, Client

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

    from tests.client.serving import Answering, Server

    from scribe_ledger import Ledger


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
        self._answers: dict[Ledger, Answering] = {}
        self._urls: dict[Ledger, str] = {}
        self.ledger = self.open("ledger", name="example.org/log")
        self.server = self.serve(self.ledger)
        self.client = self.connect(self.server.url)

    def open(self, folder: str, **options: Any) -> Ledger:
        """A ledger that a real node serves."""
        settings = {"api.read_timeout_secs": 1}  # how long it waits for what it lacks
        served = self._stack.enter_context(serve(self.path / folder, settings=settings, **options))
        self._answers[served.ledger] = forwarding(served.host, served.port)
        self._urls[served.ledger] = served.url
        return served.ledger

    def answers(self, ledger: Ledger) -> Answering:
        """What the node of this ledger answers."""
        return self._answers[ledger]

    def url_of(self, ledger: Ledger) -> str:
        """The node itself, where nothing is changed on the way."""
        return self._urls[ledger]

    def serve(self, ledger: Ledger) -> Server:
        """A way to the node of a ledger on which its answers can be changed."""
        return self._stack.enter_context(serving(self.answers(ledger)))

    def connect(self, *urls: str, **options: Any) -> Any:
        """A client that verifies, unless told otherwise, and does not wait long."""
        options = {"public_key": self.ledger.public_key, "deadline": 10.0, **options}
        client = self._make(list(urls), **options)
        self._stack.callback(client.close)
        return client

    def twin(self, name: str) -> Ledger:
        """A copy with the same key, which then can go its own way."""
        self.ledger.snapshot(self.path / name)
        return self.open(name)


@pytest.fixture(params=[Client, Blocking], ids=["sync", "async"])
def world(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[World]:
    with ExitStack() as stack:
        yield World(tmp_path, request.param, stack)
