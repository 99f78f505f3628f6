"""Uploads in parts, as Google Cloud Storage takes them: gathered for ``tests.gcs_front``, held to Google's rules.

None but the last part may be below 5 MiB. The order that completes an upload names its parts in ascending order, each
with the tag under which it was taken; parts that it leaves out are not part of the object.
"""

from __future__ import annotations

import hashlib
import itertools
from xml.etree import ElementTree

LEAST_PART_BYTES = 5 << 20


class Refused(Exception):
    """What is answered instead."""

    def __init__(self, status: int, code: str) -> None:
        super().__init__(code)
        self.status = status
        self.code = code


class Uploads:
    """Those that were begun, in memory."""

    def __init__(self) -> None:
        self._ids = map(str, itertools.count(1))
        self._parts: dict[str, dict[int, bytes]] = {}

    def begin(self) -> str:
        """The id of a new upload."""
        upload_id = next(self._ids)
        self._parts[upload_id] = {}
        return upload_id

    def take(self, upload_id: str, number: int, content: bytes) -> str:
        """The tag of the part, which may be sent again."""
        self._of(upload_id)[number] = content
        return _tag(content)

    def whole(self, upload_id: str, order: bytes) -> bytes:
        """The object that the order names."""
        parts = self._of(upload_id)
        tags = {int(part.findtext("PartNumber", "0")): part.findtext("ETag") for part in ElementTree.fromstring(order)}
        if list(tags) != sorted(tags):
            raise Refused(400, "InvalidPartOrder")
        if any(number not in parts or tag != _tag(parts[number]) for number, tag in tags.items()):
            raise Refused(400, "InvalidPart")
        contents = [parts[number] for number in tags]
        if any(len(content) < LEAST_PART_BYTES for content in contents[:-1]):
            raise Refused(400, "EntityTooSmall")
        return b"".join(contents)

    def end(self, upload_id: str) -> None:
        """Completed or given up: its parts are gone."""
        self._of(upload_id)
        self._parts.pop(upload_id, None)

    def _of(self, upload_id: str) -> dict[int, bytes]:
        parts = self._parts.get(upload_id)
        if parts is None:
            raise Refused(404, "NoSuchUpload")
        return parts


def _tag(content: bytes) -> str:
    return f'"{hashlib.md5(content, usedforsecurity=False).hexdigest()}"'
