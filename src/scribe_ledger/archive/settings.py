"""``ArchiveSettings``: what of the settings the archiver goes by."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from scribe_ledger.config import Config
    from scribe_ledger.segments.writing import Compression

GRACE_SECS = 86_400
"""How long what nobody refers to any more stays in the store: readers and uploads that have begun may still need it."""


@dataclass(frozen=True, kw_only=True)
class ArchiveSettings:
    """The defaults are those of ``[storage]`` and ``[storage.tiering]``, but for the reserve: a library has none."""

    segment_size: int = 64 << 20
    """Bytes of leaves and inline values that make a segment."""
    hot_size: int = 1 << 30
    """Bytes of archived entries that stay in the hot store as well."""
    disk_reserve: int = 0
    """Nothing is sealed or merged if that would leave less than this free on the disk of the data folder."""
    age_threshold_secs: int = 3600
    """When an entry is older than this, all that is pending is sealed, however little it is."""
    compression: Compression = "zstd"
    compression_level: int = 6
    check_interval_secs: float = 300
    """How often the background looks after what is archived. For pending entries it looks every second."""
    grace_secs: float = GRACE_SECS
    auto: bool = True
    """False: nothing happens in the background, only when ``run_once`` is called."""

    @classmethod
    def of(cls, config: Config) -> ArchiveSettings:
        tiering = config.storage.tiering
        return cls(
            segment_size=config.storage.segment_size,
            hot_size=config.storage.hot_size,
            disk_reserve=config.storage.kept_free,
            age_threshold_secs=tiering.age_threshold_secs,
            compression=tiering.compression if tiering.enable_compression else None,
            compression_level=tiering.compression_level,
            check_interval_secs=tiering.archival_check_interval_secs,
            auto=tiering.enable_auto_archival,
        )
