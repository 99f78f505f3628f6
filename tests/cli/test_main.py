"""The command as a whole: its options, its exit codes, its errors."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

import click
import pytest

from scribe_ledger.cli.catalogue import COMMANDS
from scribe_ledger.cli.main import scribe
from scribe_ledger.errors import KINDS, ScribeError
from scribe_ledger.version import __version__

if TYPE_CHECKING:
    from pathlib import Path

    from tests.cli.conftest import Cli

pytestmark = pytest.mark.storage


def test_without_arguments_the_commands_are_listed(cli: Cli) -> None:
    shown = cli().text
    assert all(f"  {name} " in shown for name in COMMANDS)
    assert shown == cli("--help").text == cli("-h").text


def test_version_is_the_package_version(cli: Cli) -> None:
    assert cli("--version").text == f"scribe {__version__}\n"


@pytest.mark.parametrize("name", COMMANDS)
def test_every_command_explains_itself(cli: Cli, name: str) -> None:
    assert cli(name, "--help").text.startswith(f"Usage: scribe {name}")


@pytest.mark.parametrize(
    "arguments",
    [
        ["bogus"],
        ["get"],
        ["put", "key"],
        ["put", "key", "value", "--bogus"],
        ["put", "key", "value", "-f", "absent"],
        ["put", "key", "value", "--meta", "no equals sign"],
        ["put", "key", "value", "--meta", "a=1", "--meta", "a=2"],
        ["put", "key", "value", "--if-version", "-1"],
        ["put", "key", "value", "--if-version", "x"],
        ["put", "", "value"],
        ["put", "k" * 4097, "value"],
        ["get", ""],
        ["get", "key", "--data", "a", "--url", "http://b"],
        ["ls", "--limit", "-1"],
        ["prove"],
        ["prove", "key", "--consistency", "1", "2"],
        ["prove", "--consistency", "1", "2", "--history"],
        ["verify", "absent", "--key", "k"],
        ["export", "file.txt"],
        ["export", "--format", "parquet"],
        ["export", "--latest", "--start", "1"],
        ["keygen", "two words"],
        ["config"],
        ["config", "bogus"],
        ["bench"],
        ["--data", "", "put", "key", "value"],
    ],
    ids=" ".join,
)
def test_bad_usage_is_exit_code_2_and_leaves_no_folder(cli: Cli, arguments: list[str]) -> None:
    answer = cli(*arguments, code=2)
    assert answer.out == b""
    assert answer.err.startswith("scribe: ")
    assert cli(*arguments, "--json", code=2).error.keys() == {"kind", "message", "hint"}
    assert not cli.data.exists()


READING = [
    ["get", "key"],
    ["ls"],
    ["history", "key"],
    ["log"],
    ["prove", "key"],
    ["checkpoint"],
    ["stats"],
    ["fsck"],
    ["export"],
    ["delete", "key"],
]


@pytest.mark.parametrize("arguments", READING, ids=" ".join)
def test_only_commands_that_write_create_a_ledger(cli: Cli, arguments: list[str]) -> None:
    answer = cli(*arguments, "--json", code=3)
    assert answer.error["kind"] == "storage"
    assert str(cli.data) in answer.error["message"]
    assert not cli.data.exists()


def test_what_is_typed_counts_more_than_a_variable(cli: Cli, tmp_path: Path) -> None:
    cli.environment = {"SCRIBE_URL": "http://localhost:8001", "SCRIBE_DATA": None}
    cli("--data", tmp_path / "other", "put", "key", "value")
    assert cli("get", "key", "--data", tmp_path / "other").out == b"value"


def test_options_stand_before_or_after_the_command(cli: Cli, tmp_path: Path) -> None:
    other = tmp_path / "other"
    cli("--data", other, "put", "key", "value")
    assert cli("get", "key", "--data", other).out == b"value"
    assert cli("--data", "not this one", "get", "key", "--data", other).out == b"value"
    assert (
        cli("--json", "get", "key", "--data", other).document == cli("get", "--json", "key", "--data", other).document
    )


def test_the_folder_is_data_unless_something_names_it(cli: Cli, tmp_path: Path) -> None:
    cli.environment = {"SCRIBE_URL": None, "SCRIBE_DATA": None}
    cli("put", "key", "value")
    assert (tmp_path / "data" / "ledger.json").is_file()


def test_a_name_is_given_at_creation_and_must_agree_later(cli: Cli) -> None:
    cli("put", "key", "value", "--name", "example.org/log")
    assert cli("checkpoint", "--json").document["origin"] == "example.org/log"
    cli("put", "key", "other", "--name", "example.org/log")
    assert cli("put", "key", "third", "--name", "example.org/other", "--json", code=3).error["kind"] == "configuration"


@pytest.mark.parametrize("json_flag", [True, False])
@pytest.mark.parametrize("kind", sorted(KINDS))
def test_every_kind_of_error_has_its_exit_code_and_shape(
    cli: Cli, monkeypatch: pytest.MonkeyPatch, kind: str, json_flag: bool
) -> None:
    class Failure(ScribeError):
        pass

    Failure.kind = kind
    cli("put", "key", "value")

    def fail(*_: Any, **__: Any) -> None:
        raise Failure("it went wrong\nbadly \x1b[31m", hint="try again")

    monkeypatch.setattr("scribe_ledger.ledger.ledger.Ledger.scan", fail)
    answer = cli("ls", *(["--json"] if json_flag else []), code=KINDS[kind].exit_code)
    if json_flag:
        assert json.loads(answer.err) == {
            "error": {"kind": kind, "message": "it went wrong\nbadly \x1b[31m", "hint": "try again"}
        }
    else:
        assert answer.err == "scribe: it went wrong\nbadly \\x1b[31m\nhint: try again\n"
    Failure.kind = "internal"  # the table of kinds is held against all subclasses


def test_interruption_is_one_line_and_130(cli: Cli, monkeypatch: pytest.MonkeyPatch) -> None:
    cli("put", "key", "value")

    def interrupt(*_: Any, **__: Any) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr("scribe_ledger.ledger.ledger.Ledger.scan", interrupt)
    assert cli("ls", code=130).err == "scribe: interrupted\n"
    cli("get", "key")  # and the ledger was closed


def test_a_mistake_of_ours_does_not_pass_for_an_answer(cli: Cli, monkeypatch: pytest.MonkeyPatch) -> None:
    cli("put", "key", "value")
    monkeypatch.setattr("scribe_ledger.ledger.ledger.Ledger.scan", lambda *_, **__: 1 / 0)
    answer = cli("ls", code=3)
    assert "Traceback" in answer.err
    assert "scribe: this is a mistake in scribe: ZeroDivisionError" in answer.err


def test_an_error_of_the_system_is_exit_code_3(cli: Cli) -> None:
    cli("put", "key", "value")
    answer = cli("get", "key", "-o", "/dev/full", "--json", code=3)
    assert answer.error["kind"] == "storage"
    assert "no space left" in answer.error["message"]


def test_a_file_that_cannot_be_written_to_is_bad_usage(cli: Cli) -> None:
    cli("put", "key", "value")
    for place, why in (("absent/file", "no such file or directory"), ("data", "is a directory")):
        answer = cli("get", "key", "-o", place, "--json", code=2)
        assert answer.error == {"kind": "invalid", "message": f"{why}: {place}", "hint": ""}


def test_a_near_miss_is_suggested(cli: Cli) -> None:
    assert "did you mean history?" in cli("histroy", code=2).err


def test_listing_commands_imports_none_of_them() -> None:
    context = click.Context(scribe)
    assert [(name, scribe.get_command(context, name).name) for name in COMMANDS] == [  # type: ignore[union-attr]
        (name, name) for name in scribe.list_commands(context)
    ]
    assert scribe.get_command(context, "bogus") is None
