"""A remote store behind the faulty proxy, with pauses that are noted instead of waited for."""

from __future__ import annotations

import contextlib
from typing import TYPE_CHECKING, Any, NamedTuple

from tests.faulty_proxy import FaultyProxy

from scribe_ledger.objects.opening import open_object_store

if TYPE_CHECKING:
    from collections.abc import Iterator

    from tests.s3_server import S3Server

    from scribe_ledger.objects.store import ObjectStore


class Rig(NamedTuple):
    store: ObjectStore
    """The one under test, through the proxy."""
    direct: ObjectStore
    """The same objects, without the proxy."""
    proxy: FaultyProxy
    pauses: list[float]
    """The seconds between tries, as the store wanted to wait."""


@contextlib.contextmanager
def rig_on(server: S3Server, **changes: Any) -> Iterator[Rig]:
    """``changes`` are fields of StoreOptions for the store under test."""
    bucket = server.bucket()
    pauses: list[float] = []
    with FaultyProxy(server.endpoint) as proxy:
        options = bucket.options(endpoint=proxy.endpoint, **changes)
        store = open_object_store(f"{bucket.url}/base", options, sleep=pauses.append, jitter=lambda: 0.5)
        direct = open_object_store(f"{bucket.url}/base", bucket.options())
        with contextlib.closing(store), contextlib.closing(direct):
            yield Rig(store, direct, proxy, pauses)
