"""What every command shares: which ledger, and in what form to answer.

``--data``, ``--url`` and ``--json`` may stand before or after the command's name; the last one given counts. The shell
gives its commands a session that has its ledger open already.
"""

from __future__ import annotations

import os
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any, TypeVar

import click

from scribe_ledger.cli.target import Place, Target, open_target

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

_F = TypeVar("_F", bound="Callable[..., Any]")

DEFAULT_DATA = "./data"


class Session:
    """The state of one invocation."""

    def __init__(self, target: Target | None = None) -> None:
        self.data: str | None = None
        self.url: str | None = None
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
            if self.data is not None or self.url is not None or name:
                raise click.UsageError("the shell has its ledger open already: leave it to open another")
            yield self.target
            return
        target = open_target(self.place(), create=create, name=name)
        try:
            yield target
        finally:
            target.close()

    def place(self) -> Place:
        """Where the ledger is. What was typed counts more than a variable."""
        if self.data is not None and self.url is not None:
            raise click.UsageError("give --data or --url, not both")
        if self.data is not None or self.url is not None:
            return Place(data=self.data, url=self.url)
        data, url = os.environ.get("SCRIBE_DATA") or None, os.environ.get("SCRIBE_URL") or None
        return Place(data=data or (DEFAULT_DATA if url is None else None), url=url)


def ledger_options(function: _F) -> _F:
    """``--data``, ``--url`` and ``--json``."""
    function = _option("--url", metavar="URL", help="The ledger of a node.  [variable: SCRIBE_URL]")(function)
    function = _option("--data", metavar="DIR", help="The ledger's folder.  [variable: SCRIBE_DATA]")(function)
    return output_options(function)


def output_options(function: _F) -> _F:
    """``--json`` alone, for commands that need no ledger."""
    return _option("--json", is_flag=True, help="Answer in JSON: one document, or one a line for lists.")(function)


def creating_options(function: _F) -> _F:
    """For commands that may create a ledger."""
    return click.option("--name", metavar="ORIGIN", default="", help="The ledger's name, if this creates it.")(function)


pass_session = click.make_pass_decorator(Session)


def _option(name: str, **settings: Any) -> Callable[[_F], _F]:
    return click.option(name, expose_value=False, is_eager=True, callback=_keep, **settings)


def _keep(context: click.Context, parameter: click.Parameter, value: str | bool | None) -> None:
    session = context.find_object(Session)
    if session is not None and value not in (None, False):
        assert parameter.name is not None
        setattr(session, parameter.name, value)
