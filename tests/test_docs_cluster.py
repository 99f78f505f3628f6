"""The guide to clusters and its runbook are followed word for word, with real nodes; ``documents`` says how."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest
from tests.documents import CLUSTER_PAGES, ROOT, run_page

if TYPE_CHECKING:
    from pathlib import Path

    from tests.s3_server import S3Server

pytestmark = pytest.mark.cluster


@pytest.mark.parametrize("page", CLUSTER_PAGES, ids=lambda page: str(page.relative_to(ROOT)))
def test_examples_of_the_page_run(page: Path, tmp_path: Path, s3_server: S3Server) -> None:
    run_page(page, tmp_path, s3_server)
