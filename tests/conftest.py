"""What tests of several rooms share: one S3 server a test process, started by the first test that asks for it."""

from __future__ import annotations

import signal
from typing import TYPE_CHECKING

import pytest
from tests.s3_server import S3Server, describe

if TYPE_CHECKING:
    from collections.abc import Iterator


def pytest_configure() -> None:
    """A run in the background was told to ignore Ctrl-C, and would hand that down to every process that it tests."""
    signal.signal(signal.SIGINT, signal.default_int_handler)


def pytest_report_header() -> str:
    return describe()


@pytest.fixture(scope="session")
def s3_server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[S3Server]:
    with S3Server(tmp_path_factory.mktemp("s3-server")) as server:
        yield server
