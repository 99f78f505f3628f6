"""Many clients at once, on the same keys: what they saw has one order, and conditions let exactly one through."""

from __future__ import annotations

import asyncio
import os
import uuid
from concurrent.futures import ThreadPoolExecutor
from typing import TYPE_CHECKING

import pytest
from tests.e2e.load import Load

from scribe_ledger.client import AsyncClient
from scribe_ledger.errors import PreconditionFailed

if TYPE_CHECKING:
    from tests.e2e.conftest import Target

pytestmark = [pytest.mark.cluster, pytest.mark.no_cover]


def test_what_clients_of_all_nodes_see_is_linearizable(target: Target) -> None:
    with Load(target.urls, name=f"e2e/{uuid.uuid4().hex}", clients=8, seed=os.getpid()) as load:
        load.step(800)
    load.check()
    assert load.failures == []


def test_of_many_that_create_a_key_one_succeeds(target: Target, prefix: str) -> None:
    def create(number: int) -> bool:
        with target.client(number % len(target.urls)) as client:
            try:
                return client.put(f"{prefix}/created", b"%d" % number, if_absent=True).created
            except PreconditionFailed:
                return False

    with ThreadPoolExecutor(12) as pool:
        assert list(pool.map(create, range(12))).count(True) == 1


def test_a_counter_that_is_raised_by_condition_loses_nothing(target: Target, prefix: str) -> None:
    key, workers, rises = f"{prefix}/counter", 6, 10
    with target.client() as client:
        client.put(key, b"0")

    def raise_it(number: int) -> None:
        with target.client(number % len(target.urls)) as client:
            for _ in range(rises):
                while True:
                    entry = client.entry(key)
                    assert entry is not None
                    try:
                        client.put(key, b"%d" % (int(entry.value) + 1), if_version=entry.version)
                        break
                    except PreconditionFailed:
                        continue

    with ThreadPoolExecutor(workers) as pool:
        list(pool.map(raise_it, range(workers)))
    with target.client() as client:
        assert client.get(key) == b"%d" % (workers * rises)
        entry = client.entry(key)
        assert entry is not None and entry.version == workers * rises + 1


def test_many_tasks_of_one_asynchronous_client(target: Target, prefix: str) -> None:
    async def run() -> None:
        async with AsyncClient(target.urls) as client:
            keys = [f"{prefix}/{number}" for number in range(200)]
            receipts = await asyncio.gather(*(client.put(key, key.encode()) for key in keys))
            assert len({each.index for each in receipts}) == len(keys)
            assert await client.get_many(keys) == [key.encode() for key in keys]

    asyncio.run(run())
