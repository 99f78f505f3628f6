"""Members that are not like the others: by another authority's certificate, by another clock, by another ledger.

One cluster over mutual TLS, whose nodes' clocks can be set and whose logs are short. Every test leaves it whole.
"""

from __future__ import annotations

import itertools
import json
import shutil
import struct
import threading
import time
from contextlib import closing
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
from tests.cluster_of_nodes import ClusterOfNodes
from tests.consensus.transport.certificates import Authority
from tests.e2e.load import Load
from tests.e2e.settling import assert_holds_all
from tests.ledger.altering import alter_last_entry

from scribe_ledger.client import Client
from scribe_ledger.consensus.agreement import ENTRIES, Divergence, Point
from scribe_ledger.consensus.formation.identity import IDENTITY, NodeIdentity

if TYPE_CHECKING:
    from collections.abc import Iterator

    from tests.cluster_of_nodes import ClusterNode

    from scribe_ledger.consensus.transport import Auth

pytestmark = [pytest.mark.cluster, pytest.mark.no_cover]

SET_CLOCK = Path(__file__).parent / "set_clock"
HOUR_SECONDS = 3600.0
READ_SECONDS = 2
SHORT_LOG = {"snapshot_logs_since_last": 40, "max_in_snapshot_log_to_keep": 10, "log_max_bytes": 16384}
PATIENT = {"election_timeout_min": 4000, "election_timeout_max": 5000}
"""Others stand for election first."""


@pytest.fixture(scope="module")
def authority(tmp_path_factory: pytest.TempPathFactory) -> Authority:
    return Authority.make(tmp_path_factory.mktemp("tls") / "ours")


@pytest.fixture(scope="module")
def three(tmp_path_factory: pytest.TempPathFactory, authority: Authority) -> Iterator[ClusterOfNodes]:
    with ClusterOfNodes(tmp_path_factory.mktemp("deviants")) as cluster:
        cluster.sections = {"storage": {"object_store": f"file://{cluster.folder}/objects"}, "consensus": SHORT_LOG}
        for node in cluster.nodes:
            set_up(cluster, node, authority)
            node.variables = {"PYTHONPATH": str(SET_CLOCK), "SET_CLOCK_BY": str(clock_of(node))}
            set_clock(node, 0)
        cluster.start(bootstrap=False)
        cluster.wait_until_formed()
        yield cluster
        cluster.wait_until_equal()


def set_up(cluster: ClusterOfNodes, node: ClusterNode, authority: Authority, **consensus: int) -> None:
    sections = cluster.sections | sections_of(authority.member(f"node-{node.node_id}"))
    node.configure(cluster.seeds_of(node), sections | {"consensus": SHORT_LOG | consensus})


def sections_of(auth: Auth) -> dict[str, dict[str, Any]]:
    tls = {"tls_cert": auth.tls_cert, "tls_key": auth.tls_key, "tls_ca": auth.tls_ca}
    return {"cluster": tls, "api": {"read_timeout_secs": READ_SECONDS}}


def clock_of(node: ClusterNode) -> Path:
    return node.file.with_suffix(".clock")


def set_clock(node: ClusterNode, seconds: float) -> None:
    """So many seconds from the right time, from now on."""
    with clock_of(node).open("r+b" if clock_of(node).exists() else "wb") as file:  # in place: the node has it mapped
        file.write(struct.pack("d", seconds))


def refusals(node: ClusterNode) -> int:
    found: int = node.get_json("/cluster/metrics")["refused_connections"].get("tls", 0)
    return found


def order(node: ClusterNode, path: str, which: ClusterNode) -> Any:
    status, body = node.ask("POST", f"/cluster/{path}", json.dumps({"node_id": which.node_id}).encode())
    assert status == 200, body
    return json.loads(body)


def term(cluster: ClusterOfNodes) -> int:
    found: int = cluster.leader().get_json("/cluster/metrics")["current_term"]
    return found


def test_a_node_with_another_authoritys_certificate_is_refused_and_counted(
    three: ClusterOfNodes, tmp_path: Path
) -> None:
    """As is one without a certificate: the cluster has formed over TLS, and does not speak without."""
    others = Authority.make(tmp_path / "others")
    stranger = three.stranger(4)
    stranger.configure(three.seeds_of(stranger), sections_of(others.member("node-4")))
    plain = three.stranger(5, cluster={"secret": "of nobody"})
    before = {node.node_id: refusals(node) for node in three.nodes}
    try:
        stranger.start()
        plain.start()
        three.wait(lambda: all(refusals(node) > before[node.node_id] for node in three.nodes), "all refuse it")
        for node in (stranger, plain):
            wait_until_alive(three, node)
            assert node.ask("GET", "/health")[0] == 503
    finally:
        for node in (stranger, plain):
            node.kill()
    members = three.leader().get_json("/cluster/members")["members"]
    assert sorted(each["node_id"] for each in members) == [1, 2, 3]


def wait_until_alive(cluster: ClusterOfNodes, node: ClusterNode) -> None:
    cluster.wait(lambda: node.ask("GET", "/health/live")[0] == 200, f"node {node.node_id} lives")


def test_a_leader_whose_clock_jumps_loses_nothing_and_goes_back_in_no_timestamp(three: ClusterOfNodes) -> None:
    leader, before = three.leader(), term(three)
    with Load([node.url for node in three.nodes], name="clocks", clients=4) as load:
        load.step(20)
        for hours in (5, -3, 0, 24):  # the last one stays until a leader with the right time follows it
            set_clock(leader, hours * HOUR_SECONDS)
            load.step(20)
        assert_waits_as_long_as_it_should(leader)
        assert (term(three), three.leader()) == (before, leader), "an election, though nobody fell silent"
        follower = three.followers()[0]
        assert order(leader, "transfer", follower)["leader_id"] == follower.node_id
        load.step(20)
    set_clock(leader, 0)
    assert load.failures == []
    load.check()
    size, _ = three.wait_until_equal()
    for node in three.nodes:
        assert_holds_all(node, load, size)
        with Client(node.url) as client:
            times = [entry.timestamp for entry in client.log(0, size)]
        assert all(one <= other for one, other in itertools.pairwise(times))
    assert times[-1] - times[0] > 4 * HOUR_SECONDS * 1000, "its clock was not used"


def assert_waits_as_long_as_it_should(node: ClusterNode) -> None:
    """A read that waits for what nobody writes, while the clock jumps on and back."""
    jumps = threading.Timer(READ_SECONDS / 2, set_clock, (node, -HOUR_SECONDS))
    jumps.start()
    begun = time.monotonic()
    status, _ = node.ask("GET", "/clocks/never?after=1000000000")
    taken = time.monotonic() - begun
    jumps.join()
    set_clock(node, 24 * HOUR_SECONDS)
    assert status == 503
    assert READ_SECONDS * 0.9 < taken < READ_SECONDS + 3


def test_a_member_whose_ledger_was_altered_stops_serving_and_is_not_repaired(three: ClusterOfNodes) -> None:
    altered, others = three.followers()[0], [node for node in three.nodes if node is not three.followers()[0]]
    for number in range(3):
        three.leader().put(f"before/{number}", b"x")
    three.wait_until_equal()
    assert altered.stop() == 0
    alter_last_entry(altered.data_dir / "store")
    three.leader().put("meanwhile", b"x")
    for life in range(2):  # a second life makes nothing good
        altered.start()
        if life:
            assert_serves_nothing_before_it_says_so(three, altered)
        three.wait(lambda: says_that_it_differs(altered), "it is noticed")
        assert [altered.ask("GET", path)[0] for path in ("/before/0", "/before/0?consistency=stale")] == [503, 503]
        assert altered.ask("PUT", "/mine", b"x")[0] == 503
        for node in others:
            node.put(f"after/{node.node_id}", b"x")
            assert (node.is_healthy, node.get("mine"), metric(node, "scribe_diverged")) == (True, None, 0)
            wait_until_it_names(three, node, altered)
        assert altered.stop() == 0
    replace(three, altered)


def assert_serves_nothing_before_it_says_so(cluster: ClusterOfNodes, node: ClusterNode) -> None:
    """As it did in the second or two before it was compared."""
    found: list[tuple[int, bytes]] = []

    def says_so() -> bool:
        found.append(node.ask("GET", "/before/0?consistency=stale"))
        return says_that_it_differs(node)

    cluster.wait(says_so, "it says that it differs")
    assert {status for status, _ in found} == {503}, found


def test_sound_members_that_were_all_marked_serve_again_after_a_full_restart(three: ClusterOfNodes) -> None:
    three.leader().put("marked", b"x")
    size, _ = three.wait_until_equal()
    for node in three.nodes:
        node.ask_to_stop()
    assert [node.wait_for_end() for node in three.nodes] == [0, 0, 0]
    for node in three.nodes:
        with closing(NodeIdentity.load_or_create(node.data_dir)) as identity:
            identity.save_mark(Divergence(Point(ENTRIES, size), None, bytes(32), "8, 9"))
    three.start(bootstrap=False)
    three.wait_until_formed()
    assert "it serves nothing before they agree" in three.nodes[0].log
    for node in three.nodes:
        node.put(f"marked/{node.node_id}", b"x")
        assert "diverged" not in json.loads((node.data_dir / IDENTITY).read_text())


def test_a_leader_whose_ledger_was_altered_gives_it_to_nobody_and_gives_way(
    three: ClusterOfNodes, authority: Authority
) -> None:
    """First it leads with one other, so that nobody can tell who is right; then the third comes back, far behind."""
    altered, sound, behind = three.nodes
    altered.put("before", b"x")  # and nobody asks for a checkpoint: what was signed would not open when altered
    for node in three.nodes:
        three.wait(partial(has, node, "before"), "all have it")
    for node in three.nodes:
        node.ask_to_stop()
    assert [node.wait_for_end() for node in three.nodes] == [0, 0, 0]
    alter_last_entry(altered.data_dir / "store")
    set_up(three, sound, authority, **PATIENT)
    for node in (altered, sound):
        node.start()
    three.wait(lambda: altered.leader_id == altered.node_id, "the altered one leads")
    archives: list[tuple[int, bytes]] = []
    ordering = threading.Thread(target=lambda: archives.append(altered.ask("POST", "/v1/archive")))
    ordering.start()  # before it can know
    for node, other in ((altered, sound), (sound, altered)):
        three.wait(partial(says_that_nobody_knows, node), "it is said that they differ")
        wait_until_it_names(three, node, other)
    for number in range(60):
        sound.put(f"meanwhile/{number}", b"x")
    for node in (altered, sound):  # what was signed before is given for a moment
        three.wait(partial(signs_nothing, node), "it signs nothing")
    ordering.join()
    [(status, body)] = archives
    assert (status, b"only the leader of the cluster archives" in body) == (503, True), body
    said = len(altered.log)
    behind.start()
    three.wait(lambda: says_that_it_differs(altered), "it is noticed")
    three.wait(partial(has, behind, "meanwhile/59"), "who was behind has it all")
    assert "a member needs a snapshot" not in altered.log[said:]
    assert "a member needs a snapshot" in sound.log
    assert three.leader() is not altered
    for node in three.nodes:
        wait_until_it_names(three, node, altered)
    status, body = sound.ask("POST", "/cluster/transfer", json.dumps({"node_id": altered.node_id}).encode())
    assert (status, b"another ledger" in body) == (409, True), body
    assert sound.ask("POST", "/v1/archive")[0] == 200
    assert altered.stop() == 0
    replace(three, altered)
    set_up(three, sound, authority)


def says_that_nobody_knows(node: ClusterNode) -> bool:
    status, body = node.ask("GET", "/health")
    told = json.loads(body)
    differs = "different ledgers" in told.get("disagreement", "")
    return (status, told["status"], differs, metric(node, "scribe_disagreeing_members")) == (200, "degraded", True, 1)


def has(node: ClusterNode, key: str) -> bool:
    return node.ask("GET", f"/{key}")[0] == 200


def signs_nothing(node: ClusterNode) -> bool:
    status, body = node.ask("GET", "/tlog/checkpoint")
    return (status, b"whose is right" in body) == (503, True)


def wait_until_it_names(cluster: ClusterOfNodes, node: ClusterNode, other: ClusterNode) -> None:
    def names() -> bool:
        members = node.get_json("/cluster/members")["members"]
        return [each["node_id"] for each in members if each["diverged"]] == [other.node_id]

    cluster.wait(names, f"node {node.node_id} says that node {other.node_id} differs")


def says_that_it_differs(node: ClusterNode) -> bool:
    status, body = node.ask("GET", "/health")
    return (status, b"diverged" in body, metric(node, "scribe_diverged")) == (503, True, 1)


def metric(node: ClusterNode, name: str) -> float:
    _, body = node.ask("GET", "/metrics/prometheus")  # not there yet while it starts
    lines = [line.split() for line in body.decode().splitlines()]
    return next((float(line[1]) for line in lines if line and line[0] == name), -1.0)


def state_of(cluster: ClusterOfNodes, node: ClusterNode) -> str:
    members = cluster.leader().get_json("/cluster/members")["members"]
    return next((str(each["state"]) for each in members if each["node_id"] == node.node_id), "")


def replace(cluster: ClusterOfNodes, node: ClusterNode) -> None:
    """As the runbook says: on an empty folder, and by an operator."""
    shutil.move(node.data_dir, node.data_dir.with_suffix(".evidence"))
    cluster.wait(lambda: state_of(cluster, node) == "failed", "its silence is noticed")
    node.start()
    order(cluster.leader(), "replace", node)
    cluster.wait_until_formed()
    cluster.wait_until_equal()
