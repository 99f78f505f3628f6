"""Every example runs as a user would run it, and says what it is there to show."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

import scribe_ledger

pytestmark = pytest.mark.docs

EXAMPLES = Path(__file__).parents[1] / "examples"

SHOWN = {
    "basic_usage": [
        "version 1: b'Alice Smith'",
        "batch: [2, 3]",
        "refused: key 'user:bob' is at version 1, not 7",
        "a retry gets the first receipt: True",
        "as of size 6: b'Alice Jones'",
        "proven offline: entry 4 of 7, version 2",
        "all is well: True",
    ],
    "cli_store": ["shopping: version 2", "apples, bread", "(exit code 1)", "2\tforgotten", "1\tDune"],
    "config_demo": [
        "network.client_port = 8005 from --port",
        "storage.inline_max = 131072 from SCRIBE_STORAGE_INLINE_MAX",
        "opened example.org/demo, deletes = forbid",
        "3 problems in the settings:",
    ],
    "data_types": [
        "text: Grüße, 世界",
        "empty: b'' absent: None",
        "json: [64, 64] version 1 application/json",
        "large: digest as in the receipt: True",
        "refused (too_large): the key has 5000 bytes",
    ],
    "model_registry": [
        "  6 evaluation/sentiment version 1",
        "a better accuracy, written in afterwards: the value's SHA-256 is not that of entry 6",
    ],
    "third_party_verification": [
        "the invoice is entry 2, version 2, {'reason': 'late fee'}",
        "Friday's log begins with all of Monday's: nothing was edited or removed",
        "another value: the value's SHA-256 is not that of entry 2",
        "another place: the proof is for entry 1, its leaf says 2",
    ],
}


def run(example: str, folder: Path, *arguments: str) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-X", "utf8", "-W", "error", str(EXAMPLES / f"{example}.py"), *arguments]
    environment = {**os.environ, "PYTHONPATH": str(Path(scribe_ledger.__file__).parents[1])}
    return subprocess.run(
        command, cwd=folder, env=environment, capture_output=True, encoding="utf-8", timeout=60, check=False
    )


def test_every_example_is_run_here() -> None:
    assert {path.stem for path in EXAMPLES.glob("*.py")} == set(SHOWN)


@pytest.mark.parametrize("example", sorted(SHOWN))
def test_example_shows_what_it_is_for(example: str, tmp_path: Path) -> None:
    done = run(example, tmp_path)
    assert done.returncode == 0, done.stderr
    missing = [line for line in SHOWN[example] if line not in done.stdout.splitlines()]
    assert not missing, done.stdout
    assert not list(tmp_path.iterdir()), "an example leaves nothing behind"


def test_store_of_the_example_keeps_notes_between_runs(tmp_path: Path) -> None:
    assert run("cli_store", tmp_path, "set", "books", "Dune").stdout == "books: version 1\n"
    assert run("cli_store", tmp_path, "get", "books").stdout == "Dune\n"
    absent = run("cli_store", tmp_path, "get", "films")
    assert (absent.returncode, absent.stderr) == (1, "there is no note films\n")
    refused = run("cli_store", tmp_path, "set", "", "x")
    assert refused.returncode == 2
    assert "the key is empty" in refused.stderr
