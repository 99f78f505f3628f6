"""A small command-line store, built on the library in a page: notes that cannot be changed behind your back.

    python examples/cli_store.py --data ./notes set shopping "apples, bread"
    python examples/cli_store.py --data ./notes get shopping
    python examples/cli_store.py --data ./notes list
    python examples/cli_store.py --data ./notes changes shopping
    python examples/cli_store.py --data ./notes forget shopping

Without a command it plays a short session in a temporary folder. For the whole tool see the command `scribe`.
"""

from __future__ import annotations

import argparse
import sys
import tempfile

from scribe_ledger import Ledger, ScribeError
from scribe_ledger.errors import KINDS

SESSION = [
    ["set", "shopping", "apples"],
    ["set", "shopping", "apples, bread"],
    ["get", "shopping"],
    ["set", "books", "Dune"],
    ["list"],
    ["forget", "books"],
    ["get", "books"],
    ["changes", "books"],
]


def run(ledger: Ledger, command: str, name: str, text: str) -> int:
    """Does one command and gives the exit code."""
    if command == "set":
        receipt = ledger.put(name, text, content_type="text/plain; charset=utf-8")
        print(f"{name}: version {receipt.version}" if receipt.created else f"{name}: nothing new")
    elif command == "get":
        value = ledger.get(name)
        if value is None:
            print(f"there is no note {name}", file=sys.stderr)
            return 1
        print(value.decode())
    elif command == "list":
        for entry in ledger.scan():
            print(f"{entry.key.decode()}\t{entry.time:%Y-%m-%d}\t{entry.value.decode()}")
    elif command == "forget":
        ledger.delete(name)
        print(f"{name}: forgotten; `changes` still shows what it was")
    elif command == "changes":
        for entry in ledger.history(name):
            print(f"{entry.version}\t{'forgotten' if entry.deleted else entry.value.decode()}")
    return 0


def parse(arguments: list[str]) -> argparse.Namespace:
    parser = argparse.ArgumentParser(description="notes that keep every version")
    parser.add_argument("--data", default="./notes", help="the folder of the notes (default: ./notes)")
    commands = parser.add_subparsers(dest="command", required=True)
    for command, words in {
        "set": ["name", "text"],
        "get": ["name"],
        "list": [],
        "forget": ["name"],
        "changes": ["name"],
    }.items():
        added = commands.add_parser(command)
        for word in words:
            added.add_argument(word)
    return parser.parse_args(arguments)


def main(arguments: list[str]) -> int:
    options = parse(arguments)
    try:
        with Ledger.open(options.data) as ledger:
            return run(ledger, options.command, getattr(options, "name", ""), getattr(options, "text", ""))
    except ScribeError as error:
        print(error, file=sys.stderr)
        return KINDS[error.kind].exit_code


def play() -> None:
    with tempfile.TemporaryDirectory() as folder:
        for arguments in SESSION:
            print("$ cli_store.py", *(repr(word) if " " in word else word for word in arguments), flush=True)
            code = main(["--data", folder, *arguments])
            if code:
                print(f"(exit code {code})")


if __name__ == "__main__":
    if sys.argv[1:]:
        sys.exit(main(sys.argv[1:]))
    play()
