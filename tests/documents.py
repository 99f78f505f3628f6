"""Running the examples of a document: its blocks, a shell, and what each of them must show.

The `python` and `console` blocks of a page run from top to bottom in one scratch folder: Python in one namespace, `$ `
commands in one shell, in which `scribe`, `scribe-node` and `python` are the ones under test. The lines below a command
are all of its output, and `expression  # → value` says what an expression gives; `…` stands for anything, a line of it
for any lines.
`sh` blocks set a machine up and are only held against the commands that exist, but their `curl` lines are run. A `toml`
block that begins with `# NAME.toml` is written to that file, and must be valid settings.

A page that speaks of `localhost:8001` gets a node of its own, or, if it starts nodes itself with `--port 8001`, a port
that is free. One that speaks of `localhost:9000` gets a real S3 server with a bucket. One that starts the shipped
`config-node1.toml` gets these files, and free ports for `8001` to `8004` and `9001` to `9004`.
"""

from __future__ import annotations

import ast
import contextlib
import os
import re
import shutil
import signal
import subprocess
import sys
from pathlib import Path
from types import MappingProxyType
from typing import TYPE_CHECKING, NamedTuple

import pytest
from tests.ports import free_ports
from tests.running import start_node
from tests.s3_server import ACCESS_KEY, SECRET_KEY

import scribe_ledger
from scribe_ledger import Config

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

    from tests.s3_server import S3Server

ROOT = Path(__file__).parents[1]
CLUSTER_PAGES = [ROOT / "docs/guides/cluster.md", ROOT / "docs/operations/cluster-runbook.md"]
SOURCE = Path(scribe_ledger.__file__).parents[1]
BLOCK = re.compile(r"^```(\w+)\n(.*?)^```$", re.MULTILINE | re.DOTALL)
SET_UP = re.compile(
    r"(git clone \S+|cd [\w-]+|make (install|run|test|check|bench)|pip install \S+|scribe-node -c \S+"
    r"|scripts/(start|stop)-cluster\.sh)( +#.*)?"
)
NODE = "localhost:8001"
OWN_NODES = "--port 8001"
S3 = "localhost:9000"
CLUSTER = "-c config-node1.toml"
CLUSTER_PORTS = [f"{first + number}" for first in (8001, 9001) for number in range(4)]
END = "--- end of the output, exit code"


class Block(NamedTuple):
    language: str
    code: str
    line: int


def blocks(page: Path) -> Iterator[Block]:
    text = page.read_text()
    for found in BLOCK.finditer(text):
        yield Block(found[1], found[2], text.count("\n", 0, found.start(2)) + 1)


def pattern(shown: str) -> str:
    """A regular expression for what a page shows."""
    lines = (".*\n" if line == "…" else re.escape(line).replace("…", "[^\n]*") + "\n" for line in shown.splitlines())
    return "".join(f"(?:{line})*" if line == ".*\n" else line for line in lines)


# --- python ----------------------------------------------------------------------------------------------------


class Expectations(ast.NodeTransformer):
    """Wraps each expression whose line says what it gives; of a `print`, what it prints."""

    def __init__(self, code: str) -> None:
        lines = enumerate(code.splitlines(), 1)
        self._expected = {number: line.partition("  # → ")[2] for number, line in lines if "  # → " in line}

    def visit_Expr(self, node: ast.Expr) -> ast.Expr:
        expected = self._expected.pop(node.end_lineno or 0, None)
        if expected is not None:
            call = node.value
            prints = isinstance(call, ast.Call) and isinstance(call.func, ast.Name) and call.func.id == "print"
            shown = call.args if prints and isinstance(call, ast.Call) else [call]
            name = ast.Name("_expect_printed" if prints else "_expect", ast.Load())
            node.value = ast.Call(name, [ast.Constant(expected), *shown], [])
        return node

    def check_all_used(self) -> None:
        assert not self._expected, f"`# →` stands where there is no expression: {self._expected}"


def expect(shown: str, value: object) -> None:
    assert re.fullmatch(pattern(shown), repr(value) + "\n"), f"the page shows {shown}, it is {value!r}"


def expect_printed(shown: str, *values: object) -> None:
    printed = " ".join(map(str, values))
    assert re.fullmatch(pattern(shown), printed + "\n"), f"the page shows {shown}, it prints {printed}"


def run_python(block: Block, page: Path, namespace: dict[str, object]) -> None:
    code = "\n" * (block.line - 1) + block.code
    expectations = Expectations(code)
    tree = ast.fix_missing_locations(expectations.visit(ast.parse(code)))
    expectations.check_all_used()
    exec(compile(tree, str(page), "exec", dont_inherit=True), namespace)


# --- console ---------------------------------------------------------------------------------------------------


class Shell:
    """One bash for a whole page, so that what it exports stays."""

    def __init__(self, folder: Path, programs: Path) -> None:
        environment = {name: value for name, value in os.environ.items() if not name.startswith(("SCRIBE_", "AWS_"))}
        commands = {"scribe": "-m scribe_ledger", "scribe-node": "-m scribe_ledger.cli.node", "python": ""}
        for name, command in commands.items():
            (programs / name).write_text(f'#!/bin/sh\nexec "{sys.executable}" {command} "$@"\n')
            (programs / name).chmod(0o755)
        if curl := shutil.which("curl"):
            (programs / "curl").write_text(f'#!/bin/sh\nexec "{curl}" --silent --show-error "$@"\n')
            (programs / "curl").chmod(0o755)
        self._bash = subprocess.Popen(
            ["bash", "--norc", "--noprofile"],
            cwd=folder,
            env={**environment, "PATH": f"{programs}:{environment['PATH']}", "PYTHONPATH": str(SOURCE)},
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            encoding="utf-8",
            start_new_session=True,
        )

    def run(self, command: str) -> tuple[str, int]:
        """The output of a command, errors included, and its exit code."""
        assert self._bash.stdin and self._bash.stdout
        self._bash.stdin.write(f"{{\n{command}\n}} </dev/null\nprintf '\\n{END} %d\\n' $?\n")
        self._bash.stdin.flush()
        output = ""
        for line in self._bash.stdout:
            if line.startswith(END):
                return output.removesuffix("\n"), int(line.removeprefix(END))
            output += line
        raise AssertionError(f"the shell ended: {command}\n{output}")

    def close(self) -> None:
        assert self._bash.stdin and self._bash.stdout
        self._bash.stdin.close()
        self._bash.wait(60)
        with contextlib.suppress(ProcessLookupError):
            os.killpg(self._bash.pid, signal.SIGTERM)  # a node that a page left running, because it failed half way
        self._bash.stdout.close()


def commands(block: Block) -> Iterator[tuple[str, str]]:
    """Each command of a console block with the output that is shown below it."""
    assert block.code.startswith("$ "), "a console block begins with a command"
    for part in re.split(r"^\$ ", block.code, flags=re.MULTILINE)[1:]:
        first, *rest = part.splitlines()
        command = [first]
        while rest and rest[0].startswith("> "):
            command.append(rest.pop(0)[2:])
        yield "\n".join(command), "\n".join(rest)


def run_set_up(block: Block, shell: Shell) -> None:
    for line in filter(None, block.code.splitlines()):
        if line.startswith("curl "):
            output, status = shell.run(line)
            assert status == 0, f"$ {line}\n{output}"
        else:
            assert SET_UP.fullmatch(line), f"`console` is for what can run anywhere, `text` for what cannot run: {line}"


def run_console(block: Block, page: Path, shell: Shell) -> None:
    for command, shown in commands(block):
        if command.startswith("openssl ") and not shutil.which("openssl"):
            continue  # the one program that a machine with Python and make may lack
        output, status = shell.run(command)
        place = f"{page.relative_to(ROOT)}, block at line {block.line}: $ {command}"
        assert status == 0, f"{place}\nexit code {status}\n{output}"
        whole = output + "\n" * (output[-1:] not in ("\n", ""))
        if not re.fullmatch(pattern(shown), whole):
            raise AssertionError(f"{place}\n--- shown:\n{shown}\n--- printed:\n{output}")


# --- what runs around a page -------------------------------------------------------------------------------------


@contextlib.contextmanager
def surroundings(page: Path, folder: Path, s3: S3Server) -> Iterator[Mapping[str, str]]:
    """What runs meanwhile for a page, as texts of it and what they are replaced by."""
    code = "".join(block.code for block in blocks(page))
    replaced = {}
    if S3 in code:
        bucket = s3.bucket()
        replaced = {S3: f"127.0.0.1:{s3.port}", "example-bucket": bucket.name}
        replaced |= {"example-key-id": ACCESS_KEY, "example-secret": SECRET_KEY}
    if NODE not in code:
        yield replaced
        return
    if not shutil.which("curl"):
        pytest.skip("the page uses curl, which this machine lacks")
    if CLUSTER in code:
        ports = dict(zip(CLUSTER_PORTS, map(str, free_ports(len(CLUSTER_PORTS))), strict=True))
        for file in ROOT.glob("config-node?.toml"):
            (folder / "scratch" / file.name).write_text(put_instead(file.read_text(), ports))
        yield replaced | ports
        return
    if OWN_NODES in code:
        [port] = free_ports(1)
        yield replaced | {NODE: f"127.0.0.1:{port}", OWN_NODES: f"--port {port}"}
        return
    with start_node(folder / "node") as node:
        yield replaced | {NODE: f"127.0.0.1:{node.port}"}


def put_instead(text: str, instead: Mapping[str, str]) -> str:
    """All at once, so that nothing that was put is replaced again."""
    if not instead:
        return text
    return re.sub("|".join(map(re.escape, instead)), lambda found: instead[found[0]], text)


def write_settings(block: Block, folder: Path) -> None:
    """The settings of a page as the file that it names."""
    found = re.match(r"# (\S+\.toml)\n", block.code)
    if found is None:
        return
    file = folder / found[1]
    file.write_text(block.code)
    Config.load(file, environ={})


def run_page(page: Path, tmp_path: Path, s3: S3Server, instead: Mapping[str, str] = MappingProxyType({})) -> None:
    """All blocks of a page, in the working directory ``tmp_path / "scratch"``, with other texts ``instead`` of some."""
    folder, programs = tmp_path / "scratch", tmp_path / "bin"
    folder.mkdir()
    programs.mkdir()
    namespace: dict[str, object] = {"__name__": "__main__", "_expect": expect, "_expect_printed": expect_printed}
    shell = Shell(folder, programs)
    try:
        with contextlib.chdir(folder), surroundings(page, tmp_path, s3) as replaced:
            for written in blocks(page):
                block = written._replace(code=put_instead(written.code, {**instead, **replaced}))
                if block.language == "python":
                    run_python(block, page, namespace)
                elif block.language == "console":
                    run_console(block, page, shell)
                elif block.language == "sh":
                    run_set_up(block, shell)
                elif block.language == "toml":
                    write_settings(block, folder)
    finally:
        shell.close()
