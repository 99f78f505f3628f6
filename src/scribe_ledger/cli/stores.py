"""Which object store a folder's ledger uses, and how to reach any: by the settings that a node would go by.

``--object-store`` counts most, then the variables ``SCRIBE_STORAGE_OBJECT_STORE`` and ``SCRIBE_STORAGE_S3_…``, then
``./config.toml`` if it is of the same folder. What none of them says is left to the environment, such as credentials;
and where none names a store, it is the ``objects`` in the folder itself.
"""

from __future__ import annotations

import os
import warnings
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from scribe_ledger.config import Config
    from scribe_ledger.objects.opening import StoreOptions
    from scribe_ledger.objects.store import ObjectStore

_S3 = "SCRIBE_STORAGE_S3_"
_TIMEOUT = "SCRIBE_STORAGE_OBJECT_STORE_TIMEOUT_SECS"
_FILE = Path("config.toml")


def store_of_folder(data: Path, url: str | None = None) -> ObjectStore | str:
    """What ``Ledger.open`` takes as its object store; empty for the folder's own."""
    if url is not None:
        from scribe_ledger.objects.opening import open_object_store

        return open_object_store(url, options_for(url), late=True)  # a typo that is only read from makes no folder
    config = _settings(data, ("SCRIBE_STORAGE_OBJECT_STORE", _S3), (b"object_store", b"s3"))
    if config is None or not config.has_explicit_object_store:
        return ""
    from scribe_ledger.objects.opening import store_of

    return store_of(config)


def typed_url(given: str) -> str:
    """The URL of a store that was typed as one, or as the folder that it is."""
    return Path(given).absolute().as_uri() if Path(given).is_dir() else given


def options_for(url: str) -> StoreOptions:
    """How to talk to the store at a URL that was typed: a bucket of S3 as the variables of ``[storage.s3]`` say, any
    other as that of ``[storage]`` does."""
    from scribe_ledger.objects.opening import options_of
    from scribe_ledger.objects.urls import split_store_url

    given, found = _variables((_S3,)), split_store_url(url)
    if found.scheme != "s3" or not given:
        return options_of(_load(os.devnull, _variables((_TIMEOUT,)), {}))
    return options_of(_load(os.devnull, given, {"storage.s3.bucket": found.bucket}))


def settings_of_folder(data: Path) -> Config | None:
    """``[storage]`` of a node on that folder; None where nothing is set."""
    return _settings(data, ("SCRIBE_STORAGE_",), (b"storage",))


def _settings(data: Path, prefixes: tuple[str, ...], words: tuple[bytes, ...]) -> Config | None:
    """A file without any of the words says nothing of the matter, and need not be understood."""
    given = _variables(prefixes)
    if _FILE.exists() and any(word in _FILE.read_bytes() for word in words):
        config = _load(_FILE, given, {})
        if config.data_dir.absolute() == data.expanduser().absolute():
            return config
    return _load(os.devnull, given, {}) if given else None


def _variables(prefixes: tuple[str, ...]) -> dict[str, str]:
    return {name: value for name, value in os.environ.items() if name.startswith(prefixes)}


def _load(file: Path | str, environ: dict[str, str], overrides: dict[str, str]) -> Config:
    from scribe_ledger.config import Config, ConfigurationWarning

    with warnings.catch_warnings():
        warnings.simplefilter("ignore", ConfigurationWarning)  # `scribe config check` says them
        return Config.load(file, environ=environ, overrides=overrides)
