"""``/docs``: the OpenAPI document as a page that is read without a network, and works without a script.

Style and script are inline, and the page's policy names them by their hashes: nothing else may load or run.
"""

from __future__ import annotations

import base64
import json
import re
from hashlib import sha256
from html import escape
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

from scribe_ledger.http.description.errors import ERRORS, kinds_of
from scribe_ledger.http.description.notes import BASE_URL
from scribe_ledger.http.description.wording import describe_schema, operations_of, resolved

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

Document = dict[str, Any]


class Page(NamedTuple):
    """A page, and the ``Content-Security-Policy`` that it must be sent with."""

    html: bytes
    policy: bytes


def page_of(document: Document) -> Page:
    style, script = (Path(__file__).with_name(f"page.{kind}").read_text(encoding="utf-8") for kind in ("css", "js"))
    html = _PAGE.format(
        title=escape(document["info"]["title"]),
        style=style,
        script=script,
        navigation="".join(_navigation(document)),
        main="".join(_main(document)),
    )
    policy = (
        f"default-src 'none'; style-src {_hash(style)}; script-src {_hash(script)}; "
        "base-uri 'none'; form-action 'none'; frame-ancestors 'none'"
    )
    return Page(html.encode(), policy.encode())


def _hash(text: str) -> str:
    return f"'sha256-{base64.b64encode(sha256(text.encode()).digest()).decode()}'"


_PAGE = """<!DOCTYPE html>
<html lang="en">
<head>
<meta charset="utf-8">
<meta name="viewport" content="width=device-width, initial-scale=1">
<title>{title} · HTTP API</title>
<style>{style}</style>
</head>
<body>
<a class="skip" href="#top">Skip to the text</a>
<nav aria-label="Routes">{navigation}</nav>
<main id="top">{main}</main>
<script>{script}</script>
</body>
</html>
"""

_MARK = (
    '<svg viewBox="0 0 32 32" fill="none" stroke="currentColor" stroke-width="2" aria-hidden="true">'
    '<path d="M16 8v4M16 12 9 17M16 12l7 5M9 21v2M23 21v2" stroke-linecap="round"/>'
    '<rect x="12" y="3" width="8" height="6" rx="2"/><rect x="5" y="16" width="8" height="6" rx="2"/>'
    '<rect x="19" y="16" width="8" height="6" rx="2"/><path d="M5 28h8M19 28h8" stroke-linecap="round"/></svg>'
)

# --- the parts of the page -------------------------------------------------------------------------------------


def _under(document: Document, tag: str) -> list[tuple[str, str, Document]]:
    return [found for found in operations_of(document) if found[2]["tags"] == [tag]]


def _navigation(document: Document) -> Iterator[str]:
    version = escape(document["info"]["version"])
    yield f'<a class="brand" href="#top">{_MARK}Scribe Ledger <small>{version}</small></a>'
    for tag in document["tags"]:
        yield f"<h2>{escape(tag['x-displayName'])}</h2><ul>"
        for method, path, operation in _under(document, tag["name"]):
            yield (
                f'<li><a href="#{operation["operationId"]}" title="{escape(operation["summary"])}">'
                f'<span class="method {method}">{method.upper()}</span>'
                f'<span class="path">{escape(path)}</span></a></li>'
            )
        yield "</ul>"
    yield '<h2>Words</h2><ul><li><a href="#errors">Errors</a></li><li><a href="#shapes">Shapes</a></li></ul>'


def _main(document: Document) -> Iterator[str]:
    yield from _head(document)
    for tag in document["tags"]:
        yield f'<section class="tag" id="tag-{tag["name"]}"><h2>{escape(tag["x-displayName"])}</h2>'
        yield f"<p>{_words(tag['description'])}</p>"
        for method, path, operation in _under(document, tag["name"]):
            yield "".join(_article(document, method, path, operation))
        yield "</section>"
    yield from _errors()
    yield from _shapes(document)
    yield f"<footer>Scribe Ledger {escape(document['info']['version'])}. This page needs no network.</footer>"


def _head(document: Document) -> Iterator[str]:
    first, *rest = document["info"]["description"].split("\n\n")
    yield f"<header><h1>A ledger whose every entry can be proven</h1><p class=lead>{_words(first)}</p>"
    yield '<div class="links"><a href="/openapi.json">OpenAPI 3.1</a><a href="/v1/key">Public key</a>'
    yield '<a href="/tlog/checkpoint">Checkpoint</a><a href="/health">Health</a><a href="/metrics">Metrics</a></div>'
    yield _command("\n".join(_BEGINNING), "Begin")
    yield "".join(f"<p>{_words(text)}</p>" for text in rest) + "</header>"


_BEGINNING = (
    f"curl -X PUT {BASE_URL}/user:alice -d 'Alice Smith'  # store",
    f"curl {BASE_URL}/user:alice                          # read",
    f"curl {BASE_URL}/v1/proof/user:alice                 # prove",
)


def _article(document: Document, method: str, path: str, operation: Document) -> Iterator[str]:
    name = operation["operationId"]
    shown = re.sub(r"(\{\w+\})", r"<i>\1</i>", escape(path))
    yield f'<article id="{name}"><div><div class="route"><span class="method {method}">{method.upper()}</span>'
    yield f'<span class="path">{shown}</span><a class="anchor" href="#{name}" aria-label="Link to this">#</a></div>'
    yield f"<h3>{_words(operation['summary'])}</h3>"
    if "description" in operation:
        yield f"<p>{_words(operation['description'])}</p>"
    for place, title in (("path", "In the path"), ("query", "Parameters"), ("header", "Headers")):
        found = [parameter for parameter in operation["parameters"] if parameter["in"] == place]
        if place == "header" and all(parameter["name"] == "X-Request-Id" for parameter in found):
            continue
        yield from _definitions(title, map(_parameter, found))
    if "requestBody" in operation:
        yield from _definitions("Body", _body(operation["requestBody"]))
    yield from _answers(document, operation)
    yield '</div><div class="sample">'
    yield _command(operation["x-codeSamples"][0]["source"])
    yield "".join(_example(document, operation))
    yield "</div></article>"


def _definitions(title: str, rows: Iterable[tuple[str, str]]) -> Iterator[str]:
    found = list(rows)
    if found:
        yield f"<h4>{title}</h4><dl>"
        for term, words in found:
            yield f"<div><dt>{term}</dt><dd>{words}</dd></div>"
        yield "</dl>"


def _parameter(parameter: Document) -> tuple[str, str]:
    needed = ' <small class="needed">required</small>' if parameter.get("required") else ""
    kind = f"<small>{escape(describe_schema(parameter['schema']))}</small>"
    return f"<code>{escape(parameter['name'])}</code>{needed}{kind}", _words(parameter["description"])


def _body(body: Document) -> Iterator[tuple[str, str]]:
    for media_type, content in body["content"].items():
        words = _link(content["schema"]) or _words(body.get("description", ""))
        yield f"<code>{escape(media_type)}</code>", words


def _answers(document: Document, operation: Document) -> Iterator[str]:
    found = {status: resolved(document, answer) for status, answer in operation["responses"].items()}
    good = [_answer(status, answer) for status, answer in found.items() if status < "400"]
    bad = [_answer(status, answer) for status, answer in found.items() if status >= "400"]
    yield from _definitions("Answers", good)
    yield f"<details><summary>{len(bad)} statuses of errors</summary>{''.join(_definitions('Errors', bad))}</details>"


def _answer(status: str, answer: Document) -> tuple[str, str]:
    shapes = [
        _link(content["schema"]) or f"<code>{escape(media_type)}</code>"
        for media_type, content in answer.get("content", {}).items()
    ]
    headers = [f"<code>{escape(name)}</code>" for name in answer.get("headers", {}) if name not in _EVERYWHERE]
    words = _words(answer["description"])
    words += f" {' or '.join(shapes)}" if shapes else ""
    words += f"<br>Headers: {', '.join(headers)}" if headers else ""
    return f'<span class="status s{status[0]}">{status}</span>', words


_EVERYWHERE = frozenset({"X-Request-Id", "X-Content-Type-Options", "Cache-Control"})


def _command(source: str, caption: str = "Shell") -> str:
    return (
        f'<figure class="command"><figcaption>{caption}</figcaption><pre><code>{escape(source)}</code></pre></figure>'
    )


def _example(document: Document, operation: Document) -> Iterator[str]:
    seen = []
    for status, answer in operation["responses"].items():
        for media_type, content in resolved(document, answer).get("content", {}).items():
            shown = content.get("example")
            if shown and status < "400" and shown not in seen:
                seen.append(shown)
                text = escape(shown) if isinstance(shown, str) else _json(shown)
                caption = f"{status} · {escape(media_type)}"
                yield f"<figure><figcaption>{caption}</figcaption><pre><code>{text}</code></pre></figure>"


def _errors() -> Iterator[str]:
    yield '<section class="tag" id="errors"><h2>Errors</h2><p>One shape everywhere: '
    yield '<a href="#shape-Error">Error</a>. Programs go by its kind, people by its message and hint.</p>'
    yield "<table><thead><tr><th>Status</th><th>Kinds</th><th>Means</th></tr></thead><tbody>"
    for status, error in ERRORS.items():
        kinds = ", ".join(f"<code>{kind}</code>" for kind in kinds_of(status))
        yield f'<tr><td class="status s{str(status)[0]}">{status}</td><td>{kinds}</td>'
        yield f"<td>{_words(error.meaning)}</td></tr>"
    yield "</tbody></table></section>"


def _shapes(document: Document) -> Iterator[str]:
    yield '<section class="tag" id="shapes"><h2>Shapes</h2>'
    yield "<p>Answers may gain members; pass over what you do not know. Requests may hold nothing else.</p>"
    for name, schema in document["components"]["schemas"].items():
        yield f'<article id="shape-{name}"><div><h3>{name}</h3>'
        required = schema.get("required", [])
        rows = (_member(member, part, required) for member, part in schema.get("properties", {}).items())
        yield from _definitions("Members", rows)
        yield '</div><div class="sample">'
        for example in schema.get("examples", []):
            yield f"<figure><figcaption>Example</figcaption><pre><code>{_json(example)}</code></pre></figure>"
        yield "</div></article>"
    yield "</section>"


def _member(name: str, schema: Document, required: list[str]) -> tuple[str, str]:
    maybe = "" if name in required else " · not always"
    kind = f"<small>{escape(describe_schema(schema))}{maybe}</small>"
    return f"<code>{escape(name)}</code>{kind}", _words(schema.get("description", "")) or _link(schema)


# --- words -----------------------------------------------------------------------------------------------------


def _link(schema: Document) -> str:
    name = str(schema.get("$ref", "")).removesuffix("/properties/error").rpartition("/")[2]
    return f'<a href="#shape-{name}">{name}</a>' if name else ""


def _words(text: str) -> str:
    """Text with `code` in it, and *emphasis*."""
    marked = re.sub(r"`([^`]+)`", r"<code>\1</code>", escape(text, quote=False))
    return re.sub(r"\*(\w+)\*", r"<em>\1</em>", marked)


_JSON_PART = re.compile(r'("(?:[^"\\]|\\.)*")(\s*:)?|\b(true|false|null)\b|(-?\d+(?:\.\d+)?)')


def _json(value: Any) -> str:
    text = json.dumps(value, indent=2, ensure_ascii=False)
    return re.sub(_JSON_PART, _coloured, text)


def _coloured(found: re.Match[str]) -> str:
    text, colon, word, number = found.groups()
    if text:
        kind = "k" if colon else "s"
        return f'<span class="js-{kind}">{escape(text, quote=False)}</span>{colon or ""}'
    return f'<span class="js-{"w" if word else "n"}">{word or number}</span>'
