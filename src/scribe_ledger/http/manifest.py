"""``/v1/manifest``: which segments hold the archived part of the log; and ``/v1/archive``: have the rest put there.

A manifest of thousands of segments is rendered in threads, and sent while it is. It is one version of it, whatever is
archived meanwhile; the ETag names it, so that who follows the archive learns cheaply that nothing has changed.
"""

from __future__ import annotations

from contextlib import suppress
from typing import TYPE_CHECKING, NamedTuple

import orjson

from scribe_ledger.archive.leading import NotLeading
from scribe_ledger.http.archiving import archive_here
from scribe_ledger.http.conditions import is_known
from scribe_ledger.http.headers import JSON_TYPE, NOSNIFF
from scribe_ledger.http.replies import reply, reply_bytes, reply_json, reply_stream

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from starlette.responses import Response

    from scribe_ledger.http.headers import Headers
    from scribe_ledger.http.request import Request
    from scribe_ledger.ledger.manifest import Manifest
    from scribe_ledger.ledger.served import ServedLedger
    from scribe_ledger.segments.segment import Segment

PIECE_SEGMENTS = 128
"""So many are rendered at once: about 64 KiB. A manifest with no more is sent whole."""
_REVALIDATE = (b"cache-control", b"no-cache")


class _Lists(NamedTuple):
    """What is answered of one version of the manifest."""

    manifest: Manifest
    segments: Sequence[Segment] | None = None
    added: Sequence[Segment] | None = None
    removed: Sequence[str] | None = None


async def get_manifest(request: Request) -> Response:
    """The manifest, or with ``since`` what changed after that version of it."""
    since, ledger = request.query["since"], request.ledger
    if since is None:
        manifest = ledger.manifest
        lists = _Lists(manifest, segments=manifest.segments)
    else:
        lists = await request.service.run(_since, ledger, since)
    headers: Headers = [_REVALIDATE, (b"etag", _etag(lists.manifest))]
    if is_known(request, _etag(lists.manifest)):
        return reply(304, headers)
    if sum(len(each) for each in lists[1:] if each) <= PIECE_SEGMENTS:
        return reply_bytes(b"".join(_render(lists)), JSON_TYPE[1], headers=headers)
    headers = [JSON_TYPE, *headers, NOSNIFF]
    if request.method == "HEAD":
        return reply(200, headers)
    return reply_stream(200, headers, request.service.disk.stream(_render(lists)))


async def archive(request: Request) -> Response:
    """Seals and uploads all that is committed, and answers when that is done: here, or on the leader."""
    cluster = request.service.cluster
    if cluster is None:
        return reply_json(await archive_here(request.service))
    if cluster.state == "leader":
        with suppress(NotLeading):  # any more, or not yet
            return reply_json(await archive_here(request.service))
    if cluster.trouble is not None:
        raise cluster.trouble.again()
    return reply_json(await cluster.archive())


def _since(ledger: ServedLedger, since: int) -> _Lists:
    """In a thread. The manifest changes seldom, and then this looks again: both parts are of one version."""
    while True:
        manifest = ledger.manifest
        added, removed = ledger.manifest_difference(since)
        if ledger.manifest is manifest:
            return _Lists(manifest, added=added, removed=removed)


def _etag(manifest: Manifest) -> bytes:
    return b'"%d-%b"' % (manifest.version, manifest.digest[:8].hex().encode())


def _render(lists: _Lists) -> Iterator[bytes]:
    manifest = lists.manifest
    yield b'{"version":%d,"archived_size":%d' % (manifest.version, manifest.archived_size)
    for name, found in (("segments", lists.segments), ("added", lists.added), ("removed", lists.removed)):
        if found is not None:
            yield b',"%b":[' % name.encode()
            for start in range(0, len(found), PIECE_SEGMENTS):
                shapes = [orjson.dumps(_shape(each)) for each in found[start : start + PIECE_SEGMENTS]]
                yield (b"," if start else b"") + b",".join(shapes)
            yield b"]"
    yield b"}"


def _shape(each: Segment | str) -> object:
    return each if isinstance(each, str) else each.to_json()
