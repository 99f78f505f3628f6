"""Policies: what they can be, how they are kept, and that nothing else passes for one."""

from __future__ import annotations

import json

import pytest

from scribe_ledger.errors import ConfigurationError, Corruption
from scribe_ledger.ledger.policy import CHOICES, Policy

pytestmark = pytest.mark.storage


def test_the_defaults_allow_versions_and_tombstones() -> None:
    assert Policy() == ("version", "tombstone", 1)


@pytest.mark.parametrize("overwrite", CHOICES["overwrite"])
@pytest.mark.parametrize("deletes", CHOICES["deletes"])
def test_every_policy_survives_its_record(overwrite: str, deletes: str) -> None:
    policy = Policy().changed({"overwrite": overwrite, "deletes": deletes})
    assert policy == Policy(overwrite, deletes)
    assert Policy.decode(policy.encode()) == policy


def test_the_record_is_pinned() -> None:
    assert Policy().encode() == b'{"apply_version":1,"deletes":"tombstone","overwrite":"version"}'


def test_a_change_leaves_the_others_as_they_are() -> None:
    policy = Policy().changed({"deletes": "forbid"})
    assert policy.changed({"overwrite": "forbid"}) == Policy("forbid", "forbid")
    assert policy.changed({}) == policy


@pytest.mark.parametrize(
    "changes",
    [
        {"overwrite": "forbidden"},
        {"overwrite": "tombstone"},
        {"overwrite": ""},
        {"overwrite": None},
        {"deletes": True},
        {"deletes": ["forbid"]},
        {"apply_version": 0},
        {"apply_version": "1"},
        {"apply_version": True},
        {"unknown": "forbid"},
        {"": ""},
    ],
)
def test_what_is_no_policy_is_refused_by_name(changes: dict[str, object]) -> None:
    with pytest.raises(ConfigurationError, match=next(iter(changes)) or "no policy") as refusal:
        Policy().changed(changes)
    assert refusal.value.hint


@pytest.mark.parametrize(
    "record",
    [
        b"",
        b"{}",
        b"[]",
        b"null",
        b"\xff",
        b'{"overwrite":"version","deletes":"tombstone"}',
        b'{"overwrite":"version","apply_version":1}',
        json.dumps(Policy("versiom")._asdict()).encode(),
        json.dumps(Policy(deletes="forbidden")._asdict()).encode(),
        json.dumps({**Policy()._asdict(), "apply_version": "x"}).encode(),
        json.dumps({**Policy()._asdict(), "apply_version": None}).encode(),
        json.dumps({**Policy()._asdict(), "overwrite": 1}).encode(),
    ],
)
def test_a_damaged_record_is_corruption(record: bytes) -> None:
    with pytest.raises(Corruption, match="policies"):
        Policy.decode(record)
