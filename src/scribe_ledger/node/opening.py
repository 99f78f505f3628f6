"""Opening what a node serves: its object store and its ledger, as the settings say."""

from __future__ import annotations

from contextlib import closing, contextmanager
from typing import TYPE_CHECKING, cast

from scribe_ledger.http.service import cold_cache_share
from scribe_ledger.ledger.served import ServedLedger
from scribe_ledger.ledger.store_copies import StoreCopies
from scribe_ledger.objects.opening import store_of

if TYPE_CHECKING:
    from collections.abc import Iterator

    from scribe_ledger.config import Config
    from scribe_ledger.consensus.snapshots.copies import Copies
    from scribe_ledger.ledger.store import Store
    from scribe_ledger.objects.store import ObjectStore


@contextmanager
def open_store(config: Config, *, late: bool = False) -> Iterator[ObjectStore | str]:
    """The store that the settings name; where they name none it is the ledger's own, in its folder.

    ``late``: a folder that is not there is made by the first write, not before.
    """
    if not config.has_explicit_object_store:
        yield ""
        return
    with closing(store_of(config, late=late)) as store:
        yield store


def copies_of(store: Store | None = None) -> Copies:
    """Copies of a ledger's store, for snapshots; without one only those that are there already."""
    return cast("Copies", StoreCopies(store))


def open_ledger(config: Config, store: ObjectStore | str, kind: type[ServedLedger] = ServedLedger) -> ServedLedger:
    storage, given = config.storage, config.source
    return kind.open(
        config.data_dir,
        name=config.node.name,
        # A policy that nobody asked for must not disagree with the one that the ledger has.
        overwrite=None if given("ledger.overwrite") == "default" else config.ledger.overwrite,
        deletes=None if given("ledger.deletes") == "default" else config.ledger.deletes,
        durability=storage.durability,
        flush_interval_ms=storage.flush_interval_ms,
        inline_max=storage.inline_max,
        max_cache_size=0,  # the cache of answers has what row groups of the archive leave
        cache_capacity=0,
        cold_cache_size=cold_cache_share(config),
        object_store=store,
    )
