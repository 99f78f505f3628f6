"""Google Cloud Storage, beyond the contract of every store: who is let in, and uploads in parts that go wrong."""

from __future__ import annotations

import contextlib
import random
from typing import TYPE_CHECKING

import pytest
from cryptography.hazmat.primitives.asymmetric.rsa import generate_private_key
from tests.faulty_proxy import Fault, FaultyProxy
from tests.gcs_server import GcsServer, needs_gcs

from scribe_ledger.errors import Unavailable
from scribe_ledger.objects.opening import StoreOptions, open_object_store
from scribe_ledger.objects.remote import MULTIPART_BYTES

if TYPE_CHECKING:
    from collections.abc import Iterator

    from scribe_ledger.objects.store import ObjectStore

pytestmark = [pytest.mark.storage, pytest.mark.s3, needs_gcs]

LARGE = random.Random(1).randbytes(2 * MULTIPART_BYTES + 3)


@contextlib.contextmanager
def opened(server: GcsServer, bucket: str, endpoint: str = "") -> Iterator[ObjectStore]:
    options = StoreOptions(endpoint=endpoint or server.endpoint)
    with contextlib.closing(open_object_store(f"gs://{bucket}", options, sleep=lambda _: None)) as store:
        yield store


@pytest.mark.parametrize("variable", ["GOOGLE_SERVICE_ACCOUNT", "GOOGLE_APPLICATION_CREDENTIALS"])
def test_the_key_file_of_an_account_lets_in(gcs: GcsServer, monkeypatch: pytest.MonkeyPatch, variable: str) -> None:
    monkeypatch.setenv(variable, str(gcs.key_file))
    with opened(gcs, gcs.bucket()) as store:
        store.check()
        assert store.put_bytes("a", b"1")
        assert store.get("a") == b"1"


def test_a_key_that_is_not_the_accounts_is_refused(gcs: GcsServer, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(
        "GOOGLE_SERVICE_ACCOUNT", str(gcs.write_key_file("another.json", generate_private_key(65537, 2048)))
    )
    with opened(gcs, gcs.bucket()) as store:
        for refused in (
            store.check,
            lambda: store.put_bytes("a", b"1"),
            lambda: store.get("a"),
            lambda: [*store.list("")],
        ):
            with pytest.raises(Unavailable, match="status 401 AuthenticationRequired") as caught:
                refused()
            assert caught.value.hint.startswith("check the credentials in the environment")


def test_an_upload_whose_part_is_lost_begins_anew(gcs: GcsServer, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("GOOGLE_SERVICE_ACCOUNT", str(gcs.key_file))
    with FaultyProxy(gcs.endpoint) as proxy, opened(gcs, gcs.bucket(), proxy.endpoint) as store:
        proxy.fail(Fault.RESET, method="PUT", query="partNumber=2")
        assert store.put_bytes("a", LARGE)
        assert store.get("a") == LARGE
        assert proxy.count(method="POST", query="uploads") == 2
        assert proxy.count(method="DELETE", query="uploadId") == 1
        assert proxy.count(method="PUT", query="partNumber=3") == 1


def test_an_upload_that_is_given_up_leaves_nothing(gcs: GcsServer, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("GOOGLE_SERVICE_ACCOUNT", str(gcs.key_file))
    with FaultyProxy(gcs.endpoint) as proxy, opened(gcs, gcs.bucket(), proxy.endpoint) as store:
        proxy.fail(Fault.ERROR_500, times=None, method="POST", query="uploadId")
        with pytest.raises(Unavailable, match="after 3 tries: status 500"):
            store.put_bytes("a", LARGE)
        assert store.stat("a") is None
        assert list(store.list("")) == []


def test_an_upload_whose_completion_went_unheard_is_there(gcs: GcsServer, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("GOOGLE_SERVICE_ACCOUNT", str(gcs.key_file))
    with FaultyProxy(gcs.endpoint) as proxy, opened(gcs, gcs.bucket(), proxy.endpoint) as store:
        proxy.fail(Fault.RESET_AFTER, method="POST", query="uploadId")
        assert not store.put_bytes("a", LARGE)  # it was found, and may be another's: the caller compares
        assert store.get("a") == LARGE
        assert proxy.count(method="POST", query="uploads") == 1
