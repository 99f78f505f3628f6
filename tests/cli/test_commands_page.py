"""The page of commands says what the code does: every command, every option, no others."""

from __future__ import annotations

import re
from pathlib import Path
from typing import TYPE_CHECKING

import click
import pytest

from scribe_ledger.cli.catalogue import COMMANDS
from scribe_ledger.cli.main import INTERRUPTED, PIPE_CLOSED, scribe
from scribe_ledger.ledger.transfer.parquet import SCHEMA
from scribe_ledger.ledger.transfer.rows import FIELDS

if TYPE_CHECKING:
    from collections.abc import Iterator

pytestmark = pytest.mark.docs

PAGE = (Path(__file__).parents[2] / "docs" / "reference" / "commands.md").read_text()
SHARED = {"json", "data", "object_store", "url", "public_key", "trust"}
BENCHMARKS = {"bench local", "bench http", "bench archive", "bench cluster"}
WITHOUT_LEDGER = {"keygen", "config show", "config check"}
OWN_PUBLIC_KEY = {"verify", "checkpoint", "fsck", "restore"}
"""Commands where ``--public-key`` is an option of their own."""


def commands() -> Iterator[tuple[str, click.Command, click.Context]]:
    root = click.Context(scribe, info_name="scribe")
    for name in COMMANDS:
        command = scribe.get_command(root, name)
        assert command is not None
        context = click.Context(command, info_name=name, parent=root)
        if isinstance(command, click.Group):
            for inner, subcommand in command.commands.items():
                yield f"{name} {inner}", subcommand, click.Context(subcommand, info_name=inner, parent=context)
        else:
            yield name, command, context


def section(heading: str) -> str:
    found = re.search(rf"^##+ {re.escape(heading)}\n(.*?)(?=^##+ |\Z)", PAGE, re.MULTILINE | re.DOTALL)
    assert found, f"the page has no section on {heading!r}"
    return found[1]


def rows(text: str) -> list[tuple[str, str]]:
    return re.findall(r"^\| `(-[^`]+)` \| (.*?) \|$", text, re.MULTILINE)


def is_shared(option: click.Parameter) -> bool:
    """Shared options belong to the session: the command itself does not see them."""
    return option.name in SHARED and not option.expose_value


def options(command: click.Command, context: click.Context, *, shared: bool) -> list[tuple[str, str]]:
    found = []
    for option in command.params:
        if isinstance(option, click.Option) and is_shared(option) is shared and option.name != "version_flag":
            value = "" if option.is_flag else " " + (option.metavar or option.make_metavar(context))
            found.append((", ".join(option.opts) + value, option.help or ""))
    return found


@pytest.mark.parametrize(("name", "command", "context"), [pytest.param(*each, id=each[0]) for each in commands()])
def test_a_command_is_documented_with_all_its_options(
    name: str, command: click.Command, context: click.Context
) -> None:
    text = section(name)
    usage = " ".join(piece for piece in command.collect_usage_pieces(context) if piece != "[OPTIONS]")
    assert f"```sh\nscribe {name} {usage}".rstrip() + "\n```" in text
    assert rows(text) == options(command, context, shared=False)
    wanted = set() if name in BENCHMARKS else {"json"} if name in WITHOUT_LEDGER else SHARED
    wanted = wanted - {"public_key"} if name in OWN_PUBLIC_KEY else wanted
    assert {parameter.name for parameter in command.params if is_shared(parameter)} == wanted


def test_the_page_has_no_command_too_many() -> None:
    assert sorted(re.findall(r"^### (.+)$", PAGE, re.MULTILINE)) == sorted(name for name, _, _ in commands())


def test_shared_options_are_documented() -> None:
    assert rows(section("For all commands")) == options(scribe, click.Context(scribe), shared=True)


def test_exit_codes_of_the_command_itself_are_documented() -> None:
    codes = re.findall(r"^\| (\d+) \|", section("For all commands"), re.MULTILINE)
    assert codes == ["0", "1", "2", "3", str(INTERRUPTED), str(PIPE_CLOSED)]


def test_fields_of_files_are_documented() -> None:
    documented = set(
        re.findall(r"`(\w+)`", "".join(re.findall(r"^\| (`[^|]+) \|", section("Files of entries"), re.MULTILINE)))
    )
    assert documented == {*FIELDS, "part"} == set(SCHEMA.names)
