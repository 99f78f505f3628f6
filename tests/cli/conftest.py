"""Runs ``scribe`` in this process, on a ledger of the test's own: in a folder, or at a node over a real socket."""

from __future__ import annotations

import json
import logging
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any, NamedTuple

import pytest
import structlog
from click.testing import CliRunner
from tests.http.serving import serve

from scribe_ledger import Ledger
from scribe_ledger.cli.local import LocalTarget
from scribe_ledger.cli.main import scribe

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

    from tests.http.serving import Served


@pytest.fixture(autouse=True)
def quiet_nodes() -> Iterator[None]:
    """A node in this process would say on the command's own output that a client went away."""
    structlog.configure(wrapper_class=structlog.make_filtering_bound_logger(logging.INFO))
    yield
    structlog.reset_defaults()


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

    def __init__(self, folder: Path, *, data: Path | None = None, url: str | None = None) -> None:
        self.folder = folder
        self.data = data or folder / "data"
        self.environment: dict[str, str | None] = {
            "SCRIBE_DATA": str(self.data) if url is None else None,
            "SCRIBE_URL": url,
            "SCRIBE_PUBLIC_KEY": None,
            "SCRIBE_TRUST": None,
            "XDG_STATE_HOME": str(folder / "state"),
        }

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


@pytest.fixture
def node(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Served]:
    """A node with an empty ledger."""
    monkeypatch.chdir(tmp_path)
    with serve(tmp_path / "node", name="example.org/log") as served:
        yield served


class Twins(NamedTuple):
    """The same ledger twice: in a folder, and at a node."""

    folder: Cli
    node: Cli


def fixed_clock() -> int:
    """Whoever asks, and whenever: what is written to twins has the same leaves."""
    return 1_800_000_000_000


@contextmanager
def twins_in(path: Path, fill: Callable[[Ledger], None]) -> Iterator[Twins]:
    """Twins of a ledger that ``fill`` wrote."""
    with Ledger.open(path / "node", name="example.org/log", clock=fixed_clock) as ledger:
        fill(ledger)
        ledger.snapshot(path / "data")
    opening = LocalTarget.open

    def open_with_clock(*arguments: Any, **options: Any) -> Any:
        return opening(*arguments, **{"clock": fixed_clock, **options})

    with pytest.MonkeyPatch.context() as patch, serve(path / "node", clock=fixed_clock) as served:
        patch.setattr(LocalTarget, "open", open_with_clock)
        patch.chdir(path)
        yield Twins(Cli(path, data=path / "data"), Cli(path, url=served.url))
