"""``/v1/manifest`` and ``/v1/archive`` of a node that has no archive: the manifest is empty and stays so."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from scribe_ledger.errors import Conflict, InvalidRequest
from scribe_ledger.http.replies import reply_json

if TYPE_CHECKING:
    from starlette.responses import Response

    from scribe_ledger.http.request import Request

_VERSION = 0


async def get_manifest(request: Request) -> Response:
    """The manifest, or with ``since`` what changed after that version of it."""
    manifest: dict[str, Any] = {"version": _VERSION, "archived_size": 0}
    since = request.query["since"]
    if since is None:
        return reply_json({**manifest, "segments": []})
    if since > _VERSION:
        raise InvalidRequest(f"since is {since}, and the manifest has version {_VERSION}", hint="read it whole")
    return reply_json({**manifest, "added": [], "removed": []})


async def archive(_: Request) -> Response:
    raise Conflict("this node has no archive", hint="all entries are kept in its data folder; copy it for safety")
