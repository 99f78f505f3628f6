"""``shell``: a script from a pipe in this process, a person at a terminal in another."""

from __future__ import annotations

import os
import pty
import select
import subprocess
import sys
import time
from typing import TYPE_CHECKING

import pytest

from scribe_ledger.cli.shell import AVAILABLE, completer

if TYPE_CHECKING:
    from pathlib import Path

    from tests.cli.conftest import Cli

pytestmark = pytest.mark.storage


def script(*lines: str) -> bytes:
    return "".join(line + "\n" for line in lines).encode()


def test_a_script_runs_on_one_ledger(cli: Cli) -> None:
    lines = (
        "# a comment",
        "",
        "put 'two words' \"the value\"",
        "get 'two words'",
        "put n 1 --meta a=b",
        "ls",
        "delete n",
    )
    assert cli("shell", stdin=script(*lines)).text.splitlines() == [
        "two words: version 1, entry 0",
        "the value",
        "n: version 1, entry 1",
        "n",
        "two words",
        "n: deleted, version 2, entry 2",
    ]
    assert cli("get", "two words").out == b"the value"


def test_errors_do_not_end_a_script_and_the_first_is_its_exit_code(cli: Cli) -> None:
    answer = cli("shell", stdin=script("get absent", "bogus", "put 'unclosed", "put k v", "get k"), code=1)
    assert answer.text.splitlines()[-1] == "v"
    first, second, _, third, *_ = answer.err.splitlines()
    assert "no key 'absent'" in first
    assert "no command 'bogus'" in second
    assert "cannot be read" in third
    cli("shell", stdin=script("bogus", "get absent"), code=2)


def test_quit_ends_a_script(cli: Cli) -> None:
    for word in ("quit", "exit"):
        assert cli("shell", stdin=script(word, "get absent")).out == b""


def test_everything_but_bench_is_in_the_shell(cli: Cli) -> None:
    shown = cli("shell", stdin=script("help")).text
    assert all(f"  {name} " in shown for name in AVAILABLE)
    assert "Usage: scribe put" in cli("shell", stdin=script("help put")).text
    made = cli("shell", stdin=script("put k v", "prove k -o p", "checkpoint --public-key -o key", "verify p --key key"))
    assert "verified: inclusion" in made.text


def test_the_shell_keeps_to_its_ledger(cli: Cli, tmp_path: Path) -> None:
    for line in ("get k --data other", "get k --url http://x", "put k v --name other", "shell"):
        assert "already" in cli("shell", stdin=script(line), code=2).err
    assert not (tmp_path / "other").exists()


def test_json_holds_for_all_lines(cli: Cli) -> None:
    answer = cli("shell", "--json", stdin=script("put k v", "get absent"), code=1)
    assert answer.document["index"] == 0
    assert answer.error["kind"] == "not_found"


def test_completion_knows_commands_and_options() -> None:
    def completions(line: str) -> list[str]:
        word = "" if line.endswith(" ") or not line else line.rsplit(maxsplit=1)[-1]
        complete = completer(lambda: line)
        found: list[str] = []
        while (choice := complete(word, len(found))) is not None:
            found.append(choice)
        return found

    assert completions("hi") == ["history "]
    assert completions("q") == ["quit "]
    assert "put " in completions("")
    assert completions("put k v --if-a") == ["--if-absent "]
    assert completions("help ver") == ["verify "]
    assert completions("put k") == completions("bogus --x") == []


class Terminal:
    """A shell at a pseudo-terminal, which is its controlling one, so that Ctrl-C reaches it."""

    TAKE_TERMINAL = (
        "import os, sys; os.open(os.ttyname(0), os.O_RDWR); os.execv(sys.executable, [sys.executable, *sys.argv[1:]])"
    )

    def __init__(self, folder: Path) -> None:
        self._seen = b""
        self._side, other = pty.openpty()
        environment = {**os.environ, "HOME": str(folder), "TERM": "dumb", "SCRIBE_DATA": str(folder / "data")}
        self.process = subprocess.Popen(
            [sys.executable, "-c", self.TAKE_TERMINAL, "-m", "scribe_ledger", "shell"],
            stdin=other,
            stdout=other,
            stderr=other,
            env=environment,
            start_new_session=True,
        )
        os.close(other)

    def wait_for(self, text: str) -> str:
        """What came up to and with the text; what came after it is for the next call."""
        assert self._comes(text, 60), (text, self._seen)
        before, found, self._seen = self._seen.partition(text.encode())
        return (before + found).decode()

    def interrupt_until(self, text: str) -> None:
        """Presses Ctrl-C, and again if nothing comes: between its echo and its wait, readline leaves one lying."""
        for _ in range(12):
            self.type("\x03")
            if self._comes(text, 5):
                break
        self.wait_for(text)

    def _comes(self, text: str, seconds: float) -> bool:
        deadline = time.monotonic() + seconds
        while text.encode() not in self._seen:
            if not select.select([self._side], [], [], max(deadline - time.monotonic(), 0))[0]:
                return False
            self._seen += os.read(self._side, 4096)
        return True

    def type(self, text: str) -> None:
        os.write(self._side, text.encode())

    def close(self) -> None:
        os.close(self._side)


def test_a_person_at_a_terminal(tmp_path: Path) -> None:
    terminal = Terminal(tmp_path)
    try:
        assert "0 entries" in terminal.wait_for("scribe> ")
        terminal.type("put key value\n")
        terminal.wait_for("key: version 1, entry 0\r\nscribe> ")
        terminal.type("ge\tkey\n")
        terminal.wait_for("value\r\nscribe> ")
        terminal.type("half a line")
        terminal.wait_for("half a line")
        terminal.interrupt_until("scribe> ")
        terminal.type("get absent\n")
        terminal.wait_for("there is no key 'absent'")
        terminal.wait_for("\nscribe> ")
        terminal.type("\x04")
        assert terminal.process.wait(60) == 0
    finally:
        terminal.close()
        terminal.process.kill()
        terminal.process.wait()
    history = tmp_path / ".scribe_history"
    assert history.read_text().splitlines() == ["put key value", "get key", "get absent"]
    assert history.stat().st_mode & 0o777 == 0o600
