"""The examples in the documents run, and show what the documents say they show; ``documents`` says how."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest
from tests.documents import CLUSTER_PAGES, ROOT, Block, Shell, expect, run_console, run_page, run_python

if TYPE_CHECKING:
    from pathlib import Path

    from tests.s3_server import S3Server

pytestmark = pytest.mark.docs

PAGES = [ROOT / "README.md", ROOT / "docs/tutorial.md", *sorted((ROOT / "docs/guides").glob("*.md"))]
PAGES += sorted((ROOT / "docs/operations").glob("*.md"))
PAGES += [ROOT / "docs/reference/library.md", ROOT / "docs/reference/errors.md"]
PAGES = [page for page in PAGES if page not in CLUSTER_PAGES]


@pytest.mark.parametrize("page", PAGES, ids=lambda page: str(page.relative_to(ROOT)))
def test_examples_of_the_page_run(page: Path, tmp_path: Path, s3_server: S3Server) -> None:
    run_page(page, tmp_path, s3_server)


def test_a_page_that_shows_something_else_is_found(tmp_path: Path) -> None:
    shell = Shell(tmp_path, tmp_path)
    with pytest.raises(AssertionError, match=r"printed:\s+b"):
        run_console(Block("console", "$ echo a\na\n$ echo b\nc\n", 1), ROOT / "README.md", shell)
    with pytest.raises(AssertionError, match="exit code 1"):
        run_console(Block("console", "$ false\n", 1), ROOT / "README.md", shell)
    with pytest.raises(AssertionError, match="the page shows 3"):
        run_python(Block("python", "1 + 1  # → 3\n", 1), ROOT / "README.md", {"_expect": expect})
    shell.close()
