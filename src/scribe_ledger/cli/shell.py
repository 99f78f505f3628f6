"""``shell``: the commands again, on one ledger that stays open.

Every line is a command line of ``scribe`` without its first word, so there is nothing else to learn. On a terminal it
has history and completion; from a pipe it reads a script. An error is printed and the next line is read.
"""

from __future__ import annotations

import os
import shlex
import sys
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import TYPE_CHECKING

import click

from scribe_ledger.cli.catalogue import COMMANDS
from scribe_ledger.cli.main import BAD_USAGE, INTERRUPTED, PIPE_CLOSED, run_command, scribe
from scribe_ledger.cli.output import counted, print_error, say, shown
from scribe_ledger.cli.session import Session, creating_options, ledger_options, pass_session

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator

    from scribe_ledger.cli.target import Target

AVAILABLE = [name for name in COMMANDS if name not in {"shell", "bench"}]
LEAVING = ("quit", "exit")
PROMPT = "scribe> "
HISTORY_LINES = 1000


@click.command()
@creating_options
@ledger_options
@click.pass_context
@pass_session
def shell(session: Session, context: click.Context, name: str) -> None:
    """Work on one ledger, command by command; `help` lists them, `quit` leaves.

    From a pipe it reads a script: lines that begin with # are passed over, and the exit code is that of the first line
    that failed, after all were run.
    """
    if session.in_shell:
        raise click.UsageError("this is the shell already")
    with session.open(create=True, name=name) as target:
        runner = _Lines(target, json=session.json)
        if sys.stdin.isatty():
            _interact(target, runner)
        else:
            context.exit(_run_script(sys.stdin, runner))


class _Lines:
    """Runs lines on one ledger."""

    def __init__(self, target: Target, *, json: bool) -> None:
        self._target = target
        self._json = json

    def run(self, line: str) -> int | None:
        """The exit code of the line, None if it is the one that leaves."""
        session = Session(self._target)
        session.json = self._json
        try:
            words = shlex.split(line, comments=line.lstrip().startswith("#"))
        except ValueError as error:
            print_error(session, "invalid", f"the line cannot be read: {error}".lower())
            return BAD_USAGE
        if not words:
            return 0
        if words[0] in LEAVING:
            return None
        return self._help(words[1:]) if words[0] == "help" else run_command(scribe, words, session)

    def _help(self, words: list[str]) -> int:
        if words:
            return run_command(scribe, [words[0], "--help"], Session(self._target))
        width = max(map(len, AVAILABLE))
        say(*[f"  {name:<{width}}  {COMMANDS[name].summary}" for name in AVAILABLE])
        say(f"  {'help':<{width}}  this list; help COMMAND says more", f"  {'quit':<{width}}  leave")
        return 0


def _run_script(lines: Iterable[str], runner: _Lines) -> int:
    """Runs every line, whatever fails; only Ctrl-C, or an output that nobody reads any more, ends it early."""
    first_failure = 0
    for line in lines:
        code = runner.run(line)
        if code is None or code in (INTERRUPTED, PIPE_CLOSED):
            return first_failure or code or 0
        first_failure = first_failure or code
    return first_failure


def _interact(target: Target, runner: _Lines) -> None:
    say(f"{shown(target.origin)}: {counted(target.size)}. `help` lists the commands, `quit` leaves.")
    with _line_editing():
        while True:
            try:
                if runner.run(input(PROMPT)) is None:
                    return
            except KeyboardInterrupt:
                say("")
            except EOFError:
                say("")
                return


@contextmanager
def _line_editing() -> Iterator[None]:
    """History, kept from one shell to the next in a file that only its owner can read, and completion."""
    try:
        import readline
    except ImportError:  # a Python built without it still has a shell
        yield
        return
    readline.set_completer(completer(readline.get_line_buffer))
    readline.set_completer_delims(" \t\n")
    readline.parse_and_bind("bind ^I rl_complete" if "libedit" in (readline.__doc__ or "") else "tab: complete")
    readline.set_history_length(HISTORY_LINES)
    file = Path("~/.scribe_history").expanduser()
    with suppress(OSError):  # there is none yet, or the home folder is not ours
        readline.read_history_file(file)
    try:
        yield
    finally:
        with suppress(OSError):
            os.close(os.open(file, os.O_WRONLY | os.O_CREAT | os.O_CLOEXEC, 0o600))
            readline.write_history_file(file)


def completer(line: Callable[[], str]) -> Callable[[str, int], str | None]:
    """Completes the first word to a command, and words that begin with a dash to the command's options."""

    def complete(word: str, state: int) -> str | None:
        words = line().split()
        if len(words) <= 1 and not line().endswith(" "):
            choices = [*AVAILABLE, "help", *LEAVING]
        elif words[0] == "help":
            choices = AVAILABLE
        else:
            choices = _options(words[0]) if word.startswith("-") else []
        found = [f"{choice} " for choice in choices if choice.startswith(word)]
        return found[state] if state < len(found) else None

    return complete


def _options(name: str) -> list[str]:
    context = click.Context(scribe)
    command = scribe.get_command(context, name)
    parameters = [] if command is None else command.get_params(context)
    return [spelling for parameter in parameters for spelling in parameter.opts if spelling.startswith("--")]
