"""Small words of JSON Schema that the schemas are written in."""

from __future__ import annotations

from typing import Any, TypeAlias

Schema: TypeAlias = dict[str, Any]

INTEGER_MAX = (1 << 64) - 1
HASH: Schema = {"type": "string", "pattern": "^[0-9a-f]{64}$"}
BASE64: Schema = {
    "type": "string",
    "contentEncoding": "base64",
    "pattern": "^(?:[A-Za-z0-9+/]{4})*(?:[A-Za-z0-9+/]{2}==|[A-Za-z0-9+/]{3}=)?$",
}
COUNT: Schema = {"type": "integer", "minimum": 0, "maximum": INTEGER_MAX}
INDEX = COUNT
FLAG: Schema = {"type": "boolean"}
NUMBER: Schema = {"type": "number"}
TIMESTAMP: Schema = {**COUNT, "description": "Milliseconds since 1970, UTC, by the ledger's clock."}


def text(description: str) -> Schema:
    return described({"type": "string"}, description)


def described(schema: Schema, description: str) -> Schema:
    return {**schema, "description": description} if description else schema


def nullable(schema: Schema, description: str) -> Schema:
    """The same, or null."""
    if isinstance(kind := schema.get("type"), str) and kind != "object":
        return described({**schema, "type": [kind, "null"]}, description)
    return described({"oneOf": [schema, {"type": "null"}]}, description)


def listed(items: Schema, description: str = "") -> Schema:
    return described({"type": "array", "items": items}, description)


def reference(name: str) -> Schema:
    return {"$ref": f"#/components/schemas/{name}"}


def opened(properties: dict[str, Schema], required: list[str], *, example: Any = None, **more: Any) -> Schema:
    """An object that may have other members, now or later."""
    schema = {"type": "object", "properties": properties, "required": required, **more}
    return schema if example is None else {**schema, "examples": [example]}


def closed(properties: dict[str, Schema], required: list[str], *, example: Any = None, **more: Any) -> Schema:
    """An object without other members."""
    return {**opened(properties, required, example=example, **more), "additionalProperties": False}
