"""The job that proves: making inclusion proofs, and checking them, in a small ledger and in a large one."""

from __future__ import annotations

from hashlib import sha256
from random import Random
from typing import TYPE_CHECKING, Any, NamedTuple

from scribe_ledger import Ledger, verify
from scribe_ledger.bench import workload
from scribe_ledger.bench.engines import column
from scribe_ledger.bench.phases import profiled
from scribe_ledger.bench.timing import Measured, alternate, measured, rate
from scribe_ledger.ledger import records
from scribe_ledger.ledger.store import Table

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence
    from pathlib import Path

    from scribe_ledger.bench.workload import Scale
    from scribe_ledger.merkle.prooftext import Proof

_NODE = bytes(65)
"""What one step up the path hashes: a prefix byte and two hashes."""
SMALL = f"a ledger of {workload.SMALL_LEDGER:,} entries"


class _Checks(NamedTuple):
    proofs: list[Proof]
    values: list[bytes]
    public_key: str


def proofs(work: Path, scale: Scale, *, profile: bool) -> dict[str, Measured]:
    """Proofs of uniformly random keys. One checkpoint a ledger: its signature is made once and checked once.

    Both ledgers were opened since they were written, so that both are read from table files, and both are warm.
    """
    with Ledger.open(work / "small") as small:
        for pairs in workload.batches(0, workload.batches_in(workload.SMALL_LEDGER)):
            small.put_many(pairs)
    with Ledger.open(work / workload.BIG) as big, Ledger.open(work / "small") as small:
        big_keys, small_keys = workload.keys_of(scale.entries), workload.keys_of(workload.SMALL_LEDGER)
        random = Random(4)
        raw_reads = _raw_reads(big)
        first, _ = (_first(ledger, keys, scale, random) for ledger, keys in ((big, big_keys), (small, small_keys)))
        made = alternate(
            scale.blocks,
            lambda _: (
                workload.drawn(big_keys, scale.proofs, random),
                workload.drawn(small_keys, scale.proofs, random),
            ),
            {
                "made": lambda keys: rate(scale.proofs, lambda: _make(big, keys[0])),
                SMALL: lambda keys: rate(scale.proofs, lambda: _make(small, keys[1])),
                "the raw gets that a proof needs": lambda keys: rate(scale.proofs, lambda: raw_reads(keys[0])),
            },
        )
        checks = alternate(
            scale.blocks,
            lambda _: (_prepare(big, big_keys, scale, random), _prepare(small, small_keys, scale, random)),
            {
                "checked": lambda both: rate(scale.proofs, lambda: _check(both[0])),
                SMALL: lambda both: rate(scale.proofs, lambda: _check(both[1])),
                "bare SHA-256 of the same paths": lambda both: rate(scale.proofs, lambda: _hash_paths(both[0])),
            },
        )
        making: dict[str, Any] = {"entries": big.size, "first_proofs_per_second": round(first)}
        checking: dict[str, Any] = {
            "from_text_per_second": round(_rate_from_text(_prepare(big, big_keys, scale, random)))
        }
        if profile:
            keys, ready = workload.drawn(big_keys, scale.proofs, random), _prepare(big, big_keys, scale, random)
            making["profile"] = profiled(lambda: _make(big, keys))
            checking["profile"] = profiled(lambda: _check(ready))
    return {
        "proofs.made": _without(SMALL, measured(made, "made", **making)),
        "proofs.made.growth": _only(SMALL, measured(made, "made")),
        "proofs.checked": _without(SMALL, measured(checks, "checked", **checking)),
        "proofs.checked.growth": _only(SMALL, measured(checks, "checked")),
    }


# --- what is timed ---------------------------------------------------------------------------------------------


def _make(ledger: Ledger, keys: Sequence[str]) -> None:
    prove = ledger.prove
    for key in keys:
        prove(key)


def _first(ledger: Ledger, keys: list[str], scale: Scale, random: Random) -> float:
    """The rate while caches fill."""
    drawn = workload.drawn(keys, scale.first_reads, random)
    return rate(len(drawn), lambda: _make(ledger, drawn))


def _check(checks: _Checks) -> None:
    inclusion, public_key = verify.inclusion, checks.public_key
    for proof, value in zip(checks.proofs, checks.values, strict=True):
        inclusion(proof, value, public_key=public_key)


def _hash_paths(checks: _Checks) -> None:
    for proof, value in zip(checks.proofs, checks.values, strict=True):
        sha256(value).digest()
        sha256(proof.leaf_bytes).digest()
        for _ in proof.hashes:
            sha256(_NODE).digest()


def _rate_from_text(checks: _Checks) -> float:
    texts = [str(proof) for proof in checks.proofs]

    def work() -> None:
        for text, value in zip(texts, checks.values, strict=True):
            verify.inclusion(text, value, public_key=checks.public_key)

    return rate(len(texts), work)


def _raw_reads(ledger: Ledger) -> Callable[[Sequence[str]], None]:
    """The key's record, its group of leaves, its tile: what every proof reads, as the engine gives it."""
    get_key, get_leaves = column(ledger, Table.KEYS).get, column(ledger, Table.LEAVES).get
    get_tile = column(ledger, Table.TREE).get
    unpack, group_key, tile_key = records.SPOT.unpack_from, records.U64.pack, records.tile_key

    def read(keys: Sequence[str]) -> None:
        for key in keys:
            index, _, ordinal, *_ = unpack(get_key(key.encode()))
            get_leaves(group_key(index - ordinal))
            get_tile(tile_key(0, index >> 8))

    return read


# --- helpers ---------------------------------------------------------------------------------------------------


def _prepare(ledger: Ledger, keys: list[str], scale: Scale, random: Random) -> _Checks:
    drawn = workload.drawn(keys, scale.proofs, random)
    made = [ledger.prove(key) for key in drawn]
    values = [value for value in ledger.get_many(drawn) if value is not None]
    public_key = ledger.public_key
    verify.inclusion(made[0], values[0], public_key=public_key)  # the one check of the signature
    return _Checks(made, values, public_key)


def _without(name: str, line: Measured) -> Measured:
    return {**line, "beside": {other: figure for other, figure in line["beside"].items() if other != name}}


def _only(name: str, line: Measured) -> Measured:
    return {"figure": line["figure"], "beside": {name: line["beside"][name]}}
