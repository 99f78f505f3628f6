"""Jobs that write: batches, single puts, batches between cached reads, and a ledger that grows."""

from __future__ import annotations

from functools import partial
from itertools import chain
from random import Random
from statistics import harmonic_mean, median
from threading import Barrier, Thread
from time import perf_counter
from typing import TYPE_CHECKING, Any

from scribe_ledger import Ledger
from scribe_ledger.bench import workload
from scribe_ledger.bench.engines import ROCKSDB, GrowingFile, RawRocks
from scribe_ledger.bench.phases import profiled, watching
from scribe_ledger.bench.timing import Measured, alternate, latencies, measured, rate
from scribe_ledger.bench.workload import BATCH, THREADS, Pairs, RawPairs, Scale

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Sequence
    from pathlib import Path

_AFTERWARDS = 1 << 40
"""Numbers of batches that no block of a job reaches: for warm-ups, phases and profiles."""


def batched(work: Path, scale: Scale, *, profile: bool) -> dict[str, Measured]:
    """``put_many`` of 500 pairs at a time, beside the raw engine with the same pairs in the same batches."""
    count = workload.batches_in(scale.entries // scale.segments)
    with Ledger.open(work / "batched") as ledger, RawRocks(work / "batched-raw") as engine:
        write = partial(_put_batches, ledger.put_many)
        write_raw = partial(_put_batches, engine.put_batch)
        warm_up = list(workload.batches(_AFTERWARDS, 10))
        write(warm_up)
        write_raw([*map(workload.raw, warm_up)])
        blocks = alternate(
            scale.segments,
            lambda block: _both([*workload.batches(block * count, count)]),
            {
                "ledger": lambda both: rate(count * BATCH, lambda: write(both[0])),
                ROCKSDB: lambda both: rate(count * BATCH, lambda: write_raw(both[1])),
            },
        )
        details: dict[str, Any] = {"phases_us": _phases(ledger, min(count, 100))}
        if profile:
            last = list(workload.batches(2 * _AFTERWARDS, min(count, 100)))
            details["profile"] = profiled(lambda: write(last))
    return {"writes": measured(blocks, "ledger", **details)}


def mixed(work: Path, scale: Scale, *, profile: bool) -> dict[str, Measured]:
    """A batch of 500 puts, then 500 reads of cached keys, and so on: in one thread, and in one thread each."""
    count = workload.batches_in(scale.entries // scale.segments // 4)
    first = workload.batches_in(min(workload.CACHED_KEYS, scale.entries))
    random = Random(1)
    with Ledger.open(work / "mixed") as ledger, RawRocks(work / "mixed-raw") as engine:
        written = list(workload.batches(0, first))
        _put_batches(ledger.put_many, written)
        _put_batches(engine.put_batch, [*map(workload.raw, written)])
        keys = [key for batch in written for key, _ in batch]
        _read(ledger.get, keys)

        def prepare(block: int) -> tuple[list[Pairs], list[list[str]], list[RawPairs], list[list[bytes]]]:
            pairs = list(workload.batches(first + block * count, count))
            reads = [workload.drawn(keys, BATCH, random) for _ in pairs]
            raw_reads = [[key.encode() for key in batch] for batch in reads]
            return pairs, reads, [*map(workload.raw, pairs)], raw_reads

        operations = 2 * count * BATCH
        blocks = alternate(
            scale.segments,
            prepare,
            {
                "ledger": lambda all_: rate(operations, lambda: _mix(ledger.put_many, ledger.get, all_[0], all_[1])),
                ROCKSDB: lambda all_: rate(operations, lambda: _mix(engine.put_batch, engine.get, all_[2], all_[3])),
            },
        )
        pairs, reads, *_ = prepare(scale.segments)
        details: dict[str, Any] = {"two_threads": _mix_in_two_threads(ledger, pairs, keys)}
        if profile:
            pairs, reads, *_ = prepare(scale.segments + 1)
            details["profile"] = profiled(lambda: _mix(ledger.put_many, ledger.get, pairs, reads))
    return {"mixed": measured(blocks, "ledger", **details)}


def single(work: Path, scale: Scale, *, profile: bool) -> dict[str, Measured]:
    """One put at a time: from one thread beside a file that grows by as many bytes, and from 64 threads."""
    with (
        Ledger.open(work / "single") as ledger,
        RawRocks(work / "single-raw") as engine,
        GrowingFile(work / "appends") as file,
    ):
        before = _log_bytes(ledger.path)
        _put_singly(ledger.put, _singles(_AFTERWARDS, scale.puts))
        record = bytes((_log_bytes(ledger.path) - before) // scale.puts or 1)
        blocks = alternate(
            scale.blocks,
            lambda block: _singles(block, scale.puts),
            {
                "ledger": lambda pairs: rate(scale.puts, lambda: _put_singly(ledger.put, pairs)),
                "growing file, append and fdatasync": lambda pairs: rate(
                    scale.puts, lambda: _append(file, record, len(pairs))
                ),
                f"{ROCKSDB}, put and sync": lambda pairs: rate(
                    scale.puts, lambda: _put_singly(engine.put, workload.raw(pairs))
                ),
            },
        )
        details: dict[str, Any] = {"bytes_appended": len(record), "batch_of_one_phases_us": _phases_of_one(ledger)}
        if profile:
            more = _singles(_AFTERWARDS + 1, scale.puts)
            details["profile"] = profiled(lambda: _put_singly(ledger.put, more))
        return {
            "puts.one": measured(blocks, "ledger", **details),
            "puts.many": _from_many_threads(ledger, engine, scale),
        }


def growth(work: Path, scale: Scale, *, profile: bool) -> dict[str, Measured]:
    """One ledger up to four times ``entries``: its last quarter beside its first twentieth.

    Half a minute lies between the two, in which a shared machine may change its speed. So the ledger goes on a little
    beside new ones that write as many entries as it did first: that second ratio is of alternating blocks.
    """
    count, parts = workload.batches_in(scale.entries // 5), 20
    with Ledger.open(work / "growth") as ledger:
        rates = [_rate_as_made(ledger, part * count, count) for part in range(parts)]
        last = rates[-parts // 4 :]

        def new(part: int) -> float:
            with Ledger.open(work / f"growth-{part}") as fresh:
                return _rate_as_made(fresh, _AFTERWARDS, count)

        beside = alternate(
            3,
            lambda block: block,
            {"grown": lambda block: _rate_as_made(ledger, (parts + block) * count, count), "new": new},
        )
        entries = ledger.size
    return {
        "growth": {
            "figure": harmonic_mean(last),
            "beside": {"first 1/20 of the entries": rates[0]},
            "blocks": {"parts": rates, **beside},
            "details": {
                "entries": entries,
                "entries_a_part": count * BATCH,
                "ratio_beside_new_ledgers": median(beside["grown"]) / median(beside["new"]),
            },
        }
    }


def growth_of_engine(work: Path, scale: Scale, *, profile: bool) -> dict[str, Measured]:
    """The same growth of the raw engine."""
    count, parts = workload.batches_in(scale.entries // 5), 20
    with RawRocks(work / "growth-raw") as engine:
        rates = [_rate_of_batches(engine.put_batch, part * count, count, workload.raw) for part in range(parts)]
    return {
        "growth.engine": {
            "figure": harmonic_mean(rates[-parts // 4 :]),
            "beside": {"first 1/20 of the entries": rates[0]},
            "blocks": {"parts": rates},
        }
    }


# --- what is timed ---------------------------------------------------------------------------------------------


def _put_batches(put_batch: Callable[[Any], object], batches: Iterable[Any]) -> None:
    for batch in batches:
        put_batch(batch)


def _put_singly(put: Callable[[Any, bytes], object], pairs: Sequence[tuple[Any, bytes]]) -> None:
    for key, value in pairs:
        put(key, value)


def _append(file: GrowingFile, record: bytes, count: int) -> None:
    for _ in range(count):
        file.append(record)


def _read(get: Callable[[Any], object], keys: Iterable[Any]) -> None:
    for key in keys:
        get(key)


def _mix(
    put_batch: Callable[[Any], object],
    get: Callable[[Any], object],
    batches: Sequence[Any],
    reads: Sequence[Sequence[Any]],
) -> None:
    for batch, keys in zip(batches, reads, strict=True):
        put_batch(batch)
        for key in keys:
            get(key)


def _rate_as_made(ledger: Ledger, first: int, count: int) -> float:
    return _rate_of_batches(ledger.put_many, first, count, lambda pairs: pairs)


def _rate_of_batches(
    put_batch: Callable[[Any], object], first: int, count: int, shaped: Callable[[Pairs], Any]
) -> float:
    """Entries a second over batches that are made as they are needed; only the writing is timed."""
    seconds = 0.0
    for pairs in workload.batches(first, count):
        batch = shaped(pairs)
        started = perf_counter()
        put_batch(batch)
        seconds += perf_counter() - started
    return count * BATCH / seconds


# --- many threads ----------------------------------------------------------------------------------------------


def _from_many_threads(ledger: Ledger, engine: RawRocks, scale: Scale) -> Measured:
    waits: list[float] = []
    before = ledger.stats()
    blocks = alternate(
        max(scale.blocks // 2, 1),
        lambda block: [_singles(1000 * (block + 1) + thread, scale.puts_a_thread) for thread in range(THREADS)],
        {
            "ledger": lambda shares: _rate_of_threads(ledger.put, shares, waits),
            f"{ROCKSDB}, {THREADS} threads": lambda shares: _rate_of_threads(
                engine.put, [*map(workload.raw, shares)], []
            ),
        },
    )
    after = ledger.stats()
    syncs = after["syncs"] - before["syncs"]
    details: dict[str, Any] = {
        "puts_a_sync": round((after["entries"] - before["entries"]) / max(syncs, 1), 1),
        "latency": latencies(waits),
    }
    shares = [_singles(thread, scale.puts_a_thread) for thread in range(10**6, 10**6 + THREADS)]
    with watching(ledger) as watch:
        seconds = THREADS * scale.puts_a_thread / _rate_of_threads(ledger.put, shares, [])
    details["phases_us"] = watch.per_entry_us(seconds, THREADS * scale.puts_a_thread)
    return measured(blocks, "ledger", **details)


def _rate_of_threads(
    put: Callable[[Any, bytes], object], shares: Sequence[Sequence[tuple[Any, bytes]]], waits: list[float]
) -> float:
    """Puts a second of threads that start together, until the last of them is done."""
    barrier = Barrier(len(shares) + 1)

    def run(pairs: Sequence[tuple[Any, bytes]]) -> None:
        barrier.wait()
        for key, value in pairs:
            started = perf_counter()
            put(key, value)
            waits.append(perf_counter() - started)

    threads = [Thread(target=run, args=(pairs,)) for pairs in shares]
    for thread in threads:
        thread.start()
    barrier.wait()
    started = perf_counter()
    for thread in threads:
        thread.join()
    return sum(map(len, shares)) / (perf_counter() - started)


def _mix_in_two_threads(ledger: Ledger, batches: Sequence[Pairs], keys: list[str]) -> dict[str, float]:
    """One thread writes batches, another reads cached keys until the first is done."""
    finished = False
    reads = 0
    get = ledger.get
    order = workload.drawn(keys, BATCH, Random(2))

    def read() -> None:
        nonlocal reads
        while not finished:
            for key in order:
                get(key)
            reads += BATCH

    reader = Thread(target=read)
    reader.start()
    started = perf_counter()
    try:
        _put_batches(ledger.put_many, batches)
    finally:
        finished = True
        reader.join()
    seconds = perf_counter() - started
    return {"writes_per_second": len(batches) * BATCH / seconds, "reads_per_second": reads / seconds}


# --- helpers ---------------------------------------------------------------------------------------------------


def _both(batches: list[Pairs]) -> tuple[list[Pairs], list[RawPairs]]:
    return batches, [*map(workload.raw, batches)]


def _singles(block: int, count: int) -> Pairs:
    numbers = range(block * 100 + (1 << 20), block * 100 + (1 << 20) + workload.batches_in(count))
    return list(chain.from_iterable(map(workload.pairs_of_batch, numbers)))[:count]


def _log_bytes(folder: Path) -> int:
    """The size of the store's write-ahead log."""
    return sum(file.stat().st_size for file in (folder / "store").glob("*.log"))


def _phases(ledger: Ledger, count: int) -> dict[str, float]:
    batches = list(workload.batches(3 * _AFTERWARDS, count))
    with watching(ledger) as watch:
        started = perf_counter()
        _put_batches(ledger.put_many, batches)
        seconds = perf_counter() - started
    return watch.per_entry_us(seconds, count * BATCH)


def _phases_of_one(ledger: Ledger) -> dict[str, float]:
    pairs = _singles(_AFTERWARDS + 2, 200)
    with watching(ledger) as watch:
        started = perf_counter()
        _put_singly(ledger.put, pairs)
        seconds = perf_counter() - started
    return watch.per_entry_us(seconds, len(pairs))
