"""Runs ``scribe`` in this process, on a ledger of the test's own."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any, NamedTuple

import pytest
from click.testing import CliRunner

from scribe_ledger.cli.main import scribe

if TYPE_CHECKING:
    from pathlib import Path


class Answer(NamedTuple):
    code: int
    out: bytes
    err: str

    @property
    def text(self) -> str:
        return self.out.decode()

    @property
    def document(self) -> Any:
        return json.loads(self.out)

    @property
    def lines(self) -> list[Any]:
        return [json.loads(line) for line in self.out.splitlines()]

    @property
    def error(self) -> Any:
        return json.loads(self.err)["error"]


class Cli:
    """``cli("get", "key")`` fails the test unless the exit code is the one expected."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.data = folder / "data"
        self.environment: dict[str, str | None] = {"SCRIBE_DATA": str(self.data), "SCRIBE_URL": None}

    def __call__(self, *arguments: str | Path, stdin: bytes = b"", code: int = 0) -> Answer:
        result = CliRunner().invoke(scribe, list(map(str, arguments)), input=stdin, env=self.environment)
        if result.exception is not None and not isinstance(result.exception, SystemExit):
            raise result.exception
        answer = Answer(result.exit_code, result.stdout_bytes, result.stderr)
        assert answer.code == code, answer
        return answer


@pytest.fixture
def cli(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Cli:
    monkeypatch.chdir(tmp_path)
    return Cli(tmp_path)
