"""``fsck``: a folder, the object store with its archive, or both, checked from the entries up."""

from __future__ import annotations

import contextlib
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from scribe_ledger.cli.output import counted, print_json, say, shown, warn
from scribe_ledger.cli.progress import Progress
from scribe_ledger.cli.session import Session, pass_session, place_options
from scribe_ledger.cli.stores import typed_url
from scribe_ledger.errors import Corruption

if TYPE_CHECKING:
    from collections.abc import Callable

    from scribe_ledger.archive.check.store import Report as StoreReport
    from scribe_ledger.cli.local import LocalTarget
    from scribe_ledger.ledger.check import Report
    from scribe_ledger.objects.store import ObjectStore

DAY_SECS = 86_400
MAX_JOBS = 64


@click.command()
@click.argument("store", metavar="[URL]", required=False)
@click.option(
    "--jobs",
    type=click.IntRange(0, MAX_JOBS),
    metavar="N",
    default=0,
    help=f"Processes for the store, at most {MAX_JOBS}.  [default: processors]",
)
@click.option("--repair", is_flag=True, help="Remove orphans from a store without faults; nothing else changes.")
@click.option(
    "--grace",
    type=click.FloatRange(min=0),
    metavar="SECONDS",
    default=DAY_SECS,
    show_default=True,
    help="An orphan that is younger stays.",
)
@click.option(
    "--public-key",
    "public_key",
    metavar="VKEY",
    help="The key, or its file, that must have signed what is in the store.  [variable: SCRIBE_PUBLIC_KEY]",
)
@place_options
@click.pass_context
@pass_session
def fsck(
    session: Session,
    context: click.Context,
    /,
    store: str | None,
    public_key: str | None,
    **options: Any,
) -> None:
    """Recompute everything from the entries, and name every place that differs.

    Of a folder: tree, digests, key index and manifest; with it its object store, if something is archived. With URL
    that store: segments, large values, tiles and checkpoints, each object against the signed root. URL alone checks the
    store by itself, and with --data the two are held against each other.

    It runs in bounded memory. Exit code 1 if anything is wrong. What is only left over, such as the segment of an
    archiver that was killed, is a warning; --repair removes it.
    """
    if public_key is not None or store is not None:
        options["public_key"] = _pinned(public_key)
    if store is not None:
        store = typed_url(store)
    if store is not None and session.data is None and not session.in_shell:
        document, ok = _check_store_alone(store, options, session)
    else:
        document, ok = _check_folder(session, store, options)
    if session.json:
        print_json(document)
    if not ok:
        context.exit(1)


def _check_store_alone(url: str, options: dict[str, Any], session: Session) -> tuple[dict[str, object], bool]:
    from scribe_ledger.cli.stores import options_for
    from scribe_ledger.objects.opening import open_object_store

    if session.url is not None or session.object_store is not None:
        raise click.UsageError("name the store once, and no node: fsck reads the store itself")
    reopen = partial(open_object_store, url, options_for(url), create=False)
    store = reopen()
    try:
        report = _check_store(store, reopen, options)
    finally:
        store.close()
    if not session.json:
        _tell_store(report)
    return report.to_json(), report.ok


def _check_folder(session: Session, url: str | None, options: dict[str, Any]) -> tuple[dict[str, object], bool]:
    """The folder, and the store of its archive; the first by itself if nothing was ever put into the second."""
    if url is not None:
        if session.object_store is not None:
            raise click.UsageError("name the store once: as URL, or with --object-store")
        session.object_store = url
    found: StoreReport | None = None
    try:
        with session.open() as target:
            local: LocalTarget | None = target if hasattr(target, "objects") else None  # type: ignore[assignment]
            with_store = local is not None and (local.manifest.store_id != "" or url is not None)
            with Progress("checking the folder", "entries") as progress:
                more = {"archive": False} if with_store else {}
                report = target.verify(progress.update, **more)
            if local is not None and with_store:
                _warn_of_another_store(local)
                found = _check_store(local.objects, _reopener(local), options, ledger=local)
    except Corruption as error:  # so damaged that it does not open: that is a finding, too
        from scribe_ledger.ledger.check import Problem, Report

        report = Report(0, b"", [Problem("opening the ledger", error.message)])
    if not session.json:
        _tell_folder(report)
        if found is not None:
            _tell_store(found)
    document = report.to_json()
    if found is None:
        return document, report.ok
    in_store = found.to_json()
    together = {
        "ok": report.ok and found.ok,
        "problems": [*_list(document["problems"]), *_list(in_store["problems"])],
        "store": in_store,
    }
    return document | together, report.ok and found.ok


def _check_store(
    store: ObjectStore,
    reopen: Callable[[], ObjectStore] | None,
    options: dict[str, Any],
    ledger: LocalTarget | None = None,
) -> StoreReport:
    from scribe_ledger.archive.check.store import check_store_contents

    with Progress("checking the store", "entries") as progress:
        return check_store_contents(store, ledger=ledger, reopen=reopen, progress=progress.update, **options)


def _warn_of_another_store(local: LocalTarget) -> None:
    """All that is found then follows from that. Whether an identity is sound, the check itself says."""
    from scribe_ledger.objects.identity import read_identity

    with contextlib.suppress(Corruption):
        identity = read_identity(local.objects)
        if local.manifest.store_id not in ("", None if identity is None else identity.store_id):
            warn(
                f"{shown(local.objects.url)} is not the store that this folder's objects are in: name that with"
                " --object-store, or in [storage] object_store"
            )


def _reopener(ledger: LocalTarget) -> Callable[[], ObjectStore] | None:
    """How another process opens the same store. A folder needs no settings."""
    if ledger.objects.is_local:
        return None
    from scribe_ledger.cli.stores import options_for, settings_of_folder
    from scribe_ledger.objects.opening import open_object_store, options_of

    config = settings_of_folder(Path(ledger.path))
    found = options_for(ledger.objects.url) if config is None else options_of(config)
    return partial(open_object_store, ledger.objects.url, found, create=False)


def _pinned(given: str | None) -> str:
    import os

    from scribe_ledger.cli.trusting import public_key_of

    given = given or os.environ.get("SCRIBE_PUBLIC_KEY")
    return public_key_of(given) if given else ""


def _tell_folder(report: Report) -> None:
    for problem in report.problems:
        say(shown(str(problem)))
    verdict = _verdict(len(report.problems), 0)
    say(f"{counted(report.entries)} checked, root {report.root.hex() or 'unknown'}: {verdict}")


def _tell_store(report: StoreReport) -> None:
    for fault in report.faults:
        say(shown(str(fault)))
    for warning in report.warnings:
        warn(shown(str(warning)))
    for path in report.removed:
        say(f"removed: {shown(path)}")
    counts = report.counts
    what = f"{counted(counts.entries)} in {counted(counts.segments, 'segment', 'segments')}"
    what += f", {counted(counts.tiles, 'tile', 'tiles')}, {counted(counts.blobs, 'large value', 'large values')}"
    what += f", {counted(counts.checkpoints, 'checkpoint', 'checkpoints')}"
    faults, warnings = len(report.faults) + report.more_faults, len(report.warnings) + report.more_warnings
    say(f"{report.url}: {what} in {report.seconds:.1f} s")
    published = (
        f"{counted(report.size)} published, root {report.root.hex()}" if report.size else "nothing published yet"
    )
    say(f"{published}: {_verdict(faults, warnings)}")


def _verdict(faults: int, warnings: int) -> str:
    verdict = counted(faults, "fault", "faults") if faults else "no faults"
    return verdict + (f", {counted(warnings, 'warning', 'warnings')}" if warnings else "")


def _list(value: object) -> list[object]:
    assert isinstance(value, list)
    return value
