"""From a URL or a Config to the object store: the one place that node, commands and library share.

Credentials come from the options, else from the environment, else from the machine's role, in obstore's order. Opening
sends no request: whether the store can be used, ``check`` says.
"""

from __future__ import annotations

import os
import time
from dataclasses import dataclass, field
from datetime import timedelta
from ipaddress import ip_address
from random import random
from typing import TYPE_CHECKING, Any
from urllib.parse import urlsplit

from scribe_ledger.errors import ConfigurationError
from scribe_ledger.objects.folder import FolderStore
from scribe_ledger.objects.slots import requests_at_once
from scribe_ledger.objects.urls import check_endpoint, folder_of, no_store, split_store_url

if TYPE_CHECKING:
    from collections.abc import Callable

    from obstore.store import ObjectStore as Client

    from scribe_ledger.config import Config
    from scribe_ledger.objects.store import ObjectStore
    from scribe_ledger.objects.urls import StoreUrl

_ENDPOINT_VARIABLES = ("AWS_ENDPOINT_URL_S3", "AWS_ENDPOINT_URL", "AWS_ENDPOINT")
_IDLE_SECONDS = 60
_VALID_SECS = {"s3": 1800, "gs": 3600, "az": 3600}
"""For so long after the time in it is a request taken. S3 takes none whose time is 15 minutes from its own, and the
clock of whoever waits may be as much ahead. Others go by a token, which is valid for an hour as a rule."""


@dataclass(frozen=True, kw_only=True)
class StoreOptions:
    """How to talk to a remote store. Empty texts and None leave it to the environment."""

    pool_size: int = 10
    timeout_secs: float = 30
    max_retries: int = 3
    region: str = ""
    endpoint: str = ""
    access_key_id: str = field(default="", repr=False)
    secret_access_key: str = field(default="", repr=False)
    path_style: bool | None = None


def store_of(config: Config, *, create: bool = True, late: bool = False) -> ObjectStore:
    """The store that the settings name: ``object_store``, else ``[storage.s3]``, else ``<data_dir>/objects``."""
    return open_object_store(config.object_store_url, options_of(config), create=create, late=late)


def options_of(config: Config) -> StoreOptions:
    """The options of ``[storage.s3]``, else the defaults but for the time that a request may take."""
    s3 = config.storage.s3
    if s3 is None:
        return StoreOptions(timeout_secs=config.storage.object_store_timeout_secs)
    return StoreOptions(
        pool_size=s3.pool_size,
        timeout_secs=s3.timeout_secs,
        max_retries=s3.max_retries,
        region=s3.region,
        endpoint=s3.endpoint,
        access_key_id=s3.access_key_id,
        secret_access_key=s3.secret_access_key,
        path_style=s3.path_style,
    )


def open_object_store(
    url: str,
    options: StoreOptions | None = None,
    *,
    create: bool = True,
    late: bool = False,
    sleep: Callable[[float], object] = time.sleep,
    jitter: Callable[[], float] = random,
) -> ObjectStore:
    """The store under ``file:///folder``, ``s3://bucket/prefix``, ``gs://bucket/prefix`` or ``az://container/prefix``.

    A folder that is missing is made, with ``late`` at the first write; or with ``create=False`` it is an error. Buckets
    are never made. ``sleep`` and ``jitter`` serve the pauses between retries.
    """
    options = options or StoreOptions()
    found = check_store_url(url)
    if found.scheme == "file":
        return FolderStore(folder_of(found), create=create, late=late)
    from scribe_ledger.objects.remote import MAX_PAUSE_SECONDS, RemoteStore

    prefix = found.path.strip("/")
    client = _CLIENTS[found.scheme](found.bucket, prefix, options)
    shown = f"{found.scheme}://{found.bucket}/{prefix}".rstrip("/")
    return RemoteStore(
        client,
        shown,
        pool_size=options.pool_size,
        max_retries=options.max_retries,
        late_secs=_VALID_SECS[found.scheme] + max(1, options.max_retries) * (options.timeout_secs + MAX_PAUSE_SECONDS),
        sleep=sleep,
        jitter=jitter,
    )


def check_store_url(url: str) -> StoreUrl:
    """Its parts, if it is the URL of a store that can be opened. Nothing is made and nothing asked."""
    found = split_store_url(url)
    if found.scheme == "file":
        folder_of(found)
    elif found.scheme not in _CLIENTS:
        raise no_store(url)
    return found


# --- clients -----------------------------------------------------------------------------------------------------


def _s3(bucket: str, prefix: str, options: StoreOptions) -> Client:
    from obstore.store import S3Store

    endpoint = options.endpoint or next(filter(None, map(os.environ.get, _ENDPOINT_VARIABLES)), "")
    check_endpoint(endpoint)
    settings: dict[str, Any] = {
        "region": options.region,
        "access_key_id": options.access_key_id,
        "secret_access_key": options.secret_access_key,
        "disable_bulk_delete": True,  # not every compatible store has it, and one object needs no list
    }
    if options.path_style is not None:
        in_host = not options.path_style and not _is_address(endpoint)
        settings["virtual_hosted_style_request"] = in_host
        endpoint = _with_bucket(endpoint, bucket) if in_host and options.endpoint else endpoint
    settings["endpoint"] = endpoint
    given = {name: value for name, value in settings.items() if value != ""}
    return _build(S3Store, bucket, prefix, options, given, plain_http=endpoint.startswith("http://"))


def _gcs(bucket: str, prefix: str, options: StoreOptions) -> Client:
    from obstore.store import GCSStore

    check_endpoint(options.endpoint)
    given = {"base_url": options.endpoint} if options.endpoint else {}
    return _build(GCSStore, bucket, prefix, options, given, plain_http=options.endpoint.startswith("http://"))


def _azure(container: str, prefix: str, options: StoreOptions) -> Client:
    from obstore.store import AzureStore

    check_endpoint(options.endpoint)
    given = {"endpoint": options.endpoint} if options.endpoint else {}
    return _build(AzureStore, container, prefix, options, given, plain_http=options.endpoint.startswith("http://"))


_CLIENTS = {"s3": _s3, "gs": _gcs, "az": _azure}


def _build(
    kind: Any, bucket: str, prefix: str, options: StoreOptions, given: dict[str, Any], *, plain_http: bool = False
) -> Client:
    from obstore.exceptions import BaseError

    timeout = timedelta(seconds=options.timeout_secs)
    client_options = {
        "timeout": timeout,
        "connect_timeout": min(timeout, timedelta(seconds=5)),
        "pool_max_idle_per_host": str(requests_at_once(options.pool_size)),
        "pool_idle_timeout": timedelta(seconds=_IDLE_SECONDS),
    }
    if plain_http:
        client_options["allow_http"] = True
    once = {"max_retries": 0, "retry_timeout": timeout}
    try:
        client: Client = kind(bucket, prefix=prefix or None, client_options=client_options, retry_config=once, **given)
    except (BaseError, ValueError) as cause:
        reason = str(cause).partition("\n")[0]
        raise ConfigurationError(f"the object store of bucket {bucket} cannot be set up: {reason}") from None
    return client


def _is_address(endpoint: str) -> bool:
    """Whether the host is a bare address, before which no bucket can stand."""
    try:
        ip_address(urlsplit(endpoint).hostname or "")
    except ValueError:
        return False
    return True


def _with_bucket(endpoint: str, bucket: str) -> str:
    scheme, _, rest = endpoint.partition("://")
    return f"{scheme}://{bucket}.{rest}"
