"""``get``, ``ls``, ``history`` and ``log``."""

from __future__ import annotations

import io
import sys
from itertools import chain, islice
from typing import IO, TYPE_CHECKING

import click

from scribe_ledger.cli.arguments import BYTES, KEY, NATURAL, VERSION
from scribe_ledger.cli.files import writing
from scribe_ledger.cli.output import ENTRY_HEADING, entry_line, print_json, say, shown
from scribe_ledger.cli.progress import Progress
from scribe_ledger.cli.session import Session, ledger_options, pass_session
from scribe_ledger.errors import NotFound

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable

    from scribe_ledger.cli.target import Target
    from scribe_ledger.model import Entry

as_of_option = click.option("--as-of", type=NATURAL, metavar="SIZE", help="As it was when the log had SIZE entries.")
limit_option = click.option("--limit", type=NATURAL, metavar="N", help="At most N entries.")


@click.command()
@click.argument("key", type=KEY)
@click.option("-o", "--output", metavar="FILE", help="Write the value to a file, which appears when it is complete.")
@click.option("--version", type=VERSION, metavar="N", help="This version instead of the latest.")
@as_of_option
@ledger_options
@pass_session
def get(session: Session, key: bytes, output: str | None, version: int | None, as_of: int | None) -> None:
    """Write the value of KEY to standard output, byte for byte.

    On a terminal a newline follows. With --json the answer is the whole entry.
    """
    with session.open() as target:
        if session.json:
            _print_entry(target, key, output, version, as_of)
            return
        value = target.open_value(key, version=version, as_of=as_of)
        if value is None:
            raise _why_not(target, key, version, as_of)
        with value:
            _write_value(session, value, output or "-")


def _write_value(session: Session, value: IO[bytes], output: str) -> None:
    _copy(value, output)
    if output == "-" and (session.in_shell or sys.stdout.isatty()):
        sys.stdout.buffer.write(b"\n")


def _copy(value: IO[bytes], output: str) -> None:
    size = value.seek(0, io.SEEK_END)
    value.seek(0)
    with writing(output) as file, Progress("reading", "bytes", output=output) as progress:
        for piece in progress.through(value, size):
            file.write(piece)


def _print_entry(target: Target, key: bytes, output: str | None, version: int | None, as_of: int | None) -> None:
    from scribe_ledger.ledger.transfer.exporting import export_entries
    from scribe_ledger.ledger.transfer.ndjson import NdjsonWriter, fields_of, value_to_json
    from scribe_ledger.ledger.transfer.rows import STREAMED_BYTES

    entry = target.entry(key, version=version, as_of=as_of)
    if entry is None or entry.deleted:
        raise _why_not(target, key, version, as_of)
    if output is not None:
        with target.open_value(key, version=entry.version) or _nothing() as value:
            _copy(value, output)
        print_json(fields_of(entry) | {"file": output})
    elif entry.size > STREAMED_BYTES:
        with writing("-") as file, NdjsonWriter(file) as writer:
            export_entries(target, [entry], writer)
    else:
        print_json(fields_of(entry) | value_to_json(entry.value))


def _why_not(target: Target, key: bytes, version: int | None, as_of: int | None) -> NotFound:
    entry = target.entry(key, version=version, as_of=as_of)
    if entry is not None:
        return NotFound(
            f"key '{shown(key)}' is deleted: entry {entry.index}, version {entry.version}",
            hint="earlier versions stay: see `scribe history`",
        )
    which = "" if version is None else f"version {version} of "
    return NotFound(f"there is no {which}key '{shown(key)}'{_at(as_of)}")


def _at(as_of: int | None) -> str:
    return "" if as_of is None else f" at size {as_of}"


@click.command()
@click.argument("prefix", type=BYTES, default=b"")
@click.option("--start", type=BYTES, metavar="KEY", help="Begin at this key, or where it would stand.")
@limit_option
@click.option("--reverse", is_flag=True, help="From the last key to the first.")
@click.option("-l", "--long", is_flag=True, help="With index, version, size and time.")
@as_of_option
@ledger_options
@pass_session
def ls(
    session: Session,
    prefix: bytes,
    start: bytes | None,
    limit: int | None,
    reverse: bool,
    long: bool,
    as_of: int | None,
) -> None:
    """List the live keys that begin with PREFIX, in the order of their bytes."""
    with session.open() as target:
        entries = target.scan(prefix, start=start, limit=limit, reverse=reverse, as_of=as_of)
        if long:
            _list(session, entries, "key", lambda entry: shown(entry.key))
        else:
            for entry in entries:
                print_json(entry.to_json()) if session.json else say(shown(entry.key))


@click.command()
@click.argument("key", type=KEY)
@limit_option
@as_of_option
@ledger_options
@pass_session
def history(session: Session, key: bytes, limit: int | None, as_of: int | None) -> None:
    """List the versions of KEY, newest first, deletes included."""
    with session.open() as target:
        entries = target.history(key, as_of=as_of)
        first = next(entries, None)
        if first is None:
            raise NotFound(f"there is no key '{shown(key)}'{_at(as_of)}")
        _list(session, islice(chain([first], entries), limit), "sha256", _short_digest)


@click.command()
@click.option("--start", type=NATURAL, default=0, metavar="INDEX", help="Begin at this entry.")
@click.option("--stop", type=NATURAL, metavar="INDEX", help="End before this entry.")
@limit_option
@ledger_options
@pass_session
def log(session: Session, start: int, stop: int | None, limit: int | None) -> None:
    """List the entries of the log, oldest first."""
    with session.open() as target:
        if limit is not None:
            stop = start + limit if stop is None else min(stop, start + limit)
        _list(session, target.log(start, stop), "key", lambda entry: shown(entry.key))


def _list(session: Session, entries: Iterable[Entry], last: str, last_of: Callable[[Entry], str]) -> None:
    """One line each, as the entries come: the list may be long."""
    if not session.json:
        say(ENTRY_HEADING + last)
    for entry in entries:
        if session.json:
            print_json(entry.to_json())
        else:
            say((entry_line(entry) + last_of(entry)).rstrip())


def _short_digest(entry: Entry) -> str:
    return "" if entry.deleted else entry.sha256.hex()[:16] + "…"


def _nothing() -> IO[bytes]:
    raise AssertionError("an entry that is not deleted has a value")
