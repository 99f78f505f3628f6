"""``cluster``: who is in a node's cluster, who leads it, and orders to change that."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from scribe_ledger.cli.output import counted, print_fields, print_json, say, shown, time_of, warn
from scribe_ledger.cli.session import Session, ledger_options, pass_session

if TYPE_CHECKING:
    from collections.abc import Callable

    from scribe_ledger.cli.target import Node

NO_CLUSTER = "a folder is in no cluster"
NODE_ID = click.IntRange(1, (1 << 63) - 1)
COLUMNS = ("node_id", "role", "state", "match_index", "lag", "last_heartbeat", "address", "raft_address", "raft_id")
SNAPSHOT_COLUMNS = ("position", "size", "bytes", "created", "root")
_WARNING = """{data} becomes a ledger that stands alone, for good. Do this only if a majority of its cluster is lost.
The other members must never come back: delete their folders. What only they had is lost, and whoever holds a larger
checkpoint of theirs will notice a fork; a node refuses to write where its object store holds one."""
_TIMES = frozenset({"last_heartbeat", "created"})


class OfNode(click.Command):
    """A number below zero is a bad NODE_ID, as 0 is, and not an option that nobody knows."""

    def parse_args(self, ctx: click.Context, args: list[str]) -> list[str]:
        given = [*args]
        try:
            return super().parse_args(ctx, args)
        except click.NoSuchOption as error:
            number = next((each for each in given if each[:2] == error.option_name and each[1:].isdecimal()), None)
            if number is not None:
                next(each for each in self.params if each.name == "node_id").type_cast_value(ctx, number)
            raise


@click.group(no_args_is_help=False)
def cluster() -> None:
    """Show and change the members of a node's cluster. A node that stands alone is a cluster of one."""


@cluster.command()
@ledger_options
@pass_session
def status(session: Session) -> None:
    """Show the node's own place in its cluster."""
    with session.open_node(NO_CLUSTER) as node:
        found = node.cluster_status()
    if session.json:
        print_json(found)
    else:
        print_fields([(name.replace("_", " "), _text(value)) for name, value in found.items()])


@cluster.command()
@ledger_options
@pass_session
def members(session: Session) -> None:
    """List the members of the cluster. Where one has another ledger, a column `diverged` says which."""
    with session.open_node(NO_CLUSTER) as node:
        found = node.cluster_members()
    if session.json:
        for member in found:
            print_json(member)
        return
    differ = ("diverged",) if any(member.get("diverged") for member in found) else ()
    _print_table((*COLUMNS[:3], *differ, *COLUMNS[3:]), found)


@cluster.command(cls=OfNode)
@click.argument("node_id", type=NODE_ID)
@click.argument("address")
@ledger_options
@pass_session
def join(session: Session, node_id: int, address: str) -> None:
    """Let the node NODE_ID, which listens for its peers at ADDRESS, join."""
    _order(
        session,
        lambda node: node.cluster_join(node_id, address),
        f"node {node_id} joins; `members` shows when it votes",
        if_voter=f"node {node_id} is a member that votes",
    )


@cluster.command(cls=OfNode)
@click.argument("node_id", type=NODE_ID)
@ledger_options
@pass_session
def leave(session: Session, node_id: int) -> None:
    """Take the node NODE_ID out, dead or alive. Its folder cannot come back as a member."""
    _order(session, lambda node: node.cluster_leave(node_id), f"node {node_id} is a member no more")


@cluster.command(cls=OfNode)
@click.argument("node_id", type=NODE_ID)
@ledger_options
@pass_session
def transfer(session: Session, node_id: int) -> None:
    """Hand leadership to the node NODE_ID."""
    _order(session, lambda node: node.cluster_transfer(node_id), f"node {node_id} leads")


@cluster.command(cls=OfNode)
@click.argument("node_id", type=NODE_ID)
@click.option("--raft-id", metavar="RAFT_ID", help="The one it had, where two members have its label; see members.")
@ledger_options
@pass_session
def replace(session: Session, node_id: int, raft_id: str | None) -> None:
    """Let the node NODE_ID, whose folder was lost and which was started again, take its old place."""
    _order(session, lambda node: node.cluster_replace(node_id, raft_id), f"node {node_id} has its place again")


@cluster.command()
@click.option("--list", "listing", is_flag=True, help="Make none; list those that the node keeps.")
@ledger_options
@pass_session
def snapshot(session: Session, listing: bool) -> None:
    """Make a snapshot of the node's ledger, for members that are far behind."""
    with session.open_node(NO_CLUSTER) as node:
        found = node.cluster_snapshots() if listing else [node.cluster_snapshot()]
    if session.json:
        for each in found:
            print_json(each)
    else:
        _print_table(SNAPSHOT_COLUMNS, found)


@cluster.command()
@click.option("--yes", is_flag=True, help="Do not ask.")
@click.option("--diverged", is_flag=True, help="Its ledger is to be kept, though a majority had found another.")
@ledger_options
@pass_session
def rescue(session: Session, yes: bool, diverged: bool) -> None:
    """Make the folder of a stopped member, whose cluster lost its majority for good, a ledger that stands alone.

    All of its Raft log is applied, committed or not; ledger id, key and entries stay. It then runs alone, or founds a
    new cluster with --bootstrap. The other members must never come back: their folders are to be deleted.

    A folder whose ledger a majority contradicted is refused without --diverged: it would sign another history.
    """
    from scribe_ledger.node.rescuing import checked_mark
    from scribe_ledger.node.rescuing import rescue as rescue_folder

    data = _folder(session)
    mark = checked_mark(data, diverged=diverged)
    if mark is not None:
        warn(shown(mark.error.message))
    if not yes:
        click.echo(_WARNING.format(data=shown(str(data))), err=True)
        click.confirm("rescue it?", abort=True, err=True)
    rescued = rescue_folder(data, diverged=diverged)
    if session.json:
        print_json({**rescued._asdict(), "raft_id": str(rescued.raft_id), "data": str(data)})
        return
    say(
        f"{shown(rescued.origin)} in {shown(str(data))} stands alone, with {counted(rescued.entries)},"
        f" root {rescued.root}",
        f"{rescued.added:,} of them came out of the Raft log now; not known here to be committed:"
        f" {counted(rescued.unconfirmed)} of that log",
        "delete the folders of all other members; found a new cluster with `scribe-node --bootstrap`",
    )


def _folder(session: Session) -> Path:
    if session.in_shell:
        raise click.UsageError("the shell has its ledger open already: leave it to rescue a folder")
    place = session.place()
    if place.data is None:
        raise click.UsageError("only a folder can be rescued: name it with --data")
    return Path(place.data)


def _order(session: Session, give: Callable[[Node], dict[str, Any]], line: str, *, if_voter: str = "") -> None:
    with session.open_node(NO_CLUSTER) as node:
        answer = give(node)
    if session.json:
        print_json(answer)
    elif "waits_for" in answer:  # it stands, and the node is not there yet
        say(shown(str(answer["waits_for"])))
    else:
        say(if_voter if if_voter and answer.get("role") == "voter" else line)


def _print_table(columns: tuple[str, ...], found: list[dict[str, Any]]) -> None:
    rows = [[name.replace("_", " ") for name in columns]]
    rows += [[_cell(name, each.get(name)) for name in columns] for each in found]
    widths = [max(len(row[column]) for row in rows) for column in range(len(columns))]
    for row in rows:
        say("  ".join(text.ljust(width) for text, width in zip(row, widths, strict=True)).rstrip())


def _cell(name: str, value: object) -> str:
    return time_of(value) if name in _TIMES and isinstance(value, int) else _text(value)


def _text(value: object) -> str:
    if value is None:
        return "none"
    if isinstance(value, bool):
        return "yes" if value else "no"
    return shown(str(value))
