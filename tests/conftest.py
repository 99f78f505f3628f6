"""What tests of several rooms share: where their files lie, and servers of buckets, which start when one asks."""

from __future__ import annotations

import gc
import os
import shutil
import signal
import tempfile
from collections import Counter
from pathlib import Path
from typing import TYPE_CHECKING

import pytest
from coverage import Coverage
from hypothesis import is_hypothesis_test
from tests.azure_server import AzureServer
from tests.azure_server import describe as describe_azure
from tests.gcs_server import GcsServer
from tests.gcs_server import describe as describe_gcs
from tests.s3_server import S3Server
from tests.s3_server import describe as describe_s3

if TYPE_CHECKING:
    from collections.abc import Generator, Iterator

MEMORY = Path("/dev/shm")
MEMORY_BYTES = 4 << 30
"""What must be free there. A run holds a fraction of it, since the folder of a test that passed is removed."""

LONGEST = (
    "http/test_schemathesis.py",
    "archive/test_archiver_kill.py",
    "archive/test_archiver_faults.py",
    "bench/test_cluster.py",
    "bench/test_archive.py",
    "test_docs_cluster.py",
    "test_docs_recovery.py",
    "test_docs_run.py",
    "e2e/test_crashes.py",
    "e2e/test_shared_store.py",
    "cli/test_processes.py",
)
"""Files with tests of half a minute: where one of them comes last, all processes of a run but one wait for it."""

MEASURED_CASES = 2
"""Of a test with parameters: coverage is taken of so many."""
NOT_MEASURED = pytest.StashKey[bool]()
BEFORE_SESSION = pytest.StashKey[Coverage]()


def pytest_configure(config: pytest.Config) -> None:
    """A run in the background was told to ignore Ctrl-C, and would hand that down to every process that it tests."""
    signal.signal(signal.SIGINT, signal.default_int_handler)
    if _may_use_memory(config):
        tempfile.tempdir = str(MEMORY)
    if hasattr(config, "workerinput"):
        _measure_once(config)


def _measure_once(config: pytest.Config) -> None:
    """A worker's pytest-cov begins to measure twice: at once, and with the session. Where a test is marked ``no_cover``
    it would stop the second and leave the first, which takes as long.
    """
    first = Coverage.current()
    if first is not None:
        first.stop()
        config.stash[BEFORE_SESSION] = first


def pytest_collection_finish() -> None:
    """What was collected stays to the end: whoever looks for garbage need not walk all of it each time."""
    gc.collect()
    gc.freeze()


def pytest_sessionfinish(session: pytest.Session) -> None:
    """Not before: each worker that starts erases what the others have saved, even while they write it."""
    gc.unfreeze()
    if BEFORE_SESSION in session.config.stash:
        session.config.stash[BEFORE_SESSION].save()


def _may_use_memory(config: pytest.Config) -> bool:
    """Thousands of tests would wait for syncs that none can see: what a killed process wrote stays without them, and
    what a loss of power takes is decided by the tests of that. The soak grows ledgers, and has a real disk.
    """
    if config.getoption("markexpr") == "soak" or os.environ.get("TMPDIR"):
        return False
    return MEMORY.is_dir() and os.access(MEMORY, os.W_OK) and shutil.disk_usage(MEMORY).free >= MEMORY_BYTES


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """The longest come first; all others keep their order."""
    items.sort(key=lambda item: not str(item.path).endswith(LONGEST))
    for item in _not_measured(items):
        item.stash[NOT_MEASURED] = True


@pytest.hookimpl(wrapper=True)
def pytest_runtest_protocol(item: pytest.Item) -> Generator[None, object, object]:
    """With what its fixtures do before and after it, which ``no_cover`` does not leave out."""
    measuring = Coverage.current() if NOT_MEASURED in item.stash else None
    if measuring is None:
        return (yield)
    measuring.stop()
    try:
        return (yield)
    finally:
        measuring.start()


def _not_measured(items: list[pytest.Item]) -> Iterator[pytest.Item]:
    """Coverage makes a test half as long again, and the tenth case of a test reaches what its first two did; so do the
    examples of properties. What the report says is therefore rather too little.
    """
    cases: Counter[tuple[Path, str]] = Counter()
    for item in items:
        function = getattr(item, "function", None)
        test = item.path, getattr(item, "originalname", item.name)
        cases[test] += 1
        more_of_the_same = cases[test] > MEASURED_CASES or is_hypothesis_test(function)
        if more_of_the_same and not item.get_closest_marker("no_cover"):  # which would begin to measure a second time
            yield item


def pytest_report_header() -> list[str]:
    return [
        describe_s3(),
        describe_azure(),
        describe_gcs(),
        f"files of tests: below {tempfile.gettempdir()}; elsewhere with TMPDIR=DIR",
    ]


@pytest.fixture(scope="session")
def s3_server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[S3Server]:
    with S3Server(tmp_path_factory.mktemp("s3-server")) as server:
        yield server


@pytest.fixture(scope="session")
def azure(tmp_path_factory: pytest.TempPathFactory) -> Iterator[AzureServer]:
    with AzureServer(tmp_path_factory.mktemp("azure-server")) as server:
        yield server


@pytest.fixture(scope="session")
def gcs(tmp_path_factory: pytest.TempPathFactory) -> Iterator[GcsServer]:
    with GcsServer(tmp_path_factory.mktemp("gcs-server")) as server:
        yield server
