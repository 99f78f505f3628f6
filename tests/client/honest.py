"""A server of a real ledger with the node's wire shapes, small enough to be read at once."""

from __future__ import annotations

import base64
from typing import TYPE_CHECKING, Any, NamedTuple
from urllib.parse import unquote_to_bytes

import orjson

from scribe_ledger.errors import KINDS, NotFound, ScribeError, Unavailable
from scribe_ledger.model import Entry, key_to_json

if TYPE_CHECKING:
    from collections.abc import Mapping

    from scribe_ledger import Ledger


class Reply(NamedTuple):
    status: int
    headers: dict[str, str]
    body: bytes


def as_json(shape: Any, status: int = 200) -> Reply:
    return Reply(status, {"content-type": "application/json"}, orjson.dumps(shape))


def as_error(error: ScribeError) -> Reply:
    shape = {"kind": error.kind, "message": error.message, "hint": error.hint, "request_id": "r"}
    return as_json({"error": shape}, KINDS[error.kind].http_status)


class Honest:
    def __init__(self, ledger: Ledger) -> None:
        self.ledger = ledger

    def __call__(self, method: str, target: str, headers: Mapping[str, str], body: bytes) -> Reply:
        path, _, query = target.partition("?")
        try:
            asked = {
                name: unquote_to_bytes(text).decode("latin-1")
                for name, text in (part.split("=") for part in query.split("&") if part)
            }
            if int(asked.get("after", -1)) >= self.ledger.size:
                raise Unavailable("the node lags")
            return self._route(method, path, asked, headers, body)
        except ScribeError as error:
            return as_error(error)

    def _route(self, method: str, path: str, asked: dict[str, str], headers: Mapping[str, str], body: bytes) -> Reply:
        ledger = self.ledger
        if path.startswith("/v1/kv/"):
            key = unquote_to_bytes(path.removeprefix("/v1/kv/"))
            return self._value(method, key, asked, headers, body)
        if path == "/v1/kv":
            return self._scan(asked)
        if path == "/v1/get":
            return self._many(orjson.loads(body))
        if path == "/v1/batch":
            return self._batch(orjson.loads(body), headers)
        if path.startswith("/v1/history/"):
            key = unquote_to_bytes(path.removeprefix("/v1/history/"))
            found = list(ledger.history(key, as_of=number(asked, "as_of")))
            if not found:
                raise NotFound("no such key")
            at, limit = int(asked.get("cursor", 0)), int(asked["limit"])
            more = str(at + limit) if at + limit < len(found) else None
            return as_json({"entries": [shape_of(each, asked) for each in found[at : at + limit]], "cursor": more})
        if path == "/v1/log":
            start, limit = int(asked["start"]), int(asked["limit"])
            found = list(ledger.log(start, start + limit))
            return as_json({"entries": [shape_of(each, asked) for each in found], "cursor": str(start + len(found))})
        return self._prove(path, asked)

    def _prove(self, path: str, asked: dict[str, str]) -> Reply:
        ledger = self.ledger
        if path == "/v1/proof/consistency":
            return as_text(ledger.prove_consistency(int(asked["from"]), number(asked, "to")))
        if path.startswith("/v1/proof/history/"):
            key = unquote_to_bytes(path.removeprefix("/v1/proof/history/"))
            return as_text(ledger.prove_history(key, number(asked, "version"), number(asked, "at")))
        if path.startswith("/v1/proof/"):
            key = unquote_to_bytes(path.removeprefix("/v1/proof/"))
            return as_text(ledger.prove(key, number(asked, "version"), number(asked, "at")))
        if path == "/tlog/checkpoint":
            return as_text(ledger.checkpoint(number(asked, "at")))
        if path == "/v1/key":
            return as_json({"vkey": ledger.public_key, "origin": ledger.origin, "cosigners": [], "quorum": 0})
        if path == "/v1/stats":
            return as_json(ledger.stats())
        raise NotFound(f"there is no route {path}")

    def _value(self, method: str, key: bytes, asked: dict[str, str], headers: Mapping[str, str], body: bytes) -> Reply:
        metadata = {
            name[14:].lower(): text.encode("latin-1").decode()
            for name, text in headers.items()
            if name.lower().startswith("x-scribe-meta-")
        }
        options: dict[str, Any] = {
            "metadata": metadata or None,
            "if_index": None if headers.get("if-match") is None else int(headers["if-match"].strip('"')),
            "if_version": number(asked, "if_version"),
            "request_id": headers.get("idempotency-key"),
        }
        if method == "PUT":
            receipt = self.ledger.put(
                key,
                body,
                content_type=headers.get("content-type") or "",
                if_absent=headers.get("if-none-match") == "*",
                dedupe=asked.get("dedupe") != "false",
                **options,
            )
            return as_json({**key_to_json(key), **receipt.to_json()}, 201 if receipt.created else 200)
        if method == "DELETE":
            return as_json({**key_to_json(key), **self.ledger.delete(key, **options).to_json()})
        return self._read(key, asked)

    def _read(self, key: bytes, asked: dict[str, str]) -> Reply:
        ledger = self.ledger
        if "index" in asked:
            entry: Entry | None = ledger.entry_at(int(asked["index"]))
        else:
            entry = ledger.entry(key, version=number(asked, "version"), as_of=number(asked, "as_of"))
        if entry is None:
            raise NotFound("there is no such key")
        if asked.get("proof") != "true":
            if entry.deleted:
                raise NotFound("the key was deleted")
            return Reply(200, {"etag": f'"{entry.index}"'}, entry.value)
        shape = shape_of(entry, {"values": "true"})
        document: dict[str, Any] = {
            "value_base64": shape.pop("value_base64", None),
            "entry": shape,
            "proof": str(ledger.prove(key, entry.version)),
        }
        if "since" in asked:
            since = int(asked["since"])
            document["consistency"] = str(ledger.prove_consistency(since)) if since else None
        return as_json(document, 404 if entry.deleted else 200)

    def _scan(self, asked: dict[str, str]) -> Reply:
        size, _, last = asked.get("cursor", "").partition(":")
        as_of = int(size) if size else number(asked, "as_of")
        reverse = asked.get("reverse") == "true"
        size = str(self.ledger.size) if as_of is None else str(as_of)
        start = (last or asked.get("start", "")).encode("latin-1") or None
        found = self.ledger.scan(
            asked.get("prefix", "").encode("latin-1"), start=start, reverse=reverse, as_of=int(size)
        )
        rest = [entry for entry in found if not last or entry.key != start]
        page = rest[: int(asked["limit"])]
        cursor = f"{size}:{page[-1].key.decode('latin-1')}" if len(page) < len(rest) else None
        return as_json({"entries": [shape_of(entry, asked) for entry in page], "cursor": cursor})

    def _many(self, asked: dict[str, Any]) -> Reply:
        ledger = self.ledger
        entries: list[dict[str, Any] | None] = []
        checkpoint = ledger.checkpoint()
        for given in asked["keys"]:
            key = given.encode() if isinstance(given, str) else base64.b64decode(given["key_base64"])
            entry = ledger.entry(key, as_of=checkpoint.size)
            if entry is None or (entry.deleted and not asked.get("proof")):
                entries.append(None)
                continue
            shape = shape_of(entry, {"values": "true"})
            if asked.get("proof"):
                proof = ledger.prove(key, entry.version, checkpoint.size)
                shape["leaf_base64"] = base64.b64encode(proof.leaf_bytes).decode()
                shape["hashes_base64"] = base64.b64encode(b"".join(proof.hashes)).decode()
            entries.append(shape)
        document: dict[str, Any] = {"entries": entries, "size": checkpoint.size}
        if asked.get("proof"):
            document["checkpoint"] = checkpoint.text
            if since := asked.get("since"):
                document["consistency"] = str(ledger.prove_consistency(since, checkpoint.size))
        return as_json(document)

    def _batch(self, asked: dict[str, Any], headers: Mapping[str, str]) -> Reply:
        identity = headers.get("idempotency-key")
        with self.ledger.batch() as batch:
            for at, operation in enumerate(asked["operations"]):
                key = operation["key"] if "key" in operation else base64.b64decode(operation["key_base64"])
                names = ("content_type", "metadata", "if_absent", "if_index", "if_version", "dedupe")
                options = {name: operation[name] for name in names if name in operation}
                options["request_id"] = f"{identity}/{at}"
                if operation["op"] == "put":
                    batch.put(key, base64.b64decode(operation["value_base64"]), **options)
                else:
                    batch.delete(key, **options)
        return as_json({"receipts": [receipt.to_json() for receipt in batch.receipts]})


def shape_of(entry: Entry, asked: Mapping[str, str]) -> dict[str, Any]:
    shape = entry.to_json()
    if asked.get("values") == "true" and not entry.deleted:
        large = any(entry.chunk_root)
        shape["value_base64"] = None if large else base64.b64encode(entry.value).decode()
    return shape


def as_text(what: object) -> Reply:
    return Reply(200, {"content-type": "text/plain"}, str(what).encode())


def number(asked: Mapping[str, str], name: str) -> int | None:
    return int(asked[name]) if name in asked else None
