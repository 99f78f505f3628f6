"""``stats`` and ``health``."""

from __future__ import annotations

from typing import Any

import click

from scribe_ledger.cli.output import counted, print_fields, print_json, shown, time_of
from scribe_ledger.cli.session import Session, ledger_options, pass_session


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
    storage, policy, archive = found["storage_bytes"], found["policy"], found["archive"]
    last = time_of(found["last_timestamp"]) + " UTC" if found["entries"] else "none"
    print_fields(
        [
            ("origin", shown(found["origin"])),
            ("public key", shown(found["public_key"])),
            ("entries", f"{found['entries']:,}"),
            ("keys", f"{found['keys']:,} ({found['live_keys']:,} live)"),
            ("value bytes", f"{found['value_bytes']:,}"),
            ("last entry", last),
            ("hot", f"{storage['hot']:,} bytes on disk"),
            ("large values", f"{storage['blobs']:,} bytes"),
            ("archive", f"{counted(archive['archived_size'])}, {storage['archive']:,} bytes in {_segments(archive)}"),
            ("not archived", f"{counted(found['entries'] - archive['archived_size'])}, {_pending(archive)}"),
            ("evicted", f"the values of {counted(archive['evicted_size'])} are in the archive alone"),
            ("policies", f"overwrite = {policy['overwrite']}, deletes = {policy['deletes']}"),
        ]
    )


@click.command()
@ledger_options
@pass_session
def health(session: Session) -> None:
    """Show whether a node does all of its work. Exit code 1 if it may not write, and why."""
    with session.open_node("a folder has no health of its own, see fsck") as node:
        found = node.health()
    print_json(found) if session.json else print_fields(_health_fields(found))
    if found["status"] == "unavailable":
        raise click.exceptions.Exit(1)


def _health_fields(found: dict[str, Any]) -> list[tuple[str, str]]:
    store, archive, error = (found.get(name) or {} for name in ("object_store", "archive", "error"))
    fields = [(name, found.get(name)) for name in ("status", "node_id", "state", "term", "leader", "quorum", "size")]
    reasons = [
        ("reason", error.get("message")),
        ("hint", error.get("hint")),
        ("object store", store.get("error")),
        ("archive", archive.get("last_error")),
    ]
    shared = [(name.replace("_", " "), "none" if value is None else shown(str(value))) for name, value in fields]
    return [*shared, *[(name, shown(str(value))) for name, value in reasons if value]]


def _segments(archive: dict[str, Any]) -> str:
    return counted(archive["segments"], "segment", "segments")


def _pending(archive: dict[str, Any]) -> str:
    return f"{archive['pending_bytes']:,} bytes"
