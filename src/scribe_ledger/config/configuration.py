"""``Config``: the settings as a program uses them, and ``Config.load``, which puts the layers together.

Invariants: a Config that exists is consistent (every rule of ``checks`` holds), frozen, and knows where each value
came from. Loading opens the settings file and nothing else: whether a folder, certificate or bucket exists is found
out by those who use it. Exposure beyond this machine is judged by ``check_exposure``, where a node starts.
"""

from __future__ import annotations

import os
import warnings
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple, Self

from pydantic import PrivateAttr, model_validator

from scribe_ledger.config.addresses import is_loopback, join_address, split_address
from scribe_ledger.config.catalogue import SETTINGS
from scribe_ledger.config.checks import disagreements
from scribe_ledger.config.layers import Layer, Origin, read_environment, read_file, read_overrides
from scribe_ledger.config.masking import mask
from scribe_ledger.config.old_spellings import DISCOVERY_PORT
from scribe_ledger.config.problems import ConfigurationWarning, SettingsError
from scribe_ledger.config.sections import Settings
from scribe_ledger.config.validation import Merged, explain, judge, value_of
from scribe_ledger.errors import ConfigurationError
from scribe_ledger.model import MAX_MESSAGE_BYTES

if TYPE_CHECKING:
    from collections.abc import Mapping

DEFAULT_FILE = "config.toml"
"""Read from the working directory when no file is named, if it is there."""
LEAST_SECRET = 16
"""Characters of a cluster's secret. One that has fewer is warned of: it cannot be hard to guess."""


MOST_INLINE_OF_MEMBER = MAX_MESSAGE_BYTES - (128 << 10)
"""Bytes of a value that fits a message between members with any key and metadata."""


class SettingRow(NamedTuple):
    """One line of ``scribe config show``."""

    key: str
    value: Any
    """As loaded, or masked; lists are tuples."""
    source: str
    """The file, the variable, the flag, or ``default``."""
    secret_masked: bool


class Config(Settings):
    """All settings of a node. ``Config()`` is the embedded default; ``Config.load`` reads file, variables, flags."""

    _origins: dict[str, Origin] = PrivateAttr(default_factory=dict)
    _warnings: tuple[str, ...] = PrivateAttr(default=())
    _path: Path | None = PrivateAttr(default=None)

    @model_validator(mode="after")
    def _agrees(self) -> Self:
        problems = [explain(found, self, Merged()) for found in disagreements(self)]
        if problems:
            raise SettingsError(problems)
        return self

    @classmethod
    def load(
        cls,
        path: str | os.PathLike[str] | None = None,
        *,
        environ: Mapping[str, str] | None = None,
        overrides: Mapping[str, Any] | None = None,
    ) -> Self:
        """Read the file (``path``, else ``./config.toml`` if there is one), then ``SCRIBE_*`` variables, then flags.

        ``environ`` defaults to the process environment. ``overrides`` maps dotted keys to values; None means "not
        given", and text is parsed like a variable. Everything that is wrong is raised as one ``SettingsError``
        (a ``ConfigurationError``); old spellings are collected in ``warnings``, of the config or of the error, and
        emitted as ConfigurationWarning where there is a config.
        """
        file = _settings_file(path)
        layers = [
            read_file(file) if file is not None else Layer(),
            read_environment(os.environ if environ is None else environ),
            read_overrides(overrides or {}),
        ]
        merged = Merged(layers)
        problems = [problem for layer in layers for problem in layer.problems]
        if all(layer.readable for layer in layers):  # else what the file lacks could only be guessed
            doubtful = frozenset(key for problem in problems for key in problem.keys)
            problems += judge(merged, doubtful)
        outdated = tuple(each for layer in layers for each in layer.warnings)
        if problems:
            raise SettingsError(problems, outdated)

        config = cls.model_validate(merged.document())
        config._origins = {key: given.origin for key, given in merged.given.items()}
        config._path = file
        config._warnings = (
            *outdated,
            *config._seed_warnings(),
            *config._secret_warnings(),
            *config._reserve_warnings(),
        )
        if config.is_cluster_member():
            config._warnings = config.member_warnings
        for message in config._warnings:
            warnings.warn(message, ConfigurationWarning, stacklevel=2)
        return config

    # --- where it came from ---

    @property
    def warnings(self) -> tuple[str, ...]:
        """What should be written differently, each naming its place and the present key."""
        return self._warnings

    @property
    def member_warnings(self) -> tuple[str, ...]:
        """The same of a member: also of one that is it by ``--bootstrap`` or by its folder, and not by settings."""
        return tuple(dict.fromkeys((*self._warnings, *self._inline_warnings())))

    @property
    def path(self) -> Path | None:
        """The file that was read, if any."""
        return self._path

    def source(self, key: str) -> str:
        """Where the value of a dotted key came from: the file, the variable, the flag, or ``default``."""
        if key in self._origins:
            return self._origins[key].source
        # Not loaded but built by a program: what is not the default was given there.
        return "default" if value_of(self, key) == SETTINGS[key].default else "given"

    def describe(self) -> list[SettingRow]:
        """Every setting with its value and source, secrets masked; ``[storage.s3]`` only where it is present."""
        rows = []
        for key in SETTINGS:
            if key.startswith("storage.s3.") and self.storage.s3 is None:
                continue
            shown, masked = mask(key, value_of(self, key))
            rows.append(SettingRow(key, shown, self.source(key), masked))
        return rows

    # --- what users of a Config need ---

    @property
    def data_dir(self) -> Path:
        """The ledger's folder, ``~`` expanded; relative to the working directory."""
        return Path(self.node.data_dir).expanduser()

    @property
    def listen_host(self) -> str:
        """The host to bind, without port or brackets."""
        return split_address(self.network.listen_addr)[0]

    @property
    def client_port(self) -> int:
        """The port of the HTTP API."""
        return self.network.client_port

    @property
    def raft_port(self) -> int:
        """The port that other members connect to."""
        return self.network.raft_port

    @property
    def advertised_address(self) -> str:
        """``host:port`` where clients reach this node's HTTP API, as it tells others."""
        host, port = split_address(self.node.address)
        return join_address(host, port or self.network.client_port)

    @property
    def advertised_raft_address(self) -> str:
        """``host:port`` where other members reach this node."""
        return join_address(split_address(self.node.address)[0], self.network.raft_port)

    @property
    def object_store_url(self) -> str:
        """The archive as a URL: ``object_store``, else the bucket of ``[storage.s3]``, else ``<data_dir>/objects``.

        Never empty. Region, endpoint and credentials of ``[storage.s3]`` are not in it: see ``storage.s3``.
        """
        if self.storage.object_store:
            return self.storage.object_store
        if self.storage.s3 is not None:
            return f"s3://{self.storage.s3.bucket}"
        return (self.data_dir / "objects").absolute().as_uri()

    @property
    def has_explicit_object_store(self) -> bool:
        """Whether the archive was named. A cluster archives nowhere else, since a node's own folder is not shared."""
        return bool(self.storage.object_store) or self.storage.s3 is not None

    def is_cluster_member(self, bootstrap: bool = False) -> bool:
        """Whether this node belongs to a cluster: it has seeds, discovery is enabled, or it founds one."""
        return bootstrap or self.discovery.enabled or bool(self.network.seed_peers)

    def check_exposure(self) -> None:
        """Refuse to listen beyond this machine unless the operator said so.

        Called by ``node.refusals`` for a node's start and ``scribe config check``; not on loading, since an embedded
        ledger never listens.
        """
        if is_loopback(self.listen_host) or self.network.insecure:
            return
        raise ConfigurationError(
            f"{self.source('network.listen_addr')}: network.listen_addr = {self.network.listen_addr} would let anyone "
            "who reaches this machine read and write the ledger: the API has no access control yet",
            hint="listen on 127.0.0.1, or set [network] insecure = true (SCRIBE_NETWORK_INSECURE=true) to allow it",
        )

    def _seed_warnings(self) -> list[str]:
        seeds = [seed for seed in self.network.seed_peers if split_address(seed)[1] == DISCOVERY_PORT]
        if not seeds:
            return []
        place = self._origins["network.seed_peers"].place()
        return [
            f"{place}: {seed} has port {DISCOVERY_PORT}, the original's discovery port: "
            "write the peer's raft_port (9001 unless it was changed)"
            for seed in seeds
        ]

    def _secret_warnings(self) -> list[str]:
        if not 0 < len(self.cluster.secret) < LEAST_SECRET:
            return []
        place = self._origins["cluster.secret"].place()
        problem = f"{place} has fewer than {LEAST_SECRET} characters: whoever records a handshake can guess it offline"
        return [f"{problem}; choose 32 random ones, the same on all members"]

    def _reserve_warnings(self) -> list[str]:
        given, kept = self.storage.disk_reserve, self.storage.kept_free
        if given == kept:
            return []
        place = f"{self.source('storage.disk_reserve')}: storage.disk_reserve = {given}"
        problem = f"{place} would leave too little room to start again after a crash, so {kept} is kept free"
        return [f"{problem}; set that or more, or 0 for no reserve at all"]

    def _inline_warnings(self) -> list[str]:
        """An object store would take such a value: that one is named is no reason to be silent."""
        given, most = self.storage.inline_max, MOST_INLINE_OF_MEMBER
        if given <= most:
            return []
        place = f"{self.source('storage.inline_max')}: storage.inline_max = {given}"
        problem = f"{place} is more than a message between members carries: values above {most} bytes may be refused"
        return [f"{problem} (413), up to that; set it to {most} or less on all members"]


def _settings_file(path: str | os.PathLike[str] | None) -> Path | None:
    if path is not None:
        return Path(path)
    return Path(DEFAULT_FILE) if Path(DEFAULT_FILE).exists() else None
