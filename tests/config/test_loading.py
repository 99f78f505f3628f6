"""Which layer wins, how names are derived, and what a loaded Config tells its users."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from scribe_ledger.config import Config, ConfigurationWarning, NodeSettings
from scribe_ledger.config.catalogue import ENVIRONMENT, FLAGS, OTHER_VARIABLES, SETTINGS, as_toml
from scribe_ledger.config.configuration import MOST_INLINE_OF_MEMBER
from scribe_ledger.config.old_spellings import OLD_ENVIRONMENT
from scribe_ledger.config.sections import LEAST_RESERVE
from scribe_ledger.config.validation import value_of
from scribe_ledger.errors import ConfigurationError
from scribe_ledger.ledger.rocks import ALL_MEMTABLES_BYTES
from scribe_ledger.model import MAX_LEAF_BYTES, MAX_MESSAGE_BYTES, MAX_REQUEST_ID_BYTES, MESSAGE_HEAD_BYTES

if TYPE_CHECKING:
    from tests.config.conftest import Load

# For every setting a value that is not its default. Settings that need company bring it in COMPANY.
SAMPLES: dict[str, Any] = {
    "node.address": "db1:8101",
    "node.data_dir": "/srv/scribe",
    "node.name": "example.org/log",
    "network.listen_addr": "::1",
    "network.seed_peers": ("a:9001", "[::1]:9002"),
    "storage.object_store": "gs://bucket/prefix",
    "storage.s3.bucket": "archive",
    "storage.s3.endpoint": "http://localhost:9000",
    "consensus.election_timeout_min": 600,
    "discovery.dns": ("peers.example.org",),
    "metrics.latency_buckets": (0.5, 1.0),
}
COMPANY = {
    "storage.s3.access_key_id": {"storage.s3.secret_access_key": "s"},
    "storage.s3.secret_access_key": {"storage.s3.access_key_id": "a"},
    "cluster.tls_cert": {"cluster.tls_key": "k", "cluster.tls_ca": "c"},
    "cluster.tls_key": {"cluster.tls_cert": "k", "cluster.tls_ca": "c"},
    "cluster.tls_ca": {"cluster.tls_cert": "k", "cluster.tls_key": "c"},
    "logging.output": {"logging.file": "scribe.log"},
}


def sample(key: str) -> Any:
    setting = SETTINGS[key]
    if key in SAMPLES:
        return SAMPLES[key]
    if setting.choices:
        return next(choice for choice in setting.choices if choice != setting.default)
    if setting.kind == "bool":
        return not setting.default
    return setting.default + 1 if setting.kind == "int" else "some text that is long enough"


def with_company(key: str) -> dict[str, Any]:
    wanted = {key: sample(key), **COMPANY.get(key, {})}
    if key.startswith("storage.s3."):
        wanted.setdefault("storage.s3.bucket", "archive")
    return wanted


@pytest.mark.parametrize("key", SETTINGS)
def test_every_setting_loads_from_file_variable_and_flag(key: str, load: Load) -> None:
    wanted = with_company(key)
    lines = [f"[{SETTINGS[each].section}]\n{SETTINGS[each].name} = {as_toml(value)}" for each, value in wanted.items()]
    tables: dict[str, list[str]] = {}
    for line in lines:
        header, _, assignment = line.partition("\n")
        tables.setdefault(header, []).append(assignment)
    toml = "\n".join("\n".join([header, *assignments]) for header, assignments in tables.items())

    def text(value: Any) -> str:
        return ", ".join(map(str, value)) if isinstance(value, tuple) else str(value)

    from_file = load(toml)
    from_variable = load(environ={SETTINGS[each].environment: text(value) for each, value in wanted.items()})
    from_flag = load(overrides=wanted)
    for config in (from_file, from_variable, from_flag):
        assert value_of(config, key) == wanted[key] != SETTINGS[key].default
    assert from_file.source(key) == "config.toml"
    assert from_variable.source(key) == SETTINGS[key].environment
    assert from_flag.source(key) == FLAGS.get(key, key)


def test_later_layers_win(load: Load) -> None:
    toml = "[network]\nclient_port = 8101\nraft_port = 9101\n[node]\nid = 7"
    config = load(
        toml,
        environ={"SCRIBE_NETWORK_CLIENT_PORT": "8102", "SCRIBE_NETWORK_RAFT_PORT": "9102"},
        overrides={"network.client_port": 8103, "node.data_dir": None},
    )
    assert (config.node.id, config.raft_port, config.client_port) == (7, 9102, 8103)
    assert config.source("node.id") == "config.toml"
    assert config.source("network.raft_port") == "SCRIBE_NETWORK_RAFT_PORT"
    assert config.source("network.client_port") == "--port"
    assert config.source("node.data_dir") == "default"
    assert config.path == Path("config.toml")


def test_without_a_file_the_defaults_hold(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    config = Config.load(environ={})
    assert config.path is None
    assert config.model_dump() == Config().model_dump()
    assert {row.source for row in config.describe()} == {"default"}


def test_named_file_is_read_instead_of_the_default_one(load: Load, tmp_path: Path) -> None:
    load("[node]\nid = 1")
    other = tmp_path / "other.toml"
    other.write_text("\ufeff[node]\nid = 2\n", encoding="utf-8")  # some editors put a mark before UTF-8
    assert Config.load(str(other), environ={}).node.id == 2


def test_process_environment_is_the_default_source(load: Load, monkeypatch: pytest.MonkeyPatch) -> None:
    load()
    monkeypatch.setenv("SCRIBE_NODE_ID", "42")
    assert Config.load().node.id == 42


def test_variables_of_the_command_and_of_others_are_left_alone(load: Load) -> None:
    variables = dict.fromkeys(OTHER_VARIABLES, "anything")
    config = load(environ={**variables, "PATH": "/bin", "SCRIBED": "1"})
    assert config.model_dump() == Config().model_dump()


def test_environment_names_are_unambiguous() -> None:
    assert len(ENVIRONMENT) == len(SETTINGS)
    assert not ENVIRONMENT.keys() & OLD_ENVIRONMENT.keys()
    assert not (ENVIRONMENT.keys() | OLD_ENVIRONMENT.keys()) & OTHER_VARIABLES
    assert ENVIRONMENT["SCRIBE_STORAGE_S3_ACCESS_KEY_ID"] == "storage.s3.access_key_id"
    assert ENVIRONMENT["SCRIBE_STORAGE_TIERING_AGE_THRESHOLD_SECS"] == "storage.tiering.age_threshold_secs"


@pytest.mark.parametrize(("text", "expected"), [("true", True), ("1", True), ("ON", True), ("no", False), ("0", False)])
def test_bool_variables(text: str, expected: bool, load: Load) -> None:
    assert load(environ={"SCRIBE_LOGGING_ACCESS": text}).logging.access is expected


def test_empty_list_variable_empties_the_list(load: Load) -> None:
    config = load('[network]\nseed_peers = ["a:9001"]', environ={"SCRIBE_NETWORK_SEED_PEERS": ""})
    assert config.network.seed_peers == ()
    assert not config.is_cluster_member()


# --- addresses -------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("toml", "host", "port", "advertised"),
    [
        ("", "127.0.0.1", 8001, "127.0.0.1:8001"),
        ('listen_addr = "0.0.0.0:8005"', "0.0.0.0", 8005, "127.0.0.1:8005"),
        ('listen_addr = "h:8005"\nclient_port = 8005', "h", 8005, "127.0.0.1:8005"),
        ('listen_addr = "[::1]:8005"', "::1", 8005, "127.0.0.1:8005"),
        ('listen_addr = "::"', "::", 8001, "127.0.0.1:8001"),
        ('listen_addr = "[::]"\n[node]\naddress = "fd00::1"', "::", 8001, "[fd00::1]:8001"),
        ('[node]\naddress = "db1.example.org:80"', "127.0.0.1", 8001, "db1.example.org:80"),
    ],
)
def test_listen_and_advertised_addresses(toml: str, host: str, port: int, advertised: str, load: Load) -> None:
    config = load(f"[network]\n{toml}")
    assert (config.listen_host, config.client_port, config.advertised_address) == (host, port, advertised)


def test_flag_for_the_port_wins_over_the_port_in_listen_addr(load: Load) -> None:
    toml = '[network]\nlisten_addr = "127.0.0.1:8001"\nclient_port = 8001'
    assert load(toml, overrides={"network.client_port": 8100}).client_port == 8100
    assert load(toml, environ={"SCRIBE_NETWORK_LISTEN_ADDR": "127.0.0.1:8200"}).client_port == 8200


def test_members_reach_each_other_at_the_advertised_host(load: Load) -> None:
    assert load('[node]\naddress = "db1:8101"').advertised_raft_address == "db1:9001"


@pytest.mark.parametrize("host", ["127.0.0.1", "127.8.8.8", "::1", "localhost", "::ffff:127.0.0.1"])
def test_loopback_is_no_exposure(host: str, load: Load) -> None:
    load(f'[network]\nlisten_addr = "{host}"').check_exposure()


@pytest.mark.parametrize("host", ["0.0.0.0", "::", "10.0.0.5", "db1", "::ffff:10.0.0.5", "localhost.example.org"])
def test_exposure_needs_the_operators_word(host: str, load: Load) -> None:
    toml = f'[network]\nlisten_addr = "{host}"'
    with pytest.raises(ConfigurationError, match=r"config.toml: network.listen_addr = .*insecure = true"):
        load(toml).check_exposure()
    load(f"{toml}\ninsecure = true").check_exposure()


# --- membership and archive ------------------------------------------------------------------------------------


def test_membership() -> None:
    assert not Config().is_cluster_member()
    assert Config().is_cluster_member(bootstrap=True)
    assert Config.load(environ={}, overrides={"network.seed_peers": ["b:9001"]}).is_cluster_member()
    assert Config.load(environ={}, overrides={"discovery.enabled": True}).is_cluster_member()


def test_archive_is_a_folder_beside_the_data_unless_named(load: Load, tmp_path: Path) -> None:
    config = load('[node]\ndata_dir = "my data"')
    assert config.object_store_url == f"{tmp_path.as_uri()}/my%20data/objects"
    assert not config.has_explicit_object_store
    for toml, url in {
        '[storage]\nobject_store = "az://box/x"': "az://box/x",
        '[storage.s3]\nbucket = "archive"': "s3://archive",
    }.items():
        config = load(toml)
        assert config.object_store_url == url
        assert config.has_explicit_object_store


def test_home_is_expanded_in_the_data_folder() -> None:
    assert Config(node=NodeSettings(data_dir="~/ledger")).data_dir == Path.home() / "ledger"


def test_seed_with_the_originals_discovery_port_is_pointed_out(load: Load) -> None:
    with pytest.warns(ConfigurationWarning, match="original's discovery port") as caught:
        config = load('[network]\nseed_peers = ["a:9001", "b:17946"]')
    assert len(caught) == 1
    assert "config.toml: network.seed_peers: b:17946" in config.warnings[0]
    assert config.network.seed_peers == ("a:9001", "b:17946")


@pytest.mark.parametrize("secret", ["x", "fifteen letters"])
def test_a_secret_that_can_be_guessed_is_pointed_out_and_not_shown(load: Load, secret: str) -> None:
    with pytest.warns(ConfigurationWarning, match="fewer than 16 characters"):
        config = load(f'[cluster]\nsecret = "{secret}"')
    (warning,) = config.warnings
    assert warning.startswith("config.toml: cluster.secret has fewer than 16 characters") and "fifteen" not in warning
    assert config.cluster.secret == secret


@pytest.mark.parametrize("secret", ["", "sixteen letters!"])
def test_a_longer_secret_and_none_are_not(load: Load, secret: str) -> None:
    assert load(f'[cluster]\nsecret = "{secret}"').warnings == ()


def test_a_reserve_too_small_to_start_again_is_raised_and_pointed_out(load: Load) -> None:
    with pytest.warns(ConfigurationWarning, match=f"too little room to start again.*{LEAST_RESERVE} is kept free"):
        config = load("[storage]\ndisk_reserve = 1")
    assert config.warnings[0].startswith("config.toml: storage.disk_reserve = 1 ")
    assert (config.storage.disk_reserve, config.storage.kept_free) == (1, LEAST_RESERVE)


@pytest.mark.parametrize("reserve", [0, LEAST_RESERVE, LEAST_RESERVE + 1])
def test_any_other_is_kept_as_it_is(load: Load, reserve: int) -> None:
    config = load(f"[storage]\ndisk_reserve = {reserve}")
    assert (config.storage.kept_free, config.warnings) == (reserve, ())


def test_half_of_the_least_reserve_takes_all_that_the_engine_holds_in_memory() -> None:
    assert LEAST_RESERVE // 2 == ALL_MEMTABLES_BYTES
    assert f"below {LEAST_RESERVE} counts" in SETTINGS["storage.disk_reserve"].meaning


@pytest.mark.parametrize("member", ["[network]\nseed_peers = ['b:9001']", "[discovery]\nenabled = true\nmdns = true"])
def test_values_that_no_message_between_members_carries_are_pointed_out(load: Load, member: str) -> None:
    most = MOST_INLINE_OF_MEMBER
    assert load(f"[storage]\ninline_max = {most}\n{member}").member_warnings == ()
    with pytest.warns(ConfigurationWarning, match=f"storage.inline_max = {most + 1} is more than a message"):
        config = load(f"[storage]\ninline_max = {most + 1}\n{member}")
    assert len(config.warnings) == 1
    assert config.warnings[0].startswith("config.toml: storage.inline_max")
    assert config.member_warnings == config.warnings, "it is said once"


def test_they_are_where_a_flag_or_the_folder_makes_the_member(load: Load) -> None:
    config = load(f"[storage]\ninline_max = {32 << 20}")
    assert config.warnings == ()
    assert len(config.member_warnings) == 1


def test_the_largest_such_value_fits_with_any_key_and_metadata() -> None:
    around = MAX_LEAF_BYTES + MAX_REQUEST_ID_BYTES + 1024
    assert MOST_INLINE_OF_MEMBER + around <= MAX_MESSAGE_BYTES - MESSAGE_HEAD_BYTES


# --- describing ------------------------------------------------------------------------------------------------


def test_describe_masks_secrets_and_names_sources(load: Load) -> None:
    toml = """
        [storage.s3]
        bucket = "b"
        endpoint = "https://user:hunter2@minio:9000/?token=hunter2"
        access_key_id = "AKIA1234567890"
        secret_access_key = "hunter2"
        [cluster]
        secret = "hunter2 hunter2 hunter2"
    """
    config = load(toml, overrides={"node.id": 3})
    rows = {row.key: row for row in config.describe()}
    assert rows["cluster.secret"] == ("cluster.secret", "********", "config.toml", True)
    assert rows["storage.s3.secret_access_key"].value == "********"
    assert rows["storage.s3.access_key_id"].value == "AKIA********"
    assert rows["storage.s3.endpoint"].value == "https://********@minio:9000/?token=********"
    assert rows["node.id"] == ("node.id", 3, "--node-id", False)
    assert rows["storage.segment_size"].source == "default"
    assert "hunter2" not in repr(config) + repr(config.storage) + str(config.describe())
    assert config.cluster.secret == "hunter2 hunter2 hunter2"
    assert list(rows) == list(SETTINGS)


def test_describe_masks_short_keys(load: Load) -> None:
    config = load('[storage]\nobject_store = "s3://bucket/a@b"')
    rows = {row.key: row for row in config.describe()}
    assert rows["storage.object_store"].value == "s3://bucket/a@b"
    assert rows["cluster.secret"] == ("cluster.secret", "", "default", False)
    assert "storage.s3.bucket" not in rows
    s3 = '[storage.s3]\nbucket = "b"\naccess_key_id = "short"\nsecret_access_key = "s"'
    assert {row.key: row.value for row in load(s3).describe()}["storage.s3.access_key_id"] == "********"


def test_importing_settings_imports_no_engine() -> None:
    program = "import sys, scribe_ledger.config; print(*sys.modules)"
    answer = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)
    assert not {"pyarrow", "rocksdict", "obstore", "uvicorn", "cryptography", "click"} & set(answer.stdout.split())
