"""``watch``."""

from __future__ import annotations

import sys
from contextlib import closing
from itertools import islice
from typing import TYPE_CHECKING, cast

import click

from scribe_ledger.cli.arguments import BYTES, NATURAL
from scribe_ledger.cli.output import ENTRY_HEADING, entry_line, print_json, say, shown
from scribe_ledger.cli.session import Session, ledger_options, pass_session

if TYPE_CHECKING:
    from collections.abc import Generator

    from scribe_ledger.model import Entry


@click.command()
@click.argument("prefix", type=BYTES, default=b"")
@click.option("--start", type=NATURAL, metavar="INDEX", help="Begin at this entry instead of with what comes next.")
@click.option("--limit", type=NATURAL, metavar="N", help="End after N entries.")
@ledger_options
@pass_session
def watch(session: Session, prefix: bytes, start: int | None, limit: int | None) -> None:
    """Print entries as they are committed, of keys that begin with PREFIX, until Ctrl-C."""
    with session.open_node("a folder has no other writer while it is open here") as node:
        # Closed at the end, not when it is collected: it holds a connection.
        entries = cast("Generator[Entry]", node.watch(prefix, start=start))
        with closing(entries):
            for count, entry in enumerate(islice(entries, limit)):
                if session.json:
                    print_json(entry.to_json())
                else:
                    say(*[ENTRY_HEADING + "key"][count:], entry_line(entry) + shown(entry.key))
                sys.stdout.flush()
