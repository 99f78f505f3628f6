"""``stats`` and ``fsck``."""

from __future__ import annotations

from typing import TYPE_CHECKING

import click

from scribe_ledger.cli.output import print_fields, print_json, say, shown, time_of
from scribe_ledger.cli.progress import Progress
from scribe_ledger.cli.session import Session, ledger_options, pass_session
from scribe_ledger.errors import Corruption

if TYPE_CHECKING:
    from scribe_ledger.ledger.check import Report


@click.command()
@ledger_options
@pass_session
def stats(session: Session) -> None:
    """Show the ledger's counts and sizes, its name and its public key."""
    with session.open() as target:
        found = target.stats() | {"public_key": target.public_key}
    if session.json:
        print_json(found)
        return
    storage, policy = found["storage_bytes"], found["policy"]
    last = time_of(found["last_timestamp"]) + " UTC" if found["entries"] else "none"
    print_fields(
        [
            ("origin", shown(found["origin"])),
            ("public key", shown(found["public_key"])),
            ("entries", f"{found['entries']:,}"),
            ("keys", f"{found['keys']:,} ({found['live_keys']:,} live)"),
            ("value bytes", f"{found['value_bytes']:,}"),
            ("last entry", last),
            ("on disk", f"{storage['hot']:,} bytes, and {storage['blobs']:,} in large values"),
            ("policies", f"overwrite = {policy['overwrite']}, deletes = {policy['deletes']}"),
        ]
    )


@click.command()
@click.argument("store", metavar="[URL]", required=False)
@ledger_options
@click.pass_context
@pass_session
def fsck(session: Session, context: click.Context, store: str | None) -> None:
    """Recompute tree, digests and key index from the entries, and name every place that differs.

    It reads everything in the ledger's folder, in bounded memory, and changes nothing. Exit code 1 if anything is
    wrong. The URL of an object store, whose archive would be checked, is for a later version.
    """
    if store is not None:
        raise click.UsageError("this version checks a folder: name it with --data; a node's log has `verify --audit`")
    report = _report(session)
    if session.json:
        print_json(report.to_json())
    else:
        for problem in report.problems:
            say(shown(str(problem)))
        verdict = "no faults" if report.ok else f"{len(report.problems):,} faults"
        say(f"{report.entries:,} entries checked, root {report.root.hex() or 'unknown'}: {verdict}")
    if not report.ok:
        context.exit(1)


def _report(session: Session) -> Report:
    try:
        with session.open() as target, Progress("checking", "entries") as progress:
            return target.verify(progress.update)
    except Corruption as error:  # so damaged that it does not open: that is a finding, too
        from scribe_ledger.ledger.check import Problem, Report

        return Report(0, b"", [Problem("opening the ledger", error.message)])
