"""What is refused, and that each refusal names the place, the key and the remedy."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest
from pydantic import ValidationError

from scribe_ledger.config import Config, NetworkSettings, NodeSettings, SettingsError
from scribe_ledger.config.catalogue import SETTINGS
from scribe_ledger.errors import KINDS, ConfigurationError

if TYPE_CHECKING:
    from pathlib import Path

    from tests.config.conftest import Load

WRONG_FILES = {
    # name: (file, what the message must hold besides the file's name)
    "text for a number": ('[network]\nclient_port = "8001"', 'network.client_port = "8001"', "without quotes"),
    "number for text": ("[node]\ndata_dir = 5", "node.data_dir = 5", "Give text"),
    "bool for a number": ("[node]\nid = true", "node.id = true", "a whole number"),
    "number for a bool": ("[network]\ninsecure = 1", "network.insecure = 1", "true or false"),
    "fraction for a whole number": ("[api]\nmax_batch_size = 1.5", "api.max_batch_size = 1.5", "a whole number"),
    "text for a list": ('[network]\nseed_peers = "a:1"', "network.seed_peers", "a list of texts"),
    "number in a list of texts": ("[network]\nseed_peers = [3]", "network.seed_peers, item 1, 3,", "item must be text"),
    "port too large": ("[network]\nclient_port = 70000", "network.client_port = 70000", "from 1 to 65535"),
    "port zero": ("[network]\nraft_port = 0", "network.raft_port = 0", "from 1 to 65535"),
    "port in listen_addr": ('[network]\nlisten_addr = "127.0.0.1:0"', "network.listen_addr", "from 1 to 65535"),
    "no host to listen on": ('[network]\nlisten_addr = ":8001"', "network.listen_addr", "0.0.0.0"),
    "star as a host": ('[network]\nlisten_addr = "*"', "network.listen_addr", "0.0.0.0"),
    "URL as an address": ('[node]\naddress = "http://db"', "node.address", "host:port alone"),
    "impossible IPv4": ('[node]\naddress = "10.0.0.300"', "node.address", "host or host:port"),
    "IPv6 without a bracket": ('[node]\naddress = "[::1"', "node.address", "[::1]:8001"),
    "seed without a port": ('[network]\nseed_peers = ["db2"]', "network.seed_peers, item 1", "db2:9001"),
    "negative size": ("[storage]\nsegment_size = -1", "storage.segment_size = -1", "1 or more"),
    "negative cache": ("[storage]\nmax_cache_size = -1", "storage.max_cache_size = -1", "0 or more"),
    "size beyond 63 bits": (f"[storage]\nhot_size = {1 << 63}", "storage.hot_size", f"from 0 to {(1 << 63) - 1}"),
    "far too large": (f"[storage]\nmax_cache_size = {10**22}", "is too large", f"from 0 to {(1 << 63) - 1}"),
    "unknown durability": ('[storage]\ndurability = "ful"', "storage.durability", "Did you mean full?"),
    "unknown codec": ('[storage.tiering]\ncompression = "lz4"', "storage.tiering.compression", "zstd or gzip"),
    "compression level": ("[storage.tiering]\ncompression_level = 12", "compression_level = 12", "from 0 to 9"),
    "unknown level": ('[logging]\nlevel = "warning"', "logging.level", "Did you mean warn?"),
    "origin with a space": ('[node]\nname = "my ledger"', "node.name", "plus sign"),
    "empty folder name": ('[node]\ndata_dir = ""', "node.data_dir", "leave the setting out"),
    "missing bucket": ('[storage.s3]\nregion = "x"', "storage.s3.bucket", "SCRIBE_STORAGE_S3_BUCKET"),
    "missing bucket in an empty table": ("[storage.s3]", "storage.s3.bucket", 'Add bucket = "…"'),
    "empty bucket": ('[storage.s3]\nbucket = ""', "storage.s3.bucket", "leave the table out"),
    "bucket as a URL": ('[storage.s3]\nbucket = "s3://b"', "storage.s3.bucket", "bare name"),
    "endpoint without a scheme": ('[storage.s3]\nbucket = "b"\nendpoint = "minio:9000"', "endpoint", "http://"),
    "half of the credentials": ('[storage.s3]\nbucket = "b"\naccess_key_id = "k"', "secret_access_key", "Set both"),
    "unsupported scheme": ('[storage]\nobject_store = "ftp://x"', "storage.object_store", "gs://"),
    "folder as object store": ('[storage]\nobject_store = "/srv/x"', "storage.object_store", "file:///"),
    "relative file URL": ('[storage]\nobject_store = "file://x"', "storage.object_store", "three slashes"),
    "object store without a bucket": ('[storage]\nobject_store = "s3://"', "storage.object_store", "s3://BUCKET"),
    "two archives": (
        '[storage]\nobject_store = "s3://a"\n[storage.s3]\nbucket = "b"',
        "storage.object_store",
        "[storage.s3]",
        "Keep one",
    ),
    "two archives, one half named": (
        '[storage]\nobject_store = "s3://a"\n[storage.s3]\npath_style = true',
        "storage.s3.bucket is missing",
        "Keep one",
    ),
    "two ports": ('[network]\nlisten_addr = "h:8005"\nclient_port = 8001', "listen_addr", "client_port", "disagree"),
    "one port for both": ("[network]\nclient_port = 9001", "network.client_port", "network.raft_port", "8001 and 9001"),
    "election below heartbeat": (
        "[consensus]\nelection_timeout_min = 50",
        "consensus.election_timeout_min = 50",
        "default: consensus.heartbeat_interval_ms = 100",
        "election_timeout_min = 500",
    ),
    "election minimum above maximum": (
        "[consensus]\nelection_timeout_min = 2000",
        "consensus.election_timeout_min = 2000",
        "default: consensus.election_timeout_max = 1000",
        "election_timeout_max = 4000",
    ),
    "certificate without a key": ('[cluster]\ntls_cert = "c.pem"', "cluster.tls_cert", "cluster.tls_key", "set all"),
    "relaxed in a cluster": (
        '[storage]\ndurability = "relaxed"\n[network]\nseed_peers = ["b:9001"]',
        "storage.durability",
        "network.seed_peers",
        'durability = "full"',
    ),
    "discovery with nowhere to look": ("[discovery]\nenabled = true\nmdns = false", "discovery.dns", "mdns = true"),
    "peers forgotten at once": ("[discovery]\nfailure_timeout_ms = 100", "discovery.failure_timeout_ms", "to 1500"),
    "log to no file": ('[logging]\noutput = "both"', "logging.output", "logging.file", "scribe.log"),
    "falling latency buckets": ("[metrics]\nlatency_buckets = [1, 0.5]", "metrics.latency_buckets", "[0.001, 0.01"),
    "infinite latency bucket": (
        "[metrics]\nlatency_buckets = [inf]",
        "metrics.latency_buckets",
        "item must be a number",
    ),
    "misspelt key": ("[network]\nclient_prot = 1", "network.client_prot", "Did you mean network.client_port?"),
    "key in the wrong table": ("[node]\nclient_port = 1", "node.client_port", "Did you mean network.client_port?"),
    "key outside a table": ("raft_port = 1", "raft_port", "Did you mean network.raft_port?"),
    "key like no other": ("[node]\nzzz = 1", "node.zzz", "the keys of [node] are id, address, data_dir, name"),
    "nearest in its own table": ("[network]\nlisten = 1", "network.listen", "Did you mean network.listen_addr?"),
    "nearest in full": ("[storage]\ns3bucket = 1", "storage.s3bucket", "Did you mean storage.s3.bucket?"),
    "nearest in another table": ("[node]\nraft_prt = 1", "node.raft_prt", "Did you mean network.raft_port?"),
    "key outside a table like no other": ("zzz = 1", "zzz is not a setting", "put it into its table"),
    "misspelt table": ("[netwrok]\nclient_port = 1", "[netwrok]", "Did you mean [network]?"),
    "table like no other": ("[zzz]\nx = 1", "[zzz]", "[storage.tiering]"),
    "value for a table": ("node = 5", "node = 5", "below a line [node]"),
    "not TOML": ("[node]\nid = \n", "line 2, column 6", "Mend that line"),
    "a table twice": ("[node]\nid = 1\n[node]\n", "line 3", "only once"),
    "a number without end": (f"[node]\nid = {'9' * 5000}", "is not TOML"),
}


@pytest.mark.parametrize("case", WRONG_FILES)
def test_wrong_file_names_file_key_and_remedy(case: str, load: Load) -> None:
    toml, *expected = WRONG_FILES[case]
    with pytest.raises(ConfigurationError) as caught:
        load(toml)
    for part in ("config.toml", *expected):
        assert part in str(caught.value)
    assert KINDS[caught.value.kind].exit_code == 3


WRONG_VARIABLES: dict[str, tuple[dict[str, str], list[str]]] = {
    "no number": ({"SCRIBE_NETWORK_CLIENT_PORT": "http"}, ["network.client_port", "a whole number from 1 to 65535"]),
    "empty number": ({"SCRIBE_NETWORK_CLIENT_PORT": ""}, ["network.client_port", "does not read as a whole number"]),
    "port out of range": ({"SCRIBE_NETWORK_CLIENT_PORT": "70000"}, ["network.client_port", "is too large"]),
    "no bool": ({"SCRIBE_NETWORK_INSECURE": "maybe"}, ["network.insecure", "true or false"]),
    "no choice": ({"SCRIBE_LOGGING_LEVEL": "wran"}, ["logging.level", "Did you mean warn?"]),
    "no numbers": ({"SCRIBE_METRICS_LATENCY_BUCKETS": "0.1,x"}, ["metrics.latency_buckets", "a list of numbers"]),
    "seed without a port": ({"SCRIBE_NETWORK_SEED_PEERS": "a:9001, b"}, ["item 2", "b:9001"]),
    "misspelt": ({"SCRIBE_NETWORK_CLIENT_PROT": "1"}, ["Did you mean SCRIBE_NETWORK_CLIENT_PORT?"]),
    "misspelt old name": ({"SCRIBE_CLIENT_PROT": "1"}, ["Did you mean SCRIBE_NETWORK_CLIENT_PORT?"]),
    "like no other": ({"SCRIBE_QQQQQQQQQQQQ": "1"}, ["Unset it"]),
    "service link": ({"SCRIBE_SERVICE_HOST": "10.0.0.1"}, ["enableServiceLinks"]),
    "old name, no number": ({"SCRIBE_RAFT_PORT": "x"}, ["network.raft_port", "a whole number"]),
    "old name and new": (
        {"SCRIBE_CLIENT_PORT": "8002", "SCRIBE_NETWORK_CLIENT_PORT": "8001"},
        ["disagree", "Keep only SCRIBE_NETWORK_CLIENT_PORT"],
    ),
    "credentials without a bucket": (
        {"SCRIBE_STORAGE_S3_ACCESS_KEY_ID": "key", "SCRIBE_STORAGE_S3_SECRET_ACCESS_KEY": "hush"},
        ["storage.s3.bucket is missing", "SCRIBE_STORAGE_S3_BUCKET"],
    ),
    "nothing but a wrong value for the bucket": (
        {"SCRIBE_STORAGE_S3_POOL_SIZE": "0"},
        ["storage.s3.pool_size", "is too small", "storage.s3.bucket is missing"],
    ),
}


@pytest.mark.parametrize("case", WRONG_VARIABLES)
def test_wrong_variable_is_named_with_its_remedy(case: str, load: Load) -> None:
    environ, expected = WRONG_VARIABLES[case]
    with pytest.raises(ConfigurationError) as caught:
        load(environ=environ)
    message = str(caught.value)
    assert "environment" in message
    for part in expected:
        assert part in message
    assert any(name in message for name in environ) or "storage.s3.bucket" in message


def test_wrong_flag_is_named(load: Load) -> None:
    with pytest.raises(ConfigurationError, match=r"flags: --port = 0 \(network.client_port\) is too small"):
        load(overrides={"network.client_port": 0})
    with pytest.raises(ConfigurationError, match=r"flags: --port = \"x\" .* does not read as a whole number"):
        load(overrides={"network.client_port": "x"})
    with pytest.raises(ConfigurationError, match=r"flags: node.idd is not a setting. Did you mean node.id\?"):
        load(overrides={"node.idd": 3})


def test_everything_wrong_is_reported_at_once(load: Load) -> None:
    toml = """
        [node]
        id = "one"
        [network]
        client_prot = 8001
        raft_tcp_port = 7001
        raft_port = 9001
        [storage]
        durability = "never"
        [logging]
        output = "file"
    """
    with pytest.raises(SettingsError) as caught:
        load(
            toml, environ={"SCRIBE_API_MAX_BATCH_SIZE": "lots", "SCRIBE_NODE_IDS": "1"}, overrides={"node.address": ""}
        )
    message = caught.value.message
    for part in (
        "config.toml: node.id",
        "config.toml: network.client_prot",
        "config.toml: network.raft_tcp_port = 7001",
        "config.toml: storage.durability",
        "config.toml: logging.output",
        "environment: SCRIBE_API_MAX_BATCH_SIZE",
        "environment: SCRIBE_NODE_IDS",
        "flags: node.address",
    ):
        assert part in message
    assert len(caught.value.problems) == 8
    assert message.startswith("8 problems in the settings:")
    assert message.count("\n") == 8
    assert caught.value.problems[0].to_json().keys() == {"place", "what", "remedy", "keys"}


def test_unreadable_file_still_reports_the_variables_but_guesses_nothing(load: Load) -> None:
    with pytest.raises(SettingsError) as caught:
        load("[storage.s3\n", environ={"SCRIBE_NOPE": "1", "SCRIBE_STORAGE_S3_REGION": "eu"})
    # What the unreadable file would have said about the bucket is unknown, so its absence is not a problem.
    assert [problem.place for problem in caught.value.problems] == [
        "config.toml: line 1, column 12:",
        "environment: SCRIBE_NOPE",
    ]


def test_wrong_value_is_not_replaced_by_a_default_that_then_disagrees(load: Load) -> None:
    with pytest.raises(SettingsError) as caught:
        load('[consensus]\nelection_timeout_min = "4000"\nelection_timeout_max = 8000\nheartbeat_interval_ms = 900')
    assert [problem.keys for problem in caught.value.problems] == [("consensus.election_timeout_min",)]


@pytest.mark.parametrize("path", ["missing.toml", "."])
def test_file_that_was_asked_for_must_be_readable(path: str, load: Load) -> None:
    load()
    with pytest.raises(ConfigurationError, match=r"cannot be read: .*-c/--config"):
        Config.load(path, environ={})


def test_file_must_be_utf8(tmp_path: Path) -> None:
    (tmp_path / "latin.toml").write_bytes(b'[node]\nname = "caf\xe9"')
    with pytest.raises(ConfigurationError, match=r"latin.toml: is not UTF-8 text"):
        Config.load(tmp_path / "latin.toml", environ={})


ODD_VALUES = [
    "{a = 1}",
    "[[1]]",
    "[{}]",
    "1979-05-27",
    "1.5",
    "nan",
    "true",
    '""',
    '"\\u0000"',
    "[]",
    str(1 << 70),
    "-1",
]


@pytest.mark.filterwarnings("ignore::scribe_ledger.config.ConfigurationWarning")
@pytest.mark.parametrize("key", SETTINGS)
def test_no_value_breaks_the_judgement_itself(key: str, load: Load) -> None:
    setting = SETTINGS[key]
    others = {"SCRIBE_STORAGE_S3_BUCKET": "b"} if key.startswith("storage.s3.") and key != "storage.s3.bucket" else {}
    messages = []
    for odd in ODD_VALUES:
        try:
            load(f"[{setting.section}]\n{setting.name} = {odd}", environ=others)
        except SettingsError as error:
            messages.append(error.message)
    assert len(messages) >= 6
    assert all(setting.name in message for message in messages)


def test_secrets_do_not_appear_in_messages(load: Load) -> None:
    toml = """
        [cluster]
        secret = ["hunter2"]
        [storage]
        object_store = "ftp://user:hunter2@host"
        [storage.s3]
        bucket = "b"
        secret_access_key = "hunter2"
        [discovery]
        cluster_secret = "hunter2"
    """
    with pytest.raises(ConfigurationError) as caught:
        load(toml)
    assert "hunter2" not in str(caught.value)
    assert "cluster.secret" in str(caught.value)


@pytest.mark.parametrize(
    "url", ["s3://key:hunter2@bucket", "gs://bucket/a?token=hunter2", "file://user:hunter2@/srv", "az://bucket/a#b"]
)
def test_an_object_store_is_a_bucket_and_a_prefix_alone(load: Load, url: str) -> None:
    with pytest.raises(ConfigurationError, match=r"storage\.object_store") as caught:
        load(f'[storage]\nobject_store = "{url}"')
    assert "hunter2" not in str(caught.value)


def test_settings_built_by_a_program_obey_the_same_rules() -> None:
    with pytest.raises(ConfigurationError, match=r"given: network.client_port = 9001, default: network.raft_port"):
        Config(network=NetworkSettings(client_port=9001))
    with pytest.raises(ConfigurationError, match="two different ports"):
        Config(network=NetworkSettings(listen_addr="127.0.0.1:8005"))
    with pytest.raises(ValidationError, match="frozen"):
        NodeSettings().id = 3
