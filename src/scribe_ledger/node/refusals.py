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
    if config.is_cluster_member(bootstrap):
        _check_may_be_member(config, bootstrap=bootstrap)
    elif (config.data_dir / MEMBER).exists():
        raise ConfigurationError(
            f"{config.data_dir} is the folder of a member of a cluster, and no setting says how to reach the others",
            hint="set [network] seed_peers (SCRIBE_NETWORK_SEED_PEERS) to some of them, or enable discovery; the only"
            " member of a cluster starts with --bootstrap",
        )


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
