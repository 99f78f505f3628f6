"""The original's files and variables load, mean what they meant, and are answered with one warning each."""

from __future__ import annotations

import warnings
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from scribe_ledger.config import Config, ConfigurationWarning
from scribe_ledger.config.validation import value_of
from scribe_ledger.errors import ConfigurationError

if TYPE_CHECKING:
    from tests.config.conftest import Load

ORIGINAL = Path(__file__).parent / "original"


def read_env(name: str) -> dict[str, str]:
    return dict(line.split("=", 1) for line in (ORIGINAL / name).read_text().splitlines() if line)


def test_first_file_means_what_it_meant() -> None:
    with pytest.warns(ConfigurationWarning) as caught:
        config = Config.load(ORIGINAL / "first.toml", environ={})
    assert (config.node.id, config.data_dir) == (1, Path("./data"))
    assert (config.listen_host, config.client_port, config.raft_port) == ("127.0.0.1", 8080, 8081)
    assert config.advertised_address == "127.0.0.1:8001"
    assert (config.consensus.election_timeout_min, config.consensus.election_timeout_max) == (10_000, 20_000)
    assert config.consensus.heartbeat_interval_ms == 3000
    assert config.consensus.snapshot_logs_since_last == 1000
    assert config.storage.segment_size == 1_048_576
    assert config.storage.s3 is not None
    assert config.storage.s3.bucket == "scribe-ledger"
    assert config.storage.s3.endpoint == "http://localhost:9000"
    assert not config.is_cluster_member()

    assert tuple(str(each.message) for each in caught) == config.warnings
    expected = {
        "storage.s3_bucket": "write storage.s3.bucket",
        "storage.s3_region": "write storage.s3.region",
        "storage.s3_endpoint": "write storage.s3.endpoint",
        "consensus.election_timeout": "election_timeout_min = 10000 and consensus.election_timeout_max = 20000",
        "consensus.heartbeat_timeout": "consensus.heartbeat_interval_ms = 3000 (milliseconds)",
        "consensus.max_log_entries": "write consensus.snapshot_logs_since_last",
        "network.raft_tcp_port": "write network.raft_port",
    }
    assert len(config.warnings) == len(expected)
    for old, new in expected.items():
        (warning,) = [each for each in config.warnings if f"first.toml: {old} is" in each]
        assert new in warning
    assert config.source("network.raft_port").endswith("first.toml (network.raft_tcp_port)")


def test_first_variables_override_the_first_file() -> None:
    with pytest.warns(ConfigurationWarning):
        config = Config.load(ORIGINAL / "first.toml", environ=read_env("first.env"))
    assert (config.node.id, config.client_port, config.raft_port) == (2, 8090, 8082)
    assert config.source("network.raft_port") == "SCRIBE_NETWORK_RAFT_TCP_PORT"
    assert any("SCRIBE_NETWORK_RAFT_TCP_PORT" in each and "network.raft_port" in each for each in config.warnings)


def test_first_variables_alone(load: Load) -> None:
    with pytest.warns(ConfigurationWarning) as caught:
        config = load(environ=read_env("first.env"))
    assert (config.node.id, config.client_port, config.raft_port) == (2, 8090, 8082)
    assert len(caught) == 1


def test_second_file_needs_no_warning() -> None:
    config = Config.load(ORIGINAL / "second.toml", environ={})
    assert config.warnings == ()
    assert (config.listen_host, config.client_port, config.raft_port) == ("127.0.0.1", 8001, 9001)
    assert config.data_dir == Path("node-1")
    consensus = config.consensus
    assert (consensus.election_timeout_min, consensus.election_timeout_max) == (1500, 3000)
    assert consensus.heartbeat_interval_ms == 300


def test_s3_tables_can_be_appended_to_the_second_file(load: Load) -> None:
    config = load((ORIGINAL / "second.toml").read_text() + "\n" + (ORIGINAL / "second-s3.toml").read_text())
    assert config.warnings == ()
    s3 = config.storage.s3
    assert s3 is not None
    assert (s3.bucket, s3.access_key_id, s3.path_style) == ("scribe-ledger-node1", "minioadmin", True)
    assert config.object_store_url == "s3://scribe-ledger-node1"
    assert config.storage.tiering.archival_check_interval_secs == 300


OLD_KEYS: dict[str, dict[str, Any]] = {
    "[storage]\ns3_bucket = 'b'": {"storage.s3.bucket": "b"},
    "[storage]\ns3_bucket = 'b'\ns3_region = 'eu'": {"storage.s3.region": "eu"},
    "[storage]\ns3_bucket = 'b'\ns3_endpoint = 'http://x'": {"storage.s3.endpoint": "http://x"},
    "[network]\nraft_tcp_port = 7001": {"network.raft_port": 7001},
    "[consensus]\nelection_timeout = 1.5": {
        "consensus.election_timeout_min": 1500,
        "consensus.election_timeout_max": 3000,
    },
    "[consensus]\nheartbeat_timeout = 0.25": {"consensus.heartbeat_interval_ms": 250},
    "[consensus]\nheartbeat_interval = 300": {"consensus.heartbeat_interval_ms": 300},
    "[consensus]\nmax_log_entries = 77": {"consensus.snapshot_logs_since_last": 77},
    "[discovery]\ncluster_secret = 'hush'": {"cluster.secret": "hush"},
    "[discovery]\ndiscovery_port = 17946": {},
    "[discovery]\nbroadcast_addr = '255.255.255.255'": {},
}


@pytest.mark.parametrize("toml", OLD_KEYS)
def test_old_key_is_translated_with_one_warning(toml: str, load: Load) -> None:
    old_key = toml.splitlines()[-1].split(" ")[0]
    with pytest.warns(ConfigurationWarning):
        config = load(toml)
    (warning,) = [each for each in config.warnings if f".{old_key} is" in each]
    for key, value in OLD_KEYS[toml].items():
        assert value_of(config, key) == value
        assert key in warning
    assert "hush" not in warning
    if not OLD_KEYS[toml]:
        assert config.model_dump() == Config().model_dump()
        assert "ignored" in warning
        assert "mDNS" in warning


OLD_VARIABLES = {
    "SCRIBE_DATA_DIR": ("./x", "node.data_dir", "./x"),
    "SCRIBE_LISTEN_ADDR": ("::1", "network.listen_addr", "::1"),
    "SCRIBE_CLIENT_PORT": ("8100", "network.client_port", 8100),
    "SCRIBE_RAFT_PORT": ("9100", "network.raft_port", 9100),
    "SCRIBE_SEGMENT_SIZE": ("1000", "storage.segment_size", 1000),
    "SCRIBE_MAX_CACHE_SIZE": ("1000", "storage.max_cache_size", 1000),
    "SCRIBE_ELECTION_TIMEOUT_MIN_MS": ("700", "consensus.election_timeout_min", 700),
    "SCRIBE_ELECTION_TIMEOUT_MAX_MS": ("2000", "consensus.election_timeout_max", 2000),
    "SCRIBE_HEARTBEAT_INTERVAL_MS": ("120", "consensus.heartbeat_interval_ms", 120),
    "SCRIBE_NETWORK_RAFT_TCP_PORT": ("9100", "network.raft_port", 9100),
    "SCRIBE_CONSENSUS_HEARTBEAT_TIMEOUT": ("0.2", "consensus.heartbeat_interval_ms", 200),
}


@pytest.mark.parametrize("name", OLD_VARIABLES)
def test_old_variable_is_translated_with_one_warning(name: str, load: Load) -> None:
    text, key, value = OLD_VARIABLES[name]
    with pytest.warns(ConfigurationWarning):
        config = load(environ={name: text})
    assert value_of(config, key) == value
    assert config.source(key) == name
    (warning,) = config.warnings
    assert name in warning
    assert key in warning


def test_cluster_secret_variable_is_old_and_new_at_once(load: Load) -> None:
    config = load(environ={"SCRIBE_CLUSTER_SECRET": "hush, hush, hush"})
    assert config.cluster.secret == "hush, hush, hush"
    assert config.warnings == ()


@pytest.mark.parametrize(
    ("toml", "expected"),
    [
        ("[network]\nraft_tcp_port = 7001\nraft_port = 9001", "network.raft_tcp_port = 7001"),
        ("[storage]\ns3_bucket = 'a'\n[storage.s3]\nbucket = 'b'", "storage.s3_bucket"),
        ("[consensus]\nelection_timeout = 1\nelection_timeout_max = 5000", "consensus.election_timeout_max = 5000"),
        ("[consensus]\nheartbeat_timeout = 1\nheartbeat_interval = 100", "consensus.heartbeat_interval = 100"),
        ("[discovery]\ncluster_secret = 'a'\n[cluster]\nsecret = 'b'", "discovery.cluster_secret"),
    ],
)
def test_old_and_new_that_differ_are_refused(toml: str, expected: str, load: Load) -> None:
    with pytest.raises(ConfigurationError, match="disagree") as caught:
        load(toml)
    assert expected in str(caught.value)


def test_old_and_new_that_agree_only_warn(load: Load) -> None:
    with pytest.warns(ConfigurationWarning, match="write network.raft_port"):
        config = load("[network]\nraft_tcp_port = 7001\nraft_port = 7001")
    assert config.raft_port == 7001


@pytest.mark.parametrize("value", ['"10"', "0", "-1", "true", "1e12"])
def test_old_seconds_must_be_seconds(value: str, load: Load) -> None:
    with pytest.raises(ConfigurationError, match=r"consensus.election_timeout = .*number of seconds"):
        load(f"[consensus]\nelection_timeout = {value}")


def test_old_value_out_of_range_is_named_as_it_was_written(load: Load) -> None:
    with pytest.raises(ConfigurationError, match=r"network.raft_tcp_port = 70000 \(network.raft_port\) is too large"):
        load("[network]\nraft_tcp_port = 70000")


def test_present_spellings_do_not_warn(load: Load) -> None:
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        load("[network]\nraft_port = 9001", environ={"SCRIBE_NETWORK_CLIENT_PORT": "8001"})
