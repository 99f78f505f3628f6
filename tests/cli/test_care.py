"""``stats``, ``fsck``, ``keygen``, ``config`` and ``bench``."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest
from click.testing import CliRunner
from tests.consensus.transport.certificates import Authority

from scribe_ledger.cli.node import scribe_node
from scribe_ledger.ledger.check import Problem, Report
from scribe_ledger.ledger.ledger import Ledger
from scribe_ledger.merkle.note import Signer, Verifier

if TYPE_CHECKING:
    from pathlib import Path

    from tests.cli.conftest import Cli

pytestmark = pytest.mark.storage


def test_stats_count(cli: Cli) -> None:
    cli("put", "a", "one")
    cli("put", "b", "three")
    cli("delete", "a")
    found = cli("stats", "--json").document
    assert (found["entries"], found["keys"], found["live_keys"], found["value_bytes"]) == (3, 2, 1, 8)
    assert Verifier.parse(found["public_key"]).name == found["origin"]
    shown = cli("stats").text
    assert "keys          2 (1 live)\n" in shown
    assert found["public_key"] in shown


def test_stats_of_an_empty_ledger(cli: Cli) -> None:
    with Ledger.open(cli.data):
        pass
    assert "last entry    none\n" in cli("stats").text


def test_fsck_of_a_sound_ledger(cli: Cli) -> None:
    cli("put", "a", "one")
    root = cli("checkpoint", "--json").document["root"]
    assert cli("fsck").text == f"1 entry checked, root {root}: no faults\n"
    assert cli("fsck", "--json").document == {"ok": True, "entries": 1, "root": root, "problems": []}


def test_fsck_names_the_place_of_each_fault(cli: Cli, monkeypatch: pytest.MonkeyPatch) -> None:
    cli("put", "a", "one")
    problems = [Problem("entry 0", "the value of key b'\x1b' does not match its digest"), Problem("tile 0", "missing")]
    monkeypatch.setattr(Ledger, "verify", lambda *_: Report(1, bytes(32), problems))
    assert cli("fsck", code=1).text.splitlines() == [
        "entry 0: the value of key b'\\x1b' does not match its digest",
        "tile 0: missing",
        f"1 entry checked, root {bytes(32).hex()}: 2 faults",
    ]
    found = cli("fsck", "--json", code=1).document
    assert not found["ok"]
    assert found["problems"][1] == {"place": "tile 0", "problem": "missing"}


def test_fsck_finds_a_value_that_was_changed_on_disk(cli: Cli, tmp_path: Path) -> None:
    (tmp_path / "in").write_bytes(bytes(300 << 10))
    cli("put", "large", "-f", "in")
    (blob,) = [path for path in (cli.data / "objects").rglob("*") if path.is_file() and not path.suffix]
    blob.write_bytes(b"x" + blob.read_bytes()[1:])
    (problem,) = cli("fsck", "--json", code=1).document["problems"]
    assert problem["place"] == "entry 0"


def test_fsck_of_what_does_not_even_open_is_a_finding(cli: Cli) -> None:
    cli("put", "a", "one")
    cli("checkpoint")
    (cli.data / "head").write_bytes(b"x" * 100)
    found = cli("fsck", "--json", code=1).document
    assert found["problems"][0]["place"] == "opening the ledger"
    assert "head" in found["problems"][0]["problem"]


def test_keygen_prints_a_pair(cli: Cli) -> None:
    private, public = cli("keygen", "example.org/log").text.splitlines()
    assert str(Signer.parse(private).verifier) == public
    found = cli("keygen", "example.org/log", "--json").document
    assert str(Signer.parse(found["private_key"]).verifier) == found["public_key"]


def test_keygen_writes_a_file_for_the_owner_alone(cli: Cli, tmp_path: Path) -> None:
    public = cli("keygen", "example.org/log", "-o", "key").text.strip()
    file = tmp_path / "key"
    assert str(Signer.parse(file.read_text().strip()).verifier) == public
    assert file.stat().st_mode & 0o777 == 0o600
    before = file.read_bytes()
    cli("keygen", "example.org/log", "-o", "key", code=2)
    assert file.read_bytes() == before
    found = cli("keygen", "other", "-o", "other", "--json").document
    assert found.keys() == {"name", "public_key", "file"}


def test_config_show_masks_secrets_and_names_sources(cli: Cli, tmp_path: Path) -> None:
    (tmp_path / "c.toml").write_text('[cluster]\nsecret = "do not tell anybody"\n[node]\nid = 7\n')
    cli.environment["SCRIBE_NETWORK_CLIENT_PORT"] = "8100"
    shown = cli("config", "show", "-c", "c.toml").text
    assert "do not tell" not in shown
    rows = {row["key"]: row for row in cli("config", "show", "-c", "c.toml", "--json").document["settings"]}
    assert rows["cluster.secret"]["masked"]
    assert "do not tell" not in str(rows)
    assert (rows["node.id"]["value"], rows["node.id"]["source"]) == (7, "c.toml")
    assert rows["network.client_port"]["source"] == "SCRIBE_NETWORK_CLIENT_PORT"
    assert rows["node.address"]["source"] == "default"
    assert [line.split()[0] for line in shown.splitlines()] == list(rows)


def test_config_check_lists_all_errors(cli: Cli, tmp_path: Path) -> None:
    (tmp_path / "config.toml").write_text("[network]\nclient_port = 70000\nclient_prt = 1\n")
    shown = cli("config", "check", code=3).err
    assert "70000" in shown
    assert "client_prt" in shown
    error = cli("config", "check", "--json", code=3).error
    assert error["kind"] == "configuration"
    assert len(error["problems"]) == 2
    cli("config", "show", code=3)


def test_config_check_refuses_exposure_as_a_node_does(cli: Cli, tmp_path: Path) -> None:
    exposed = '[network]\nlisten_addr = "0.0.0.0"\n'
    (tmp_path / "config.toml").write_text(exposed)
    assert "insecure = true" in cli("config", "check", "--json", code=3).error["hint"]
    cli("config", "show")
    (tmp_path / "config.toml").write_text(f"{exposed}insecure = true\n")
    cli("config", "check")


def test_config_check_warns_a_member_of_values_that_no_message_carries(cli: Cli, tmp_path: Path) -> None:
    (tmp_path / "config.toml").write_text('[storage]\ninline_max = 33554432\n[network]\nseed_peers = ["b:9001"]')
    (warning,) = cli("config", "check", "--json").document["warnings"]
    assert "inline_max = 33554432 is more than a message between members" in warning
    assert f"warning: {warning}\n" == cli("config", "check").err


def test_config_check_reads_the_tls_files_as_a_node_does(cli: Cli, tmp_path: Path) -> None:
    def judged(cert: str, key: str) -> str:
        lines = [f'tls_cert = "{cert}"', f'tls_key = "{key}"', f'tls_ca = "{good.tls_ca}"']
        (tmp_path / "config.toml").write_text("\n".join(["[cluster]", *lines]))
        done = CliRunner().invoke(scribe_node, ["--config", "config.toml", "--data-dir", "node"])
        assert done.exit_code == 3
        message = str(cli("config", "check", "--json", code=3).error["message"])
        assert done.stderr.startswith(f"scribe-node: {message}")
        assert not (tmp_path / "node").exists()
        return message

    authority = Authority.make(tmp_path / "certificates")
    good, other = authority.member("one"), authority.member("other")
    assert judged("gone.pem", good.tls_key).startswith("config.toml: cluster.tls_cert = gone.pem is not there")
    assert judged(good.tls_cert, "config.toml").startswith("the cluster's TLS files cannot be used: ")
    assert judged(good.tls_cert, other.tls_key).startswith("the cluster's TLS files cannot be used: ")
    text = f'[cluster]\ntls_cert = "{good.tls_cert}"\ntls_key = "{good.tls_key}"\ntls_ca = "{good.tls_ca}"\n'
    (tmp_path / "config.toml").write_text(text)
    assert cli("config", "check").text == "the settings are fine (config.toml)\n"


def test_warnings_are_said_beside_errors(cli: Cli, tmp_path: Path) -> None:
    (tmp_path / "config.toml").write_text("[network]\nraft_tcp_port = 9005\nclient_port = 70000\n")
    shown = cli("config", "check", code=3).err
    assert "70000" in shown
    assert "warning: config.toml: network.raft_tcp_port is" in shown
    (warning,) = cli("config", "show", "--json", code=3).error["warnings"]
    assert "raft_port" in warning
    refused = CliRunner().invoke(scribe_node, ["--config", "config.toml"])
    assert "scribe-node: warning: config.toml: network.raft_tcp_port is" in refused.stderr


def test_config_check_of_sound_settings(cli: Cli, tmp_path: Path) -> None:
    assert cli("config", "check", "--json").document == {"ok": True, "file": None, "warnings": []}
    (tmp_path / "config.toml").write_text("[network]\nraft_tcp_port = 9005\n")
    answer = cli("config", "check")
    assert answer.text == "the settings are fine (config.toml)\n"
    assert answer.err.startswith("warning: ")
    assert "raft_port" in cli("config", "check", "--json").document["warnings"][0]
    assert cli("config", "show").err.startswith("warning: ")


@pytest.mark.parametrize(("command", "function"), [("local", "run"), ("http", "run_http")])
def test_bench_hands_over_what_it_does_not_know(
    cli: Cli, monkeypatch: pytest.MonkeyPatch, command: str, function: str
) -> None:
    received: list[list[str]] = []

    def run(arguments: list[str]) -> int:
        received.append(arguments)
        return 3

    monkeypatch.setattr(f"scribe_ledger.cli.bench.{function}", run)
    cli("bench", command, "--quick", "--entries", "5", "rest", "--help", code=3)
    assert received == [["--quick", "--entries", "5", "rest", "--help"]]
