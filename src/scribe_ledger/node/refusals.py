"""What a node refuses to start with, found out before it touches anything: exposure, clusters, missing files."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from scribe_ledger.errors import ConfigurationError

if TYPE_CHECKING:
    from collections.abc import Iterator

    from scribe_ledger.config import Config


def check_may_start(config: Config, *, bootstrap: bool) -> None:
    """Raises ``ConfigurationError`` with what the operator must change."""
    _check_tls_files(config)
    if bootstrap and config.storage.durability == "relaxed":
        raise ConfigurationError(
            f"{config.source('storage.durability')}: storage.durability = relaxed and --bootstrap do not go together: "
            "a cluster answers only what is synced",
            hint='set durability = "full", or leave out --bootstrap',
        )
    asked = list(_asks_for_a_cluster(config, bootstrap=bootstrap))
    if asked:
        raise ConfigurationError(
            f"this version stands alone, and {', '.join(asked)} asks for a cluster",
            hint="leave that out; a later version joins nodes to clusters",
        )
    config.check_exposure()


def _asks_for_a_cluster(config: Config, *, bootstrap: bool) -> Iterator[str]:
    if bootstrap:
        yield "--bootstrap"
    if config.network.seed_peers:
        yield f"network.seed_peers ({config.source('network.seed_peers')})"
    if config.discovery.enabled:
        yield f"discovery.enabled ({config.source('discovery.enabled')})"


def _check_tls_files(config: Config) -> None:
    for name in ("tls_cert", "tls_key", "tls_ca"):
        file = getattr(config.cluster, name)
        if file and not Path(file).expanduser().is_file():
            key = f"cluster.{name}"
            raise ConfigurationError(f"{config.source(key)}: {key} = {file} is not there", hint="name a PEM file")
