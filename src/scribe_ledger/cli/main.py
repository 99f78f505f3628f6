"""The entry of ``scribe``: runs one command, and turns whatever goes wrong into one message and one exit code.

0 done; 1 the answer is no; 2 bad usage; 3 the ledger could not be reached or opened; 130 interrupted. The codes of
errors come from ``errors.KINDS``. With ``--json`` the message is ``{"error": {"kind", "message", "hint"}}``.
"""

from __future__ import annotations

import os
import sys
import traceback
from typing import TYPE_CHECKING, Any, NoReturn

import click

from scribe_ledger.cli.catalogue import Commands
from scribe_ledger.cli.output import print_error
from scribe_ledger.cli.session import Session, ledger_options
from scribe_ledger.errors import KINDS, ScribeError
from scribe_ledger.version import __version__

if TYPE_CHECKING:
    from collections.abc import Sequence

BAD_USAGE, UNREACHABLE, INTERRUPTED, PIPE_CLOSED = 2, 3, 130, 141
COMPLETION = "_SCRIBE_COMPLETE"


def run_command(command: click.Command, arguments: Sequence[str], session: Session) -> int:
    """Runs one command line and gives its exit code, with the error, if there is one, already printed."""
    try:
        code = _invoke(command, arguments, session)
        sys.stdout.flush()
    except BrokenPipeError:
        _silence_stdout()
        code = PIPE_CLOSED
    except (KeyboardInterrupt, click.Abort) as interrupt:
        print_error(session, "interrupted", "interrupted", "; ".join(getattr(interrupt, "__notes__", ())))
        code = INTERRUPTED
    except click.ClickException as error:
        session.json = session.json or "--json" in arguments
        print_error(session, "invalid", error.format_message(), _usage_hint(error))
        code = BAD_USAGE
    except ScribeError as error:
        found = {"details": getattr(error, "problems", ()), "warnings": getattr(error, "warnings", ())}
        print_error(session, error.kind, error.message, error.hint, **found)
        code = KINDS[error.kind].exit_code
    except OSError as error:
        _flush_or_silence()
        print_error(session, "storage", _os_message(error))
        code = UNREACHABLE
    except Exception as error:  # noqa: BLE001 - a mistake of ours must not pass for an answer, such as no
        traceback.print_exc()
        print_error(session, ScribeError.kind, f"this is a mistake in scribe: {error!r}", "please report it")
        code = KINDS[ScribeError.kind].exit_code
    return code


def _invoke(command: click.Command, arguments: Sequence[str], session: Session) -> int:
    try:
        with command.make_context("scribe", list(arguments), obj=session) as context:
            command.invoke(context)
    except click.exceptions.Exit as done:
        return done.exit_code
    return 0


class Scribe(Commands):
    """The root command. ``main`` is click's name for running it, also in tests."""

    def main(self, args: Sequence[str] | None = None, *_: Any, **__: Any) -> NoReturn:
        arguments = sys.argv[1:] if args is None else list(args)
        if COMPLETION in os.environ:
            self._complete(os.environ[COMPLETION])
        sys.exit(run_command(self, arguments or ["--help"], Session()))

    def _complete(self, instruction: str) -> NoReturn:
        from click.shell_completion import shell_complete

        sys.exit(shell_complete(self, {}, "scribe", COMPLETION, instruction))


@click.command(cls=Scribe, context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 100})
@click.version_option(__version__, prog_name="scribe", message="%(prog)s %(version)s")
@ledger_options
def scribe() -> None:
    """Keep an immutable ledger and prove what is in it.

    The ledger is in a folder, --data, or at a node, --url; else where the variable SCRIBE_DATA or SCRIBE_URL says, else
    in ./data. Commands that write create the ledger of a folder.

    Exit codes: 0 done; 1 the answer is no; 2 bad usage; 3 the ledger could not be reached or opened.
    """


def main() -> NoReturn:
    """The console script."""
    _fill_closed_streams()
    for stream in (sys.stdout, sys.stderr):
        if hasattr(stream, "reconfigure"):  # a key may hold what the terminal's encoding does not
            stream.reconfigure(errors="backslashreplace")
    scribe.main()


def _fill_closed_streams() -> None:
    """A shell can start us with a standard stream closed (``>&-``); the next file opened would take its place.

    Errors that nobody can see go nowhere; an answer that cannot be given is an error before anything is done; standard
    input then fails when it is read, since an empty value is not what anybody meant.
    """
    if sys.stdin is None:
        sys.stdin = os.fdopen(os.open(os.devnull, os.O_WRONLY))
    closed = sys.stdout is None
    if closed:
        sys.stdout = os.fdopen(os.open(os.devnull, os.O_WRONLY), "w")
    if sys.stderr is None:
        sys.stderr = os.fdopen(os.open(os.devnull, os.O_WRONLY), "w")
    if closed:
        session = Session()
        session.json = "--json" in sys.argv
        print_error(session, "storage", "standard output is closed", "to throw an answer away, send it to /dev/null")
        sys.exit(UNREACHABLE)


def _usage_hint(error: click.ClickException) -> str:
    context = error.ctx if isinstance(error, click.UsageError) else None
    return f"see `{context.command_path} --help`" if context is not None else ""


def _os_message(error: OSError) -> str:
    place = f": {error.filename}" if error.filename else ""
    return f"{(error.strerror or str(error)).lower()}{place}"


def _flush_or_silence() -> None:
    """What was printed before an error is still wanted, unless printing it is the error."""
    try:
        sys.stdout.flush()
    except OSError:
        _silence_stdout()


def _silence_stdout() -> None:
    """Nobody reads any more: what is still buffered must not fail again when the interpreter ends."""
    try:
        descriptor = sys.stdout.fileno()
    except (OSError, ValueError):
        return  # not a real file, as in tests
    os.dup2(os.open(os.devnull, os.O_WRONLY), descriptor)
