"""``restore``: a ledger out of its object store."""

from __future__ import annotations

import os
from pathlib import Path
from typing import TYPE_CHECKING, Any, Self

import click

from scribe_ledger.cli.output import counted, print_json, say, shown, time_of
from scribe_ledger.cli.proving import FILE
from scribe_ledger.cli.session import Session, pass_session, place_options
from scribe_ledger.errors import OPEN_AGAIN, SerializationError, StorageError

if TYPE_CHECKING:
    from scribe_ledger.archive.recovery import Restored
    from scribe_ledger.cli.progress import Progress
    from scribe_ledger.merkle.note import Signer
    from scribe_ledger.objects.store import ObjectStore


@click.command()
@click.option("--from", "source", metavar="URL", required=True, help="The object store that holds the ledger.")
@click.option("--promote", is_flag=True, help="Let it take writes again, in a new epoch with a new key.")
@click.option(
    "--public-key",
    metavar="VKEY",
    help="A key that the ledger must have, or its file; else the store's word counts.  [variable: SCRIBE_PUBLIC_KEY]",
)
@click.option("--old-key", type=FILE, metavar="FILE", help="With --promote: the lost key, if it is at hand.")
@click.option("--skip-values", is_flag=True, help="Do not read the values; what a later read would find is not found.")
@place_options
@pass_session
def restore(
    session: Session, source: str, promote: bool, public_key: str | None, old_key: str | None, skip_values: bool
) -> None:
    """Rebuild a ledger in the folder --data from its object store alone.

    Every entry is checked against the checkpoint that the ledger signed, and so is every value. A restore that was cut
    short goes on where it was when it is called again; one that is done is not done again, and a promotion neither. The
    folder is read-only: entries that had not been archived are gone, and the lost node may have signed them. With
    --promote, now or later, the ledger begins its next epoch under a new key and takes writes; the old node is refused
    by the store if it comes back.
    """
    if old_key is not None and not promote:
        raise click.UsageError("--old-key goes with --promote")
    data = _folder(session)
    with _Parts() as parts:
        from scribe_ledger.archive.recovery import restore as restore_ledger

        store = _open(source)
        try:
            restored = restore_ledger(
                store,
                data,
                progress=parts.update,
                promote=promote,
                public_key=_pinned(public_key or session.public_key),
                old_key=None if old_key is None else _private_key(old_key),
                check_values=not skip_values,
            )
        except StorageError as error:
            error.hint = _of_restore(error.hint)
            raise
        finally:
            store.close()
    if session.json:
        print_json(_to_json(restored, data, store.url))
    else:
        _say(restored, data, store.url)


def _folder(session: Session) -> Path:
    if session.in_shell:
        raise click.UsageError("the shell has its ledger open already: leave it to restore another")
    given = session.public_key
    session.public_key = None  # here it says what the store must hold
    place = session.place()
    session.public_key = given
    if place.data is None:
        raise click.UsageError("a ledger is restored into a folder: name it with --data")
    return Path(place.data)


def _open(source: str) -> ObjectStore:
    from scribe_ledger.cli.stores import options_for, typed_url
    from scribe_ledger.objects.opening import open_object_store

    url = typed_url(source)
    return open_object_store(url, options_for(url), create=False)


def _pinned(given: str | None) -> str:
    from scribe_ledger.cli.trusting import public_key_of

    given = given or os.environ.get("SCRIBE_PUBLIC_KEY")
    return public_key_of(given) if given else ""


def _private_key(path: str) -> Signer:
    from scribe_ledger.merkle.note import Signer

    try:
        return Signer.parse(Path(path).read_text(encoding="utf-8").strip())
    except (SerializationError, UnicodeDecodeError):
        raise SerializationError(
            f"{path} does not hold a private key", hint="name the lost folder's ledger.key"
        ) from None


def _of_restore(hint: str) -> str:
    """What to do about a full disk, say: until the restore is done there is no ledger to open."""
    before, found, _ = hint.partition(OPEN_AGAIN)
    return f"{before}then call the same `scribe restore` again: it goes on where it was" if found else hint


class _Parts:
    """One progress bar after the other, one for each part of the work."""

    def __init__(self) -> None:
        self._part = ""
        self._bar: Progress | None = None

    def update(self, part: str, done: int, total: int) -> None:
        from scribe_ledger.cli.progress import Progress

        if self._bar is None or part != self._part:
            self._end()
            self._part, self._bar = part, Progress("restoring", part)
        self._bar.update(done, total)

    def _end(self) -> None:
        if self._bar is not None:
            self._bar.__exit__()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self._end()


def _to_json(restored: Restored, data: Path, url: str) -> dict[str, Any]:
    return {
        "data": str(data),
        "object_store": url,
        **restored._asdict(),
        "checkpoint": restored.checkpoint.text,
    }


def _say(restored: Restored, data: Path, url: str) -> None:
    if restored.repeated and restored.read_only:
        say(
            f"{shown(str(data))} was restored already, with {counted(restored.size)} of {shown(restored.origin)}:"
            " nothing was done; what was archived since comes by a restore into an empty folder"
        )
    elif restored.repeated:
        say(f"{shown(str(data))} was promoted already: there is nothing to restore, start the node on it")
    else:
        say(
            f"{shown(str(data))} holds {counted(restored.size)} of {shown(restored.origin)};"
            f" the last one was written {time_of(restored.timestamp)} UTC",
            "what was written after it had not been archived, and is gone",
        )
    if restored.read_only:
        say("it is read-only: `scribe restore --promote`, with the same --from and --data, lets it take writes")
    else:
        key = "its public key" if restored.repeated else "its new public key"
        say(f"it takes writes, in epoch {restored.epoch}; {key}: {shown(restored.public_key)}")
    if url != (data / "objects").absolute().as_uri():
        say(f"its values stay in the store: open it with --object-store {shown(url)}, or name that in the settings")
