"""What a node refuses to start with, found out before it touches anything: exposure, missing files, wrong company."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from scribe_ledger.consensus.engine import require_engine
from scribe_ledger.errors import ConfigurationError

if TYPE_CHECKING:
    from scribe_ledger.config import Config

MEMBER = "cluster.json"
"""A folder with this file is a member's."""


def check_may_start(config: Config, *, bootstrap: bool) -> None:
    """Raises ``ConfigurationError`` with what the operator must change."""
    check_settings(config)
    if is_member(config, bootstrap=bootstrap):
        _check_may_be_member(config, bootstrap=bootstrap)


def is_member(config: Config, *, bootstrap: bool) -> bool:
    """Whether this node is to be one by its settings, or is one already: its folder has the record of the others."""
    return config.is_cluster_member(bootstrap) or (config.data_dir / MEMBER).exists()


def check_settings(config: Config) -> None:
    """The part of it that depends on no flag and no data folder: `scribe config check` judges by it, too."""
    _check_tls_files(config)
    config.check_exposure()


def _check_may_be_member(config: Config, *, bootstrap: bool) -> None:
    if config.storage.durability == "relaxed":
        member_by = "--bootstrap" if bootstrap else "a cluster"
        raise ConfigurationError(
            f"{config.source('storage.durability')}: storage.durability = relaxed and {member_by} do not go together: "
            "a cluster answers only what is synced",
            hint=f'set durability = "full", or leave out {member_by}',
        )
    require_engine()


def _check_tls_files(config: Config) -> None:
    for name in ("tls_cert", "tls_key", "tls_ca"):
        file = getattr(config.cluster, name)
        if file and not Path(file).expanduser().is_file():
            key = f"cluster.{name}"
            raise ConfigurationError(f"{config.source(key)}: {key} = {file} is not there", hint="name a PEM file")
    if config.cluster.tls_cert:
        from scribe_ledger.consensus.transport.auth import Auth

        Auth.of(config.cluster).server_context()  # reads all three
