"""The settings of a node: one table of keys, three sources, one error that names everything wrong.

``sections`` is the table; ``catalogue`` derives names from it; ``layers`` reads file, environment and flags;
``old_spellings`` knows the original project's names; ``validation`` and ``checks`` judge; ``configuration`` is the
result. Imports nothing heavy besides pydantic, and opens nothing but the settings file.

The models are built when one of their names is first used: pydantic takes longer than most commands, and who needs no
more than ``addresses`` shall not wait for it.
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING

from scribe_ledger.config.problems import ConfigurationWarning, Problem, SettingsError

if TYPE_CHECKING:
    from scribe_ledger.config.configuration import Config, SettingRow
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


def __getattr__(name: str) -> object:
    if name not in __all__:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    home = "configuration" if name in {"Config", "SettingRow"} else "sections"
    return getattr(importlib.import_module(f"{__name__}.{home}"), name)
