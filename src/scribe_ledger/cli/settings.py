"""``config show`` and ``config check``."""

from __future__ import annotations

import json
import warnings
from typing import TYPE_CHECKING, Any

import click

from scribe_ledger.cli.output import print_json, say, shown, warn
from scribe_ledger.cli.session import Session, output_options, pass_session

if TYPE_CHECKING:
    from scribe_ledger.config import Config

file_option = click.option("-c", "--config", "path", metavar="FILE", help="By default ./config.toml, if there is one.")


@click.group(no_args_is_help=False)
def config() -> None:
    """Show or check the settings of a node: its file, SCRIBE_* variables, defaults."""


@config.command()
@file_option
@output_options
@pass_session
def show(session: Session, path: str | None) -> None:
    """Print every setting with its value and where that came from; secrets are masked."""
    loaded = _load(session, path)
    rows = loaded.describe()
    if session.json:
        settings = [
            {"key": row.key, "value": row.value, "source": row.source, "masked": row.secret_masked} for row in rows
        ]
        print_json({"settings": settings, "warnings": list(loaded.warnings)})
        return
    texts = [(row.key, _value_text(row.value), shown(row.source)) for row in rows]
    keys, values = (max(len(text[column]) for text in texts) for column in (0, 1))
    say(*[f"{key:<{keys}}  {value:<{min(values, 50)}}  {source}" for key, value, source in texts])


@config.command()
@file_option
@output_options
@pass_session
def check(session: Session, path: str | None) -> None:
    """Say everything that is wrong with the settings at once; exit code 3 if anything is.

    A node that would listen beyond this machine without [network] insecure, or whose TLS files are missing or of no
    use, is refused here as it is at its start.
    """
    from scribe_ledger.node.refusals import check_settings

    loaded = _load(session, path)
    check_settings(loaded)
    file = None if loaded.path is None else str(loaded.path)
    if session.json:
        print_json({"ok": True, "file": file, "warnings": list(loaded.warnings)})
    else:
        say(f"the settings are fine ({file or 'there is no file: variables and defaults'})")


def _load(session: Session, path: str | None) -> Config:
    from scribe_ledger.config import Config, ConfigurationWarning

    with warnings.catch_warnings():
        warnings.simplefilter("ignore", ConfigurationWarning)  # they are in the result, and printed from there
        loaded = Config.load(path)
    if not session.json:
        for message in loaded.warnings:
            warn(message)
    return loaded


def _value_text(value: Any) -> str:
    return "" if value is None else shown(value) if isinstance(value, str) else json.dumps(value)
