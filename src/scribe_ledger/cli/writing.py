"""``put`` and ``delete``."""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING, Any, BinaryIO, cast

import click

from scribe_ledger.cli.arguments import BYTES, KEY, NATURAL, PAIR, REQUEST_ID
from scribe_ledger.cli.files import size_of
from scribe_ledger.cli.output import print_json, say, shown
from scribe_ledger.cli.progress import Counted, Progress
from scribe_ledger.cli.session import Session, creating_options, ledger_options, pass_session

if TYPE_CHECKING:
    from collections.abc import Callable

    from scribe_ledger.model import Receipt


def condition_options(function: Callable[..., Any]) -> Callable[..., Any]:
    """What both commands take."""
    for option in (
        click.option(
            "--request-id",
            type=REQUEST_ID,
            metavar="ID",
            help="Makes a retry safe: it gets the first receipt. Printable ASCII.",
        ),
        click.option("--if-index", type=NATURAL, metavar="N", help="Only if the latest entry has this index."),
        click.option("--if-version", type=NATURAL, metavar="N", help="Only at this latest version; 0: never written."),
        click.option("--meta", type=PAIR, multiple=True, metavar="NAME=VALUE", help="Metadata; may be repeated."),
    ):
        function = option(function)
    return function


@click.command()
@click.argument("key", type=KEY)
@click.argument("value", type=BYTES, required=False)
@click.option(
    "-f", "--file", type=click.File("rb"), metavar="FILE", help="Store the bytes of a file, of any size; - is stdin."
)
@click.option("--content-type", default="", metavar="TYPE", help="What the value is, such as text/plain.")
@condition_options
@click.option("--if-absent", is_flag=True, help="Only if the key has no value.")
@click.option("--no-dedupe", is_flag=True, help="Append even what the latest version holds already.")
@creating_options
@ledger_options
@pass_session
def put(
    session: Session,
    /,
    key: bytes,
    value: bytes | None,
    file: BinaryIO | None,
    meta: tuple[tuple[str, str], ...],
    name: str,
    no_dedupe: bool,
    **options: Any,
) -> None:
    """Store VALUE under KEY, as a new version if the key has one.

    VALUE - reads standard input. The same content as the latest version appends nothing.
    """
    if (value is None) == (file is None):
        raise click.UsageError("give one value: VALUE, -f FILE, or - for standard input")
    if value == b"-":
        value, file = None, sys.stdin.buffer
    options |= {"metadata": metadata_of(meta), "dedupe": not no_dedupe}
    with session.open(create=True, name=name) as target:
        if file is None:
            assert value is not None
            receipt = target.put(key, value, **options)
        else:
            with Progress("storing", "bytes") as progress:
                counted = Counted(file, progress, size_of(file))
                receipt = target.put_stream(key, cast("BinaryIO", counted), **options)
    _answer(session, receipt, f"{shown(key)}: version {receipt.version}, entry {receipt.index}")


@click.command()
@click.argument("key", type=KEY)
@condition_options
@ledger_options
@pass_session
def delete(session: Session, /, key: bytes, meta: tuple[tuple[str, str], ...], **options: Any) -> None:
    """Delete KEY by a tombstone. Its versions stay in the log, and can be read and proven."""
    with session.open() as target:
        receipt = target.delete(key, metadata=metadata_of(meta), **options)
    _answer(session, receipt, f"{shown(key)}: deleted, version {receipt.version}, entry {receipt.index}")


def metadata_of(pairs: tuple[tuple[str, str], ...]) -> dict[str, str]:
    metadata = dict(pairs)
    if len(metadata) != len(pairs):
        raise click.UsageError("a metadata name is given twice")
    return metadata


def _answer(session: Session, receipt: Receipt, line: str) -> None:
    if session.json:
        print_json(receipt.to_json())
    else:
        say(line if receipt.created else f"{line} (was there already)")
