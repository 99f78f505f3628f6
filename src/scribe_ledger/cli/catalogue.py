"""Which commands there are, and where: a command's module is imported when it is called, not before.

That keeps ``scribe get`` quick. Listing them needs no import either, so the line of help stands here.
"""

from __future__ import annotations

import importlib
from typing import NamedTuple

import click


class Place(NamedTuple):
    """Where a command is defined; its function is named like the command, with an underscore after it if need be."""

    module: str
    function: str
    summary: str


COMMANDS = {
    "put": Place("writing", "put", "store a value"),
    "get": Place("reading", "get", "read a value"),
    "delete": Place("writing", "delete", "delete a key; its versions stay"),
    "ls": Place("reading", "ls", "list the live keys in order"),
    "history": Place("reading", "history", "list the versions of a key"),
    "log": Place("reading", "log", "list the entries of the log"),
    "watch": Place("watching", "watch", "print entries as they are committed"),
    "prove": Place("proving", "prove", "make a proof that stands alone"),
    "verify": Place("checking", "verify", "check a proof, or with --audit a whole log"),
    "checkpoint": Place("proving", "checkpoint", "print the signed head of the log"),
    "stats": Place("care", "stats", "counts and sizes"),
    "health": Place("care", "health", "whether a node does all of its work"),
    "import": Place("transfer", "import_", "append the entries of a file"),
    "export": Place("transfer", "export", "write entries to a file"),
    "manifest": Place("archive", "manifest", "list the segments of the archive"),
    "archive": Place("archive", "archive", "archive now what is pending"),
    "cluster": Place("cluster", "cluster", "show and change a node's cluster"),
    "fsck": Place("fsck", "fsck", "recompute everything and name what differs"),
    "restore": Place("restoring", "restore", "rebuild a ledger from its object store"),
    "bench": Place("bench", "bench", "measure speed and memory on this machine"),
    "keygen": Place("keys", "keygen", "make a key pair"),
    "config": Place("settings", "config", "show or check the settings of a node"),
    "shell": Place("shell", "shell", "work on one ledger, command by command"),
}


class Commands(click.Group):
    """A group that finds its commands in ``COMMANDS``."""

    def list_commands(self, ctx: click.Context) -> list[str]:
        return list(COMMANDS)

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        place = COMMANDS.get(cmd_name)
        if place is None:
            return None
        command = getattr(importlib.import_module(f"scribe_ledger.cli.{place.module}"), place.function)
        assert isinstance(command, click.Command)
        return command

    def resolve_command(
        self, ctx: click.Context, args: list[str]
    ) -> tuple[str | None, click.Command | None, list[str]]:
        if args and not args[0].startswith("-") and args[0] not in COMMANDS:
            raise click.UsageError(_unknown(args[0]), ctx)
        return super().resolve_command(ctx, args)

    def format_commands(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        with formatter.section("Commands"):
            formatter.write_dl([(name, place.summary) for name, place in COMMANDS.items()])


def _unknown(name: str) -> str:
    from difflib import get_close_matches

    from scribe_ledger.cli.output import shown

    near = get_close_matches(name, COMMANDS, n=1)
    return f"there is no command {shown(name)!r}" + (f"; did you mean {near[0]}?" if near else "")
