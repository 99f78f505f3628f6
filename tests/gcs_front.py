"""What stands before fake-gcs-server in our tests, for what that server lacks of the API that obstore speaks.

Google has two interfaces to the same objects. obstore speaks the XML one; fake-gcs-server is whole in the JSON one
only, of the other it has GET, HEAD and DELETE. Those pass untouched, answers and all. The rest is brought over:

- a PUT becomes one upload of the JSON interface, its condition with it (``x-goog-if-generation-match``, which is
  create-only where it is 0): the real server judges it, under its own lock;
- a listing becomes pages of the JSON listing: the real server chooses, orders and cuts; written as XML here;
- an upload in parts is gathered here (``tests.gcs_parts``), and when it is completed handed on as one such upload.

It asks for the token of the one service account that it knows, and judges its signature, name and time.

So no test here shows how Google's own assembly of parts behaves, nor its XML of listings and errors, its rights, limits
of speed, or storage classes: for that there is only a real bucket.

A process of its own, as a server has: ``python -m tests.gcs_front PORT PORT_BEHIND ACCOUNT PUBLIC_KEY_FILE``.
"""

from __future__ import annotations

import base64
import http.client
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
from tests.gcs_parts import Refused, Uploads

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

_PAGE = 1000
_PATIENCE_SECONDS = 30
_CONDITION = "x-goog-if-generation-match"
_ENTRY = {"Key": "name", "LastModified": "updated", "ETag": "etag", "Size": "size"}
"""Of a listing: its names in XML and in JSON."""
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
        self.uploads = Uploads()
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

    def handle_error(self, request: Any, client_address: Any) -> None:
        """A client that went away is not a failure of the server."""
        if not isinstance(sys.exc_info()[1], ConnectionError):
            super().handle_error(request, client_address)


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
        try:
            answer = self._answer(body)
        except Refused as refused:
            answer = _xml("Error", {"Code": refused.code}, status=refused.status)
        self.send_response_only(answer.status)
        for name, value in ({"Content-Length": str(len(answer.body))} | dict(answer.headers)).items():
            self.send_header(name, value)
        self.end_headers()
        if self.command != "HEAD":
            self.wfile.write(answer.body)

    do_HEAD = do_PUT = do_POST = do_DELETE = do_GET  # noqa: N815

    def log_message(self, *_: object) -> None:
        """Nothing: a test says what it saw."""

    def _answer(self, body: bytes) -> Answer:
        if not self.server.knows(self.headers.get("Authorization", "").removeprefix("Bearer ")):
            raise Refused(401, "AuthenticationRequired")
        url = urlsplit(self.path)
        bucket, _, name = unquote(url.path[1:]).partition("/")
        query = dict(parse_qsl(url.query, keep_blank_values=True))
        if self.command == "GET" and not name:
            return self._list(bucket, query)
        if "uploads" in query:
            return _xml("InitiateMultipartUploadResult", {"UploadId": self.server.uploads.begin()})
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
        entries = [{tag: item[field] for tag, field in _ENTRY.items()} for item in page.get("items", ())]
        token = page.get("nextPageToken")
        return _xml("ListBucketResult", {"NextContinuationToken": token} if token else {}, entries)

    def _go_on(self, bucket: str, name: str, query: Mapping[str, str], body: bytes) -> Answer:
        """A part of an upload, or its end."""
        uploads, upload_id = self.server.uploads, query["uploadId"]
        if self.command == "PUT":
            return Answer(200, {"ETag": uploads.take(upload_id, int(query["partNumber"]), body)})
        if self.command == "DELETE":
            uploads.end(upload_id)
            return Answer(204, {})
        answer = self._put(bucket, name, uploads.whole(upload_id, body))
        if answer.status != 200:
            return answer
        uploads.end(upload_id)
        return _xml("CompleteMultipartUploadResult", {"ETag": answer.headers["ETag"]})


def _decoded(text: str) -> bytes:
    return base64.urlsafe_b64decode(text + "=" * (-len(text) % 4))


def _xml(
    root: str, fields: Mapping[str, str], entries: Sequence[Mapping[str, str]] = (), *, status: int = 200
) -> Answer:
    tree = ElementTree.Element(root)
    _add(tree, fields)
    for entry in entries:
        _add(ElementTree.SubElement(tree, "Contents"), entry)
    return Answer(status, {"Content-Type": "application/xml"}, ElementTree.tostring(tree, xml_declaration=True))


def _add(tree: ElementTree.Element, fields: Mapping[str, str]) -> None:
    for tag, text in fields.items():
        ElementTree.SubElement(tree, tag).text = text


def main() -> None:
    port, behind, account, key_file = sys.argv[1:]
    key = load_pem_public_key(Path(key_file).read_bytes())
    assert isinstance(key, RSAPublicKey)
    Front(int(port), int(behind), account, key).serve_forever()


if __name__ == "__main__":
    main()
