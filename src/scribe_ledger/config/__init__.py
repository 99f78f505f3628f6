"""The settings of a node: one table of keys, three sources, one error that names everything wrong.

``sections`` is the table; ``catalogue`` derives names from it; ``layers`` reads file, environment and flags;
``old_spellings`` knows the original project's names; ``validation`` and ``checks`` judge; ``configuration`` is the
result. Imports nothing heavy besides pydantic, and opens nothing but the settings file.
"""

from __future__ import annotations

from scribe_ledger.config.configuration import Config, SettingRow
from scribe_ledger.config.problems import ConfigurationWarning, Problem, SettingsError
from scribe_ledger.config.sections import (
    ApiSettings,
    ClusterSettings,
    ConsensusSettings,
    DiscoverySettings,
    LedgerSettings,
    LoggingSettings,
    MetricsSettings,
    NetworkSettings,
    NodeSettings,
    S3Settings,
    Settings,
    StorageSettings,
    TieringSettings,
)

__all__ = [
    "ApiSettings",
    "ClusterSettings",
    "Config",
    "ConfigurationWarning",
    "ConsensusSettings",
    "DiscoverySettings",
    "LedgerSettings",
    "LoggingSettings",
    "MetricsSettings",
    "NetworkSettings",
    "NodeSettings",
    "Problem",
    "S3Settings",
    "SettingRow",
    "Settings",
    "SettingsError",
    "StorageSettings",
    "TieringSettings",
]
