"""What the page and the reference both say of the document: its operations, and a schema in a few words."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

Document = dict[str, Any]


def operations_of(document: Document) -> Iterator[tuple[str, str, Document]]:
    """Method, path and operation, but for HEAD, which goes without saying."""
    for path, operations in document["paths"].items():
        for method, operation in operations.items():
            if method != "head":
                yield method, path, operation


def resolved(document: Document, answer: Document) -> Document:
    """An answer that may be only a reference."""
    name = answer.get("$ref", "").rpartition("/")[2]
    found: Document = document["components"]["responses"][name] if name else answer
    return found


def describe_schema(schema: Mapping[str, Any]) -> str:
    """Type, limits and default in a few words."""
    if "$ref" in schema:
        return str(schema["$ref"]).removesuffix("/properties/error").rpartition("/")[2]
    if "const" in schema:
        return f"always {json.dumps(schema['const'])}"
    if "enum" in schema:
        words = " or ".join(str(choice) for choice in schema["enum"])
    elif "oneOf" in schema and "type" not in schema:
        words = " or ".join(describe_schema(choice) for choice in schema["oneOf"])
    elif schema.get("type") == "array":
        words = f"list of {describe_schema(schema['items'])}"
    else:
        kind = schema.get("type", "anything")
        words = " or ".join(kind) if isinstance(kind, list) else str(kind)
        words += f", {schema['contentEncoding']}" if "contentEncoding" in schema else ""
    return words + _limits(schema)


def _limits(schema: Mapping[str, Any]) -> str:
    low, high = schema.get("minimum"), schema.get("maximum")
    words = ""
    if high is not None and high < 1 << 63:
        words += f", {low:,} to {high:,}"
    elif low:
        words += f", {low:,} or more"
    if "maxLength" in schema:
        words += f", {schema.get('minLength', 0)} to {schema['maxLength']:,} characters"
    return words + (f"; default {json.dumps(schema['default'])}" if schema.get("default") not in {None, ""} else "")
