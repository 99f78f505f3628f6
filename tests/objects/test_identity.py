from __future__ import annotations

import hashlib
import json
from typing import TYPE_CHECKING, Any

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
        "sha256": "7242fa7206561728ab9fea5886bad42abd5943928ffac3728e976d87b9e12cda",
    }


def test_every_flipped_bit_is_noticed(store: FolderStore, monkeypatch: pytest.MonkeyPatch) -> None:
    claim_for(store, "ab" * 16)
    content = store.get(IDENTITY) or b""
    altered = bytearray(content)
    monkeypatch.setattr(store, "get", lambda _path: bytes(altered))
    for at in range(8 * len(content)):
        altered[:] = content
        altered[at // 8] ^= 1 << at % 8
        with pytest.raises(Corruption, match=r"scribe\.json"):
            read_identity(store)


def test_what_a_network_alters_is_read_once_more(store: FolderStore, monkeypatch: pytest.MonkeyPatch) -> None:
    ours = claim_for(store, "ab" * 16)
    content = store.get(IDENTITY) or b""
    arriving = [content.replace(b"forbid", b"gorbid"), content]
    monkeypatch.setattr(store, "get", lambda _path: arriving.pop(0))
    assert read_identity(store) == ours


def without_digest(store: FolderStore) -> dict[str, Any]:
    """The fields as earlier versions wrote them."""
    claim_for(store, "ab" * 16)
    fields: dict[str, Any] = json.loads(store.get(IDENTITY) or b"")
    del fields["sha256"]
    return fields


def rewrite(store: FolderStore, fields: dict[str, Any]) -> None:
    store.put_bytes(IDENTITY, json.dumps(fields).encode(), replace=True)


def test_one_without_a_digest_is_read_and_stays_as_it_is(store: FolderStore) -> None:
    rewrite(store, without_digest(store))
    before = store.get(IDENTITY)
    assert claim_for(store, "cd" * 16, 9) == read_identity(store)
    assert store.get(IDENTITY) == before


@pytest.mark.parametrize(
    ("changed", "why"),
    [
        ({"more": "x"}, "unknown field 'more'"),
        ({"ledger_id": "ab"}, "32 hex digits"),
        ({"ledger_id": "AB" * 16}, "32 hex digits"),
        ({"store_id": "xy" * 16}, "32 hex digits"),
        ({"created": "1"}, "created"),
        ({"created": True}, "created"),
        ({"created": -1}, "created"),
        ({"format": 0}, "format"),
        ({"policies": []}, "policies"),
        ({"policies": {"overwrite": 1}}, "policies"),
    ],
)
def test_a_field_that_cannot_be_is_refused_without_a_digest_too(
    store: FolderStore, changed: dict[str, object], why: str
) -> None:
    rewrite(store, without_digest(store) | changed)
    with pytest.raises(Corruption, match=why):
        read_identity(store)


def test_a_field_that_a_later_version_adds_is_passed_over_where_the_digest_vouches_for_it(store: FolderStore) -> None:
    ours = claim_for(store, "ab" * 16)
    fields = {**without_digest(store), "more": "ü"}
    canonical = json.dumps(fields, sort_keys=True, separators=(",", ":"), ensure_ascii=False)
    rewrite(store, fields | {"sha256": hashlib.sha256(canonical.encode()).hexdigest()})
    assert read_identity(store) == ours


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


@pytest.mark.parametrize("missing", ["format", "ledger_id", "store_id", "origin", "vkey", "created", "policies"])
def test_every_field_is_needed(store: FolderStore, missing: str) -> None:
    fields = without_digest(store)
    del fields[missing]
    rewrite(store, fields)
    with pytest.raises(Corruption, match=f"{missing} is missing"):
        read_identity(store)


def test_a_later_format_is_refused(store: FolderStore) -> None:
    store.put_bytes(IDENTITY, b'{"format": 2}')
    with pytest.raises(ConfigurationError, match="has format 2"):
        read_identity(store)
