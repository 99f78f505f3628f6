"""What is particular about a URL: nodes that cannot be reached, orders that only nodes take, and verified reads."""

from __future__ import annotations

import re
import threading
import time
from contextlib import contextmanager
from typing import TYPE_CHECKING

import pytest
from tests.cli.conftest import Cli
from tests.client.serving import as_json, forwarding, serving
from tests.http.membership import MEMBERS, FakeCluster
from tests.http.serving import serve

from scribe_ledger.cli.catalogue import COMMANDS
from scribe_ledger.cli.progress import Counted
from scribe_ledger.client import Client
from scribe_ledger.errors import TooLarge
from scribe_ledger.merkle.note import Signer

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from tests.client.serving import Answering, Reply, Server
    from tests.http.serving import Served

pytestmark = pytest.mark.http

NOBODY = "http://127.0.0.1:1"
"""A port below 1024 that nothing in a test listens on."""


@pytest.fixture
def remote(tmp_path: Path, node: Served) -> Cli:
    return Cli(tmp_path, url=node.url)


@contextmanager
def lying(node: Served) -> Iterator[Server]:
    """A way to a node on which lies can be told."""
    with serving(forwarding(node.host, node.port)) as server:
        yield server


# --- which ledger ----------------------------------------------------------------------------------------------

ASKING = [
    "put key value",
    "get key",
    "delete key",
    "ls",
    "history key",
    "log",
    "watch",
    "watch --start 0",
    "prove key",
    "verify --audit",
    "checkpoint",
    "stats",
    "export",
    "manifest",
    "archive --now",
    "cluster status",
    "cluster members",
    "cluster snapshot --list",
    "health",
    "shell --name example.org/log",
]


@pytest.mark.parametrize("line", ASKING)
def test_a_node_that_cannot_be_reached_is_exit_code_3_and_named(
    cli: Cli, monkeypatch: pytest.MonkeyPatch, line: str
) -> None:
    monkeypatch.setattr("scribe_ledger.cli.remote.RETRIES", 0)
    answer = cli(*line.split(), "--url", NOBODY, code=3)
    first, hint = answer.err.splitlines()
    assert (answer.out, first) == (b"", f"scribe: no node answered ({NOBODY}: connection refused)")
    assert hint.startswith("hint: ")
    assert not cli.data.exists()


def test_the_variable_names_the_node_too(cli: Cli, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("scribe_ledger.cli.remote.RETRIES", 0)
    cli.environment |= {"SCRIBE_URL": NOBODY, "SCRIBE_DATA": None}
    assert NOBODY in cli("ls", "--json", code=3).error["message"]


@pytest.mark.parametrize("url", ["ftp://host", "http://", "http://host:port", "http://host/?query", ""])
def test_what_is_no_url_is_said_before_anything_is_sent(cli: Cli, url: str) -> None:
    assert cli("ls", "--url", url, "--json", code=3).error["kind"] == "configuration"


def test_what_is_no_node_is_said(cli: Cli) -> None:
    def answer(*_: object) -> Reply:
        return as_json({"welcome": "to another service"})

    with serving(answer) as server:
        assert cli("ls", "--url", server.url, "--json", code=2).error["kind"] == "serialization"


def test_several_nodes_are_asked_in_turn(remote: Cli, node: Served) -> None:
    remote.environment["SCRIBE_URL"] = f"{NOBODY}, {node.url}"
    remote("put", "key", "value")
    assert remote("get", "key").out == b"value"


def test_two_variables_that_name_two_ledgers_are_bad_usage(remote: Cli, tmp_path: Path) -> None:
    remote.environment["SCRIBE_DATA"] = str(tmp_path / "data")
    assert "both set" in remote("ls", code=2).err
    remote("ls", "--url", str(remote.environment["SCRIBE_URL"]))


def test_a_name_must_be_the_node_s(remote: Cli) -> None:
    remote("put", "key", "value", "--name", "example.org/log")
    error = remote("put", "key", "other", "--name", "example.org/other", "--json", code=3).error
    assert error["kind"] == "configuration"
    assert "example.org/log" in error["message"]
    assert remote("get", "key").out == b"value"


# --- what a node does not do, or only a node does --------------------------------------------------------------


def test_a_folder_s_own_work_is_refused_over_a_url(remote: Cli, tmp_path: Path) -> None:
    (tmp_path / "rows.ndjson").write_text('{"key": "k", "value": "v"}\n')
    assert "verbatim" in remote("import", "rows.ndjson", "--verbatim", "--json", code=2).error["message"]
    assert "--audit" in remote("fsck", "--json", code=2).error["hint"]
    assert remote("ls").out == b""


@pytest.mark.parametrize("line", ["watch", "health", "cluster status", "cluster join 2 host:9001"])
def test_a_node_s_own_work_is_refused_on_a_folder(cli: Cli, line: str) -> None:
    assert "name a node with --url" in cli(*line.split(), code=2).err
    assert not cli.data.exists()
    assert "name a node with --url" in cli("shell", stdin=f"{line}\n".encode(), code=2).err


def test_a_node_that_stands_alone_is_a_cluster_of_one(remote: Cli) -> None:
    remote("put", "key", "value")
    status = remote("cluster", "status", "--json").document
    assert (status["state"], status["is_leader"], status["last_applied"]) == ("standalone", True, 0)
    shown = remote("cluster", "status").text
    assert "state           standalone\n" in shown
    assert "is leader       yes\n" in shown
    (member,) = remote("cluster", "members", "--json").lines
    assert (member["node_id"], member["role"]) == (1, "voter")
    heading, line = remote("cluster", "members").text.splitlines()
    assert heading.index("state") == line.index("standalone")


@pytest.mark.parametrize("line", ["join 2 host:9001", "leave 2", "transfer 2", "replace 2", "snapshot"])
def test_a_node_that_stands_alone_takes_no_orders_of_a_cluster(remote: Cli, line: str) -> None:
    error = remote("cluster", *line.split(), "--json", code=1).error
    assert error["kind"] == "conflict"
    assert "stands alone" in error["message"]


def test_orders_of_a_cluster_carry_what_they_say(cli: Cli) -> None:
    asked: list[tuple[str, str, bytes]] = []

    def answer(method: str, target: str, _: object, body: bytes) -> Reply:
        asked.append((method, target, body))
        return as_json({"done": True})

    with serving(answer) as server:
        for line in ("join 2 host:9001", "leave 3", "transfer 4", "replace 5", "replace 5 --raft-id 77"):
            assert cli("cluster", *line.split(), "--url", server.url, "--json").document == {"done": True}
    assert cli("cluster", "join", "0", "host:9001", "--url", NOBODY, code=2).out == b""
    assert asked == [
        ("POST", "/cluster/join", b'{"node_id":2,"address":"host:9001"}'),
        ("POST", "/cluster/leave", b'{"node_id":3}'),
        ("POST", "/cluster/transfer", b'{"node_id":4}'),
        ("POST", "/cluster/replace", b'{"node_id":5,"raft_id":null}'),
        ("POST", "/cluster/replace", b'{"node_id":5,"raft_id":"77"}'),
    ]


@pytest.mark.parametrize("line", ["join -1 host:9001", "leave -1", "transfer -20", "replace --raft-id 7 -1"])
def test_a_number_below_zero_is_a_bad_node_id_and_no_unknown_option(cli: Cli, line: str) -> None:
    """In the words that any other bad one gets."""
    number = next(word for word in line.split() if word[0] == "-" and word[1:].isdecimal())
    below, zero = (cli("cluster", *each.split(), "--url", NOBODY, code=2) for each in (line, line.replace(number, "0")))
    assert below.err == zero.err.replace(" 0 is", f" {number} is")
    assert "NODE_ID" in below.err
    unknown = line.replace(number, "1 -x")
    assert "No such option '-x'" in cli("cluster", *unknown.split(), "--url", NOBODY, code=2).err


def test_members_whose_ledger_is_another_are_named(cli: Cli, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with serve(tmp_path / "member", cluster=FakeCluster) as served:
        cli.environment |= {"SCRIBE_URL": served.url, "SCRIBE_DATA": None}
        assert "diverged" not in cli("cluster", "members").text
        monkeypatch.setitem(MEMBERS[2], "diverged", True)
        heading, *lines = cli("cluster", "members").text.splitlines()
        assert heading.split()[4] == "diverged"
        assert [line.split()[3] for line in lines] == ["no", "no", "yes"]


def test_members_and_snapshots_are_tables(cli: Cli, tmp_path: Path) -> None:
    with serve(tmp_path / "member", cluster=FakeCluster) as served:
        served.ledger.put("key", "value")
        cli.environment |= {"SCRIBE_URL": f"{NOBODY},{served.url}", "SCRIBE_DATA": None}
        heading, *lines = cli("cluster", "members").text.splitlines()
        assert heading.split("  ")[0] == "node id"
        assert [line.split()[2] for line in lines] == ["follower", "leader", "failed"]
        assert "2023-11-14 22:13:20.000" in lines[0]
        assert lines[0].endswith(str(2**63 + 1))
        (made,) = cli("cluster", "snapshot", "--json").lines
        heading, line = cli("cluster", "snapshot", "--list").text.splitlines()
        assert line.split()[:3] == ["38", "1", "1000"]
        assert made["root"] in line
        assert cli("cluster", "transfer", "3").text == "node 3 leads\n"
        assert cli("cluster", "join", "2", "a:1").text == "node 2 is a member that votes\n"
        assert cli("cluster", "join", "4", "a:1").text == "node 4 joins; `members` shows when it votes\n"
        assert cli("cluster", "join", "5", "a:1").text == "node 5 has not joined yet\n"
        assert cli("cluster", "join", "3", "a:1", "--json", code=1).error["message"] == "node 3 is a member already"


def test_health_is_shown_with_what_is_wrong(cli: Cli, tmp_path: Path) -> None:
    with serve(tmp_path / "member", cluster=FakeCluster) as served:
        cli.environment |= {"SCRIBE_URL": served.url, "SCRIBE_DATA": None}
        assert cli("health").text.startswith("status   ok\nnode id  1\nstate    follower\n")
        assert cli("health", "--json").document["leader"] == 2
        cluster = served.service.cluster
        assert isinstance(cluster, FakeCluster)
        cluster.has_leader = False
        text = cli("health", code=1).text
        assert text.startswith("status   unavailable\n")
        assert "reason   no leader is known" in text
        assert "leader   none\n" in text


def test_a_manifest_with_segments_is_listed(cli: Cli) -> None:
    segment = {"segment_id": "\x1bs1", "first_index": 0, "last_index": 9, "size": 1234, "path": "segments/\x1bs1"}

    def answer(_: str, target: str, *__: object) -> Reply:
        if "stats" in target:
            return as_json({"archive": {"archived_size": 1}})
        parts = {"added": [segment], "removed": ["s0"]} if "since" in target else {"segments": [segment]}
        return as_json({"version": 2, "archived_size": 10, "sealed": 2, **parts})

    with serving(answer) as server:
        line = "  \\x1bs1  entries 0 to 9  1,234 bytes"
        assert cli("manifest", "--url", server.url).text.splitlines()[2:] == ["segments:", line]
        shown = cli("manifest", "--since", "1", "--url", server.url).text
        assert shown.splitlines()[2:] == ["added:", line, "removed:", "  s0"]
        shown = cli("archive", "--now", "--url", server.url).text
        assert shown == "archived 9 entries in 2 segments; 10 in all\n"


def test_an_order_to_archive_is_waited_for_and_a_refusal_is_final(cli: Cli, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("scribe_ledger.cli.remote.TIMEOUT_SECONDS", 0.05)
    monkeypatch.setattr("scribe_ledger.cli.remote.DEADLINE_SECONDS", 0.05)
    asked: list[str] = []

    def answer(_: str, target: str, *__: object) -> Reply:
        if target == "/v1/stats":
            return as_json({"archive": {"archived_size": 0}})
        asked.append(target)
        if len(asked) == 1:
            time.sleep(0.2)  # longer than any other call may take
            return as_json({"version": 2, "archived_size": 10})
        return as_json({"error": {"kind": "unavailable", "message": "no route to s3://b/segments/1", "hint": ""}}, 503)

    with serving(answer) as server:
        assert cli("archive", "--now", "--url", server.url, "--json").document["version"] == 2
        assert "s3://b/segments/1" in cli("archive", "--now", "--url", server.url, code=3).err
    assert asked == ["/v1/archive"] * 2


# --- watch -----------------------------------------------------------------------------------------------------


def test_watch_prints_what_is_there_from_the_start_asked_for(remote: Cli) -> None:
    for key in ("a/1", "b/1", "a/2", "a/3"):
        remote("put", key, "value")
    shown = remote("watch", "a/", "--start", "1", "--limit", "2").text.splitlines()
    assert [line.split()[-1] for line in shown] == ["key", "a/2", "a/3"]
    assert [line["index"] for line in remote("watch", "--start", "2", "--limit", "2", "--json").lines] == [2, 3]
    assert remote("watch", "--limit", "0").out == b""


def test_watch_prints_what_comes(remote: Cli, node: Served) -> None:
    remote("put", "before", "value")
    done = threading.Event()

    def write() -> None:
        """Until the watcher has seen enough: when it has begun, nobody else can know."""
        number = 0
        while not done.wait(0.01):
            node.ledger.put(f"later/{number}", "value")
            number += 1

    writer = threading.Thread(target=write)
    writer.start()
    try:
        found = remote("watch", "--limit", "3", "--json").lines
    finally:
        done.set()
        writer.join()
    indexes = [entry["index"] for entry in found]
    assert indexes == list(range(indexes[0], indexes[0] + 3))
    assert all(entry["key"].startswith("later/") for entry in found)


def test_watch_verifies_where_the_key_is_known(remote: Cli, node: Served) -> None:
    for number in range(5):
        remote("put", f"k{number}", "value")
    public_key = node.ledger.public_key
    found = remote("watch", "--start", "0", "--limit", "5", "--public-key", public_key, "--json").lines
    assert [entry["index"] for entry in found] == [0, 1, 2, 3, 4]


# --- verified reads --------------------------------------------------------------------------------------------


@pytest.fixture
def written(node: Served) -> Served:
    node.ledger.put("key", "value")
    return node


def other_value(_: str, reply: Reply) -> Reply:
    return reply._replace(body=reply.body.replace(b"dmFsdWU=", b"ZXZsdWU="))


def test_a_lie_is_exit_code_1_where_the_key_is_known(written: Served, tmp_path: Path) -> None:
    with lying(written) as server:
        cli = Cli(tmp_path, url=server.url)
        server.lie = other_value
        error = cli("get", "key", "--public-key", written.ledger.public_key, "--json", code=1).error
        assert error["kind"] == "verification"


def test_another_key_than_the_ledger_s_is_found_out(written: Served, tmp_path: Path) -> None:
    other = str(Signer.generate("example.org/log").verifier)
    (tmp_path / "other.key").write_text(other + "\n")
    cli = Cli(tmp_path, url=written.url)
    for given in (other, "other.key"):
        assert cli("get", "key", "--public-key", given, "--json", code=1).error["kind"] == "verification"
    cli.environment["SCRIBE_PUBLIC_KEY"] = other
    assert cli("ls", "--json", code=1).error["kind"] == "verification"
    assert cli("checkpoint", "--json", code=1).error["kind"] == "verification"
    cli.environment["SCRIBE_PUBLIC_KEY"] = "no key"
    assert cli("ls", "--json", code=2).error["kind"] == "serialization"


def hiding(node: Served) -> Answering:
    """A node that pretends not to have heard how far the reader has seen the log."""
    answer = forwarding(node.host, node.port)
    asked = re.compile(r"&?(after|since)=\d+")
    return lambda method, target, headers, body: answer(method, asked.sub("", target), headers, body)


def test_an_older_log_than_was_seen_is_found_out_by_the_next_command(
    written: Served, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    written.ledger.snapshot(tmp_path / "older")
    written.ledger.put("key", "newer")
    cli = Cli(tmp_path, url=written.url)
    cli.environment["SCRIBE_PUBLIC_KEY"] = written.ledger.public_key
    with serve(tmp_path / "older", settings={"api.read_timeout_secs": 1}) as older, serving(hiding(older)) as liar:
        assert cli("get", "key").out == b"newer"
        (file,) = (tmp_path / "state" / "scribe-ledger").glob("*.trust")
        assert "example.org/log\n2\n" in file.read_text()
        assert cli("get", "key", "--url", liar.url, "--json", code=1).error["kind"] == "verification"
        monkeypatch.setattr("scribe_ledger.cli.remote.RETRIES", 0)
        assert "has 1 entry here" in cli("get", "key", "--url", older.url, code=3).err
        assert cli("get", "key", "--url", liar.url, "--trust", "-").out == b"value"
        assert cli("checkpoint", "--url", older.url, "--trust", "-").text.splitlines()[1] == "1"
        assert cli("checkpoint", "--url", older.url, "--trust", "other.trust").text.splitlines()[1] == "1"
        assert (tmp_path / "other.trust").exists()
        cli.environment["SCRIBE_TRUST"] = "third.trust"
        cli("checkpoint")
        assert (tmp_path / "third.trust").exists()


def test_without_a_key_nothing_is_verified_or_remembered(written: Served, tmp_path: Path) -> None:
    cli = Cli(tmp_path, url=written.url)
    cli("get", "key")
    assert not (tmp_path / "state").exists()
    assert "--public-key" in cli("get", "key", "--trust", "file", "--json", code=2).error["hint"]


def test_keys_and_trust_are_for_urls(cli: Cli) -> None:
    cli("put", "key", "value")
    assert "--url" in cli("get", "key", "--public-key", "k", code=2).err
    assert "--url" in cli("get", "key", "--trust", "file", code=2).err
    cli.environment["SCRIBE_PUBLIC_KEY"] = "of another ledger"
    assert cli("get", "key").out == b"value"


def test_the_shell_works_on_a_node(remote: Cli, node: Served) -> None:
    lines = ["put key value", "get key", "cluster status", "verify --audit key"]
    lines += ["checkpoint --public-key -o vkey", "prove key -o p", "verify p --key vkey", ""]
    shown = remote("shell", "--public-key", node.ledger.public_key, stdin="\n".join(lines).encode()).text
    for part in ("key: version 1, entry 0\nvalue\n", "standalone", "verified: audit", "verified: inclusion"):
        assert part in shown
    assert "already" in remote("shell", stdin=b"get key --public-key k\n", code=2).err


def test_a_slow_upload_is_not_a_slow_answer(remote: Cli, monkeypatch: pytest.MonkeyPatch, node: Served) -> None:
    monkeypatch.setattr("scribe_ledger.cli.remote.TIMEOUT_SECONDS", 1.0)
    read = Counted.read

    def slowly(counted: Counted, size: int = -1) -> bytes:
        time.sleep(0.6)
        return read(counted, size)

    monkeypatch.setattr(Counted, "read", slowly)
    value = bytes(3 << 20)
    assert remote("put", "slow", "-f", "-", stdin=value).text == "slow: version 1, entry 0\n"
    assert node.ledger.get("slow") == value


# --- imports within a node's limits ----------------------------------------------------------------------------


def test_an_import_keeps_to_what_a_node_takes_at_once(tmp_path: Path) -> None:
    settings = {"api.max_batch_size": 7, "api.max_batch_bytes": 3000}
    rows = b"".join(b'{"key":"k%03d","value":"%s"}\n' % (n, b"v" * (n % 50)) for n in range(300))
    large = b'{"key":"large","value":"%s"}\n' % (b"x" * 200_000)
    with serve(tmp_path / "node", settings=settings) as served:
        with Client(served.url) as client, pytest.raises(TooLarge):
            client.put_many([(f"probe{number}", b"") for number in range(8)])
        cli = Cli(tmp_path, url=served.url)
        assert cli("import", "-", stdin=rows + large).text == "301 rows, 301 appended, 0 unchanged, 0 skipped\n"
        assert served.ledger.get("large") == b"x" * 200_000
        assert [entry.key for entry in served.ledger.log(0, 300)] == [b"k%03d" % n for n in range(300)]


def test_every_command_is_known_to_this_page() -> None:
    """A command that is added later must say what it does over a URL."""
    asked = {line.split()[0] for line in ASKING}
    assert set(COMMANDS) - asked == {"import", "fsck", "restore", "bench", "keygen", "config"}
