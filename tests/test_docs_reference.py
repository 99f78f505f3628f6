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
from scribe_ledger.archive import background, compaction, pacing
from scribe_ledger.archive.check.store import DEFAULT_GRACE_SECS
from scribe_ledger.archive.settings import GRACE_SECS
from scribe_ledger.config.catalogue import SETTINGS
from scribe_ledger.http import lane, watch
from scribe_ledger.http.batch import MAX_BATCH_ID_BYTES
from scribe_ledger.http.description.reference import BEGIN, with_routes
from scribe_ledger.http.json_bodies import FEW_PARTS
from scribe_ledger.http.lookup import MAX_ANSWER_BYTES
from scribe_ledger.http.operations import OPERATION_PARTS
from scribe_ledger.http.parameters import LIMIT
from scribe_ledger.http.paths import RESERVED
from scribe_ledger.ledger import folder, records
from scribe_ledger.ledger.batch import Batch
from scribe_ledger.ledger.check import Report
from scribe_ledger.merkle import MerkleTree
from scribe_ledger.merkle.hashing import HASH_BYTES
from scribe_ledger.merkle.tiles import EXPANDED_BYTES
from scribe_ledger.model import MAX_KEY_BYTES, MAX_REQUEST_ID_BYTES
from scribe_ledger.node import store_watch
from scribe_ledger.objects.remote import FIRST_PAUSE_SECONDS, MULTIPART_BYTES
from scribe_ledger.segments.reading import FOOTER_SHARE
from scribe_ledger.segments.schema import GROUP_VALUE_BYTES

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


def test_troubleshooting_says_what_to_do_on_every_kind() -> None:
    page = (REFERENCE.parent / "guides" / "troubleshooting.md").read_text()
    rows = re.findall(r"^\| `(\w+)` \| (\d+) \| (.+) \|$", section(page, "## Every kind"), re.MULTILINE)
    assert [(kind, int(status)) for kind, status, _ in rows] == [(kind, row[0]) for kind, row in errors.KINDS.items()]
    unavailable = re.findall(r"`(\w+)`", "".join(re.findall(r"^\| ([^|]+) \|", section(page, "### 503"), re.MULTILINE)))
    assert {"overloaded", "unavailable", "outcome_unknown", "storage", "corruption", "internal"} == set(unavailable)


@pytest.mark.parametrize(
    ("page", "title"),
    [
        ("guides/troubleshooting.md", "# Troubleshooting"),
        ("guides/durability.md", "## When something fails"),
        ("guides/object-stores.md", "## Troubles"),
        ("operations/disaster-recovery.md", "## When something refuses"),
        ("operations/cluster-runbook.md", "# Cluster runbook"),
    ],
    ids=lambda value: value,
)
def test_messages_that_a_page_quotes_are_those_of_the_code(page: str, title: str) -> None:
    text = section((REFERENCE.parent / page).read_text(), title)
    source = "".join(path.read_text() for path in Path(errors.__file__).parent.rglob("*.py"))
    source = re.sub(r'"\s*\n\s*f?"', "", source)  # a message goes on in the next line
    quoted = re.findall(r"(?<!\*)\*([^*|\n]+)\*(?!\*)", re.sub(r"`[^`]*`", "", text))
    pieces = {piece.strip(" ,") for message in quoted for piece in message.split("…")}
    assert len(quoted) >= 8
    assert not [piece for piece in pieces if piece not in source]


# --- the archive -----------------------------------------------------------------------------------------------


def test_figures_of_the_guide_to_archiving_are_those_of_the_code() -> None:
    text = flowing((REFERENCE.parent / "guides" / "archiving.md").read_text())
    numbers = {4: "four", 8: "eight"}
    pauses = [f"{background.FIRST_PAUSE_SECONDS * 2**failures:.0f}" for failures in range(3)]
    shown = {
        f"{numbers[compaction.MIN_RUN]} or more neighbours",
        f"tries again after {', '.join(pauses)}, … seconds",
        f"every {store_watch.CHECK_SECONDS:.0f} seconds",
        f"every {store_watch.GUARD_SECONDS / 60:.0f} minutes",
        f"some {GROUP_VALUE_BYTES >> 20} MiB of values",
        f"in parts of {MULTIPART_BYTES >> 20} MiB and more",
        f"{2 * HASH_BYTES} bytes that do not compress",
        f"Between the tries are {FIRST_PAUSE_SECONDS * 1000:.0f} ms, {FIRST_PAUSE_SECONDS * 2000:.0f} ms",
        *(f"{name} = {SETTINGS[f'storage.{name}'].default}" for name in ("segment_size", "hot_size", "max_cache_size")),
        f"age_threshold_secs = {SETTINGS['storage.tiering.age_threshold_secs'].default}",
    }
    assert not [figure for figure in shown if figure not in text]
    metrics = flowing((REFERENCE / "metrics.md").read_text())
    assert f"from {numbers[pacing.RESTS[-1][0]]} segments on the archiver no longer gives way" in metrics
    assert (GRACE_SECS, DEFAULT_GRACE_SECS, FOOTER_SHARE) == (86_400, 86_400, 4)  # "a day", "a quarter"


# --- HTTP ------------------------------------------------------------------------------------------------------


def test_routes_of_the_http_page_are_those_of_the_code() -> None:
    page = (REFERENCE / "http.md").read_text()
    assert page == with_routes(page), f"run python -m {with_routes.__module__} docs/reference/http.md"


def test_figures_of_the_http_page_are_those_of_the_code() -> None:
    text = flowing((REFERENCE / "http.md").read_text().partition(BEGIN)[0])
    shown = {
        f"1 to {MAX_KEY_BYTES:,} bytes, any bytes",
        f"up to {MAX_REQUEST_ID_BYTES} bytes ({MAX_BATCH_ID_BYTES} for a batch)",
        f"the last {records.REMEMBERED_REQUESTS} versions of the key",
        f"{LIMIT.default:,} unless told and {LIMIT.most:,} at most",
        f"every {watch.KEEP_ALIVE_SECONDS:.0f} seconds",
        f"took nothing for {watch.SLOW_SECONDS:.0f} seconds",
        f"serves {watch.MAX_WATCHERS:,} watchers at most",
        f"an answer of {MAX_ANSWER_BYTES >> 20} MiB",
        f"`[storage] inline_max` ({SETTINGS['storage.inline_max'].default >> 10} KiB)",
        f"`[api] max_batch_size` operations ({SETTINGS['api.max_batch_size'].default:,})",
        f"({SETTINGS['api.max_batch_bytes'].default >> 20} MiB)",
        f"{OPERATION_PARTS} members and values for each",
        f"on the average, and {FEW_PARTS:,} more",
        f"{lane.MAX_HEAD_BYTES >> 10} KiB, and {lane.HEADER_SECONDS} seconds to send it",
        *(f"`{name.decode()}`" for name in RESERVED),
    }
    assert not [figure for figure in shown if figure not in text]


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
