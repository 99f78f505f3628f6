"""``manifest`` and ``archive``."""

from __future__ import annotations

import threading
from contextlib import contextmanager, suppress
from typing import TYPE_CHECKING, Any

import click

from scribe_ledger.cli.arguments import NATURAL
from scribe_ledger.cli.output import counted, print_fields, print_json, say, shown
from scribe_ledger.cli.progress import Progress
from scribe_ledger.cli.session import Session, ledger_options, pass_session
from scribe_ledger.errors import ScribeError

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

    from scribe_ledger.cli.target import Target

LOOK_SECONDS = 0.5


@click.command()
@click.option("--since", type=NATURAL, metavar="VERSION", help="Only what changed after this version of it.")
@ledger_options
@pass_session
def manifest(session: Session, since: int | None) -> None:
    """List the segments that the log's archived part is in."""
    with session.open() as target:
        found = target.show_manifest(since)
    if session.json:
        print_json(found)
        return
    print_fields([("version", f"{found['version']:,}"), ("archived", counted(found["archived_size"]))])
    for word in ("segments", "added", "removed"):
        if found.get(word):
            say(f"{word}:", *map(_segment_line, _segments(found[word])))


@click.command()
@click.option("--now", is_flag=True, required=True, help="Seal and upload what is pending, and wait for it.")
@ledger_options
@pass_session
def archive(session: Session, now: bool) -> None:
    """Seal and upload what is not archived yet.

    A node archives by itself; this has it done at once. A folder is archived by this command, while no node is open on
    it, into the object store that its node would use.
    """
    if not now:
        raise click.UsageError("a node archives by itself; to have it done at once, say --now")
    with session.open() as target, Progress("archiving", "entries") as progress, _reports(target, progress):
        before = 0 if session.json else target.stats()["archive"]["archived_size"]
        answer = target.archive_now()
    if session.json:
        print_json(answer)
        return
    say(_what_was_done(answer, before))


def _what_was_done(answer: dict[str, Any], before: int) -> str:
    size, segments = answer["archived_size"], answer["sealed"]
    if size <= before:
        return f"nothing to archive; {counted(size)} in all"
    where = f" in {counted(segments, 'segment', 'segments')}" if segments else ""  # else another pass had sealed them
    return f"archived {counted(size - before)}{where}; {size:,} in all"


@contextmanager
def _reports(target: Target, progress: Progress) -> Iterator[None]:
    """Shows how far the archive reaches, as often as that can be had, while the other thread waits for the end."""
    done = threading.Event()

    def look() -> None:
        while not done.wait(LOOK_SECONDS):
            with suppress(ScribeError):  # what matters is how the work itself ends
                found = target.stats()
                progress.update(found["archive"]["archived_size"], found["entries"])

    looking = threading.Thread(target=look, name="scribe-progress")
    if progress.visible:
        looking.start()
    try:
        yield
    finally:
        done.set()
        if progress.visible:
            looking.join()


def _segments(found: Iterable[Any]) -> Iterable[dict[str, Any]]:
    """What was removed may be named by its id alone."""
    return [each if isinstance(each, dict) else {"segment_id": each} for each in found]


def _segment_line(segment: dict[str, Any]) -> str:
    line = f"  {shown(str(segment['segment_id']))}"
    if "first_index" in segment:
        line += f"  entries {segment['first_index']} to {segment['last_index']}  {segment['size']:,} bytes"
    return line
