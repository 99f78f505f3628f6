"""Another store at the place of the right one, while the node runs: an outage for clients, and no fault of theirs."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

import pytest
from tests.http.asking import ask, get, put
from tests.http.serving import serve

from scribe_ledger.ledger.served import ServedLedger
from scribe_ledger.objects.folder import FolderStore
from scribe_ledger.objects.opening import open_object_store

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from tests.http.serving import Served

pytestmark = pytest.mark.http

LARGE = b"v" * 300_000


@pytest.fixture
def mount(tmp_path: Path) -> Path:
    return tmp_path / "mount"


@pytest.fixture
def node(tmp_path: Path, mount: Path) -> Iterator[Served]:
    """It has a large value, and has been started since: nobody has asked it for the store yet."""
    with ServedLedger.open(tmp_path / "data", object_store=mount.as_uri()) as ledger:
        ledger.put("large", LARGE)
    with serve_over(mount) as served:
        yield served


def serve_over(mount: Path) -> Any:
    store = open_object_store(mount.as_uri(), late=True)
    return serve(mount.with_name("data"), object_store=store)


def of_another_ledger(mount: Path) -> None:
    folder = mount.with_name("elsewhere")
    with ServedLedger.open(folder, object_store=FolderStore(mount)) as other:
        other.adopt_store()


def of_a_later_program(mount: Path) -> None:
    FolderStore(mount).put_bytes("scribe.json", json.dumps({"format": 99}).encode())


def empty(mount: Path) -> None:
    mount.mkdir()


def assert_is_out(served: Served, method: str, target: str, body: bytes | None = None) -> None:
    answer = ask(served, method, target, body)
    assert (answer.status, answer.error["kind"]) == (503, "unavailable"), (method, target, answer.body)
    assert "is not the object store that this ledger's objects are in" in answer.error["message"]
    assert "mount it again" in answer.error["hint"]


@pytest.mark.parametrize("appears", [of_another_ledger, of_a_later_program, empty])
def test_a_store_that_is_mounted_over_the_right_one_is_an_outage_from_the_first_request_on(
    node: Served, mount: Path, appears: Any
) -> None:
    mount.rename(away := mount.with_name("away"))
    appears(mount)
    batch = json.dumps({"operations": [{"op": "put", "key": "b", "value": LARGE.decode()}]}).encode()
    assert_is_out(node, "PUT", "/another", LARGE)
    assert_is_out(node, "POST", "/v1/batch", batch)
    assert_is_out(node, "POST", "/v1/archive")
    assert_is_out(node, "GET", "/large")
    put(node, "/small")
    mount.rename(mount.with_name("wrong"))
    away.rename(mount)
    put(node, "/another", LARGE)
    assert get(node, "/another").body == get(node, "/large").body == LARGE


def test_where_the_ledger_has_used_none_it_is_one_too(mount: Path) -> None:
    with serve_over(mount) as served:
        of_another_ledger(mount)
        answer = ask(served, "PUT", "/large", LARGE)
    assert (answer.status, answer.error["kind"]) == (503, "unavailable")
    assert "holds the objects of" in answer.error["message"]
