"""Reading once more what a network may have altered on its way: only what is wrong twice is wrong in the store."""

from __future__ import annotations

from typing import TYPE_CHECKING, TypeVar

from scribe_ledger.errors import ConfigurationError, Corruption

if TYPE_CHECKING:
    from collections.abc import Callable

T = TypeVar("T")


def twice(read: Callable[[], T]) -> T:
    """What it gives, the second time if it was wrong the first."""
    try:
        return read()
    except (Corruption, ConfigurationError):
        return read()
