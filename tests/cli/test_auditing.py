"""``verify --audit``: what a log that was read from end to end shows, and which lies it finds."""

from __future__ import annotations

import base64
import os
import re
from typing import TYPE_CHECKING

import orjson
import pytest
from tests.cli.conftest import Cli
from tests.client.serving import forwarding, serving

from scribe_ledger.merkle.leaf import decode_leaf
from scribe_ledger.merkle.note import Signer
from scribe_ledger.merkle.tiles import decode_bundle, encode_bundle

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from tests.client.serving import Reply, Server
    from tests.http.serving import Served

pytestmark = [pytest.mark.http, pytest.mark.crypto]


def fill(cli: Cli) -> None:
    cli("put", "alice", "one", "--name", "example.org/log")
    cli("put", "bob", "value")
    cli("put", "alice", "two", "--content-type", "text/plain", "--meta", "team=red")
    cli("delete", "bob")


def test_an_audit_says_what_no_proof_can(cli: Cli) -> None:
    fill(cli)
    head = cli("checkpoint", "--json").document
    found = cli("verify", "--audit", "alice", "--json").document
    newest = found.pop("newest")
    assert found == {
        "verified": True,
        "kind": "audit",
        "origin": "example.org/log",
        "size": 4,
        "root": head["root"],
        "public_key": head["public_key"],
        "public_key_given": False,
        "keys": 2,
        "live_keys": 1,
        "values_read": None,
        "key": "alice",
    }
    assert (newest["index"], newest["version"], newest["metadata"]) == (2, 2, {"team": "red"})
    assert cli("verify", "--audit", "bob", "--json").document["newest"]["kind"] == "delete"
    assert cli("verify", "--audit", "carol", "--json").document["newest"] is None
    odd = cli("verify", "--audit", b"\xff".decode(errors="surrogateescape"), "--json").document
    assert base64.b64decode(odd["key_base64"]) == b"\xff"


def test_an_audit_is_told_to_people(cli: Cli) -> None:
    fill(cli)
    shown = cli("verify", "--audit", "alice").text
    for part in ("verified: audit\n", "2 (1 live)", "the ledger's own word", "not read", "version 2, entry 2, put"):
        assert part in shown
    assert shown.endswith("nothing newer of this key is in the log\n")
    assert "carol: no entry of the log is of this key" in cli("verify", "--audit", "carol").text
    assert "3 read, all as they were put" in cli("verify", "--audit", "--values").text
    assert "key  " not in cli("verify", "--audit").text.replace("public key", "")


def test_an_audit_of_an_empty_ledger(cli: Cli) -> None:
    cli("shell", stdin=b"")
    found = cli("verify", "--audit", "--values", "--json").document
    assert (found["size"], found["keys"], found["values_read"]) == (0, 0, 0)


def test_an_audit_holds_the_ledger_against_the_key_that_is_given(cli: Cli, tmp_path: Path) -> None:
    fill(cli)
    cli("checkpoint", "--public-key", "-o", "vkey")
    for given in ("vkey", (tmp_path / "vkey").read_text().strip()):
        assert cli("verify", "--audit", "--public-key", given, "--json").document["public_key_given"]
        cli.environment["SCRIBE_PUBLIC_KEY"] = given
        assert cli("verify", "--audit", "--json").document["public_key_given"]
        del cli.environment["SCRIBE_PUBLIC_KEY"]
    other = str(Signer.generate("example.org/log").verifier)
    assert cli("verify", "--audit", "--key", other, "--json", code=1).error["kind"] == "verification"


@pytest.mark.parametrize(
    "arguments",
    [
        ["--audit", "--for", "key"],
        ["--audit", "--version", "1"],
        ["--audit", "--cosigner", "k"],
        ["--values", "rows"],
        ["rows", "--audit"],
        [],
    ],
    ids=" ".join,
)
def test_proofs_and_audits_are_not_mixed(cli: Cli, tmp_path: Path, arguments: list[str]) -> None:
    (tmp_path / "rows").write_text("")
    assert "--audit" in cli("verify", *arguments, "--key", "k", code=2).err
    assert not cli.data.exists()


def test_the_variable_serves_proofs_too(cli: Cli, tmp_path: Path) -> None:
    fill(cli)
    cli("prove", "alice", "-o", "proof")
    cli.environment["SCRIBE_PUBLIC_KEY"] = cli("checkpoint", "--public-key").text.strip()
    assert cli("verify", "proof", "--for", "alice").text.startswith("verified: inclusion\n")


# --- lies ------------------------------------------------------------------------------------------------------


@pytest.fixture
def server(node: Served) -> Iterator[Server]:
    """A way to a node with two bundles of leaves, on which its answers can be changed."""
    ledger = node.ledger
    ledger.put_many([(f"key/{number}", b"value %d" % number) for number in range(260)])
    ledger.put("key/7", "newer")
    ledger.put("large", bytes(300 << 10))
    with serving(forwarding(node.host, node.port)) as found:
        yield found


def lie_about_bundle(server: Server, index: int, place: int, new: bytes | None) -> None:
    """Changes one leaf of one bundle, or leaves it out."""

    def lie(target: str, reply: Reply) -> Reply:
        if not re.match(rf"/tlog/tile/entries/{index:03}(\.p/\d+)?$", target):
            return reply
        leaves = decode_bundle(reply.body)
        leaves[place : place + 1] = [] if new is None else [new or leaves[place - 1]]
        return reply._replace(body=encode_bundle(leaves))

    server.lie = lie


def refusal(cli: Cli, *arguments: str) -> str:
    error = cli("verify", "--audit", *arguments, "--json", code=1).error
    assert error["kind"] == "verification"
    message = error["message"]
    assert isinstance(message, str)
    return message


def test_a_truthful_node_passes(server: Server, tmp_path: Path) -> None:
    found = Cli(tmp_path, url=server.url)("verify", "--audit", "key/7", "--values", "--json").document
    assert (found["size"], found["keys"], found["values_read"]) == (262, 261, 262)
    assert found["newest"]["index"] == 260


def test_a_newer_version_that_is_hidden_is_found(server: Server, tmp_path: Path) -> None:
    cli = Cli(tmp_path, url=server.url)
    lie_about_bundle(server, 1, 4, b"")
    assert "entry 259 stands where entry 260 should" in refusal(cli, "key/7")
    assert cli("verify", "--audit", "key/7", "--json", code=1).out == b""


def test_a_leaf_that_was_rewritten_is_found(server: Server, node: Served, tmp_path: Path) -> None:
    (leaf,) = node.ledger.leaves(3, 4)
    lie_about_bundle(server, 0, 3, leaf[:20] + bytes([leaf[20] ^ 1]) + leaf[21:])
    assert refusal(Cli(tmp_path, url=server.url))


def test_a_bundle_that_is_cut_is_refused(server: Server, tmp_path: Path) -> None:
    cli = Cli(tmp_path, url=server.url)
    lie_about_bundle(server, 0, 3, None)
    assert "255 leaves from entry 0 on, not 256" in refusal(cli)
    server.lie = lambda target, reply: reply._replace(body=reply.body[:-1]) if "entries/000" in target else reply
    assert "ends inside" in refusal(cli)


@pytest.mark.parametrize("change", [b"ZXZpbA==", None], ids=["changed", "left out"])
def test_a_value_that_was_changed_is_found_only_where_values_are_read(
    server: Server, tmp_path: Path, change: bytes | None
) -> None:
    def lie(target: str, reply: Reply) -> Reply:
        true = base64.b64encode(b"value 12")
        if not target.startswith(("/v1/log", "/v1/kv")) or (change is None and b'"key/12"' not in reply.body):
            return reply
        return reply._replace(body=reply.body.replace(true, change or base64.b64encode(b"")))

    server.lie = lie
    cli = Cli(tmp_path, url=server.url)
    cli("verify", "--audit")
    assert "entry 12" in refusal(cli, "--values")


def test_an_entry_that_is_listed_as_what_it_is_not_is_found(server: Server, node: Served, tmp_path: Path) -> None:
    """A listing that agrees with itself, and not with the log."""
    (data,) = node.ledger.leaves(12, 13)
    forged = decode_leaf(data)._replace(content_type="text/forged")

    def lie(target: str, reply: Reply) -> Reply:
        if not target.startswith("/v1/log"):
            return reply
        shape = orjson.loads(reply.body)
        for entry in shape["entries"]:
            if entry["index"] == 12:
                entry |= {"content_type": forged.content_type, "leaf_hash": forged.hash().hex()}
        return reply._replace(body=orjson.dumps(shape))

    server.lie = lie
    assert "entry 12 is listed as what it is not" in refusal(Cli(tmp_path, url=server.url), "--values")


def test_a_large_value_is_read_whole(cli: Cli, tmp_path: Path) -> None:
    value = os.urandom(5 << 20)  # above what is ever held whole
    (tmp_path / "in").write_bytes(value)
    cli("put", "large", "-f", "in")
    assert cli("verify", "--audit", "--values", "--json").document["values_read"] == 1
    (blob,) = [path for path in (cli.data / "objects").rglob("*") if path.is_file() and not path.suffix]
    with blob.open("r+b") as file:
        file.seek(-1, os.SEEK_END)
        file.write(bytes([value[-1] ^ 1]))
    cli("verify", "--audit")
    assert cli("verify", "--audit", "--values", "--json", code=3).error["kind"] == "corruption"
