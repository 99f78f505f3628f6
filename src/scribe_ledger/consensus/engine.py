"""Whether the consensus engine is there. It is installed beside this package, and only members of a cluster need it.

A ledger that stands alone works without it, so ``scribe_raft`` is imported by modules that nothing but a member loads.
"""

from __future__ import annotations

from scribe_ledger.errors import ConfigurationError


def require_engine() -> None:
    """Raises what ``missing_engine`` says if the engine cannot be loaded."""
    try:
        import scribe_raft  # noqa: F401
    except ImportError as error:
        raise missing_engine() from error


def missing_engine() -> ConfigurationError:
    return ConfigurationError(
        "a cluster needs the consensus engine, scribe-raft, which is not installed or cannot be loaded here",
        hint='pip install "scribe-ledger[cluster]", or from a checkout: pip install ./raft',
    )
