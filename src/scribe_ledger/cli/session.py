"""What every command shares: which ledger, and in what form to answer.

The shared options may stand before or after the command's name; the last one given counts, and what is typed counts
more than a variable. The shell gives its commands a session that has its ledger open already.
"""

from __future__ import annotations

import os
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any, TypeVar, cast

import click

from scribe_ledger.cli.target import Node, Place, Target, open_node, open_target

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

_F = TypeVar("_F", bound="Callable[..., Any]")

DEFAULT_DATA = "./data"


class Session:
    """The state of one invocation."""

    def __init__(self, target: Target | None = None) -> None:
        self.data: str | None = None
        self.url: str | None = None
        self.public_key: str | None = None
        self.trust: str | None = None
        self.object_store: str | None = None
        self.json = False
        self.target = target
        """The shell's ledger, which commands use and leave open."""

    @property
    def in_shell(self) -> bool:
        return self.target is not None

    @contextmanager
    def open(self, *, create: bool = False, name: str = "") -> Iterator[Target]:
        """The ledger, for as long as the command needs it. Only commands that write may create one."""
        if self.target is not None:
            if name:
                raise click.UsageError("the shell has its ledger open already: leave it to open another")
            yield self._shells_own(self.target)
            return
        target = open_target(self.place(), create=create, name=name)
        try:
            yield target
        finally:
            target.close()

    @contextmanager
    def open_node(self, what: str) -> Iterator[Node]:
        """The same for what only a node can answer; ``what`` says why, such as ``a folder is in no cluster``."""
        needed = click.UsageError(f"{what}: name a node with --url")
        if self.target is not None:
            if not hasattr(self._shells_own(self.target), "watch"):
                raise needed
            yield cast("Node", self.target)
            return
        place = self.place()
        if place.url is None:
            raise needed
        node = open_node(place)
        try:
            yield node
        finally:
            node.close()

    def place(self) -> Place:
        """Where the ledger is."""
        if self.data is not None and self.url is not None:
            raise click.UsageError("give --data or --url, not both")
        if self.data == "":  # to the system it would be the working folder
            raise click.UsageError("--data names no folder: it is empty")
        data, url = self.data, self.url
        if data is None and url is None:
            data, url = _variable("SCRIBE_DATA"), _variable("SCRIBE_URL")
            data = data or (DEFAULT_DATA if url is None else None)
        if url is None:
            if self.public_key is not None or self.trust is not None:
                raise click.UsageError("--public-key and --trust are for a --url: a folder is read as it is")
            return Place(data=data, object_store=self.object_store)
        if self.object_store is not None:
            raise click.UsageError("--object-store is for a --data: a node has its own")
        if data is not None:
            raise click.UsageError("SCRIBE_DATA and SCRIBE_URL are both set: name one ledger with --data or --url")
        key, trust = self.public_key or _variable("SCRIBE_PUBLIC_KEY"), self.trust or _variable("SCRIBE_TRUST")
        return Place(url=url, public_key=key, trust=trust)

    def _shells_own(self, target: Target) -> Target:
        if any(given is not None for given in (self.data, self.url, self.public_key, self.trust, self.object_store)):
            raise click.UsageError("the shell has its ledger open already: leave it to open another")
        return target


def ledger_options(function: _F) -> _F:
    """Which ledger, how it is verified, and the form of the answer."""
    return place_options(
        function,
        _option(
            "--public-key",
            metavar="VKEY",
            help="The key, or its file, that verifies what a URL answers.  [variable: SCRIBE_PUBLIC_KEY]",
        ),
    )


def place_options(function: _F, *more: Callable[[_F], _F]) -> _F:
    """The same for commands whose ``--public-key`` is an option of their own."""
    function = _option(
        "--trust",
        metavar="FILE",
        help="Remembers the last checkpoint that a URL showed; - is nowhere.  [variable: SCRIBE_TRUST]",
    )(function)
    for option in more:
        function = option(function)
    function = _option("--url", metavar="URL", help="The ledger of a node.  [variable: SCRIBE_URL]")(function)
    function = _option(
        "--object-store",
        metavar="URL",
        help="Where a folder's archive is, if not in it.  [variable: SCRIBE_STORAGE_OBJECT_STORE]",
    )(function)
    function = _option("--data", metavar="DIR", help="The ledger's folder.  [variable: SCRIBE_DATA]")(function)
    return output_options(function)


def output_options(function: _F) -> _F:
    """``--json`` alone, for commands that need no ledger."""
    return _option("--json", is_flag=True, help="Answer in JSON: one document, or one a line for lists.")(function)


def creating_options(function: _F) -> _F:
    """For commands that may create a ledger."""
    return click.option("--name", metavar="ORIGIN", default="", help="The ledger's name, if this creates it.")(function)


pass_session = click.make_pass_decorator(Session)


def _variable(name: str) -> str | None:
    return os.environ.get(name) or None


def _option(name: str, **settings: Any) -> Callable[[_F], _F]:
    return click.option(name, expose_value=False, is_eager=True, callback=_keep, **settings)


def _keep(context: click.Context, parameter: click.Parameter, value: str | bool | None) -> None:
    session = context.find_object(Session)
    if session is not None and value not in (None, False):
        assert parameter.name is not None
        setattr(session, parameter.name, value)
