"""Batches, and puts of many pairs."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest

from scribe_ledger import Corruption, InvalidRequest, Ledger

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

pytestmark = pytest.mark.storage


@pytest.fixture
def ledger(tmp_path: Path) -> Iterator[Ledger]:
    with Ledger.open(tmp_path / "data") as ledger:
        yield ledger


def test_a_batch_that_has_ended_takes_nothing_more(ledger: Ledger) -> None:
    with ledger.batch() as batch:
        batch.put("a", "1")
    for more in (lambda: batch.put("b", "2"), lambda: batch.delete("a"), batch.__enter__):
        with pytest.raises(InvalidRequest, match="has ended"):
            more()
    assert ledger.size == 1


def test_a_batch_whose_block_fails_writes_nothing(ledger: Ledger) -> None:
    def fail() -> None:
        with ledger.batch() as batch:
            batch.put("a", "1")
            raise KeyError("mine")

    with pytest.raises(KeyError, match="mine"):
        fail()
    assert ledger.size == 0


@pytest.mark.parametrize("pairs", [{"k1": b"v1"}, "abcd", ["ab", "cd"], [b"ab"], 5, None, [{"a", "b"}]])
def test_put_many_takes_pairs_and_not_what_merely_has_two_parts(ledger: Ledger, pairs: Any) -> None:
    with pytest.raises(InvalidRequest, match="pairs of key and value"):
        ledger.put_many(pairs)
    assert ledger.size == 0


def test_put_many_lets_through_what_the_caller_s_own_generator_raises(ledger: Ledger) -> None:
    def pairs() -> Iterator[tuple[str, str]]:
        yield "a", "1"
        raise ValueError("mine")

    with pytest.raises(ValueError, match="mine"):
        ledger.put_many(pairs())


@pytest.mark.parametrize("keys", ["ab", b"ab", None, 5])
def test_get_many_takes_several_keys(ledger: Ledger, keys: Any) -> None:
    with pytest.raises(InvalidRequest, match="the keys are"):
        ledger.get_many(keys)


@pytest.mark.parametrize("options", [{"prefix": 0}, {"start": 0}, {"prefix": None}])
def test_scan_takes_no_number_for_everything(ledger: Ledger, options: Any) -> None:
    with pytest.raises(InvalidRequest, match=f"the {next(iter(options))} is"):
        ledger.scan(**options)


def test_a_large_value_that_comes_again_heals_the_damaged_one(ledger: Ledger) -> None:
    value = b"q" * 500_000
    ledger.put("first", value)
    (blob,) = [path for path in (ledger.path / "objects" / "blobs").rglob("*") if path.is_file() and not path.suffix]
    damaged = bytearray(value)
    damaged[300_000] ^= 1
    blob.chmod(0o600)
    blob.write_bytes(damaged)
    with pytest.raises(Corruption):
        ledger.get("first")
    ledger.put("second", value)
    assert ledger.get("second") == ledger.get("first") == value


def test_a_folder_whose_key_is_another_ledger_s_is_refused(tmp_path: Path) -> None:
    Ledger.open(tmp_path / "data", name="example.org/one").close()
    identity = tmp_path / "data" / "ledger.json"
    identity.write_text(identity.read_text().replace("example.org/one", "example.org/two"))
    with pytest.raises(Corruption, match=r"example\.org/two"):
        Ledger.open(tmp_path / "data")


@pytest.mark.parametrize("name", ["a b", "a+b", "x" * 300])
def test_a_name_that_cannot_be_leaves_no_folder(tmp_path: Path, name: str) -> None:
    from scribe_ledger import ConfigurationError

    with pytest.raises(ConfigurationError, match="cannot be a ledger's name"):
        Ledger.open(tmp_path / "data", name=name)
    assert not (tmp_path / "data").exists()
