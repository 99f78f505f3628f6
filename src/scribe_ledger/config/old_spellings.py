"""The spellings of the original project that still load, each with one warning that names its successor.

Owns the table and the conversion of values. It does not decide between layers: an old spelling counts in the layer
where it stands, as if the new key had been written there.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from scribe_ledger.config.catalogue import ENVIRONMENT, SETTINGS, Kind, as_toml, environment_name
from scribe_ledger.config.problems import UnsuitableError

if TYPE_CHECKING:
    from collections.abc import Callable

DISCOVERY_PORT = 17946
"""Where nodes of the original looked for each other by UDP broadcast."""


@dataclass(frozen=True)
class OldSpelling:
    """One old key: the kind of its value, the settings it stands for, and why it is ignored if it is."""

    key: str
    kind: Kind
    successors: tuple[str, ...]
    convert: Callable[[Any], tuple[Any, ...]]
    ignored: str = ""

    def translate(self, value: Any) -> dict[str, Any]:
        """The settings meant by ``value``. Raises UnsuitableError where the value cannot be converted."""
        return dict(zip(self.successors, self.convert(value), strict=True))

    def warning(self, place: str, meant: dict[str, Any]) -> str:
        """``place`` already names the old spelling; values are shown only where the unit changed."""
        if self.ignored:
            return f"{place} is ignored: {self.ignored}"
        if self.convert is _unchanged:
            return f"{place} is the original's spelling: write {self.successors[0]}"
        now = " and ".join(f"{key} = {as_toml(value)}" for key, value in meant.items())
        return f"{place} is the original's spelling: write {now} (milliseconds)"


def _unchanged(value: Any) -> tuple[Any, ...]:
    return (value,)


def _nothing(_: Any) -> tuple[Any, ...]:
    return ()


def _milliseconds(value: Any) -> int:
    if isinstance(value, bool) or not isinstance(value, (int, float)) or not 0 < value < 1e9:
        raise UnsuitableError("is not a number of seconds", "Give a number above 0, without quotes")
    return max(1, round(value * 1000))


def _one_time(value: Any) -> tuple[Any, ...]:
    return (_milliseconds(value),)


def _least_and_twice(value: Any) -> tuple[Any, ...]:
    least = _milliseconds(value)
    return least, 2 * least


def _renamed(key: str, successor: str) -> OldSpelling:
    return OldSpelling(key, SETTINGS[successor].kind, (successor,), _unchanged)


_NO_BROADCAST = "UDP broadcast is replaced by mDNS ([discovery] mdns); remove it"

OLD_KEYS: dict[str, OldSpelling] = {
    old.key: old
    for old in (
        _renamed("storage.s3_bucket", "storage.s3.bucket"),
        _renamed("storage.s3_region", "storage.s3.region"),
        _renamed("storage.s3_endpoint", "storage.s3.endpoint"),
        _renamed("network.raft_tcp_port", "network.raft_port"),
        OldSpelling(
            "consensus.election_timeout",
            "float",
            ("consensus.election_timeout_min", "consensus.election_timeout_max"),
            _least_and_twice,
        ),
        OldSpelling("consensus.heartbeat_timeout", "float", ("consensus.heartbeat_interval_ms",), _one_time),
        _renamed("consensus.heartbeat_interval", "consensus.heartbeat_interval_ms"),
        _renamed("consensus.max_log_entries", "consensus.snapshot_logs_since_last"),
        _renamed("discovery.cluster_secret", "cluster.secret"),
        OldSpelling("discovery.discovery_port", "text", (), _nothing, _NO_BROADCAST),
        OldSpelling("discovery.broadcast_addr", "text", (), _nothing, _NO_BROADCAST),
    )
}
"""Old dotted key to its meaning."""

OLD_ENVIRONMENT: dict[str, OldSpelling] = {
    # The original also read its own keys as SCRIBE_<SECTION>_<KEY>. Where such a name is also the name of a present
    # setting (SCRIBE_STORAGE_S3_BUCKET), it simply is that setting.
    **{environment_name(key): old for key, old in OLD_KEYS.items() if environment_name(key) not in ENVIRONMENT},
    # SCRIBE_CLUSTER_SECRET is missing here for the same reason: it is the name of [cluster] secret.
    "SCRIBE_DATA_DIR": _renamed("SCRIBE_DATA_DIR", "node.data_dir"),
    "SCRIBE_LISTEN_ADDR": _renamed("SCRIBE_LISTEN_ADDR", "network.listen_addr"),
    "SCRIBE_CLIENT_PORT": _renamed("SCRIBE_CLIENT_PORT", "network.client_port"),
    "SCRIBE_RAFT_PORT": _renamed("SCRIBE_RAFT_PORT", "network.raft_port"),
    "SCRIBE_SEGMENT_SIZE": _renamed("SCRIBE_SEGMENT_SIZE", "storage.segment_size"),
    "SCRIBE_MAX_CACHE_SIZE": _renamed("SCRIBE_MAX_CACHE_SIZE", "storage.max_cache_size"),
    "SCRIBE_ELECTION_TIMEOUT_MIN_MS": _renamed("SCRIBE_ELECTION_TIMEOUT_MIN_MS", "consensus.election_timeout_min"),
    "SCRIBE_ELECTION_TIMEOUT_MAX_MS": _renamed("SCRIBE_ELECTION_TIMEOUT_MAX_MS", "consensus.election_timeout_max"),
    "SCRIBE_HEARTBEAT_INTERVAL_MS": _renamed("SCRIBE_HEARTBEAT_INTERVAL_MS", "consensus.heartbeat_interval_ms"),
}
"""Old environment name to its meaning."""
