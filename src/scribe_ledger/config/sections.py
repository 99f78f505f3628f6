"""Every setting: its key, type, default, limits and meaning. One frozen model a section, strict about types.

This is the table that the rest derives from: environment names (``catalogue``), error wording, ``scribe config show``
and the tables in ``docs/reference/settings.md``. An empty text means "not set", since TOML has no null. Rules that
concern two settings live in ``checks``; where values come from, in ``layers``.
"""

from __future__ import annotations

import itertools
import re
from typing import Annotated, Any, Literal
from urllib.parse import urlsplit

from pydantic import AfterValidator, BaseModel, BeforeValidator, ConfigDict, Field

from scribe_ledger.config.addresses import split_address
from scribe_ledger.config.levels import LogLevel  # noqa: TC001 - pydantic reads the annotation
from scribe_ledger.config.problems import UnsuitableError

MAX_INTEGER = (1 << 63) - 1
"""What TOML promises to carry, and what the stores count with."""

OBJECT_STORE_SCHEMES = ("file", "s3", "gs", "az")


# --- kinds of value --------------------------------------------------------------------------------------------


def _as_tuple(value: Any) -> Any:
    """TOML and callers give lists; a frozen setting holds a tuple."""
    return tuple(value) if isinstance(value, list) else value


def _check_address(value: str) -> str:
    split_address(value)
    return value


def _check_listen_address(value: str) -> str:
    if value.partition(":")[0] in {"", "*"} and not value.startswith("::"):
        raise UnsuitableError("names no host to listen on", "Write 127.0.0.1 for this machine alone, 0.0.0.0 for all")
    return _check_address(value)


def _check_seed(value: str) -> str:
    host, port = split_address(value)
    if port is None:
        raise UnsuitableError("has no port", f"Write the peer's host:raft_port, such as {host}:9001")
    return value


def _check_text_given(value: str) -> str:
    if not value.strip():
        raise UnsuitableError("is empty", "Give a name, or leave the setting out")
    return value


def _check_origin(value: str) -> str:
    if re.search(r"[\s+]", value):
        raise UnsuitableError("holds a space or a plus sign", "Checkpoints cannot carry those in an origin: use - or /")
    return value


def _check_bucket(value: str) -> str:
    if not value:
        raise UnsuitableError("is empty", "Name the bucket, or leave the table out")
    if "/" in value or re.search(r"\s", value):
        raise UnsuitableError(
            "is not a bucket name", 'Give the bare name, such as "scribe-ledger", without s3:// or a path'
        )
    return value


def _check_endpoint(value: str) -> str:
    url = urlsplit(value)
    if value and (url.scheme not in {"http", "https"} or not url.hostname):
        raise UnsuitableError("is not an http:// or https:// URL", "Write it in full, such as http://localhost:9000")
    return value


def _check_object_store(value: str) -> str:
    if not value:
        return value
    scheme, separator, rest = value.partition("://")
    if not separator:
        raise UnsuitableError("is not a URL", "For a folder write file:///absolute/path, for a bucket s3://name")
    if scheme not in OBJECT_STORE_SCHEMES:
        known = ", ".join(f"{name}://" for name in OBJECT_STORE_SCHEMES)
        raise UnsuitableError(f"has the scheme {scheme}://, which is not supported", f"Use one of {known}")
    if scheme == "file" and not rest.startswith("/"):
        raise UnsuitableError(
            "is not an absolute file URL", "Write three slashes and the whole path: file:///srv/scribe"
        )
    if scheme != "file" and not urlsplit(value).netloc:
        raise UnsuitableError("names no bucket", f"Write {scheme}://BUCKET or {scheme}://BUCKET/prefix")
    if "@" in urlsplit(value).netloc:
        raise UnsuitableError("holds credentials", "Give them by [storage.s3] or the provider's variables instead")
    if urlsplit(value).query or urlsplit(value).fragment:
        raise UnsuitableError("has a query or a fragment", "Write a bucket and a prefix, nothing else")
    return value


def _check_buckets(value: tuple[float, ...]) -> tuple[float, ...]:
    if not value or value[0] <= 0 or any(low >= high for low, high in itertools.pairwise(value)):
        raise UnsuitableError("is not a rising list of positive seconds", "Write for example [0.001, 0.01, 0.1, 1.0]")
    return value


Port = Annotated[int, Field(ge=1, le=65535)]
Whole = Annotated[int, Field(ge=0, le=MAX_INTEGER)]
Positive = Annotated[int, Field(ge=1, le=MAX_INTEGER)]
Address = Annotated[str, AfterValidator(_check_address)]
Seeds = Annotated[tuple[Annotated[str, AfterValidator(_check_seed)], ...], BeforeValidator(_as_tuple)]
Names = Annotated[tuple[Annotated[str, AfterValidator(_check_text_given)], ...], BeforeValidator(_as_tuple)]
Seconds = Annotated[tuple[float, ...], BeforeValidator(_as_tuple), AfterValidator(_check_buckets)]


# --- the sections ----------------------------------------------------------------------------------------------


class Section(BaseModel):
    """What all sections share: no unknown keys, no silent conversions, no change after loading."""

    # Input is hidden because pydantic's own message would print secrets.
    model_config = ConfigDict(
        strict=True, frozen=True, extra="forbid", hide_input_in_errors=True, allow_inf_nan=False, validate_default=True
    )


class NodeSettings(Section):
    """`[node]`: who this node is and where it keeps its data."""

    id: Positive = Field(default=1, description="Label of this node in answers, logs and metrics.")
    address: Address = Field(
        default="127.0.0.1",
        description="Host, or `host:port`, that this node tells others to reach it at. Without a port, `client_port`.",
    )
    data_dir: Annotated[str, AfterValidator(_check_text_given)] = Field(
        default="./data",
        description="Folder of the ledger; `~` is expanded, relative paths start at the working directory.",
    )
    name: Annotated[str, AfterValidator(_check_origin)] = Field(
        default="",
        description="Origin of a ledger created here, the name on its checkpoints. Empty: `scribe-ledger/<id>`.",
    )


class NetworkSettings(Section):
    """`[network]`: what this node listens on and whom it calls."""

    listen_addr: Annotated[str, AfterValidator(_check_listen_address)] = Field(
        default="127.0.0.1",
        description="Host to listen on. `host:port` also sets `client_port`; if both are set they must agree.",
    )
    client_port: Port = Field(default=8001, description="Port of the HTTP API.")
    raft_port: Port = Field(default=9001, description="Port that the other members of a cluster use.")
    seed_peers: Seeds = Field(
        default=(), description="`host:raft_port` of other members. Having any makes this node a member."
    )
    insecure: bool = Field(
        default=False, description="Allow listening beyond this machine while the API has no access control."
    )


class S3Settings(Section):
    """`[storage.s3]`: the archive in an S3 bucket. Present as soon as one of its keys is set."""

    bucket: Annotated[str, AfterValidator(_check_bucket)] = Field(
        description="Bucket that holds the archive; in a cluster one bucket, shared by all nodes."
    )
    region: str = Field(default="us-east-1", description="Region of the bucket.")
    endpoint: Annotated[str, AfterValidator(_check_endpoint)] = Field(
        default="",
        repr=False,
        description="URL of an S3-compatible service. Empty: AWS. An `http://` URL allows plain HTTP.",
    )
    access_key_id: str = Field(
        default="",
        repr=False,
        description="Access key. Empty: the AWS variables of the environment, a web identity, or the machine's role.",
    )
    secret_access_key: str = Field(default="", repr=False, description="Secret of the access key; set both or neither.")
    path_style: bool = Field(
        default=False, description="Put the bucket into the path instead of the host; MinIO wants true."
    )
    pool_size: Positive = Field(default=10, description="Connections, at most; from 2 on one is spare.")
    timeout_secs: Positive = Field(default=30, description="Seconds that one request may take.")
    max_retries: Whole = Field(
        default=3,
        description="Tries of one request, at most, 100 ms × 2ⁿ with jitter apart. 0 counts as 1.",
    )


class TieringSettings(Section):
    """`[storage.tiering]`: when entries move to the object store, and how they are packed."""

    age_threshold_secs: Whole = Field(default=3600, description="Seal what is older than this many seconds.")
    enable_compression: bool = Field(default=True, description="Compress segments.")
    compression: Literal["zstd", "gzip"] = Field(default="zstd", description="Codec of segments.")
    compression_level: Annotated[int, Field(ge=0, le=9)] = Field(
        default=6, description="0 (fastest) to 9 (smallest), mapped to each codec's own scale."
    )
    enable_auto_archival: bool = Field(
        default=True, description="Archive in the background; false leaves it to requests."
    )
    archival_check_interval_secs: Positive = Field(default=300, description="Seconds between looks for work.")


LEAST_RESERVE = 128 << 20
"""Bytes of disk. Half of it is what sealing leaves, and takes all that the engine may hold in memory: a start after a
crash writes that as tables before any log is removed."""
MAKE_ROOM = f"make room there; [storage] disk_reserve may be lowered too, though not below {LEAST_RESERVE} bytes"
"""What to do where too little is free."""


def narrow_margin(reserve_bytes: int) -> int:
    """So little above the reserve no writes are taken where one did not fit. A larger one is refused alone."""
    return reserve_bytes // 16


class StorageSettings(Section):
    """`[storage]`: the hot store, its caches, and where the archive lives."""

    segment_size: Positive = Field(default=67_108_864, description="Seal a segment when this many bytes are pending.")
    max_cache_size: Whole = Field(default=268_435_456, description="Bytes of all value caches together.")
    hot_size: Whole = Field(
        default=1_073_741_824, description="Bytes of archived values kept in the hot store as well."
    )
    object_store: Annotated[str, AfterValidator(_check_object_store)] = Field(
        default="",
        repr=False,
        description="URL of the archive: `file://`, `s3://`, `gs://` or `az://`. Empty: `[storage.s3]` if present, "
        "else `<data_dir>/objects`.",
    )
    object_store_timeout_secs: Positive = Field(
        default=30, description="Seconds that one request to it may take; `[storage.s3]` has its own."
    )
    inline_max: Whole = Field(
        default=262_144, description="Values up to this many bytes travel inside the log; larger ones become objects."
    )
    durability: Literal["full", "relaxed"] = Field(
        default="full",
        description="`full`: a write is answered when it is synced. `relaxed`: synced at most `flush_interval_ms` "
        "later; refused in a cluster.",
    )
    flush_interval_ms: Positive = Field(
        default=200, description="Longest unsynced time under `relaxed`, in milliseconds."
    )
    disk_reserve: Whole = Field(
        default=268_435_456,
        description="With less than this many bytes of disk free, writes get 503; in a cluster, on the leader's disk. "
        "What is above 0 and below 134217728 counts as that; 0: no reserve.",
    )
    s3: S3Settings | None = None
    tiering: TieringSettings = TieringSettings()

    @property
    def kept_free(self) -> int:
        """The reserve as it is kept: one that leaves no room to start again would be none."""
        return max(self.disk_reserve, LEAST_RESERVE) if self.disk_reserve else 0


class ConsensusSettings(Section):
    """`[consensus]`: timing and log keeping of the cluster. The same on all members."""

    election_timeout_min: Positive = Field(
        default=500, description="Shortest wait for a leader before an election, in milliseconds; above the heartbeat."
    )
    election_timeout_max: Positive = Field(
        default=1000, description="Longest such wait, in milliseconds; above the shortest, twice it is usual."
    )
    heartbeat_interval_ms: Positive = Field(default=100, description="Milliseconds between a leader's heartbeats.")
    max_payload_entries: Positive = Field(
        default=300, description="Writes that travel together as one log entry, at most, and up to 64 KiB of them."
    )
    snapshot_logs_since_last: Positive = Field(default=5000, description="Log entries after which the log is cut.")
    max_in_snapshot_log_to_keep: Whole = Field(
        default=1000, description="Entries kept when the log is cut, so that a slow follower needs no snapshot."
    )
    log_max_bytes: Whole = Field(default=268_435_456, description="Cut the log beyond this many bytes; 0: no limit.")
    log_max_age_secs: Whole = Field(default=0, description="Cut what is older than this many seconds; 0: no limit.")
    snapshots_keep: Positive = Field(default=2, description="Snapshots kept on disk.")
    replace_wiped: bool = Field(
        default=False, description="Let a node that lost its folder replace its old self without an operator's word."
    )


class ClusterSettings(Section):
    """`[cluster]`: how members prove to each other that they belong."""

    secret: str = Field(default="", repr=False, description="Shared secret, proven by challenge and never sent.")
    tls_cert: str = Field(
        default="", description="PEM file of this node's certificate, for mutual TLS between members."
    )
    tls_key: str = Field(default="", description="PEM file of its private key.")
    tls_ca: str = Field(default="", description="PEM file of the authority that signs the members' certificates.")


class DiscoverySettings(Section):
    """`[discovery]`: finding members without listing them."""

    enabled: bool = Field(default=False, description="Look for peers. Makes this node a cluster member.")
    dns: Names = Field(default=(), description="Names whose addresses are peers, such as a headless service.")
    mdns: bool = Field(default=True, description="Look on the local network by multicast DNS.")
    heartbeat_interval_ms: Positive = Field(default=500, description="Milliseconds between announcements.")
    failure_timeout_ms: Positive = Field(default=1500, description="Silence after which a found peer is forgotten.")


class ApiSettings(Section):
    """`[api]`: deadlines and limits of requests."""

    write_timeout_secs: Positive = Field(default=30, description="Deadline of a write in seconds, elections included.")
    read_timeout_secs: Positive = Field(default=10, description="Deadline of a read in seconds.")
    max_batch_size: Positive = Field(default=10_000, description="Operations in one atomic batch.")
    max_batch_bytes: Positive = Field(default=4_194_304, description="Bytes of one atomic batch.")
    cache_capacity: Whole = Field(default=100_000, description="Entries in the value cache; 0: no cache.")
    max_value_size: Whole = Field(default=0, description="Largest value in bytes; 0: no limit.")


class LoggingSettings(Section):
    """`[logging]`: what is logged, how, and where to."""

    level: LogLevel = Field(default="info", description="Least level logged.")
    format: Literal["auto", "text", "json"] = Field(
        default="auto", description="`auto`: text on a terminal, else JSON."
    )
    output: Literal["console", "file", "both"] = Field(default="console", description="Where logs go.")
    file: str = Field(default="", description="Log file; needed with `file` and `both`.")
    rotate_bytes: Whole = Field(default=104_857_600, description="Start a new file beyond this many bytes; 0: never.")
    rotate_keep: Whole = Field(default=5, description="Old log files kept.")
    access: bool = Field(default=True, description="Log each request.")


class MetricsSettings(Section):
    """`[metrics]`: what is measured."""

    latency_buckets: Seconds = Field(
        default=(0.0001, 0.00025, 0.0005, 0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0),
        description="Upper bounds in seconds of the latency histograms, rising.",
    )


class LedgerSettings(Section):
    """`[ledger]`: policies. They become ledger state at creation; a node whose settings disagree refuses to start."""

    overwrite: Literal["version", "forbid"] = Field(
        default="version", description="A second put of a key: a new version, or refused."
    )
    deletes: Literal["tombstone", "forbid"] = Field(
        default="tombstone", description="A delete: a tombstone, or refused."
    )


class Settings(Section):
    """All sections. A key left out has its default."""

    node: NodeSettings = NodeSettings()
    network: NetworkSettings = NetworkSettings()
    storage: StorageSettings = StorageSettings()
    consensus: ConsensusSettings = ConsensusSettings()
    cluster: ClusterSettings = ClusterSettings()
    discovery: DiscoverySettings = DiscoverySettings()
    api: ApiSettings = ApiSettings()
    logging: LoggingSettings = LoggingSettings()
    metrics: MetricsSettings = MetricsSettings()
    ledger: LedgerSettings = LedgerSettings()
