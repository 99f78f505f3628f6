"""Publishing: the tiles, entry bundles and checkpoint of the archived end, and the copies for people.

A checkpoint is put after everything that it covers, so what lies below the largest checkpoint of the store is complete,
and publishing goes on from there, whoever did it before and wherever it was ended. Tiles and checkpoints of one size
are the same bytes whoever makes them: a covered object that differs was made from another log. One that no checkpoint
covers may be what a lost node left of entries that were never published, and is replaced (see ``placing``).

``checkpoint`` and ``manifest.json`` are replaced at each change, and nobody's authority. A request that was given up,
by this process or one before it, may still arrive, and put an older copy in the place of a newer one. So once they have
not been replaced for as long as a store takes such a request they are looked at once more.
"""

from __future__ import annotations

from concurrent.futures import Future, ThreadPoolExecutor
from typing import TYPE_CHECKING

import orjson

from scribe_ledger.archive.placing import fork, put_tiles
from scribe_ledger.errors import Corruption, ScribeError
from scribe_ledger.merkle.checkpoint import Checkpoint
from scribe_ledger.merkle.tiles import TILE_HEIGHT, TILE_WIDTH, bundle_path, encode_bundle, tile_path
from scribe_ledger.objects import paths
from scribe_ledger.objects.epochs import newest_checkpoint, read_checkpoint, required_lineage
from scribe_ledger.objects.rereading import twice

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from scribe_ledger.archive.work import Work
    from scribe_ledger.ledger.served import ServedLedger
    from scribe_ledger.objects.store import ObjectStore

ROUND_OBJECTS = 64
"""So many tiles are put at once, while the next are made."""
PIECE_OBJECTS = 4
"""So many are made between two calls of ``pace``: some milliseconds of work."""


class Publisher:
    """Remembers what was published, so that nothing is asked of the store while nothing changes."""

    def __init__(self) -> None:
        self._published: int | None = None
        """The size of the largest checkpoint in the store; None before the first look."""
        self._copied = False
        """Whether ``checkpoint`` is known to be that one."""
        self._listed: object = None
        """The segments that ``manifest.json`` lists."""
        self._copying_since: int | None = None
        """When a copy was last put, or may have been by the process before; None where nothing can come late."""

    def publish(self, work: Work) -> None:
        """Brings the store up to the archived end."""
        size = work.ledger.manifest.archived_size
        if size == 0:
            return
        self._look_again(work)
        before = self._published
        if before is None:
            before = self._published = published_size(work.ledger, size)
            self._note_copying(work)
        if before < size:
            work.guard()
            self._publish(work, before, size)
        if not self._copied:
            self._copy_checkpoint(work, max(before, size))

    def copy_manifest(self, work: Work) -> None:
        """Replaces ``manifest.json`` if it lists other segments than those that are live.

        It must never reach beyond the largest checkpoint: whoever restores would miss that one. A ledger that has
        archived nothing leaves the store as it is.
        """
        manifest, store = work.ledger.manifest, work.ledger.objects
        if self._listed is manifest.segments or not 0 < manifest.archived_size <= (self._published or 0):
            return
        content = orjson.dumps(
            {"ledger_id": work.ledger.ledger_id, **manifest.to_json()}, option=orjson.OPT_APPEND_NEWLINE
        )
        if self._listed is not None or not _lists_the_same(store.get(paths.MANIFEST), content):
            work.guard()
            self._replace(work, paths.MANIFEST, content)
            work.reached("publish-copies")
        self._listed = manifest.segments

    def _publish(self, work: Work, before: int, size: int) -> None:
        ledger, store = work.ledger, work.ledger.objects
        with ThreadPoolExecutor(1, thread_name_prefix="scribe-publish") as putting:
            under_way: Future[None] | None = None
            for objects in _rounds(_tiles(ledger, before, size), work.pace):
                if under_way is not None:
                    under_way.result()
                under_way = putting.submit(put_tiles, ledger, objects)
            if under_way is not None:
                under_way.result()
        work.reached("publish-tiles")
        checkpoint = ledger.checkpoint(at=size)
        path, content = paths.checkpoint_path(size), checkpoint.text.encode()
        if not store.put_bytes(path, content):
            twice(lambda: _check_checkpoint(store, path, checkpoint))
        self._published, self._copied = size, False
        work.reached("publish-checkpoint")

    def _copy_checkpoint(self, work: Work, size: int) -> None:
        """Makes ``checkpoint`` the one of ``size``, if whoever published that was ended in between."""
        store = work.ledger.objects
        content = store.get(paths.checkpoint_path(size))
        if content is not None and store.get(paths.CHECKPOINT) != content:
            work.guard()
            found = read_checkpoint(store, required_lineage(store), size)  # what is copied is what was signed
            if found is not None:
                self._replace(work, paths.CHECKPOINT, found.text.encode())
        self._copied = True

    def _replace(self, work: Work, path: str, content: bytes) -> None:
        self._note_copying(work)
        work.ledger.objects.put_bytes(path, content, replace=True)

    def _note_copying(self, work: Work) -> None:
        if work.ledger.objects.late_secs:
            self._copying_since = work.clock()

    def _look_again(self, work: Work) -> None:
        """Forgets what the copies are, once, when nothing that was sent earlier can arrive any more."""
        late_ms = int(work.ledger.objects.late_secs * 1000)
        if self._copying_since is not None and work.clock() - self._copying_since > late_ms:
            self._copying_since, self._copied, self._listed = None, False, None


def published_size(ledger: ServedLedger, size: int) -> int:
    """How far this ledger is published. A node that was lost may have left a larger checkpoint, of another log."""
    store = ledger.objects
    if not ledger.identity.epoch:
        return largest_checkpoint(store, size)
    newest = newest_checkpoint(store, required_lineage(store))
    return 0 if newest is None else newest.size


def largest_checkpoint(store: ObjectStore, size: int) -> int:
    """The size of the largest checkpoint in the store, 0 if there is none. One look if it is the one of ``size``."""
    if store.stat(paths.checkpoint_path(size)) is not None:
        return size
    found = (paths.parse_checkpoint_path(listed.path) for listed in store.list(paths.CHECKPOINTS))
    return max((each for each in found if each is not None), default=0)


def _tiles(ledger: ServedLedger, before: int, size: int) -> Iterator[tuple[str, bytes]]:
    """What a log of ``size`` entries has and one of ``before`` has not: bundles and tiles, full and partial ones."""
    for index, width in _new_tiles(before, size):
        first = index * TILE_WIDTH
        yield bundle_path(index, width), encode_bundle(ledger.leaves(first, first + width))
    level = 0
    while held := size >> TILE_HEIGHT * level:
        for index, width in _new_tiles(before >> TILE_HEIGHT * level, held):
            yield tile_path(level, index, width), ledger.tile(level, index, width)
        level += 1


def _new_tiles(before: int, held: int) -> Iterator[tuple[int, int]]:
    """Index and width of the tiles that ``held`` hashes have and ``before`` had not."""
    for index in range(before // TILE_WIDTH, held // TILE_WIDTH):
        yield index, TILE_WIDTH
    if held > before and held % TILE_WIDTH:
        yield held // TILE_WIDTH, held % TILE_WIDTH


def _rounds(objects: Iterator[tuple[str, bytes]], pace: Callable[[], None]) -> Iterator[list[tuple[str, bytes]]]:
    gathered: list[tuple[str, bytes]] = []
    for each in objects:
        gathered.append(each)
        if len(gathered) % PIECE_OBJECTS == 0:
            pace()
        if len(gathered) == ROUND_OBJECTS:
            yield gathered
            gathered = []
    if gathered:
        yield gathered


def _check_checkpoint(store: ObjectStore, path: str, ours: Checkpoint) -> None:
    """Another may have signed the same head, with another key or more cosignatures: what counts is the head."""
    content = store.get(path) or b""
    try:
        found = Checkpoint.parse(content.decode())
    except (ScribeError, UnicodeDecodeError) as error:
        raise Corruption(f"the checkpoint {store.place(path)} cannot be read", hint="run `scribe fsck`") from error
    if (found.size, found.root) != (ours.size, ours.root):
        raise fork(store, path)


def _lists_the_same(content: bytes | None, ours: bytes) -> bool:
    """Whether a copy of the manifest lists the same segments. Its version alone may have gone on."""
    if content is None:
        return False
    try:
        return bool(orjson.loads(content)["segments"] == orjson.loads(ours)["segments"])
    except (orjson.JSONDecodeError, KeyError, TypeError):
        return False
