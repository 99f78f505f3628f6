"""The runbook for disasters holds for a bucket as well: the same page, step by step, with its archive on an S3 server.

``test_docs_run`` follows it over a folder.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest
from tests.documents import ROOT, run_page
from tests.s3_server import ACCESS_KEY, SECRET_KEY, needs_versitygw

if TYPE_CHECKING:
    from pathlib import Path

    from tests.s3_server import S3Server

pytestmark = pytest.mark.docs

RUNBOOK = ROOT / "docs/operations/disaster-recovery.md"


@needs_versitygw  # whose objects are files, so that the handover is copied as from a folder
def test_the_runbook_holds_for_a_bucket(tmp_path: Path, s3_server: S3Server) -> None:
    bucket = s3_server.bucket()
    variables = {
        "AWS_ACCESS_KEY_ID": ACCESS_KEY,
        "AWS_SECRET_ACCESS_KEY": SECRET_KEY,
        "AWS_ENDPOINT_URL": s3_server.endpoint,
    }
    exported = " ".join(f"{name}={value}" for name, value in variables.items())
    instead = {
        "ARCHIVE=file://$PWD/archive": f"ARCHIVE={bucket.url}/orders {exported}",
        "cp archive/": f"cp {bucket.folder}/orders/",
    }
    page = RUNBOOK.read_text()
    assert all(text in page for text in instead), "the runbook says it in other words"
    run_page(RUNBOOK, tmp_path, s3_server, instead)
    assert (bucket.folder / "orders/epochs/0000000001").is_file()
