"""The OpenAPI document, made from the table of routes.

A path whose last part is ``{key}`` takes all the rest of the path, slashes included. OpenAPI has no words for that, so
such a parameter says it in its description and with ``x-scribe-spans-slashes``.
"""

from __future__ import annotations

import re
from http import HTTPStatus
from typing import TYPE_CHECKING, Any

from scribe_ledger.http.description import examples
from scribe_ledger.http.description.errors import ERRORS, errors_of
from scribe_ledger.http.description.headers import (
    ANSWER_HEADERS,
    ENTRY_HEADERS,
    IN_THE_BODY_S_PLACE,
    VALUE_HEADERS,
    request_header,
)
from scribe_ledger.http.description.notes import BASE_URL, NOTES, Note
from scribe_ledger.http.description.schemas import SCHEMAS
from scribe_ledger.http.description.shapes import FLAG, Schema, reference
from scribe_ledger.http.paths import RESERVED
from scribe_ledger.model import MAX_KEY_BYTES
from scribe_ledger.version import __version__

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from scribe_ledger.http.parameters import Parameter
    from scribe_ledger.http.routing import Route

Document = dict[str, Any]

TAGS = {
    "values": ("Values", "One key: store, read, delete. Every write is a new version; none is ever changed."),
    "listings": ("Listings and the log", "Keys in their order, one key's history, the log of all entries, what comes."),
    "proofs": ("Proofs", "What anybody can check offline, with nothing but the ledger's public key."),
    "tlog": ("Tile log", "The same log for standard clients of C2SP tlog-tiles."),
    "node": ("Node", "How the node does, in words and figures."),
    "archive": ("Archive", "Entries that were moved to an object store."),
    "cluster": ("Cluster", "Members and leadership. A node that stands alone answers as its own leader."),
}
_INTRODUCTION = (
    "An append-only key-value ledger. Every entry is a leaf of one Merkle tree, and whoever has the ledger's public "
    "key can check a value, its history and that nothing was rewritten, without trusting this node.\n\n"
    "Keys are the percent-decoded rest of a path, any bytes but none, slashes included. Bodies are opaque, whatever "
    "their content type. A parameter that a route does not know is refused. Errors have one shape everywhere."
)


def openapi(routes: Sequence[Route]) -> Document:
    """The whole document."""
    paths: dict[str, Any] = {}
    for route in routes:
        operations = paths.setdefault(route.path, {})
        operations[route.method.lower()] = _operation(route)
        if route.method == "GET":
            operations["head"] = _head_of(route)
    used = {route.tag for route in routes}
    return {
        "openapi": "3.1.0",
        "info": {
            "title": "Scribe Ledger",
            "version": __version__,
            "summary": "A ledger whose every entry can be proven.",
            "description": _INTRODUCTION,
            "license": {"name": "MIT", "identifier": "MIT"},
        },
        "servers": [{"url": "/", "description": "This node."}],
        "tags": [
            {"name": tag, "x-displayName": title, "description": words}
            for tag, (title, words) in TAGS.items()
            if tag in used
        ],
        "paths": paths,
        "components": {"schemas": SCHEMAS, "headers": _headers(), "responses": _error_responses()},
    }


# --- one operation ---------------------------------------------------------------------------------------------


def _operation(route: Route) -> Document:
    note = note_of(route)
    operation: Document = {
        "operationId": _operation_id(route.method, route.path),
        "tags": [route.tag],
        "summary": route.summary,
        "parameters": list(_parameters(route)),
        "responses": dict(_responses(route)),
        "x-codeSamples": [{"lang": "Shell", "label": "curl", "source": curl_of(route)}],
    }
    if note.words:
        operation["description"] = note.words
    if route.body:
        operation["requestBody"] = _request_body(route)
    return operation


def _head_of(route: Route) -> Document:
    """HEAD answers as GET does, without a body."""
    operation = _operation(route)
    answers = {
        status: {name: part for name, part in _resolved(answer).items() if name != "content"}
        for status, answer in operation["responses"].items()
    }
    return {
        "operationId": _operation_id("HEAD", route.path),
        "tags": operation["tags"],
        "summary": f"{route.summary}: the headers alone",
        "parameters": operation["parameters"],
        "responses": answers,
    }


def _resolved(answer: Document) -> Document:
    name = answer.get("$ref", "").rpartition("/")[2]
    found: Document = _error_responses()[name] if name else answer
    return found


def _operation_id(method: str, path: str) -> str:
    words = re.findall(r"[A-Za-z0-9]+", path) or ["index"]
    return method.lower() + "".join(word.capitalize() for word in words)


def note_of(route: Route) -> Note:
    return NOTES.get((route.method, route.path), Note())


def curl_of(route: Route) -> str:
    """A line that can be pasted into a shell."""
    arguments = note_of(route).curl
    if not arguments:
        arguments = f"URL{route.path}" if route.method == "GET" else f"-X {route.method} URL{route.path}"
        if route.body:
            arguments += f" -H 'Content-Type: application/json' -d '{_json(SCHEMAS[route.body]['examples'][0])}'"
    return "curl " + arguments.replace("URL", BASE_URL)


def _json(value: Any) -> str:
    import json

    return json.dumps(value, ensure_ascii=False)


# --- what a request holds --------------------------------------------------------------------------------------


def _parameters(route: Route) -> Iterator[Document]:
    if route.path.endswith("}"):
        yield _rest_of_path(route)
    for parameter in route.parameters:
        yield _query_parameter(parameter)
    for name in (*route.headers, "X-Request-Id"):
        if name not in IN_THE_BODY_S_PLACE:
            yield _header_parameter(name, route.method)


def _rest_of_path(route: Route) -> Document:
    name = route.path[route.path.rindex("{") + 1 : -1]
    common = {"name": name, "in": "path", "required": True, "x-scribe-spans-slashes": True}
    if name == "tile":
        return {
            **common,
            "description": "`<level>/<n>` or `entries/<n>`, with `.p/<width>` behind a partial one.",
            "schema": {"type": "string", "minLength": 1},
            "example": "0/000.p/2",
        }
    schema: Schema = {"type": "string", "minLength": 1, "maxLength": MAX_KEY_BYTES}
    words = (
        f"The key: all the rest of the path, percent-decoded, 1 to {MAX_KEY_BYTES:,} bytes. A slash may stand as it "
        "is. Many clients take `.` and `..` between slashes away before they send."
    )
    if route.path == "/{key}":
        reserved = "|".join(sorted(name.decode().replace(".", r"\.") for name in RESERVED))
        schema["pattern"] = rf"^(?!(?:{reserved})(?:/|$))"
        words += " A key whose first segment is a route's name is under `/v1/kv/`."
    return {**common, "description": words, "schema": schema, "example": examples.KEY}


def _query_parameter(parameter: Parameter) -> Document:
    found: Document = {
        "name": parameter.name,
        "in": "query",
        "description": parameter.description,
        "schema": _query_schema(parameter),
    }
    return found | ({"required": True} if parameter.required else {})


def _query_schema(parameter: Parameter) -> Schema:
    schema: Schema
    match parameter.kind:
        case "whole":
            schema = {"type": "integer", "minimum": parameter.least, "maximum": parameter.most}
        case "flag":
            schema = dict(FLAG)
        case "choice":
            schema = {"type": "string", "enum": list(parameter.choices)}
        case "bytes":
            schema = {"type": "string", "description": "Percent-decoded bytes."}
        case "text":
            schema = {"type": "string"}
    default = parameter.default
    if default is not None:
        schema["default"] = default.decode() if isinstance(default, bytes) else default
    return schema


def _header_parameter(name: str, method: str) -> Document:
    spelled, header = request_header(name, method)
    found = {"name": spelled, "in": "header", "description": header.description, "schema": header.schema}
    return found | ({"example": header.example} if header.example else {})


def _request_body(route: Route) -> Document:
    if route.body == "bytes":
        words = "Any bytes. The content type is kept with the entry and comes back with the value."
        anything = {"description": "Opaque bytes."}
        return {
            "description": words,
            "required": False,
            "content": {
                "application/octet-stream": {"schema": anything},
                "text/plain": {"schema": {"type": "string"}, "example": "Alice Smith"},
            },
        }
    return {"required": True, "content": {"application/json": _json_content(route.body)}}


# --- what an answer holds --------------------------------------------------------------------------------------


def _responses(route: Route) -> Iterator[tuple[str, Document]]:
    errors = errors_of(route)
    for status in sorted({*route.answers, *errors}):
        answer = route.answers.get(status, "Error")
        if answer == "Error":
            yield str(status), {"$ref": f"#/components/responses/{ERRORS[status].name}"}
        else:
            yield str(status), _response(status, answer, route)


def _response(status: int, answer: str, route: Route) -> Document:
    names = [name for name in answer.split(" | ") if name]
    headers = _headers_of(route, status, names)
    found: Document = {"description": _meaning(route.method, status, answer), "headers": headers}
    if names:
        found["content"] = dict(_content(name, route) for name in names)
    return found


_MEANINGS: dict[tuple[int | str, str], str] = {
    ("PUT", "Receipt"): "Nothing needed to be appended: the first receipt.",
    ("DELETE", "Receipt"): "The receipt of the entry that says so.",
    ("POST", "BatchAnswer"): "Nothing needed to be appended: the first receipts.",
    (201, "BatchAnswer"): "Appended, and durable.",
    (201, "Receipt"): "Appended, and durable.",
    (206, "bytes"): "The part that was asked for.",
    (304, ""): "It is the one that the reader has.",
    (404, "Verification"): "There is nothing to verify.",
    (503, "Health"): "The node does not do all of its work; `error` says why.",
}


def _meaning(method: str, status: int, answer: str) -> str:
    return _MEANINGS.get((status, answer)) or _MEANINGS.get((method, answer)) or HTTPStatus(status).phrase + "."


def _headers_of(route: Route, status: int, names: list[str]) -> Document:
    wanted = ["X-Request-Id"]
    if names == ["Manifest"] or (status == HTTPStatus.NOT_MODIFIED and route.tag == "archive"):
        wanted.append("ETag")
    if "Receipt" in names:
        wanted += ENTRY_HEADERS
    if "bytes" in names:
        wanted += VALUE_HEADERS
    if status == HTTPStatus.PARTIAL_CONTENT:
        wanted.append("Content-Range")
    if status != HTTPStatus.NOT_MODIFIED:
        wanted.append("X-Content-Type-Options")
    elif route.tag == "values":
        wanted += [*ENTRY_HEADERS, "Last-Modified"]
    return _references([*wanted, "Cache-Control"])


def _references(names: Sequence[str]) -> Document:
    return {name: {"$ref": f"#/components/headers/{name}"} for name in names}


def _content(name: str, route: Route) -> tuple[str, Document]:
    if name == "bytes":
        return "*/*", {"schema": {"description": "The bytes that were put."}, "example": examples.VALUE}
    if name in SCHEMAS:
        return "application/json", _json_content(name)
    if name in {"application/octet-stream", "application/json"}:
        return name, {"schema": {"description": "Bytes." if "octet" in name else "The document."}}
    example = TEXTS.get(route.path)
    return name, {"schema": {"type": "string"}} | ({"example": example} if example else {})


def _json_content(name: str) -> Document:
    found = SCHEMAS[name].get("examples", [])
    return {"schema": reference(name)} | ({"example": found[0]} if found else {})


_COUNTS = """\
# HELP scribe_entries Entries in the ledger, of all kinds.
# TYPE scribe_entries gauge
scribe_entries 3
"""
TEXTS = {
    "/v1/kv": f"{_json(examples.ENTRY)}\n{_json({'cursor': None})}\n",
    "/v1/history/{key}": f"{_json(examples.ENTRY)}\n{_json({'cursor': None})}\n",
    "/v1/log": f"{_json(examples.ENTRY)}\n{_json({'cursor': '2'})}\n",
    "/metrics": _COUNTS,
    "/metrics/prometheus": _COUNTS,
    "/v1/proof/{key}": examples.PROOF,
    "/v1/proof/history/{key}": examples.HISTORY,
    "/v1/proof/consistency": examples.CONSISTENCY,
    "/tlog/checkpoint": examples.CHECKPOINT,
    "/v1/watch": f"id: 1\nevent: entry\ndata: {_json(examples.ENTRY)}\n\n",
}
"""Examples of answers that are no JSON."""

# --- what all share --------------------------------------------------------------------------------------------


def _headers() -> Document:
    return {
        name: {
            "description": header.description,
            "schema": header.schema,
            "example": int(header.example) if header.schema.get("type") == "integer" else header.example,
        }
        for name, header in ANSWER_HEADERS.items()
    }


def _error_responses() -> Document:
    found: Document = {}
    for status, error in ERRORS.items():
        optional = ENTRY_HEADERS if status == HTTPStatus.NOT_FOUND else ()
        retry = ("Retry-After",) if status == HTTPStatus.SERVICE_UNAVAILABLE else ()
        names = ["X-Request-Id", *error.headers, *retry, *optional, "X-Content-Type-Options", "Cache-Control"]
        shape = {
            "kind": error.kind,
            "message": error.message,
            "hint": error.hint,
            "request_id": examples.REQUEST_ID,
        }
        found[error.name] = {
            "description": error.meaning,
            "headers": _references(names),
            "content": {"application/json": {"schema": reference("Error"), "example": {"error": shape}}},
        }
    return found
