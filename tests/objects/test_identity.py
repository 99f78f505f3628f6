from __future__ import annotations

import json
from typing import TYPE_CHECKING

import pytest

from scribe_ledger.errors import ConfigurationError, Corruption
from scribe_ledger.objects.folder import FolderStore
from scribe_ledger.objects.identity import StoreIdentity, claim, read_identity
from scribe_ledger.objects.paths import IDENTITY

if TYPE_CHECKING:
    from pathlib import Path

pytestmark = pytest.mark.storage


@pytest.fixture
def store(tmp_path: Path) -> FolderStore:
    return FolderStore(tmp_path / "objects")


def claim_for(store: FolderStore, ledger_id: str, first_byte: int = 0) -> StoreIdentity:
    return claim(
        store,
        ledger_id=ledger_id,
        origin="example.org/log",
        vkey="example.org/log+1+key",
        created=1_700_000_000_000,
        policies={"overwrite": "forbid"},
        randbytes=lambda count: bytes([first_byte]) + bytes(count - 1),
    )


def test_the_first_claim_is_written_and_stays(store: FolderStore) -> None:
    assert read_identity(store) is None
    ours = claim_for(store, "ab" * 16, 7)
    assert ours.store_id == "07" + "00" * 15
    assert read_identity(store) == ours
    assert claim_for(store, "cd" * 16, 8) == ours
    assert read_identity(store) == ours


def test_the_file_is_readable_json(store: FolderStore) -> None:
    claim_for(store, "ab" * 16)
    assert json.loads(store.get(IDENTITY) or b"") == {
        "format": 1,
        "ledger_id": "ab" * 16,
        "store_id": "00" * 16,
        "origin": "example.org/log",
        "vkey": "example.org/log+1+key",
        "created": 1_700_000_000_000,
        "policies": {"overwrite": "forbid"},
    }


@pytest.mark.parametrize(
    "content",
    [
        b"",
        b"{",
        b"[]",
        b"7",
        b'"x"',
        b"{}",
        b'{"format": "x"}',
        b'{"format": 1}',
        b"\xff",
        b'{"format": 1, "origin": 1}',
    ],
)
def test_damage_is_named_and_never_taken_for_an_unused_store(store: FolderStore, content: bytes) -> None:
    store.put_bytes(IDENTITY, content)
    with pytest.raises(Corruption, match=r"scribe\.json"):
        read_identity(store)
    with pytest.raises(Corruption, match=r"scribe\.json"):
        claim_for(store, "ab" * 16)
    assert store.get(IDENTITY) == content


@pytest.mark.parametrize("missing", ["ledger_id", "store_id", "origin", "vkey", "created"])
def test_every_field_is_needed(store: FolderStore, missing: str) -> None:
    claim_for(store, "ab" * 16)
    fields = json.loads(store.get(IDENTITY) or b"")
    del fields[missing]
    store.put_bytes(IDENTITY, json.dumps(fields).encode(), replace=True)
    with pytest.raises(Corruption):
        read_identity(store)


def test_a_later_format_is_refused(store: FolderStore) -> None:
    store.put_bytes(IDENTITY, b'{"format": 2}')
    with pytest.raises(ConfigurationError, match="has format 2"):
        read_identity(store)
