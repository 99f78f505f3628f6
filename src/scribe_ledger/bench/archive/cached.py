"""The job that reads a row group again, out of the cache of the cold tier: random keys, the value cache off."""

from __future__ import annotations

from random import Random
from time import thread_time
from typing import TYPE_CHECKING, NamedTuple, TypeVar

from scribe_ledger.bench import workload
from scribe_ledger.bench.engines import column
from scribe_ledger.bench.phases import profiled
from scribe_ledger.bench.timing import alternate, measured, rate
from scribe_ledger.ledger.served import ServedLedger
from scribe_ledger.ledger.store import Table
from scribe_ledger.objects.folder import FolderStore

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from scribe_ledger.bench.archive.scale import Task
    from scribe_ledger.bench.timing import Measured

_T = TypeVar("_T")

LEDGER, COLD, RAW = "ledger", "the cold reader alone", "the three raw gets beneath"


class Cached(NamedTuple):
    """An entry of the row group."""

    key: str
    name: bytes
    place: int
    """Its index in the log."""
    group: bytes
    """Under which its leaf is."""


def again(task: Task) -> dict[str, Measured]:
    store = FolderStore(task.store, create=False)
    with ServedLedger.open(task.ledger, create=False, object_store=store, cache_capacity=0) as ledger:
        entries = _of_one_row_group(ledger, workload.keys_of(task.scale.entries))
        reader = ledger.cold.reader
        requests = reader.requests

        def prepare(block: int) -> list[Cached]:
            return Random(block).choices(entries, k=task.scale.cached_reads)

        measures = {LEDGER: _reads(ledger), COLD: _cold_reads(ledger), RAW: _raw_reads(ledger)}
        blocks = alternate(task.scale.blocks, prepare, measures)
        assert reader.requests == requests, "all of it comes from the cache"
        cpu = {name: _cpu_us(measure, prepare(0)) for name, measure in measures.items()}
        profile = profiled(lambda: _reads(ledger)(prepare(0))) if task.profile else []
    return {"again": measured(blocks, LEDGER, keys_in_the_row_group=len(entries), cpu_us_per_read=cpu, profile=profile)}


def _cpu_us(measure: Callable[[list[Cached]], float], drawn: list[Cached]) -> float:
    """Of this thread, which a busy machine changes less than the rate."""
    started = thread_time()
    measure(drawn)
    return round((thread_time() - started) / len(drawn) * 1e6, 2)


def _of_one_row_group(ledger: ServedLedger, keys: Sequence[str]) -> list[Cached]:
    """The entries that share the row group of the first, which is in the cache afterwards."""
    assert ledger.get(keys[0]) is not None
    segment = ledger.manifest.segments[0]
    directory = ledger.cold.reader._directories.get(segment.segment_id)
    assert directory is not None
    names = [key.encode() for key in keys[: segment.stop]]
    places = [directory.footer.row_group_of(name, index) for index, name in enumerate(names)]
    found = [index for index, place in enumerate(places) if place == places[0]]
    assert all(ledger.get(keys[index]) is not None for index in found)
    groups = {index: (index - index % workload.BATCH).to_bytes(8, "big") for index in found}
    return [Cached(keys[index], names[index], index, groups[index]) for index in found]


def _reads(ledger: ServedLedger) -> Callable[[list[Cached]], float]:
    get = ledger.get

    def read(keys: list[str]) -> None:
        for key in keys:
            get(key)

    return lambda drawn: _rate(read, [each.key for each in drawn])


def _cold_reads(ledger: ServedLedger) -> Callable[[list[Cached]], float]:
    value, segment = ledger.cold.reader.value, ledger.manifest.segments[0]

    def read(places: list[tuple[bytes, int]]) -> None:
        for name, index in places:
            value(segment, name, index)

    return lambda drawn: _rate(read, [(each.name, each.place) for each in drawn])


def _raw_reads(ledger: ServedLedger) -> Callable[[list[Cached]], float]:
    """The key's record, the values that are no longer there, the leaves with the digest."""
    get_key, get_values, get_leaves = (column(ledger, table).get for table in (Table.KEYS, Table.VALUES, Table.LEAVES))

    def read(places: list[tuple[bytes, bytes]]) -> None:
        for name, group in places:
            get_key(name)
            get_values(group)
            get_leaves(group)

    return lambda drawn: _rate(read, [(each.name, each.group) for each in drawn])


def _rate(read: Callable[[list[_T]], object], order: list[_T]) -> float:
    return rate(len(order), lambda: read(order))
