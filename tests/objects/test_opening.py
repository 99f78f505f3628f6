"""From a URL or settings to the right store, with the right keys, and without one secret shown."""

from __future__ import annotations

import contextlib
import os
import random
import subprocess
import sys
from datetime import timedelta
from typing import TYPE_CHECKING, Any

import pytest
from tests.faulty_proxy import Fault, FaultyProxy
from tests.s3_server import ACCESS_KEY, SECRET_KEY, S3Server

from scribe_ledger.cli.stores import options_for
from scribe_ledger.config import Config
from scribe_ledger.errors import ConfigurationError, StorageError, Unavailable
from scribe_ledger.objects.folder import FolderStore
from scribe_ledger.objects.opening import StoreOptions, open_object_store, options_of, store_of
from scribe_ledger.objects.remote import MAX_PAUSE_SECONDS, RemoteStore
from scribe_ledger.objects.urls import split_store_url

if TYPE_CHECKING:
    from pathlib import Path

pytestmark = [pytest.mark.storage, pytest.mark.s3]

AMBIENT = ("AWS_", "GOOGLE_", "AZURE_")


@pytest.fixture(autouse=True)
def _no_ambient_credentials(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in os.environ:
        if name.startswith(AMBIENT):
            monkeypatch.delenv(name)


def client_of(store: object) -> Any:
    assert isinstance(store, RemoteStore)
    return store._client


# --- folders -----------------------------------------------------------------------------------------------------


def test_a_file_url_is_a_folder(tmp_path: Path) -> None:
    store = open_object_store(f"file://{tmp_path}/my%20objects")
    assert isinstance(store, FolderStore)
    assert store.root == tmp_path / "my objects"
    assert store.url == f"file://{tmp_path}/my%20objects"
    assert store.is_local


def test_a_folder_that_must_exist_is_not_made(tmp_path: Path) -> None:
    with pytest.raises(StorageError, match="no such folder"):
        open_object_store(f"file://{tmp_path}/typo", create=False)
    assert not (tmp_path / "typo").exists()
    (tmp_path / "there").mkdir()
    store = open_object_store(f"file://{tmp_path}/there", create=False)
    assert list(store.list("")) == []
    assert list((tmp_path / "there").iterdir()) == []
    assert store.put_bytes("a/b", b"1")
    assert [found.path for found in store.list("")] == ["a/b"]


def test_how_late_a_deletion_may_be_follows_from_how_long_a_request_is_valid(tmp_path: Path) -> None:
    options = StoreOptions(timeout_secs=40, max_retries=2, access_key_id="a", secret_access_key="b")
    trying = 2 * (40 + MAX_PAUSE_SECONDS)
    assert open_object_store(tmp_path.as_uri(), options).late_secs == 0
    assert open_object_store("s3://bucket", options).late_secs == 2 * 15 * 60 + trying


def test_the_default_is_a_folder_of_the_ledger(tmp_path: Path) -> None:
    store = store_of(Config.load(environ={}, overrides={"node.data_dir": str(tmp_path)}))
    assert isinstance(store, FolderStore)
    assert store.root == tmp_path / "objects"


# --- S3 ----------------------------------------------------------------------------------------------------------


def test_the_settings_of_s3_reach_the_client(tmp_path: Path) -> None:
    file = tmp_path / "config.toml"
    file.write_text(
        '[storage.s3]\nbucket = "my-bucket"\nregion = "eu-west-1"\nendpoint = "http://127.0.0.1:9000"\n'
        'access_key_id = "AKIAEXAMPLE"\nsecret_access_key = "hidden-secret"\npath_style = true\n'
        "pool_size = 4\ntimeout_secs = 7\nmax_retries = 1\n"
    )
    config = Config.load(file, environ={})
    assert options_of(config) == StoreOptions(
        pool_size=4,
        timeout_secs=7,
        max_retries=1,
        region="eu-west-1",
        endpoint="http://127.0.0.1:9000",
        access_key_id="AKIAEXAMPLE",
        secret_access_key="hidden-secret",
        path_style=True,
    )
    assert "hidden-secret" not in repr(options_of(config))
    store = store_of(config)
    assert store.url == "s3://my-bucket"
    assert not store.is_local
    client = client_of(store)
    assert client.config["bucket"] == "my-bucket"
    assert client.config["region"] == "eu-west-1"
    assert client.config["endpoint"] == "http://127.0.0.1:9000"
    assert client.retry_config["max_retries"] == 0
    assert client.client_options["timeout"] in {timedelta(seconds=7), "7s", "7seconds"}


@pytest.mark.parametrize("url", ["s3://bucket/prefix", "gs://bucket/prefix", "az://container/prefix"])
def test_a_store_that_is_named_by_url_has_a_time_out_too(url: str, monkeypatch: pytest.MonkeyPatch) -> None:
    names = {"storage.object_store": url, "storage.object_store_timeout_secs": "70"}
    assert options_of(Config.load(environ={}, overrides=names)) == StoreOptions(timeout_secs=70)
    assert options_for(url) == StoreOptions()
    monkeypatch.setenv("SCRIBE_STORAGE_OBJECT_STORE_TIMEOUT_SECS", "80")
    assert options_for(url) == StoreOptions(timeout_secs=80)


@pytest.mark.parametrize(
    ("endpoint", "path_style", "expected"),
    [
        ("https://s3.example.com", False, "https://my-bucket.s3.example.com"),
        ("https://s3.example.com:9000", True, "https://s3.example.com:9000"),
        ("http://127.0.0.1:9000", False, "http://127.0.0.1:9000"),  # no bucket can stand before an address
        ("http://[::1]:9000", False, "http://[::1]:9000"),
    ],
)
def test_the_bucket_goes_into_the_host_unless_it_cannot(endpoint: str, path_style: bool, expected: str) -> None:
    options = StoreOptions(endpoint=endpoint, path_style=path_style, access_key_id="a", secret_access_key="b")
    config = client_of(open_object_store("s3://my-bucket", options)).config
    assert config["endpoint"] == expected
    in_host = str(config["virtual_hosted_style_request"]).lower()
    assert in_host == str("my-bucket" in expected).lower()


def test_credentials_and_endpoint_of_the_environment_are_used(
    s3_server: S3Server, monkeypatch: pytest.MonkeyPatch
) -> None:
    bucket = s3_server.bucket()
    monkeypatch.setenv("AWS_ACCESS_KEY_ID", ACCESS_KEY)
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", SECRET_KEY)
    monkeypatch.setenv("AWS_ENDPOINT_URL", s3_server.endpoint)
    with contextlib.closing(open_object_store(f"{bucket.url}/deep/prefix/")) as store:
        assert store.url == f"{bucket.url}/deep/prefix"
        assert store.put_bytes("a", b"1")
        assert store.get("a") == b"1"
    with contextlib.closing(open_object_store(bucket.url)) as store:
        assert [found.path for found in store.list("")] == ["deep/prefix/a"]


def test_settings_go_before_the_environment(s3_server: S3Server, monkeypatch: pytest.MonkeyPatch) -> None:
    bucket = s3_server.bucket()
    monkeypatch.setenv("AWS_ACCESS_KEY_ID", "somebody")
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "else")
    monkeypatch.setenv("AWS_ENDPOINT_URL", "http://127.0.0.1:1")
    config = Config.load(environ=bucket.settings())
    with contextlib.closing(store_of(config)) as store:
        store.check()
        assert store.put_bytes("a", b"1")


# --- GCS and Azure: what reaches the wire ------------------------------------------------------------------------


def test_gs_talks_to_the_bucket_of_the_url(monkeypatch: pytest.MonkeyPatch) -> None:
    with FaultyProxy("http://127.0.0.1:1") as proxy:
        proxy.fail(Fault.SLOW_DOWN, times=None)
        monkeypatch.setenv("GOOGLE_SKIP_SIGNATURE", "true")
        options = StoreOptions(endpoint=proxy.endpoint, max_retries=2)
        store = open_object_store("gs://my-bucket/base", options, sleep=lambda _: None)
        with pytest.raises(Unavailable, match=r"cannot read gs://my-bucket/base/a/b after 2 tries: status 503"):
            store.get("a/b")
        assert proxy.count(method="GET", path="/my-bucket/base/a/b") == 2
        with pytest.raises(Unavailable):
            list(store.list("a"))
        assert proxy.count(method="GET", path="/my-bucket", query="prefix=base%2Fa%2F") == 2
        store.close()


def test_az_talks_to_the_container_of_the_url(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("AZURE_STORAGE_ACCOUNT_NAME", "account")
    monkeypatch.setenv("AZURE_STORAGE_ACCOUNT_KEY", "c2VjcmV0LW9mLWF6dXJl")
    with FaultyProxy("http://127.0.0.1:1") as proxy:
        proxy.fail(Fault.DENIED, times=None)
        store = open_object_store("az://container/base", StoreOptions(endpoint=proxy.endpoint))
        with pytest.raises(Unavailable, match=r"cannot write az://container/base/a/b: status 403") as caught:
            store.put_bytes("a/b", b"1")
        assert "c2VjcmV0LW9mLWF6dXJl" not in str(caught.value)
        assert proxy.count(method="PUT", path="/container/base/a/b") == 1
        with pytest.raises(Unavailable, match=r"cannot list az://container/base/a"):
            list(store.list("a"))
        store.close()


# --- what is refused ---------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "url",
    [
        *("", "objects", "ftp://host/x", "http://b", "s3://", "s3:///prefix", "s3://[bad", "gs://[:]", "az://\u2100"),
        *("s3://two words", "s3://bucket:80", "s3://buck\tet", "gs://a%20b", "s3://\0"),
        *("file://host/x", "file://x", "file:relative", "file://[bad/x"),
        *("file:///a%00b", "file:///\ud800", "file:///a\nb"),
    ],
)
def test_what_is_no_store_is_refused(url: str) -> None:
    with pytest.raises(ConfigurationError) as caught:
        open_object_store(url)
    assert caught.value.hint


@pytest.mark.parametrize("url", ["s3://key:hidden@bucket", "az://container/x?sig=hidden", "s3://bucket#hidden"])
def test_a_url_with_a_secret_is_refused_and_not_shown(url: str) -> None:
    with pytest.raises(ConfigurationError) as caught:
        open_object_store(url)
    assert "hidden" not in str(caught.value)


def test_no_url_however_odd_is_another_error() -> None:
    chance = random.Random(1)
    pieces = [*"[]%\0\n aB_.\\\x7f@?#{<*", "\u2100", "\ud800", "/", "//", "..", "%00", "%zz", "::1", ":80", "bucket"]
    starts = ["", "s3://", "gs://", "file://", "s3://bucket/"]
    opened = 0
    for _ in range(3000):
        url = chance.choice(starts) + "".join(chance.choices(pieces, k=chance.randrange(4)))
        with contextlib.suppress(ConfigurationError, StorageError):
            split_store_url(url)
            if opened < 25:  # a client is expensive
                open_object_store(url, create=False).close()
                opened += 1
    assert opened == 25


@pytest.mark.parametrize(
    "endpoint",
    [
        *("http://[bad", "http://two words", "http://[:::::]", "http://a:99999", "http://a:0", "http://", "ftp://host"),
        *("http://10.0.0.256:9000", "http://1.2.3.4.5", "http://08", "http://a.0x1g.0x"),
        *("localhost:9000", 'http://host/{}"', "http://key:hidden@host", "http://host/?sig=hidden"),
    ],
)
@pytest.mark.parametrize("url", ["s3://bucket", "gs://bucket", "az://container"])
def test_an_endpoint_that_no_request_can_go_to_is_refused_and_not_shown(
    monkeypatch: pytest.MonkeyPatch, url: str, endpoint: str
) -> None:
    with pytest.raises(ConfigurationError) as caught:
        open_object_store(url, StoreOptions(endpoint=endpoint))
    assert caught.value.hint
    assert "hidden" not in str(caught.value)
    if url.startswith("s3"):
        monkeypatch.setenv("AWS_ENDPOINT_URL", endpoint)
        with pytest.raises(ConfigurationError):
            open_object_store(url)


def test_a_store_that_obstore_refuses_is_a_configuration_error() -> None:
    with pytest.raises(ConfigurationError, match="object store of bucket container"):
        open_object_store("az://container")  # nothing names the account


def test_a_folder_needs_no_obstore(tmp_path: Path) -> None:
    program = (
        "import sys; from scribe_ledger.objects.opening import open_object_store\n"
        f"open_object_store('file://{tmp_path}/objects').put_bytes('a', b'1'); assert 'obstore' not in sys.modules"
    )
    subprocess.run([sys.executable, "-c", program], check=True, timeout=60)
