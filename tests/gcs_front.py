"""What stands before fake-gcs-server in our tests, for what that server lacks of the API that obstore speaks.

Google has two interfaces to the same objects. obstore speaks the XML one; fake-gcs-server is whole in the JSON one
only, of the other it has GET, HEAD and DELETE. Those pass untouched, answers and all. The rest is brought over:

- a PUT becomes one upload of the JSON interface, its condition with it (``x-goog-if-generation-match``, which is
  create-only where it is 0): the real server judges it, under its own lock;
- a listing becomes pages of the JSON listing: the real server chooses, orders and cuts; written as XML here;
- an upload in parts is gathered here, and when it is completed handed on as one such upload. Parts are held to Google's
  rules: none but the last below 5 MiB, named in order, with the tags under which they were taken.

It asks for the token of the one service account that it knows, and judges its signature, name and time.

So no test here shows how Google's own assembly of parts behaves, nor its XML of listings and errors, its rights, limits
of speed, or storage classes: for that there is only a real bucket.

A process of its own, as a server has: ``python tests/gcs_front.py PORT PORT_BEHIND ACCOUNT PUBLIC_KEY_FILE``.
"""

from __future__ import annotations

import base64
import hashlib
import http.client
import itertools
import json
import sys
import time
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple
from urllib.parse import parse_qsl, quote, unquote, urlencode, urlsplit
from xml.etree import ElementTree

from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives.asymmetric.padding import PKCS1v15
from cryptography.hazmat.primitives.asymmetric.rsa import RSAPublicKey
from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.serialization import load_pem_public_key

if TYPE_CHECKING:
    from collections.abc import Mapping

LEAST_PART_BYTES = 5 << 20
_PAGE = 1000
_PATIENCE_SECONDS = 30
_CONDITION = "x-goog-if-generation-match"
_OF_ONE_CONNECTION = frozenset({"connection", "host", "keep-alive", "transfer-encoding"})


class Answer(NamedTuple):
    status: int
    headers: Mapping[str, str]
    body: bytes = b""


class Front(ThreadingHTTPServer):
    """Listens on ``port`` for clients of the server on ``upstream``, both of this machine."""

    daemon_threads = True  # one for each connection, which clients keep open
    request_queue_size = 128

    def __init__(self, port: int, upstream: int, account: str, key: RSAPublicKey) -> None:
        self.upstream = upstream
        self.uploads: dict[str, dict[int, bytes]] = {}
        """The parts of each upload that was begun, by their numbers."""
        self.upload_ids = map(str, itertools.count(1))
        self._account = account
        self._key = key
        super().__init__(("127.0.0.1", port), _Connection)

    def knows(self, token: str) -> bool:
        """Whether it is one that the account has signed, for now."""
        try:
            signed, _, signature = token.rpartition(".")
            self._key.verify(_decoded(signature), signed.encode(), PKCS1v15(), SHA256())
            claims: dict[str, Any] = json.loads(_decoded(signed.partition(".")[2]))
        except (InvalidSignature, ValueError):
            return False
        return bool(claims["iss"] == self._account and claims["iat"] - 60 <= time.time() < claims["exp"])

    def handle_error(self, request: object, client_address: object) -> None:
        """A client that went away is not a failure of the server."""


class _Connection(BaseHTTPRequestHandler):
    """One client's, with one to the real server behind it."""

    protocol_version = "HTTP/1.1"
    disable_nagle_algorithm = True
    server: Front

    def setup(self) -> None:
        super().setup()
        self._behind = http.client.HTTPConnection("127.0.0.1", self.server.upstream, timeout=_PATIENCE_SECONDS)

    def finish(self) -> None:
        self._behind.close()
        super().finish()

    def do_GET(self) -> None:
        body = self.rfile.read(int(self.headers.get("Content-Length", 0)))
        if self.server.knows(self.headers.get("Authorization", "").removeprefix("Bearer ")):
            answer = self._answer(body)
        else:
            answer = _refusal(401, "AuthenticationRequired")
        self.send_response_only(answer.status)
        for name, value in ({"Content-Length": str(len(answer.body))} | dict(answer.headers)).items():
            self.send_header(name, value)
        self.end_headers()
        self.wfile.write(answer.body)

    do_HEAD = do_PUT = do_POST = do_DELETE = do_GET  # noqa: N815

    def log_message(self, *_: object) -> None:
        """Nothing: a test says what it saw."""

    def _answer(self, body: bytes) -> Answer:
        url = urlsplit(self.path)
        bucket, _, name = unquote(url.path[1:]).partition("/")
        query = dict(parse_qsl(url.query, keep_blank_values=True))
        if self.command == "GET" and not name:
            return self._list(bucket, query)
        if "uploads" in query:
            return self._begin()
        if "uploadId" in query:
            return self._go_on(bucket, name, query, body)
        if self.command == "PUT":
            return self._put(bucket, name, body)
        headers = {name: value for name, value in self.headers.items() if name.lower() not in _OF_ONE_CONNECTION}
        return self._ask(self.command, self.path, body, headers)

    def _ask(self, method: str, path: str, body: bytes = b"", headers: Mapping[str, str] | None = None) -> Answer:
        self._behind.request(method, path, body or None, headers or {})
        answer = self._behind.getresponse()
        kept = {name: value for name, value in answer.getheaders() if name.lower() not in _OF_ONE_CONNECTION}
        return Answer(answer.status, kept, answer.read())

    # --- one object, and a listing ---

    def _put(self, bucket: str, name: str, content: bytes) -> Answer:
        query = {"uploadType": "media", "name": name}
        if condition := self.headers.get(_CONDITION):
            query["ifGenerationMatch"] = condition
        path = f"/upload/storage/v1/b/{quote(bucket)}/o?{urlencode(query)}"
        answer = self._ask("POST", path, content, {"Content-Type": "application/octet-stream"})
        if answer.status != 200:
            return answer
        made = json.loads(answer.body)
        return Answer(200, {"ETag": f'"{made["etag"]}"', "x-goog-generation": made["generation"]})

    def _list(self, bucket: str, query: Mapping[str, str]) -> Answer:
        asked = {"prefix": query.get("prefix", ""), "maxResults": query.get("max-keys", str(_PAGE))}
        if after := query.get("start-after"):
            asked["startOffset"] = f"{after}\0"  # the JSON interface begins with the name itself
        if token := query.get("continuation-token"):
            asked["pageToken"] = token
        answer = self._ask("GET", f"/storage/v1/b/{quote(bucket)}/o?{urlencode(asked)}")
        if answer.status != 200:
            return answer
        page = json.loads(answer.body)
        tree = ElementTree.Element("ListBucketResult", xmlns="http://doc.s3.amazonaws.com/2006-03-01")
        if token := page.get("nextPageToken"):
            _add(tree, "NextContinuationToken", token)
        for item in page.get("items", ()):
            entry = ElementTree.SubElement(tree, "Contents")
            for tag, value in (("Key", "name"), ("LastModified", "updated"), ("ETag", "etag"), ("Size", "size")):
                _add(entry, tag, item[value])
        return _xml(200, tree)

    # --- uploads in parts ---

    def _begin(self) -> Answer:
        upload_id = next(self.server.upload_ids)
        self.server.uploads[upload_id] = {}
        tree = ElementTree.Element("InitiateMultipartUploadResult")
        _add(tree, "UploadId", upload_id)
        return _xml(200, tree)

    def _go_on(self, bucket: str, name: str, query: Mapping[str, str], body: bytes) -> Answer:
        upload_id = query["uploadId"]
        parts = self.server.uploads.get(upload_id)
        if parts is None:
            return _refusal(404, "NoSuchUpload")
        if self.command == "PUT":
            parts[int(query["partNumber"])] = body
            return Answer(200, {"ETag": _tag(body)})
        answer = self._complete(bucket, name, parts, body) if self.command == "POST" else Answer(204, {})
        if answer.status < 300:
            self.server.uploads.pop(upload_id, None)
        return answer

    def _complete(self, bucket: str, name: str, parts: Mapping[int, bytes], body: bytes) -> Answer:
        named = [(int(part.findtext("PartNumber", "")), part.findtext("ETag")) for part in ElementTree.fromstring(body)]
        if named != sorted(named):
            return _refusal(400, "InvalidPartOrder")
        if any(number not in parts or tag != _tag(parts[number]) for number, tag in named):
            return _refusal(400, "InvalidPart")
        if any(len(parts[number]) < LEAST_PART_BYTES for number, _ in named[:-1]):
            return _refusal(400, "EntityTooSmall")
        answer = self._put(bucket, name, b"".join(parts[number] for number, _ in named))
        if answer.status != 200:
            return answer
        tree = ElementTree.Element("CompleteMultipartUploadResult")
        _add(tree, "ETag", answer.headers["ETag"])
        return _xml(200, tree)


def _decoded(text: str) -> bytes:
    return base64.urlsafe_b64decode(text + "=" * (-len(text) % 4))


def _tag(content: bytes) -> str:
    return f'"{hashlib.md5(content, usedforsecurity=False).hexdigest()}"'


def _add(tree: ElementTree.Element, tag: str, text: str) -> None:
    ElementTree.SubElement(tree, tag).text = text


def _xml(status: int, tree: ElementTree.Element) -> Answer:
    return Answer(status, {"Content-Type": "application/xml"}, ElementTree.tostring(tree, xml_declaration=True))


def _refusal(status: int, code: str) -> Answer:
    tree = ElementTree.Element("Error")
    _add(tree, "Code", code)
    return _xml(status, tree)


def main() -> None:
    port, behind, account, key_file = sys.argv[1:]
    key = load_pem_public_key(Path(key_file).read_bytes())
    assert isinstance(key, RSAPublicKey)
    Front(int(port), int(behind), account, key).serve_forever()


if __name__ == "__main__":
    main()
