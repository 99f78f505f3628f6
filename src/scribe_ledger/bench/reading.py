"""Jobs that read: cached keys, keys from the store, and old versions."""

from __future__ import annotations

from collections import deque
from random import Random
from typing import TYPE_CHECKING, Any

from scribe_ledger import Ledger
from scribe_ledger.bench import workload
from scribe_ledger.bench.engines import ROCKSDB, RawRocks, column
from scribe_ledger.bench.phases import profiled
from scribe_ledger.bench.timing import Measured, alternate, measured, rate
from scribe_ledger.bench.workload import BATCH, FEW_VERSIONS, VALUE_BYTES, Scale
from scribe_ledger.ledger import records
from scribe_ledger.ledger.store import Table

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence
    from pathlib import Path

_POOL = 50_000
"""How many random keys or versions the raw reads are prepared for; more than the block cache holds."""


def cached(work: Path, scale: Scale, *, profile: bool) -> dict[str, Measured]:
    """``ledger.get`` of keys that are in the cache, beside a bare dictionary and the raw engine."""
    count = workload.batches_in(min(workload.CACHED_KEYS, scale.entries))
    random = Random(1)
    with Ledger.open(work / "cached") as ledger, RawRocks(work / "cached-raw") as engine:
        plain: dict[str, bytes] = {}
        for pairs in workload.batches(0, count):
            ledger.put_many(pairs)
            engine.put_batch(workload.raw(pairs))
            plain.update(pairs)
        keys = list(plain)
        for key in keys:
            _check(ledger.get(key) == plain[key] == engine.get(key.encode()))
        _check(all(ledger.cached(key) is not None for key in keys))

        def prepare(_: int) -> tuple[list[str], list[str], list[bytes]]:
            order = workload.drawn(keys, scale.cached_reads, random)
            fresh = [bytes(key, "ascii").decode() for key in order[: scale.cached_reads // 10]]
            return order, fresh, [key.encode() for key in order[: scale.cached_reads // 10]]

        get = ledger.get
        blocks = alternate(
            scale.blocks,
            prepare,
            {
                "ledger": lambda orders: _rate(get, orders[0]),
                "bare dictionary": lambda orders: _rate(plain.get, orders[0]),
                ROCKSDB: lambda orders: _rate(engine.get, orders[2]),
                "ledger, key objects never seen before": lambda orders: _rate(get, orders[1]),
            },
        )
    line = measured(blocks, "ledger")
    fresh = line["beside"].pop("ledger, key objects never seen before")
    line["details"] = {"new_key_objects_per_second": round(fresh), "cached_keys": len(keys)}
    return {"reads": line}


def stored(work: Path, scale: Scale, *, profile: bool) -> dict[str, Measured]:
    """``ledger.get`` without a cache, beside the two raw gets that it stands on, in the same store.

    Those two share whatever the store's settings cost, so RocksDB with the same pairs and no ledger is there as well.
    """
    random = Random(2)
    with Ledger.open(work / workload.BIG, max_cache_size=0) as ledger, RawRocks(work / workload.BIG_RAW) as engine:
        get_key, get_values = column(ledger, Table.KEYS).get, column(ledger, Table.VALUES).get
        pool = random.sample(keys := workload.keys_of(scale.entries), min(_POOL, len(keys)))
        places = [_place(get_key, key) for key in pool]
        for key in pool[:1000]:
            _check(len(ledger.get(key) or b"") == len(engine.get(key.encode()) or b"") == VALUE_BYTES)

        def prepare(_: int) -> tuple[list[str], list[tuple[bytes, bytes]]]:
            return workload.drawn(pool, scale.stored_reads, random), random.choices(places, k=scale.stored_reads)

        get = ledger.get
        blocks = alternate(
            scale.blocks,
            prepare,
            {
                "ledger": lambda both: _rate(get, both[0]),
                "two raw gets": lambda both: rate(len(both[1]), lambda: _get_twice(get_key, get_values, both[1])),
                f"{ROCKSDB}, one get": lambda both: _rate(engine.get, [key for key, _ in both[1]]),
            },
        )
        details: dict[str, Any] = {"entries": ledger.size}
        if profile:
            order, _ = prepare(0)
            details["profile"] = profiled(lambda: _exhaust(map(get, order)))
        return {"uncached": measured(blocks, "ledger", **details)}


def versions(work: Path, scale: Scale, *, profile: bool) -> dict[str, Measured]:
    """Reads of old versions: of a key that has as many as the large ledger has entries, beside one that has ten."""
    with Ledger.open(work / "versions", max_cache_size=0) as ledger:
        built = _build_versions(ledger, scale.entries)
        many, few = ledger.entry("many"), ledger.entry("few")
        assert many is not None
        assert few is not None
        _check(few.version == FEW_VERSIONS)
        random = Random(3)
        lowest = next(ledger.log()).index
        get_many, get_few = _reader(ledger, "many"), _reader(ledger, "few")
        raw_version, raw_as_of = _raw_reads(ledger, many.version, random)

        def prepare(_: int, count: int = scale.stored_reads) -> tuple[list[int], list[int], list[int]]:
            return (
                [random.randint(1, many.version) for _ in range(count)],
                [random.randint(1, few.version) for _ in range(count)],
                [random.randint(lowest + 2, ledger.size) for _ in range(count)],
            )

        versions, few_versions, sizes = prepare(0, scale.first_reads)
        get_few(few_versions, sizes)
        first_by_version = rate(len(versions), lambda: get_many(versions, []))
        by_version = alternate(
            scale.blocks,
            prepare,
            {
                "many": lambda drawn: rate(len(drawn[0]), lambda: get_many(drawn[0], [])),
                "a key with 10 versions": lambda drawn: rate(len(drawn[1]), lambda: get_few(drawn[1], [])),
                "three raw gets": lambda drawn: rate(len(drawn[0]), lambda: raw_version(drawn[0])),
            },
        )
        first_by_size = rate(len(sizes), lambda: get_many([], sizes))
        by_size = alternate(
            scale.blocks,
            prepare,
            {
                "many": lambda drawn: rate(len(drawn[2]), lambda: get_many([], drawn[2])),
                "a key with 10 versions": lambda drawn: rate(len(drawn[2]), lambda: get_few([], drawn[2])),
                "two raw gets and a seek": lambda drawn: rate(len(drawn[2]), lambda: raw_as_of(drawn[2])),
            },
        )
        details: dict[str, Any] = {"versions": many.version, "written_per_second": round(built)}
        details["first_reads_per_second"] = round(first_by_version)
        more: dict[str, Any] = {"first_reads_per_second": round(first_by_size)}
        if profile:
            drawn = prepare(0)
            details["profile"] = profiled(lambda: get_many(drawn[0], []))
            more["profile"] = profiled(lambda: get_many([], drawn[2]))
    return {
        "versions.version": measured(by_version, "many", **details),
        "versions.as_of": measured(by_size, "many", **more),
    }


# --- what is timed ---------------------------------------------------------------------------------------------


def _rate(get: Callable[[Any], object], keys: Sequence[Any]) -> float:
    def work() -> None:
        for key in keys:
            get(key)

    return rate(len(keys), work)


def _get_twice(get_key: Callable[[bytes], Any], get_values: Callable[[bytes], Any], places: Any) -> None:
    for key, group in places:
        get_key(key)
        get_values(group)


def _reader(ledger: Ledger, key: str) -> Callable[[Sequence[int], Sequence[int]], None]:
    get = ledger.get

    def read(versions: Sequence[int], sizes: Sequence[int]) -> None:
        for version in versions:
            get(key, version=version)
        for size in sizes:
            get(key, as_of=size)

    return read


def _raw_reads(
    ledger: Ledger, newest: int, random: Random
) -> tuple[Callable[[Sequence[int]], None], Callable[[Sequence[int]], None]]:
    """The engine's own reads that such a look-up needs at least; which group they end in is drawn beforehand."""
    get_key = column(ledger, Table.KEYS).get
    history = column(ledger, Table.HISTORY)
    get_values = column(ledger, Table.VALUES).get
    name = b"many"
    drawn = [random.randint(1, newest - 1) for _ in range(_POOL)]
    groups = [_group(records.decode_spot(history.get(records.version_key(name, version)))) for version in drawn]

    def by_version(versions: Sequence[int]) -> None:
        get = history.get
        for version, group in zip(versions, groups, strict=False):
            get_key(name)
            get(records.version_key(name, version))
            get_values(group)

    def by_size(sizes: Sequence[int]) -> None:
        for size, group in zip(sizes, groups, strict=False):
            get_key(name)
            cursor = history.iter()
            cursor.seek(records.index_key(name, size - 1))
            cursor.value()
            get_values(group)

    return by_version, by_size


# --- helpers ---------------------------------------------------------------------------------------------------


def _build_versions(ledger: Ledger, entries: int) -> float:
    """One key with that many versions, and ten of another spread among them; versions a second."""
    count = workload.batches_in(entries)
    every = max(count // FEW_VERSIONS, 1)

    def write() -> None:
        for batch in range(count):
            pairs = [("many", value) for value in workload.values(BATCH)]
            if batch % every == 0 and batch // every < FEW_VERSIONS:
                pairs.insert(0, ("few", workload.values(1)[0]))  # among as many neighbours as the others have
            ledger.put_many(pairs)
        while (few := ledger.entry("few")) is not None and few.version < FEW_VERSIONS:  # where batches are few
            ledger.put("few", *workload.values(1))

    return rate(count * BATCH, write)


def _place(get_key: Callable[[bytes], bytes | None], key: str) -> tuple[bytes, bytes]:
    name = key.encode()
    record = get_key(name)
    assert record is not None, "the large ledger has every key of the workload"
    return name, _group(records.decode_latest(record).spot)


def _group(spot: records.Spot) -> bytes:
    return records.U64.pack(spot.group)


def _exhaust(reads: Any) -> None:
    deque(reads, maxlen=0)


def _check(holds: bool) -> None:
    """A benchmark that reads nothing is fast."""
    assert holds, "a read did not give what was written"
