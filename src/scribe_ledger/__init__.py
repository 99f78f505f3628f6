"""Scribe Ledger: an immutable, append-only key-value ledger whose every entry can be proven.

``from scribe_ledger import Ledger`` is all that most programs need. Names are loaded when they are first used, so that
checking a proof does not import the storage engine.
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING

from scribe_ledger.errors import (
    ConfigurationError,
    Conflict,
    Corruption,
    Forbidden,
    InvalidRequest,
    LedgerClosed,
    LedgerLocked,
    NotFound,
    OutcomeUnknown,
    Overloaded,
    PreconditionFailed,
    ScribeError,
    SerializationError,
    StorageError,
    TooLarge,
    Unavailable,
    VerificationError,
)
from scribe_ledger.model import Entry, Kind, Receipt
from scribe_ledger.version import __version__

if TYPE_CHECKING:
    from scribe_ledger import verify
    from scribe_ledger.config import Config
    from scribe_ledger.ledger.asynchronous import AsyncLedger
    from scribe_ledger.ledger.ledger import Ledger
    from scribe_ledger.merkle.checkpoint import Checkpoint
    from scribe_ledger.merkle.prooftext import ConsistencyProof, HistoryProof, Proof

__all__ = [
    "AsyncLedger",
    "Checkpoint",
    "Config",
    "ConfigurationError",
    "Conflict",
    "ConsistencyProof",
    "Corruption",
    "Entry",
    "Forbidden",
    "HistoryProof",
    "InvalidRequest",
    "Kind",
    "Ledger",
    "LedgerClosed",
    "LedgerLocked",
    "NotFound",
    "OutcomeUnknown",
    "Overloaded",
    "PreconditionFailed",
    "Proof",
    "Receipt",
    "ScribeError",
    "SerializationError",
    "StorageError",
    "TooLarge",
    "Unavailable",
    "VerificationError",
    "__version__",
    "verify",
]

_LAZY = {
    "AsyncLedger": "scribe_ledger.ledger.asynchronous",
    "Checkpoint": "scribe_ledger.merkle.checkpoint",
    "Config": "scribe_ledger.config",
    "ConsistencyProof": "scribe_ledger.merkle.prooftext",
    "HistoryProof": "scribe_ledger.merkle.prooftext",
    "Ledger": "scribe_ledger.ledger.ledger",
    "Proof": "scribe_ledger.merkle.prooftext",
}


def __getattr__(name: str) -> object:
    if name in _LAZY:
        return getattr(importlib.import_module(_LAZY[name]), name)
    if name == "verify":
        return importlib.import_module("scribe_ledger.verify")
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
