"""The routes of ``docs/reference/http.md``, written by ``python -m scribe_ledger.http.description.reference PAGE``.

Owns what stands between the two marker lines of the page; the prose around them is written by people. A test compares
page and code.
"""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import TYPE_CHECKING

from scribe_ledger.http.description.errors import ERRORS, kinds_of
from scribe_ledger.http.description.handlers import document
from scribe_ledger.http.description.headers import ANSWER_HEADERS
from scribe_ledger.http.description.wording import Document, describe_schema, operations_of, resolved

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

BEGIN = "<!-- routes: begin, written by `python -m scribe_ledger.http.description.reference` -->"
END = "<!-- routes: end -->"
_EVERYWHERE = frozenset({"X-Request-Id", "X-Content-Type-Options", "Cache-Control"})


def with_routes(page: str) -> str:
    """The page with its generated part written anew."""
    before, begin, rest = page.partition(BEGIN)
    _, end, after = rest.partition(END)
    if not begin or not end:
        raise ValueError(f"the page has no lines {BEGIN} and {END}")
    return f"{before}{BEGIN}\n\n{routes(document())}\n{END}{after}"


def routes(described: Document) -> str:
    """Everything that the document has, as Markdown."""
    parts = [_routes(described), _shapes(described), _answer_headers(), _statuses()]
    return "\n".join(line for part in parts for line in part)


# --- routes ----------------------------------------------------------------------------------------------------


def _routes(described: Document) -> Iterator[str]:
    for tag in described["tags"]:
        yield f"## {tag['x-displayName']}\n\n{tag['description']}\n"
        for group in _groups(described, tag["name"]):
            yield from _section(described, group)


def _groups(described: Document, tag: str) -> Iterable[list[tuple[str, Document]]]:
    """Routes that differ in their paths alone are told of once."""
    groups: dict[tuple[str, str], list[tuple[str, Document]]] = {}
    for method, path, operation in operations_of(described):
        if operation["tags"] == [tag]:
            groups.setdefault((method, operation["summary"]), []).append((f"{method.upper()} {path}", operation))
    return groups.values()


def _section(described: Document, group: list[tuple[str, Document]]) -> Iterator[str]:
    (title, operation), *others = group
    also = f" Also `{'`, `'.join(name for name, _ in others)}`." if others else ""
    yield f"### `{title}`\n\n{operation['summary']}.{also}\n"
    if "description" in operation:
        yield f"{operation['description']}\n"
    sources = [found["x-codeSamples"][0]["source"] for _, found in group]
    yield "```sh\n" + "\n".join(sources) + "\n```\n"
    yield from _parameters(operation)
    if "requestBody" in operation:
        yield f"Body: {_contents(operation['requestBody'])}\n"
    yield from _answers(described, operation)


def _parameters(operation: Document) -> Iterator[str]:
    rows = []
    for parameter in operation["parameters"]:
        if parameter["name"] not in {"key", "X-Request-Id"}:
            name = f"{_starred(parameter['name'])}: …" if parameter["in"] == "header" else parameter["name"]
            needed = "; required" if parameter.get("required") else ""
            rows.append([f"`{name}`", f"{describe_schema(parameter['schema'])}{needed}", parameter["description"]])
    yield from _table(["Takes", "Kind", "Meaning"], rows)


def _answers(described: Document, operation: Document) -> Iterator[str]:
    rows, errors = [], []
    for status, answer in operation["responses"].items():
        if "$ref" in answer:
            errors.append(status)
            continue
        headers = [f"`{_starred(name)}`" for name in answer["headers"] if name not in _EVERYWHERE]
        rows.append([status, _contents(answer), ", ".join(headers), answer["description"]])
    yield from _table(["Answer", "Body", "Headers", "When"], rows)
    met = [f"[{status}](#errors)" for status in errors if resolved(described, operation["responses"][status])]
    yield f"Errors: {', '.join(met)}\n"


def _contents(part: Document) -> str:
    shown = []
    for media_type, content in part.get("content", {}).items():
        name = content["schema"].get("$ref", "").rpartition("/")[2]
        words = "the value" if media_type == "*/*" else f"`{media_type}`"
        shown.append(f"[{name}](#{name.lower()})" if name else words)
    return " or ".join(shown) or "–"


def _starred(header: str) -> str:
    """OpenAPI has no words for headers that only begin alike."""
    return "X-Scribe-Meta-*" if header == "X-Scribe-Meta-Team" else header


# --- what routes share -----------------------------------------------------------------------------------------


def _shapes(described: Document) -> Iterator[str]:
    yield "## Shapes\n\nAnswers may gain members in later versions. Requests may hold nothing but what stands here.\n"
    for name, schema in described["components"]["schemas"].items():
        yield f"### {name}\n"
        required = schema.get("required", [])
        rows = [
            [
                f"`{member}`",
                describe_schema(part),
                "" if member in required else "not always",
                part.get("description", ""),
            ]
            for member, part in schema["properties"].items()
        ]
        yield from _table(["Member", "Kind", "", "Meaning"], rows)
        for example in schema.get("examples", []):
            yield f"```json\n{json.dumps(example, indent=2, ensure_ascii=False)}\n```\n"


def _answer_headers() -> Iterator[str]:
    yield "## Headers of answers\n"
    rows = [
        [f"`{_starred(name)}`", header.description, f"`{header.example}`"] for name, header in ANSWER_HEADERS.items()
    ]
    yield from _table(["Header", "Says", "Such as"], rows)


def _statuses() -> Iterator[str]:
    yield "## Errors\n"
    rows = [
        [str(status), ", ".join(f"`{kind}`" for kind in kinds_of(status)), error.meaning]
        for status, error in ERRORS.items()
    ]
    yield from _table(["Status", "Kinds", "Means"], rows)


def _table(head: list[str], rows: Iterable[list[str]]) -> Iterator[str]:
    found = list(rows)
    if found:
        for row in (head, ["---"] * len(head), *found):
            cells = [cell.replace("|", "\\|") for cell in row]
            yield "|" + "|".join(row) + "|" if row[0] == "---" else "| " + " | ".join(cells) + " |"
        yield ""


if __name__ == "__main__":
    for name in sys.argv[1:]:
        Path(name).write_text(with_routes(Path(name).read_text(encoding="utf-8")), encoding="utf-8")
