"""The row of verified reads: what a node serves, and what one client fetches and checks, large beside small."""

from __future__ import annotations

from functools import partial
from itertools import cycle, islice
from time import process_time
from typing import TYPE_CHECKING

from scribe_ledger.bench.http.load import LANE, NODE, Loads, beside
from scribe_ledger.bench.http.scale import drawn_keys, fill
from scribe_ledger.bench.http.scripts import Scripts
from scribe_ledger.bench.http.servers import AT_REST, start_lane, start_node
from scribe_ledger.bench.http.wire import read_all
from scribe_ledger.bench.phases import profiled
from scribe_ledger.bench.timing import rate
from scribe_ledger.bench.workload import VALUE_BYTES
from scribe_ledger.client import Client
from scribe_ledger.errors import Corruption

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Sequence
    from pathlib import Path

    from scribe_ledger.bench.http.scale import Scale
    from scribe_ledger.bench.http.servers import Server
    from scribe_ledger.bench.timing import Measured

SMALL = "small"
CONNECTIONS = 16
MANY = 500
"""Keys of one ``get_many``."""


def served(work: Path, big: Path, scale: Scale) -> dict[str, Measured]:
    """Value, inclusion proof and checkpoint in one trip; keys are drawn from the whole ledger."""
    scripts, small = Scripts(work), _small(work, scale)
    keys, few = drawn_keys(scale.entries), drawn_keys(scale.small_entries)
    large_load, small_load = (scripts.get(drawn, before="/v1/kv/", after="?proof=true") for drawn in (keys, few))
    with start_node(big, **AT_REST) as node, start_node(work / SMALL) as less, start_lane(work) as lane:
        read_all(node, keys, proof=True)
        read_all(less, few, proof=True)
        loads = Loads(scale)
        loads.add(NODE, node, CONNECTIONS, large_load)
        loads.add(LANE, lane, CONNECTIONS, large_load)
        loads.add(small, less, CONNECTIONS, small_load)
        line = loads.run()
    return {"verified.served": line, "verified.served.growth": beside(line, small)}


def checked(work: Path, big: Path, scale: Scale, *, profile: bool) -> dict[str, Measured]:
    """The same fetched and checked by a ``Client``: one key at a time, and many in one trip."""
    small, count = _small(work, scale), scale.gets
    with (
        start_node(big, **AT_REST) as node,
        start_node(work / SMALL) as less,
        _client(node) as client,
        _client(less) as other,
    ):
        reads = _Reads(client, drawn_keys(scale.entries))
        few = _Reads(other, drawn_keys(scale.small_entries))
        read_all(node, reads.keys, proof=True)
        read_all(less, few.keys, proof=True)
        one, many = Loads(scale), Loads(scale)
        for name, those in ((NODE, reads), (small, few)):
            one.add_measure(name, partial(those.one_by_one, count))
            many.add_measure(name, partial(those.together, 10 * count))
        lines = {
            "verified.checked": one.run(cpu_us_of_the_caller=reads.cpu_us(count)),
            "verified.many": many.run(keys_a_call=MANY),
        }
        if profile:
            lines["verified.checked"]["details"]["profile"] = profiled(lambda: reads.one_by_one(count))
            lines["verified.many"]["details"]["profile"] = profiled(lambda: reads.together(10 * count))
    return lines | {f"{name}.growth": beside(line, small) for name, line in lines.items()}


def _small(work: Path, scale: Scale) -> str:
    """Writes the small ledger; what it is called."""
    fill(work / SMALL, scale.small_entries)
    return f"ledger of {scale.small_entries:,} entries"


class _Reads:
    """Verified reads of one client, going round in its keys."""

    def __init__(self, client: Client, keys: Sequence[str]) -> None:
        self.keys = keys
        self._client = client
        self._round = cycle(keys)

    def one_by_one(self, count: int) -> float:
        return self._rate(count, lambda keys: [self._client.get(key, verify=True) for key in keys])

    def together(self, count: int) -> float:
        return self._rate(
            count,
            lambda keys: [
                value
                for first in range(0, count, MANY)
                for value in self._client.get_many(keys[first : first + MANY], verify=True)
            ],
        )

    def cpu_us(self, count: int) -> dict[str, float]:
        """What a read costs the caller: processor time of this process."""
        costs = {}
        for name, verify in (("plain get", False), ("verified get", True)):
            keys = self._next(count)
            used = process_time()
            for key in keys:
                self._client.get(key, verify=verify)
            costs[name] = round((process_time() - used) / count * 1e6, 1)
        return costs

    def _rate(self, count: int, read: Callable[[list[str]], Iterable[bytes | None]]) -> float:
        keys, values = self._next(count), list[bytes | None]()
        figure = rate(count, lambda: values.extend(read(keys)))
        if len(values) != count or any(value is None or len(value) != VALUE_BYTES for value in values):
            raise Corruption("a verified read did not give the value that was written")
        return figure

    def _next(self, count: int) -> list[str]:
        return list(islice(self._round, count))


def _client(server: Server) -> Client:
    """A client that verifies, with the key that the node tells; a real one has it from elsewhere."""
    with Client(server.url) as asking:
        return Client(server.url, public_key=asking.public_key)
