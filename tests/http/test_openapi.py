"""The described API is complete, true to its examples, and the page of it stands by itself."""

from __future__ import annotations

import base64
import json
import re
import shlex
import shutil
import subprocess
import urllib.request
from hashlib import sha256
from html.parser import HTMLParser
from itertools import islice
from typing import TYPE_CHECKING, Any

import jsonschema_rs
import pytest
from tests.http.serving import serve
from tests.running import request

from scribe_ledger import Checkpoint, Ledger, Proof, verify
from scribe_ledger.errors import KINDS
from scribe_ledger.http.description import examples
from scribe_ledger.http.description.errors import ERRORS, errors_of, kinds_of
from scribe_ledger.http.description.handlers import document, page
from scribe_ledger.http.description.headers import ANSWER_HEADERS
from scribe_ledger.http.description.notes import BASE_URL, NOTES
from scribe_ledger.http.description.openapi import TAGS
from scribe_ledger.http.description.schemas import SCHEMAS
from scribe_ledger.http.routes import ROUTES

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from scribe_ledger.http.routing import Route

pytestmark = pytest.mark.http

DOCUMENT = document()
MEDIA_TYPES = {"application/json", "application/octet-stream", "application/x-ndjson", "bytes"}


def operations() -> Iterator[tuple[str, str, dict[str, Any]]]:
    for path, found in DOCUMENT["paths"].items():
        for method, operation in found.items():
            yield method.upper(), path, operation


def name(route: Route) -> str:
    return f"{route.method} {route.path}"


def walk(part: Any) -> Iterator[dict[str, Any]]:
    if isinstance(part, dict):
        yield part
        for value in part.values():
            yield from walk(value)
    elif isinstance(part, list):
        for value in part:
            yield from walk(value)


def validator(schema: dict[str, Any]) -> jsonschema_rs.Validator:
    return jsonschema_rs.Draft202012Validator({**schema, "components": DOCUMENT["components"]})


# --- the document ----------------------------------------------------------------------------------------------


@pytest.mark.parametrize("route", ROUTES, ids=name)
def test_each_route_is_described(route: Route) -> None:
    operation = DOCUMENT["paths"][route.path][route.method.lower()]
    declared = [parameter.name for parameter in route.parameters]
    described = [parameter["name"] for parameter in operation["parameters"] if parameter["in"] == "query"]
    assert described == declared
    assert all(parameter["description"] for parameter in operation["parameters"])
    assert set(operation["responses"]) == {str(status) for status in {*route.answers, *errors_of(route)}}
    assert route.tag in TAGS
    for answer in route.answers.values():
        for part in answer.split(" | "):
            assert part in {"", *SCHEMAS, *MEDIA_TYPES} or part.startswith("text/"), f"no schema is called {part}"
    assert route.body in {"", "bytes", *SCHEMAS}


def test_nothing_is_described_that_no_route_has() -> None:
    routed = {(route.method, route.path) for route in ROUTES}
    assert {(method, path) for method, path, _ in operations() if method != "HEAD"} == routed
    assert set(NOTES) <= routed


def test_references_lead_somewhere_and_names_are_unique() -> None:
    for part in walk(DOCUMENT):
        target: Any = DOCUMENT
        if isinstance(reference := part.get("$ref"), str):
            for step in reference.removeprefix("#/").split("/"):
                target = target[step]
    identifiers = [operation["operationId"] for _, _, operation in operations()]
    assert len(set(identifiers)) == len(identifiers)


def test_every_schema_is_a_schema_and_its_examples_fit_it() -> None:
    for title, schema in SCHEMAS.items():
        jsonschema_rs.meta.validate({"$schema": "https://json-schema.org/draft/2020-12/schema", **schema})
        for example in schema.get("examples", []):
            errors = [error.message for error in validator(schema).iter_errors(example)]
            assert not errors, title
    used = {part["$ref"].rpartition("/")[2] for part in walk(DOCUMENT) if "$ref" in part}
    named = {part for route in ROUTES for answer in route.answers.values() for part in answer.split(" | ")}
    assert set(SCHEMAS) <= used | named | {route.body for route in ROUTES}, "a schema that nothing uses"


def test_examples_of_parameters_headers_and_answers_fit_their_schemas() -> None:
    checked = 0
    for part in walk({"paths": DOCUMENT["paths"], "components": DOCUMENT["components"]}):
        if "example" in part and "schema" in part:
            assert validator(part["schema"]).is_valid(part["example"]), part
            checked += 1
    assert checked > 100


WITHOUT_EXAMPLE = {"/openapi.json", "/docs", "/tlog/tile/{tile}"}
"""What they answer is this document, a page, or bytes that are no text."""


def test_every_answer_that_is_text_has_an_example() -> None:
    for method, path, operation in operations():
        for answer in (found for status, found in operation["responses"].items() if status.startswith("2")):
            for media, content in answer.get("content", {}).items():
                assert ("example" in content) is (path not in WITHOUT_EXAMPLE), f"{method} {path} {media}"
                if media == "application/x-ndjson":
                    entry, last = map(json.loads, content["example"].splitlines())
                    assert validator(SCHEMAS["Entry"]).is_valid(entry) and list(last) == ["cursor"]


def test_every_status_and_kind_of_error_is_described() -> None:
    assert set(ERRORS) == {disposition.http_status for disposition in KINDS.values()}
    for status, error in ERRORS.items():
        assert error.kind in kinds_of(status)
    assert all(header.description for header in ANSWER_HEADERS.values())


def test_examples_come_from_a_real_ledger(tmp_path: Path) -> None:
    opening = examples.FIRST_TIMESTAMP - 60_000
    times = iter(range(opening, opening + 600_000, 60_000))
    with Ledger.open(tmp_path, name=examples.ORIGIN, clock=lambda: next(times)) as ledger:
        receipt = ledger.put(examples.KEY, "Alice Smith", content_type="text/plain", metadata={"team": "red"})
        ledger.put(examples.KEY, "Alice Jones", content_type="text/plain", metadata={"team": "red"})
        ledger.put("user:bob", "Bob", content_type="text/plain")
        assert {"key": examples.KEY, **receipt.to_json()} == examples.RECEIPT
        entry = ledger.entry(examples.KEY)
        assert entry is not None and entry.to_json() == examples.ENTRY
        assert ledger.checkpoint().root == Checkpoint.parse(examples.CHECKPOINT).root
        assert str(ledger.prove_consistency(2, 3)) == examples.CONSISTENCY
        assert str(ledger.prove_history(examples.KEY)).partition("\n\n")[0] == examples.HISTORY.partition("\n\n")[0]
    verify.inclusion(examples.PROOF, b"Alice Jones", public_key=examples.PUBLIC_KEY, key=examples.KEY)
    assert Proof.parse(examples.PROOF).to_json() == SCHEMAS["Verification"]["examples"][0]["proof"]
    assert len(verify.history(examples.HISTORY, public_key=examples.PUBLIC_KEY, key=examples.KEY)) == 2
    assert base64.b64decode(examples.VALUE_BASE64).decode() == examples.VALUE == "Alice Jones"


# --- what a node serves ----------------------------------------------------------------------------------------


def test_a_node_serves_the_document_and_the_page(tmp_path: Path) -> None:
    with serve(tmp_path / "data") as node:
        answer = request(f"{node.url}/openapi.json")
        assert answer.status == 200 and answer.headers["content-type"] == "application/json"
        assert json.loads(answer.body) == json.loads(json.dumps(DOCUMENT))
        answer = request(f"{node.url}/docs")
        assert answer.headers["content-type"] == "text/html; charset=utf-8"
        assert answer.headers["content-security-policy"] == page().policy.decode()
        text = answer.body.decode()
        assert f"curl {node.url}/user:alice" in text and BASE_URL not in text


@pytest.mark.parametrize("host", ['a"><script>', "a b", "localhost:8001/x", ""])
def test_the_page_says_no_host_that_is_none(tmp_path: Path, host: str) -> None:
    with serve(tmp_path / "data") as node:
        answer = request(f"{node.url}/docs", headers={"Host": host})
        assert BASE_URL.encode() in answer.body or answer.status == 400


@pytest.mark.skipif(not shutil.which("curl"), reason="curl is not here")
def test_every_command_of_the_documents_runs(tmp_path: Path) -> None:
    with serve(tmp_path / "data") as node:
        for key in ("user:bob", "user:carol"):
            assert request(f"{node.url}/{key}", "PUT", b"here").status == 201
        for method, path, operation in sorted(operations(), key=lambda found: found[0] != "PUT"):
            for sample in operation.get("x-codeSamples", []):
                status, output = run(sample["source"].replace(BASE_URL, node.url), tmp_path)
                assert str(status) in operation["responses"], f"{sample['source']}: {status} {output}"
                refused = "409" in operation["responses"] and path.startswith(("/cluster", "/v1/archive"))
                assert status < 300 or (status == 409 and refused), f"{method} {path}: {output}"


def test_the_watch_stream_is_as_described(tmp_path: Path) -> None:
    with serve(tmp_path / "data") as node:
        node.ledger.put("user:alice", "Alice Smith")
        node.ledger.put("user:alice", "Alice Jones")
        described = DOCUMENT["paths"]["/v1/watch"]["get"]["responses"]["200"]
        with urllib.request.urlopen(f"{node.url}/v1/watch?start=0&values=true", timeout=30) as answer:
            assert [answer.headers["content-type"]] == list(described["content"])
            assert all(answer.headers[header] for header in described["headers"])
            data = (line[6:] for line in answer if line.startswith(b"data: "))
            events = [json.loads(line) for line in islice(data, 2)]
        assert [event["version"] for event in events] == [1, 2]
        assert all(validator(SCHEMAS["EntryWithValue"]).is_valid(event) for event in events)


def run(command: str, folder: Path) -> tuple[int, str]:
    """The status that a curl line gets, and what it prints. Lines that wait for more end when their time is up."""
    arguments = [*shlex.split(command), "--silent", "--show-error", "--write-out", "\n%{http_code}"]
    done = subprocess.run(arguments, cwd=folder, capture_output=True, check=False, timeout=30)
    output, _, status = done.stdout.decode("utf-8", "replace").rpartition("\n")
    assert done.returncode in ((0, 28) if "--max-time" in command else (0,)), f"{command}\n{done.stderr.decode()}"
    return int(status), output


# --- the page --------------------------------------------------------------------------------------------------

VOID = {"meta", "input", "br", "path", "rect"}


class Reader(HTMLParser):
    """Checks nesting, and gathers what matters."""

    def __init__(self) -> None:
        super().__init__(convert_charrefs=True)
        self.open: list[str] = []
        self.identifiers: list[str] = []
        self.links: list[str] = []
        self.attributes: list[str] = []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        if tag not in VOID:
            self.open.append(tag)
        for attribute, value in attrs:
            self.attributes.append(attribute)
            if attribute == "id":
                self.identifiers.append(value or "")
            if attribute in {"href", "src"}:
                self.links.append(value or "")

    def handle_endtag(self, tag: str) -> None:
        if tag not in VOID:
            assert self.open.pop() == tag, f"</{tag}> stands where it does not belong"


def test_the_page_is_whole_and_needs_no_network() -> None:
    text = page().html.decode()
    reader = Reader()
    reader.feed(text)
    reader.close()
    assert not reader.open
    assert len(set(reader.identifiers)) == len(reader.identifiers)
    inside = {link[1:] for link in reader.links if link.startswith("#")}
    assert inside <= set(reader.identifiers)
    outside = {link for link in reader.links if not link.startswith("#")}
    routed = {route.path for route in ROUTES}
    assert outside <= routed, "the page may only lead to this node"
    assert not {"style", "onclick", "onload"} & set(reader.attributes), "the policy would refuse it"
    assert not re.search(r"url\(|@import|https?://(?!localhost)", text)
    for _, _, operation in operations():
        assert operation["operationId"] in reader.identifiers or operation["operationId"].startswith("head")


def test_the_policy_of_the_page_allows_its_style_and_script_and_nothing_else() -> None:
    text, policy = page().html.decode(), page().policy.decode()
    for tag in ("style", "script"):
        (content,) = re.findall(rf"<{tag}>(.*?)</{tag}>", text, re.DOTALL)
        digest = base64.b64encode(sha256(content.encode()).digest()).decode()
        assert f"{tag}-src 'sha256-{digest}'" in policy
    assert policy.startswith("default-src 'none'; ") and "unsafe" not in policy
