"""``import`` and ``export``."""

from __future__ import annotations

from pathlib import Path
from typing import IO, TYPE_CHECKING, Any, BinaryIO, cast

import click

from scribe_ledger.cli.arguments import NATURAL
from scribe_ledger.cli.files import writing
from scribe_ledger.cli.output import counted, print_json, say
from scribe_ledger.cli.progress import Progress
from scribe_ledger.cli.session import Session, creating_options, ledger_options, pass_session
from scribe_ledger.errors import ScribeError

if TYPE_CHECKING:
    from collections.abc import Iterator

    from scribe_ledger.cli.target import Target
    from scribe_ledger.ledger.transfer.exporting import Writer
    from scribe_ledger.ledger.transfer.rows import Row

NDJSON, PARQUET = "ndjson", "parquet"
SUFFIXES = {".ndjson": NDJSON, ".jsonl": NDJSON, ".parquet": PARQUET}

format_option = click.option(
    "--format",
    "form",
    type=click.Choice([NDJSON, PARQUET]),
    metavar="FORM",
    help="ndjson or parquet; by default what the suffix says (.ndjson, .jsonl, .parquet).",
)


@click.command()
@click.argument("file", default="-", type=click.Path(allow_dash=True, dir_okay=False))
@format_option
@click.option("--start", type=NATURAL, metavar="INDEX", help="Begin at this entry of the log.")
@click.option("--stop", type=NATURAL, metavar="INDEX", help="End before this entry of the log.")
@click.option("--latest", is_flag=True, help="Only the latest value of each live key, in key order.")
@ledger_options
@pass_session
def export(session: Session, file: str, form: str | None, start: int | None, stop: int | None, latest: bool) -> None:
    """Write entries with their values to FILE, or as NDJSON to standard output.

    The whole log can be taken over by another ledger with `scribe import --verbatim`.
    """
    from scribe_ledger.ledger.transfer.exporting import export_entries

    if latest and (start is not None or stop is not None):
        raise click.UsageError("--latest goes without --start and --stop")
    form = _format(file, form)
    with session.open() as target, Progress("exporting", "entries", output=file) as progress:
        entries = target.scan_with_values() if latest else target.log_with_values(start or 0, stop)
        total = None if latest else max(min(target.size, stop or target.size) - (start or 0), 0)
        with writing(file) as output, _writer(output, form) as writer:
            count = export_entries(target, entries, writer, progress=lambda done: progress.update(done, total))
    if file != "-":
        answer = {"file": file, "format": form, "entries": count}
        print_json(answer) if session.json else say(f"{counted(count)} written to {file}")


@click.command("import")
@click.argument("file", type=click.Path(exists=True, allow_dash=True, dir_okay=False))
@format_option
@click.option("--verbatim", is_flag=True, help="Into an empty ledger: keep indexes, timestamps and leaves.")
@click.option("--no-dedupe", is_flag=True, help="Append even what a key's latest version holds already.")
@click.option("--skip", type=NATURAL, default=0, metavar="N", help="Pass over the first N rows.")
@creating_options
@ledger_options
@pass_session
def import_(
    session: Session, file: str, form: str | None, verbatim: bool, no_dedupe: bool, skip: int, name: str
) -> None:
    """Append the entries of FILE, or those of standard input as NDJSON.

    Keys, values, content types and metadata are kept. With --verbatim the ledger gets the same entries as the one that
    was exported, and so the same root, under its own origin.
    """
    if verbatim and (no_dedupe or skip):
        raise click.UsageError("--verbatim takes every row as it is: --skip and --no-dedupe do not go with it")
    form = _format(file, form)
    with session.open(create=True, name=name) as target, _opened(file) as source:
        rows = _rows(source, file, form)
        answer = _take_over(target, rows) if verbatim else _append(target, rows, dedupe=not no_dedupe, skip=skip)
    if session.json:
        print_json(answer)
    else:
        others = [f"{count:,} {what}" for what, count in answer.items() if isinstance(count, int) and what != "rows"]
        say(", ".join([counted(answer["rows"], "row", "rows"), *others]))


def _append(target: Target, rows: Iterator[Row], *, dedupe: bool, skip: int) -> dict[str, Any]:
    from scribe_ledger.ledger.transfer.importing import Importer

    with Progress("importing", "rows") as progress:
        importer = Importer(target, dedupe=dedupe, batch_bytes=target.import_bytes, progress=progress.update)
        try:
            return importer.run(rows, skip=skip).to_json()
        except ScribeError as error:
            settled = importer.counts.rows
            done = f"done before it: {counted(settled, 'row', 'rows')}; go on with --skip {settled}"
            error.hint = f"{error.hint}; {done}" if error.hint else done
            raise
        except KeyboardInterrupt as interrupt:
            # A batch that was being written may be in the ledger too, and not be counted.
            settled = importer.counts.rows
            interrupt.add_note(f"done at least: {counted(settled, 'row', 'rows')}; go on with --skip {settled}")
            raise


def _take_over(target: Target, rows: Iterator[Row]) -> dict[str, Any]:
    with Progress("importing", "entries") as progress:
        count = target.import_verbatim(rows, progress.update)
    return {"rows": count, "appended": count, "root": target.checkpoint().root.hex()}


def _format(file: str, form: str | None) -> str:
    if file == "-":
        if form == PARQUET:
            raise click.UsageError("Parquet needs a file: - is always ndjson")
        return NDJSON
    found = form or SUFFIXES.get(Path(file).suffix.lower())
    if found is None:
        raise click.UsageError(f"the suffix of {file!r} names no format: say --format ndjson or --format parquet")
    return found


def _writer(file: IO[bytes], form: str) -> Writer:
    if form == PARQUET:
        from scribe_ledger.ledger.transfer.parquet import ParquetWriter

        return ParquetWriter(file)
    from scribe_ledger.ledger.transfer.ndjson import NdjsonWriter

    return NdjsonWriter(file)


def _opened(file: str) -> BinaryIO:
    return cast("BinaryIO", click.open_file(file, "rb"))


def _rows(source: BinaryIO, file: str, form: str) -> Iterator[Row]:
    if form == PARQUET:
        from scribe_ledger.ledger.transfer.parquet import read_parquet

        return read_parquet(Path(file))
    from scribe_ledger.ledger.transfer.ndjson import read_ndjson

    return read_ndjson(source)
