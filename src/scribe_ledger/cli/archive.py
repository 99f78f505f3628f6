"""``manifest`` and ``archive``."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import click

from scribe_ledger.cli.arguments import NATURAL
from scribe_ledger.cli.output import print_fields, print_json, say, shown
from scribe_ledger.cli.progress import Progress
from scribe_ledger.cli.session import Session, ledger_options, pass_session

if TYPE_CHECKING:
    from collections.abc import Iterable

NO_ARCHIVE = "a folder alone has no archive"


@click.command()
@click.option("--since", type=NATURAL, metavar="VERSION", help="Only what changed after this version of it.")
@ledger_options
@pass_session
def manifest(session: Session, since: int | None) -> None:
    """List the segments that are in the node's archive."""
    with session.open_node(NO_ARCHIVE) as node:
        found = node.manifest(since)
    if session.json:
        print_json(found)
        return
    print_fields([("version", f"{found['version']:,}"), ("archived", f"{found['archived_size']:,} entries")])
    for word in ("segments", "added", "removed"):
        if found.get(word):
            say(f"{word}:", *map(_segment_line, _segments(found[word])))


@click.command()
@click.option("--now", is_flag=True, required=True, help="Seal and upload what is pending, and wait for it.")
@ledger_options
@pass_session
def archive(session: Session, now: bool) -> None:
    """Have the node seal and upload what it has not archived yet."""
    if not now:
        raise click.UsageError("a node archives by itself; to have it done at once, say --now")
    with session.open_node(NO_ARCHIVE) as node, Progress("archiving", "segments"):
        answer = node.archive()
    print_json(answer) if session.json else say(f"archived: the manifest has version {answer['version']:,}")


def _segments(found: Iterable[Any]) -> Iterable[dict[str, Any]]:
    """What was removed may be named by its id alone."""
    return [each if isinstance(each, dict) else {"segment_id": each} for each in found]


def _segment_line(segment: dict[str, Any]) -> str:
    line = f"  {shown(str(segment['segment_id']))}"
    if "first_index" in segment:
        line += f"  entries {segment['first_index']} to {segment['last_index']}  {segment['size']:,} bytes"
        line += f"  {shown(str(segment['path']))}"
    return line
