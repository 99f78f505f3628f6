"""The command ``scribe-node``: settings from a file, variables and flags, and one line for whatever goes wrong.

Exit codes: 0 stopped as asked; 2 bad usage; 3 it could not start, or failed; 130 a second Ctrl-C.
"""

from __future__ import annotations

import sys
import traceback
import warnings
from typing import TYPE_CHECKING, Any, NoReturn

import click

from scribe_ledger.config.levels import LOG_LEVELS
from scribe_ledger.errors import ScribeError
from scribe_ledger.version import __version__

if TYPE_CHECKING:
    from scribe_ledger.config import Config

FAILED = 3


@click.command(context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 100})
@click.option("-c", "--config", "file", metavar="FILE", help="Settings. By default ./config.toml, if there is one.")
@click.option("-n", "--node-id", type=click.IntRange(min=1), metavar="N", help="Label of this node.")
@click.option("-b", "--bootstrap", is_flag=True, help="Found a cluster, unless the folder or a seed has one.")
@click.option("-l", "--log-level", type=click.Choice(LOG_LEVELS), help="Least level logged.")
@click.option("--data-dir", metavar="DIR", help="Folder of the ledger; made if it is not there.")
@click.option("--port", type=click.IntRange(0, 65535), metavar="PORT", help="Port of the HTTP API; 0: any free one.")
@click.version_option(__version__, prog_name="scribe-node", message="%(prog)s %(version)s")
def scribe_node(
    file: str | None,
    node_id: int | None,
    bootstrap: bool,
    log_level: str | None,
    data_dir: str | None,
    port: int | None,
) -> None:
    """Serve a ledger over HTTP until SIGTERM or Ctrl-C.

    Settings come from the file, then SCRIBE_<SECTION>_<KEY> variables, then these options.
    """
    try:
        overrides = {
            "node.id": node_id,
            "node.data_dir": data_dir,
            "network.client_port": port or None,
            "logging.level": log_level,
        }
        _run(_load(file, overrides), port=port, bootstrap=bootstrap)
    except ScribeError as error:
        _fail(error)
    except OSError as error:
        place = f": {error.filename}" if error.filename else ""
        _say(f"{error.strerror or error}{place}")
        sys.exit(FAILED)
    except Exception as error:  # noqa: BLE001 - a mistake of ours is said as one
        traceback.print_exc()
        _say(f"this is a mistake in scribe-node: {error!r} (please report it)")
        sys.exit(FAILED)


def main() -> NoReturn:
    """The console script."""
    for stream in (sys.stdout, sys.stderr):
        if hasattr(stream, "reconfigure"):
            stream.reconfigure(errors="backslashreplace")
    scribe_node.main(prog_name="scribe-node")
    raise AssertionError("click ends the process")


def _load(file: str | None, overrides: dict[str, Any]) -> Config:
    from scribe_ledger.config import Config, ConfigurationWarning

    with warnings.catch_warnings():
        warnings.simplefilter("ignore", ConfigurationWarning)  # the node logs them
        return Config.load(file, overrides=overrides)


def _run(config: Config, *, port: int | None, bootstrap: bool) -> None:
    from scribe_ledger.node.node import run_node

    run_node(config, port=port, bootstrap=bootstrap)


def _fail(error: ScribeError) -> NoReturn:
    problems = getattr(error, "problems", ())
    for line in map(str, problems) if problems else [str(error)]:
        _say(" ".join(line.split("\n")))
    for warning in getattr(error, "warnings", ()):
        _say(f"warning: {warning}")
    sys.exit(FAILED)


def _say(line: str) -> None:
    sys.stderr.write(f"scribe-node: {line}\n")


if __name__ == "__main__":
    main()
