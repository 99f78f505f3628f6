"""The documents hold together: every link leads somewhere, and every page can be reached from the index."""

from __future__ import annotations

import ast
import re
from pathlib import Path
from urllib.parse import unquote, urlsplit

import pytest

pytestmark = pytest.mark.docs

ROOT = Path(__file__).parents[1]
PAGES = sorted([*ROOT.glob("*.md"), *(ROOT / "docs").rglob("*.md"), *(ROOT / "examples").rglob("*.md")])
FENCED = re.compile(r"^( *)```(\w*)[^\n]*\n(.*?)^ *```$", re.MULTILINE | re.DOTALL)
LINK = re.compile(r"\[[^\]]*\]\(([^)\s]+)\)|^\[[^\]]+\]: +(\S+)", re.MULTILINE)


def name(page: Path) -> str:
    return str(page.relative_to(ROOT))


def links(page: Path) -> list[str]:
    prose = re.sub(r"`[^`\n]*`", "", FENCED.sub("", page.read_text()))
    return [inline or reference for inline, reference in LINK.findall(prose)]


def anchors(page: Path) -> set[str]:
    """The fragments that code hosts make of a page's headings."""
    seen: dict[str, int] = {}
    found = set()
    for heading in re.findall(r"^#+ +(.+?) *$", FENCED.sub("", page.read_text()), re.MULTILINE):
        slug = re.sub(r"[^\w\- ]", "", re.sub(r"\[([^\]]*)\]\([^)]*\)", r"\1", heading).lower()).replace(" ", "-")
        count = seen[slug] = seen.get(slug, -1) + 1
        found.add(f"{slug}-{count}" if count else slug)
    return found


@pytest.mark.parametrize("page", PAGES, ids=name)
def test_links_lead_somewhere(page: Path) -> None:
    broken = []
    for link in links(page):
        target = urlsplit(link)
        if target.scheme:
            continue
        file = (page.parent / unquote(target.path)).resolve() if target.path else page
        if not file.exists() or (target.fragment and target.fragment not in anchors(file)):
            broken.append(link)
    assert not broken


@pytest.mark.parametrize("page", PAGES, ids=name)
def test_python_in_documents_parses(page: Path) -> None:
    for indent, language, code in FENCED.findall(page.read_text()):
        if language == "python":
            ast.parse("\n".join(line.removeprefix(indent) for line in code.splitlines()), filename=name(page))


def test_every_page_is_reached_from_the_index() -> None:
    reached: set[Path] = set()
    waiting = [ROOT / "docs" / "README.md"]
    while waiting:
        page = waiting.pop()
        if page in reached:
            continue
        reached.add(page)
        targets = ((page.parent / unquote(urlsplit(link).path)).resolve() for link in links(page))
        waiting.extend(target for target in targets if target.suffix == ".md" and target.exists())
    missing = [name(page) for page in PAGES if (ROOT / "docs") in page.parents and page not in reached]
    assert not missing, "link these from docs/README.md"
