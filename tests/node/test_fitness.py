"""Whether a node says that it could archive: what the store and earlier passes have to say about it."""

from __future__ import annotations

from collections import Counter
from types import SimpleNamespace
from typing import Any

import pytest

from scribe_ledger.errors import Unavailable
from scribe_ledger.http.archiving import StoreHealth
from scribe_ledger.node.fitness import FAILURE_COUNTS_SECONDS, Fitness

pytestmark = pytest.mark.http


def service() -> Any:
    archiver = SimpleNamespace(failing=False, gave_up=False, runs=Counter(ok=3))
    return SimpleNamespace(
        archiver=archiver, trouble=None, writes_refused=None, store_health=StoreHealth("s3://b", True)
    )


def test_a_node_with_a_store_that_works_could_archive() -> None:
    assert Fitness().look(service(), 0, leads=False)


@pytest.mark.parametrize("ok", [None, False])
def test_a_store_that_was_not_found_well_is_no_use(ok: bool | None) -> None:
    node = service()
    node.store_health = StoreHealth("s3://b", ok)
    assert not Fitness().look(node, 0, leads=False)


@pytest.mark.parametrize("why", ["trouble", "writes_refused"])
def test_without_an_archiver_or_where_writes_are_refused_nothing_is_archived(why: str) -> None:
    bare, refusing = service(), service()
    bare.archiver = None
    setattr(refusing, why, Unavailable("the disk is nearly full"))
    assert not Fitness().look(bare, 0, leads=True)
    assert not Fitness().look(refusing, 0, leads=True)


def test_who_failed_as_the_leader_says_so_for_half_an_hour_though_its_store_can_be_read() -> None:
    node, fitness = service(), Fitness()
    node.archiver.failing = True
    assert not fitness.look(node, 0, leads=True)
    node.archiver.failing = False  # passes of who does not lead write nothing
    node.archiver.runs["ok"] += 5
    assert not fitness.look(node, FAILURE_COUNTS_SECONDS - 1, leads=False)
    assert fitness.look(node, FAILURE_COUNTS_SECONDS, leads=False)


def test_a_pass_that_went_well_while_it_leads_makes_up_for_a_failure() -> None:
    node, fitness = service(), Fitness()
    node.archiver.failing = True
    fitness.look(node, 0, leads=True)
    node.archiver.failing = False
    assert not fitness.look(node, 1, leads=True)
    node.archiver.runs["ok"] += 1
    assert fitness.look(node, 2, leads=True)


def test_a_pass_that_failed_on_a_follower_says_nothing_of_the_store() -> None:
    node = service()
    node.archiver.failing = True
    assert Fitness().look(node, 0, leads=False)
