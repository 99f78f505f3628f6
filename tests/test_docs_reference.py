"""The reference pages hold what the code has: every kind of error, every name of the library, every size on disk."""

from __future__ import annotations

import inspect
import re
from pathlib import Path
from typing import Any

import pytest

from scribe_ledger import (
    AsyncLedger,
    Checkpoint,
    Config,
    ConsistencyProof,
    Entry,
    HistoryProof,
    Ledger,
    Proof,
    Receipt,
    errors,
    verify,
)
from scribe_ledger.ledger import folder, records
from scribe_ledger.ledger.batch import Batch
from scribe_ledger.ledger.check import Report
from scribe_ledger.merkle import MerkleTree
from scribe_ledger.merkle.tiles import EXPANDED_BYTES

pytestmark = pytest.mark.docs

REFERENCE = Path(__file__).parents[1] / "docs" / "reference"
LIBRARY = (REFERENCE / "library.md").read_text()


def section(page: str, title: str) -> str:
    level = title.split(" ", maxsplit=1)[0]
    found = re.search(rf"^{re.escape(title)}$(.*?)(?=^#{{1,{len(level)}}} |\Z)", page, re.MULTILINE | re.DOTALL)
    assert found, f"there is no section {title}"
    return found[1]


def flowing(text: str) -> str:
    """Text as it is shown: where a line breaks does not matter."""
    return " ".join(text.split())


# --- errors ----------------------------------------------------------------------------------------------------


def test_table_of_errors_is_the_hierarchy() -> None:
    rows = re.findall(
        r"^\| `(\w+)` \| `(\w+)` \| (\d+) \| (\d) \| (.+) \|$", (REFERENCE / "errors.md").read_text(), re.MULTILINE
    )
    assert [kind for _, kind, *_ in rows] == list(errors.KINDS)
    for name, kind, status, code, _ in rows:
        assert getattr(errors, name).kind == kind
        assert (int(status), int(code)) == errors.KINDS[kind]


# --- the library -----------------------------------------------------------------------------------------------


class _Named:
    """A default that is a function or class, shown by its name."""

    def __init__(self, default: Any) -> None:
        self._name = default.__name__

    def __repr__(self) -> str:
        return str(self._name)


def signature(function: Any) -> str:
    """Arguments and defaults, without types."""
    parameters = []
    for parameter in inspect.signature(function).parameters.values():
        if parameter.name not in ("self", "cls"):
            default = parameter.default
            named = callable(default) and default is not parameter.empty
            parameters.append(
                parameter.replace(annotation=parameter.empty, default=_Named(default) if named else default)
            )
    return str(inspect.Signature(parameters))


PLUMBING = {"write", "write_all", "prepare", "needs_blob", "import_verbatim"}
"""Methods of the ledger that the page only names."""


def names(subject: Any) -> dict[str, str]:
    """The public names of a class or module, each with what the page must show of it."""
    found = {}
    for name in vars(subject):
        value = getattr(subject, name)
        defined = inspect.isclass(subject) or getattr(value, "__module__", "") == subject.__name__
        if name.startswith("_") or not defined:
            continue
        method = inspect.isfunction(value) or inspect.ismethod(value)
        found[name] = f"`{name}{signature(value)}`" if method and name not in PLUMBING else f"`{name}`"
    return found


@pytest.mark.parametrize(
    ("subject", "title"),
    [
        (Ledger, "## Ledger"),
        (Batch, "### Writing"),
        (Report, "### Looking after"),
        (Receipt, "## Receipt and Entry"),
        (Entry, "## Receipt and Entry"),
        (Checkpoint, "## Proofs"),
        (Proof, "## Proofs"),
        (HistoryProof, "## Proofs"),
        (ConsistencyProof, "## Proofs"),
        (verify, "## verify"),
        (MerkleTree, "## merkle.MerkleTree"),
    ],
    ids=lambda value: getattr(value, "__name__", ""),
)
def test_library_page_has_every_name(subject: Any, title: str) -> None:
    text = flowing(section(LIBRARY, title))
    missing = [shown for shown in names(subject).values() if shown not in text]
    assert not missing


def test_library_page_has_no_method_that_the_ledger_lacks() -> None:
    rows = re.findall(r"^\| `(\w+)\(", section(LIBRARY, "## Ledger"), re.MULTILINE)
    assert set(rows) <= set(names(Ledger))


def test_library_page_says_how_the_asynchronous_ledger_differs() -> None:
    text = flowing(section(LIBRARY, "## AsyncLedger"))
    ours, theirs = names(AsyncLedger), names(Ledger)
    assert set(ours) <= set(theirs)
    differing = [shown for name, shown in ours.items() if shown != theirs[name]]
    absent = [f"`{name}`" for name in theirs if name not in ours]
    assert not [shown for shown in (*differing, *absent) if shown not in text]


def test_library_page_says_how_settings_are_loaded() -> None:
    assert f"`Config.load{signature(Config.load)}`" in flowing(section(LIBRARY, "## Config"))


# --- formats ---------------------------------------------------------------------------------------------------


def test_sizes_on_disk_are_those_of_the_page() -> None:
    text = section((REFERENCE / "formats.md").read_text(), "## On disk")
    sizes = {
        f"at most {records.GROUP_BYTES:,} bytes together",
        f"at most {records.GROUP_ENTRIES} entries",
        f"its latest version, {records.LATEST.size} bytes",
        f"then remembered request ids, {8 + records.REQUEST_DIGEST_BYTES} bytes each",
        f"place of that version, {records.SPOT.size} bytes",
        f"Only the key's last {records.REMEMBERED_REQUESTS} versions",
        f"{EXPANDED_BYTES:,} bytes",
        f"Two slots of {folder.Head.SLOT_BYTES:,} bytes",
    }
    assert not [size for size in sizes if size not in flowing(text)]
    assert {name.removesuffix("/") for name in re.findall(r"^\| `([\w.]+/?)` \| ", text, re.MULTILINE)} >= {
        folder.IDENTITY,
        folder.LOCK,
        folder.KEY,
        folder.HEAD,
        folder.STORE,
        folder.OBJECTS,
        folder.SPOOL,
    }
