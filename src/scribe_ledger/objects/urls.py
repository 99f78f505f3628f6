"""What the URL of a store and the URL of an endpoint may be: all that is wrong with one is a ConfigurationError.

It is stricter than Python's parser, which drops control characters without a word, and than obstore, which panics where
a bucket or an endpoint cannot stand in a request. No message shows what may be a secret.
"""

from __future__ import annotations

import os
import re
from ipaddress import IPv4Address, IPv6Address
from pathlib import Path
from typing import NamedTuple
from urllib.parse import unquote, urlsplit

from scribe_ledger.errors import ConfigurationError

_BUCKET = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]*")
"""What any provider may allow."""
_ENDPOINT = re.compile(
    r"https?://(?:\[(?P<ipv6>[0-9A-Fa-f:.]+)\]|(?P<name>[A-Za-z0-9._-]+))(?::[0-9]+)?(?:/[A-Za-z0-9._~%/-]*)?"
)
_NUMBER_LAST = re.compile(r"(?:.*\.)?(?:[0-9]+|0[Xx][0-9A-Fa-f]*)\.?")
"""What a host ends with that can be nothing but an IPv4 address."""
_CONTROL = re.compile(r"[\x00-\x1f\x7f]")


class StoreUrl(NamedTuple):
    scheme: str
    bucket: str
    """Of a folder: the host, which names none."""
    path: str


def split_store_url(url: str) -> StoreUrl:
    """Its parts, if it may be the URL of a store."""
    try:
        found = urlsplit(url)
    except ValueError:
        raise no_store(url) from None
    if found.query or found.fragment or "@" in found.netloc:
        raise ConfigurationError(
            "the URL of the object store may hold a bucket and a prefix, nothing else",
            hint=f"give credentials by {'[storage.s3] or by ' if found.scheme == 's3' else ''}environment variables",
        )
    if _CONTROL.search(url) or (found.scheme != "file" and not _BUCKET.fullmatch(found.netloc)):
        raise no_store(url)
    return StoreUrl(found.scheme, found.netloc, found.path)


def no_store(url: str) -> ConfigurationError:
    shown = "what was given" if "@" in url else ascii(url) if _CONTROL.search(url) else url
    return ConfigurationError(
        f"{shown} is not the URL of an object store", hint="file:///folder, s3://bucket, gs://bucket or az://container"
    )


def folder_of(url: StoreUrl) -> Path:
    """The folder that a ``file`` URL names."""
    path = unquote(url.path)
    if url.bucket not in {"", "localhost"} or not path.startswith("/"):
        raise ConfigurationError(
            f"file://{url.bucket}{path} is not an absolute file URL", hint="write three slashes: file:///srv/scribe"
        )
    try:
        if b"\0" not in os.fsencode(path):
            return Path(path)
    except UnicodeEncodeError:
        pass
    raise ConfigurationError(f"no folder can be called {path!a}", hint="write a path that this machine can have")


def check_endpoint(endpoint: str) -> None:
    """Refuses what no request can be sent to. The empty one stands for the provider's own."""
    found = _ENDPOINT.fullmatch(endpoint)
    try:
        if not endpoint or (found and urlsplit(endpoint).port != 0 and _is_host(found)):
            return
    except ValueError:
        pass
    raise ConfigurationError(
        "the endpoint of the object store is not an http:// or https:// URL",
        hint="write it in full, without credentials, such as http://localhost:9000",
    )


def _is_host(found: re.Match[str]) -> bool:
    """True, or a ``ValueError``."""
    name, ipv6 = found["name"], found["ipv6"]
    if name is None:
        IPv6Address(ipv6)
    elif _NUMBER_LAST.fullmatch(name):
        IPv4Address(name.removesuffix("."))
    return True
