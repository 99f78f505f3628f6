"""A ledger that grows by the same rounds in every process, and a model that tells exactly what it must hold.

The clock of the ledger depends on the round alone, so that every leaf, hence every root, is known beforehand. Rounds
have versions, deletes, metadata, a change of policy, large values, and uploads that no entry refers to.
"""

from __future__ import annotations

import time
from hashlib import sha256
from typing import TYPE_CHECKING, Any

from tests.ledger.model import Model, Op, configure, delete, put
from tests.ledger.opening import START, Clock

from scribe_ledger import verify
from scribe_ledger.archive.archiver import Archiver, ArchiveSettings
from scribe_ledger.errors import Overloaded
from scribe_ledger.ledger.served import ServedLedger
from scribe_ledger.merkle.chunks import chunk_digests, chunk_root
from scribe_ledger.merkle.hashing import hash_leaf
from scribe_ledger.objects import paths

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from scribe_ledger.objects.store import ObjectStore

INLINE_MAX = 600
SEGMENT_SIZE = 40_000
HOT_SIZE = 6_000
PATIENCE_SECONDS = 20


def settings(**changes: Any) -> ArchiveSettings:
    """Small enough that some rounds bring every step about. What is replaced is removed at once."""
    return ArchiveSettings(
        **{"segment_size": SEGMENT_SIZE, "hot_size": HOT_SIZE, "grace_secs": 0, "compression_level": 1} | changes
    )


def now() -> int:
    """The archiver's clock: later than all that the store has."""
    return int(time.time() * 1000) + 1000


def open_ledger(folder: Path, store: ObjectStore | str = "", **options: Any) -> ServedLedger:
    return ServedLedger.open(folder, object_store=store, name="rounds", inline_max=INLINE_MAX, clock=Clock(), **options)


def archiver(ledger: ServedLedger, at_step: Callable[[str], None] = lambda _: None, **changes: Any) -> Archiver:
    return Archiver(ledger, settings(**changes), clock=now, at_step=at_step)


def ops_of(number: int) -> list[Op]:
    """What one round writes, as one atomic batch."""
    ops = [
        put(b"round", str(number).encode()),
        put(b"key %d" % (number % 5), _value(number, 300), metadata={"round": str(number)}),
        put(b"once %d" % number, _value(number, 20), content_type="text/plain"),
        put(b"large %d" % (number % 3), _value(number, INLINE_MAX + 100)),
    ]
    ops += [put(b"often %d" % (place % 8), _value(100 * number + place, 30)) for place in range(16)]
    if number % 4 == 3:
        ops += [delete(b"once %d" % (number - 1)), configure(overwrite="version", deletes="tombstone")]
    return ops


def stray_value(number: int) -> bytes:
    """What a round uploads without putting it."""
    return b"stray %d " % number * 200


def write_round(ledger: ServedLedger, number: int) -> None:
    clock = ledger._clock
    assert isinstance(clock, Clock)
    clock.now = START + number * 1000
    if number % 3 == 1:
        with ledger.begin_value() as value:
            value.write(stray_value(number))
            ledger.keep_value(value.finish())
    _write_when_it_may(ledger, ops_of(number))


def _write_when_it_may(ledger: ServedLedger, ops: list[Op]) -> None:
    """An archiver beside it may just be removing a large value that the round has again, and says so."""
    try:
        ledger.write([op.command() for op in ops])
    except Overloaded:
        await_until(lambda: not ledger.removals())
        _write_when_it_may(ledger, ops)


def await_until(condition: Callable[[], object]) -> None:
    """Of what another thread does: it tells nobody."""
    deadline = time.monotonic() + PATIENCE_SECONDS
    while not condition():
        assert time.monotonic() < deadline
        time.sleep(0.005)


def rounds_in(ledger: ServedLedger) -> int:
    found = ledger.get("round")
    return 0 if found is None else int(found) + 1


def model_of(rounds: int) -> _LargeModel:
    model = _LargeModel()
    for number in range(rounds):
        model.write(ops_of(number), START + number * 1000)
    return model


def check_ledger(ledger: ServedLedger, rounds: int) -> None:
    """Every value, version, history and proof, at present and as of earlier sizes, and the ledger's own check."""
    model = model_of(rounds)
    assert ledger.size == model.size
    head = ledger.checkpoint()
    assert head.root == model.root()
    for key in model.keys():  # noqa: SIM118  # it is no mapping
        history = model.history(key)
        assert ledger.get(key) == model.get(key)
        entries = list(ledger.history(key))
        assert [(each.index, each.version, each.leaf_hash) for each in entries] == [
            (item.index, item.version, model.hashes()[item.index]) for item in history
        ]
        for item, entry in zip(history, entries, strict=True):
            assert entry.value == item.value
            assert ledger.get(key, version=item.version) == (None if item.deleted else item.value)
        proof = str(ledger.prove(key))
        verify.inclusion(proof, None if history[0].deleted else history[0].value, public_key=ledger.public_key, key=key)
        assert len(verify.history(str(ledger.prove_history(key)), public_key=ledger.public_key)) == len(history)
    assert [(each.key, each.value) for each in ledger.scan()] == [(each.op.key, each.value) for each in model.live()]
    assert [entry.value for entry in ledger.log()] == [item.value for item in model.items]
    for size in range(1, model.size, 7):
        old = ledger.checkpoint(at=size)
        assert old.root == model.root(size)
        assert ledger.get(b"key 1", as_of=size) == model.get(b"key 1", size)
        verify.consistency(str(ledger.prove_consistency(size)), old, head, public_key=ledger.public_key)
    report = ledger.verify()
    assert report.ok, report.problems[:5]


def check_archived(ledger: ServedLedger, rounds: int) -> None:
    """What a finished archive holds: all of it, published, and nothing else."""
    from scribe_ledger.archive.publishing import _tiles

    model, manifest, store = model_of(rounds), ledger.manifest, ledger.objects
    assert manifest.archived_size == ledger.size == model.size
    assert [segment.first_index for segment in manifest.segments] == [
        0,
        *[segment.stop for segment in manifest.segments[:-1]],
    ]
    assert manifest.segments[-1].stop == model.size
    assert manifest.archived_bytes == sum(segment.log_bytes for segment in manifest.segments)
    assert ledger.pending[:2] == (0, 0)
    for segment in manifest.segments:
        content = store.get(segment.path)
        assert content is not None and sha256(content).digest() == segment.sha256
    sizes = [paths.parse_checkpoint_path(listed.path) for listed in store.list(paths.CHECKPOINTS)]
    assert max(size or 0 for size in sizes) == model.size
    for path, content in _tiles(ledger, 0, model.size):
        assert store.get(path) == content, path
    assert store.get(paths.CHECKPOINT) == ledger.checkpoint().text.encode()
    assert ledger.replaced_segments() == []
    blobs = {paths.digest_of_blob_path(listed.path) for listed in store.list(paths.BLOBS)} - {None}
    assert blobs == {sha256(item.value).digest() for item in model.items if len(item.value) > INLINE_MAX}


class _LargeModel(Model):
    """One that knows of large values."""

    def hashes(self) -> list[bytes]:
        for item in self.items[len(self._hashes) :]:
            root = chunk_root(chunk_digests(item.value)) if len(item.value) > INLINE_MAX else bytes(32)
            self._hashes.append(hash_leaf(item.leaf()._replace(chunk_root=root).encode()))
        return self._hashes


def _value(number: int, size: int) -> bytes:
    return (sha256(b"%d" % number).hexdigest() * (1 + size // 64)).encode()[:size]
