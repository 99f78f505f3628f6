"""What an archiver did in a pass, and how it stands: for answers, metrics and health."""

from __future__ import annotations

from typing import NamedTuple


class ArchiveResult(NamedTuple):
    """One pass."""

    manifest_version: int
    archived_size: int
    sealed: int
    """Segments that were added to the manifest."""
    evicted: int
    """Entries whose values left the hot store."""
    compacted: int
    """Segments that were replaced by larger ones."""
    removed: int
    """Objects that were deleted."""


class ArchiveStatus(NamedTuple):
    """Now. Everything but the first three and the errors is the ledger's state."""

    enabled: bool
    """Whether the settings ask for archiving in the background."""
    running: bool
    """Whether it goes on: False before ``start``, after ``stop``, and while it has ended."""
    gave_up: bool
    """Whether it was started, and has ended by an error that needs an operator: until a pass goes well."""
    pending_entries: int
    pending_bytes: int
    lag_seconds: float
    """The age of the oldest entry that is not archived, or how long it was seen to wait if that is more."""
    archived_size: int
    manifest_version: int
    last_success: int
    """When a pass last ended well, in milliseconds since 1970; 0 if none has."""
    last_error: str
    """What the last pass failed with; empty if it ended well."""
    failures_in_a_row: int
    object_store: str
    store_ok: bool
    """False while the last that was asked of the store failed."""
    segments: int
    archived_bytes: int
    evicted: int
