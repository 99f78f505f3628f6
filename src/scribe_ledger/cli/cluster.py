"""``cluster``: who is in a node's cluster, and who leads it."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import click

from scribe_ledger.cli.output import print_fields, print_json, say, shown
from scribe_ledger.cli.session import Session, ledger_options, pass_session

if TYPE_CHECKING:
    from collections.abc import Callable

    from scribe_ledger.cli.target import Node

NO_CLUSTER = "a folder is in no cluster"
NODE_ID = click.IntRange(min=1)
COLUMNS = ("node_id", "role", "state", "match_index", "lag", "address")


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
    """List the members of the cluster."""
    with session.open_node(NO_CLUSTER) as node:
        found = node.cluster_members()
    if session.json:
        for member in found:
            print_json(member)
        return
    rows = [COLUMNS, *[[_text(member.get(name)) for name in COLUMNS] for member in found]]
    widths = [max(len(row[column]) for row in rows) for column in range(len(COLUMNS))]
    for row in rows:
        cells = [text.replace("_", " ").ljust(width) for text, width in zip(row, widths, strict=True)]
        say("  ".join(cells).rstrip())


@cluster.command()
@click.argument("node_id", type=NODE_ID)
@click.argument("address")
@ledger_options
@pass_session
def join(session: Session, node_id: int, address: str) -> None:
    """Let the node NODE_ID, which listens for its peers at ADDRESS, join."""
    _order(session, lambda node: node.cluster_join(node_id, address), f"node {node_id} joins")


@cluster.command()
@click.argument("node_id", type=NODE_ID)
@ledger_options
@pass_session
def leave(session: Session, node_id: int) -> None:
    """Take the node NODE_ID out."""
    _order(session, lambda node: node.cluster_leave(node_id), f"node {node_id} leaves")


@cluster.command()
@click.argument("node_id", type=NODE_ID)
@ledger_options
@pass_session
def transfer(session: Session, node_id: int) -> None:
    """Hand leadership to the node NODE_ID."""
    _order(session, lambda node: node.cluster_transfer(node_id), f"node {node_id} leads")


@cluster.command()
@click.argument("node_id", type=NODE_ID)
@click.argument("address")
@ledger_options
@pass_session
def replace(session: Session, node_id: int, address: str) -> None:
    """Let the node NODE_ID, whose folder was lost, come back at ADDRESS in place of its old self."""
    _order(session, lambda node: node.cluster_replace(node_id, address), f"node {node_id} is replaced")


def _order(session: Session, give: Callable[[Node], dict[str, Any]], line: str) -> None:
    with session.open_node(NO_CLUSTER) as node:
        answer = give(node)
    print_json(answer) if session.json else say(line)


def _text(value: object) -> str:
    if value is None:
        return "none"
    if isinstance(value, bool):
        return "yes" if value else "no"
    return shown(str(value))
