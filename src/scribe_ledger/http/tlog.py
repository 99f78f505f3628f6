"""The log for standard tile-log clients: checkpoint, tiles and entry bundles, after C2SP tlog-tiles.

https://c2sp.org/tlog-tiles. A client reads the checkpoint first, and then tiles of that size or smaller ones. So a
partial tile can be had at any width that the newest checkpoint covers, however far the log has grown since; and nothing
can be had beyond it. Tiles never change: they may be kept for ever. Nobody may keep a checkpoint.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from scribe_ledger.errors import NotFound, SerializationError, Unavailable, counted
from scribe_ledger.http.proven import covering
from scribe_ledger.http.replies import reply_bytes, reply_text
from scribe_ledger.merkle.tiles import TILE_HEIGHT, TILE_WIDTH, TileId, encode_bundle, parse_tile_path

if TYPE_CHECKING:
    from starlette.responses import Response

    from scribe_ledger.http.request import Request
    from scribe_ledger.ledger.served import ServedLedger
    from scribe_ledger.merkle.checkpoint import Checkpoint

_TILE_TYPE = b"application/octet-stream"
_FOREVER = (b"cache-control", b"public, max-age=31536000, immutable")


async def get_checkpoint(request: Request) -> Response:
    """One that covers every write answered before, or that of the size ``at``. Standard clients name neither.

    In a cluster it is the newest that a majority has cosigned, which may be a moment old, if it covers what ``after``
    names; where none can be had in time, it is the node's own.
    """
    await request.wait_until_readable()
    at = request.query["at"]
    if at is not None:
        return reply_text((await request.service.run(request.service.checkpoints.of, at)).text)
    cosigned = await _cosigned(request)
    if cosigned is not None:
        return reply_text(cosigned.text)
    size = request.ledger.size  # not below what ``after`` names: that was waited for
    checkpoint = request.service.checkpoints.at_hand(size)
    if checkpoint is None:
        checkpoint = await request.service.run(covering, request, size)
    return reply_text(checkpoint.text)


async def _cosigned(request: Request) -> Checkpoint | None:
    cosigned, after = request.service.cosigned, request.query["after"]
    if cosigned is None:
        return None
    try:
        found = await cosigned.fresh()
    except Unavailable:
        return None  # the node's own is the answer then, which says so by having no cosignatures
    checkpoints = request.service.checkpoints
    least = max(checkpoints.given, 0 if after is None else after + 1)
    return checkpoints.give(found) if found.size >= least else None


async def get_tile(request: Request) -> Response:
    """In a cluster all that is applied is committed, so that a checkpoint of another member may cover it."""
    tile, ledger, cluster = _named(request.key), request.ledger, request.service.cluster
    if cluster is not None and not _is_covered(tile, ledger.size):
        await cluster.linearize()
    published = ledger.published.size if cluster is None else ledger.size
    if not _is_covered(tile, published):
        raise NotFound(
            "this tile is not published", hint=f"the checkpoint at /tlog/checkpoint covers {counted(published)}"
        )
    return reply_bytes(await request.service.run(_content, request.ledger, tile), _TILE_TYPE, headers=[_FOREVER])


def _is_covered(tile: TileId, size: int) -> bool:
    return tile.index * TILE_WIDTH + tile.width <= size >> TILE_HEIGHT * (tile.level or 0)


def _content(ledger: ServedLedger, tile: TileId) -> bytes:
    if tile.level is not None:
        return ledger.tile(tile.level, tile.index, tile.width)
    first = tile.index * TILE_WIDTH
    return encode_bundle(ledger.leaves(first, first + tile.width))


def _named(path: bytes) -> TileId:
    try:
        return parse_tile_path(f"tile/{path.decode('ascii', 'backslashreplace')}")
    except SerializationError as error:
        raise NotFound(error.message, hint=error.hint) from error
