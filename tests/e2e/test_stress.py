"""More than is comfortable: large batches, values of all sizes, many readers beside writers, and still one ledger."""

from __future__ import annotations

import os
import random
import uuid
from concurrent.futures import ThreadPoolExecutor
from typing import TYPE_CHECKING

import pytest
from tests.e2e.load import Load
from tests.e2e.settling import root_at

if TYPE_CHECKING:
    from tests.e2e.conftest import Target

pytestmark = [pytest.mark.cluster, pytest.mark.no_cover]


def _stress(target: Target, prefix: str, *, batches: int, operations: int) -> None:
    def write(worker: int) -> int:
        chance = random.Random(f"{prefix}/{worker}")
        last = 0
        with target.client(worker % len(target.urls)) as client:
            for number in range(batches):
                pairs = [
                    (f"{prefix}/{worker}/{number}/{each}", chance.randbytes(int(chance.paretovariate(0.8)) % 4000))
                    for each in range(200)
                ]
                last = client.put_many(pairs)[-1].index
                assert client.get(pairs[-1][0]) == pairs[-1][1]
        return last

    with (
        Load(target.urls, name=f"e2e/{uuid.uuid4().hex}", clients=8, seed=os.getpid()) as load,
        ThreadPoolExecutor(4) as pool,
    ):
        size = max(pool.map(write, range(4))) + 1
        load.step(operations, seconds=600)
    load.check()
    assert load.failures == []
    roots = set()
    for number in range(len(target.urls)):
        with target.client_of(number) as client:
            roots.add(root_at(client, size))
            assert client.health()["status"] == "ok"
    assert len(roots) == 1


def test_batches_beside_single_writes_and_reads(target: Target, prefix: str) -> None:
    _stress(target, prefix, batches=6, operations=400)


@pytest.mark.soak
def test_stress_for_long(target: Target, prefix: str) -> None:
    _stress(target, prefix, batches=300, operations=60_000)
