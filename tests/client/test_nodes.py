"""Whom a client asks, how long it goes on, and that a repeated write takes effect once."""

from __future__ import annotations

import subprocess
import sys
from typing import TYPE_CHECKING, Any

import orjson
import pytest
from tests.client.serving import Reply, as_json, as_text
from tests.http.serving import serve
from tests.ports import free_ports

from scribe_ledger.client.messages import Answer, Request, Upload
from scribe_ledger.client.nodes import Attempts, Lost, Node, Nodes, Patience
from scribe_ledger.client.settings import make_trust
from scribe_ledger.errors import (
    ConfigurationError,
    Corruption,
    NetworkError,
    OutcomeUnknown,
    Overloaded,
    PreconditionFailed,
    RateLimited,
    ScribeError,
    Unavailable,
    VerificationError,
)
from scribe_ledger.merkle import Checkpoint, Signer
from scribe_ledger.merkle.checkpoint import cosign

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping
    from pathlib import Path

    from tests.client.conftest import World

pytestmark = pytest.mark.http

READ = Request(b"GET", b"/v1/kv/k")
WRITE = Request(b"PUT", b"/v1/kv/k", b"", b"v", request_id="the-id")


def refusal(kind: str, status: int = 503, retry_after: str = "") -> Answer:
    headers = {b"retry-after": retry_after.encode()} if retry_after else {}
    return Answer(status, headers, orjson.dumps({"error": {"kind": kind, "message": f"it is {kind}", "hint": ""}}))


class Clock:
    def __init__(self) -> None:
        self.now = 100.0

    def __call__(self) -> float:
        return self.now


def attempts(
    request: Request = READ, *urls: str, deadline: float = 60.0, retries: int = 3, clock: Clock | None = None
) -> Attempts:
    nodes = Nodes(urls or ["http://a:1"])
    return Attempts(nodes, request, Patience(15.0, deadline, retries), clock=clock or Clock(), random=lambda: 1.0)


# --- URLs ------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("url", "found"),
    [
        ("http://example.org", "http://example.org:8001"),
        ("example.org:9000", "http://example.org:9000"),
        ("https://example.org/ledgers/a/", "https://example.org:443/ledgers/a"),
        ("http://[::1]:8001", "http://[::1]:8001"),
    ],
)
def test_url_of_a_node(url: str, found: str) -> None:
    assert Node.parse(url).url == found


@pytest.mark.parametrize("url", ["", "ftp://a", "http://", "http://a:port", "http://a?x=1", "http://u@a", 5])
def test_url_that_is_none(url: Any) -> None:
    with pytest.raises(ConfigurationError, match="URL"):
        Node.parse(url)


def test_no_url_at_all() -> None:
    with pytest.raises(ConfigurationError, match="no node was named"):
        Nodes([])


# --- how long it goes on ---------------------------------------------------------------------------------------


def test_the_next_node_is_asked_at_once_and_a_pause_comes_after_all() -> None:
    trying = attempts(READ, "http://a:1", "http://b:1")
    assert trying.node.host == "a"
    assert trying.lost(Lost("refused", sent=False)) == 0.0
    assert trying.node.host == "b"
    first = trying.lost(Lost("refused", sent=False))
    assert trying.node.host == "a"
    assert trying.lost(Lost("refused", sent=False)) == 0.0
    assert trying.lost(Lost("refused", sent=False)) == 2 * first > 0


def test_pauses_grow_to_a_limit_and_end_with_the_error_that_names_all() -> None:
    trying = attempts(READ, "http://a:1", retries=9)
    pauses = [trying.lost(Lost("connection refused", sent=False)) for _ in range(9)]
    assert pauses == sorted(pauses)
    assert pauses[-1] == pauses[-2] == 2.0
    with pytest.raises(NetworkError, match=r"no node answered \(http://a:1: connection refused\)"):
        trying.lost(Lost("connection refused", sent=False))


def test_retry_after_is_honoured_where_it_is_longer() -> None:
    assert attempts().answered(refusal("overloaded", retry_after="7")) == 7.0
    assert attempts().answered(refusal("overloaded", retry_after="soon")) == 0.1


def test_a_pause_beyond_the_deadline_is_not_begun() -> None:
    with pytest.raises(Overloaded):
        attempts(deadline=5.0).answered(refusal("overloaded", retry_after="7"))


def test_the_deadline_ends_it() -> None:
    clock = Clock()
    trying = attempts(deadline=5.0, clock=clock)
    clock.now += 4.9
    assert trying.timeout == pytest.approx(0.1)
    clock.now += 0.2
    with pytest.raises(NetworkError):
        trying.lost(Lost("timed out", sent=True))


@pytest.mark.parametrize(
    ("answer", "error"),
    [
        (refusal("rate_limited", 429), RateLimited),
        (refusal("unavailable"), Unavailable),
        (refusal("outcome_unknown"), OutcomeUnknown),
        (Answer(503, {}, b"<html>proxy"), Unavailable),
    ],
)
def test_what_may_pass_is_repeated_and_raised_in_the_end(answer: Answer, error: type[Exception]) -> None:
    trying = attempts(retries=1)
    assert trying.answered(answer) is not None
    with pytest.raises(error):
        trying.answered(answer)


def test_a_failing_node_is_left_for_another_but_not_asked_twice() -> None:
    trying = attempts(READ, "http://a:1", "http://b:1")
    assert trying.answered(refusal("corruption")) == 0.0
    with pytest.raises(Corruption):
        trying.answered(refusal("corruption"))


@pytest.mark.parametrize("status", [200, 201, 400, 404, 409, 412, 413])
def test_other_answers_are_final(status: int) -> None:
    assert attempts().answered(Answer(status, {}, b"")) is None


def test_the_node_that_answered_is_asked_first_from_then_on() -> None:
    nodes = Nodes(["http://a:1", "http://b:1"])
    trying = Attempts(nodes, READ, Patience(1, 9, 1), clock=Clock(), random=lambda: 1.0)
    trying.lost(Lost("refused", sent=False))
    assert trying.answered(Answer(200, {}, b"")) is None
    assert Attempts(nodes, READ, Patience(1, 9, 1), clock=Clock(), random=lambda: 1.0).node.host == "b"


def test_a_write_whose_answer_was_lost_does_not_end_as_not_done() -> None:
    trying = attempts(WRITE, retries=1)
    trying.lost(Lost("timed out", sent=True))
    with pytest.raises(OutcomeUnknown, match="request_id='the-id'"):
        trying.lost(Lost("connection refused", sent=False))


def test_a_write_that_never_left_is_certainly_not_done() -> None:
    trying = attempts(WRITE, retries=1)
    trying.lost(Lost("connection refused", sent=False))
    with pytest.raises(NetworkError):
        trying.lost(Lost("connection refused", sent=False))


def test_a_body_that_was_read_once_is_not_sent_again() -> None:
    upload = Upload(iter([b"piece"]), chunked=False)
    trying = attempts(Request(b"PUT", b"/", b"", upload, request_id="i"), "http://a:1", "http://b:1")
    assert trying.lost(Lost("refused", sent=False)) == 0.0  # nothing was read yet
    list(upload.pieces())
    with pytest.raises(OutcomeUnknown):
        trying.lost(Lost("reset", sent=True))


# --- over real sockets -----------------------------------------------------------------------------------------


def closed_port() -> str:
    return f"http://127.0.0.1:{free_ports(1)[0]}"


def test_a_node_that_is_down_is_passed_over(world: World) -> None:
    world.ledger.put("k", "1")
    client = world.connect(closed_port(), world.server.url)
    assert client.get("k") == b"1"
    assert client.put("k", "2").version == 2


def test_unreachable_names_every_url(world: World) -> None:
    first, second = closed_port(), closed_port()
    with pytest.raises(NetworkError, match="connection refused") as caught:
        world.connect(first, second, retries=1).get("k")
    assert first in caught.value.message
    assert second in caught.value.message


def test_a_node_that_lags_is_left_for_one_that_does_not(world: World) -> None:
    world.ledger.put("k", "1")
    old = world.twin("behind")
    behind = world.serve(old)
    client = world.connect(behind.url, world.server.url)
    assert client.get("k") == b"1"
    assert behind.asked
    assert not world.server.asked
    behind.answer = world.server.answer
    assert client.put("k", "2").index == 1  # by a node that forwards it
    behind.answer = world.answers(old)
    assert client.get("k") == b"2"
    assert "after=1" in behind.asked[-1][1]
    assert "after=1" in world.server.asked[-1][1]


def test_a_lagging_node_alone_is_unavailable_not_a_liar(world: World) -> None:
    world.ledger.put("k", "1")
    old = world.twin("old")
    world.ledger.put("k", "2")
    path = world.path / "trust"
    first = world.connect(world.server.url, trust=path)
    assert first.get("k") == b"2"
    first.close()
    world.server.answer = world.answers(old)
    hasty = world.connect(world.server.url, retries=1)
    assert hasty.get("k") == b"1"  # who has seen nothing newer cannot know
    patient = world.connect(world.server.url, retries=0, trust=path)
    with pytest.raises(Unavailable, match="1 entry here"):
        patient.get("k")


@pytest.mark.parametrize(
    "write",
    [
        lambda client: client.put("k", "2", dedupe=False),
        lambda client: client.put("k", "2", if_version=1),
        lambda client: client.delete("k"),
        lambda client: client.put_many([("k", "2"), ("other", "3")])[0],
    ],
    ids=["put", "conditional put", "delete", "batch"],
)
def test_a_write_whose_answer_is_lost_takes_effect_once(world: World, write: Callable[[Any], Any]) -> None:
    world.ledger.put("k", "1")
    lost: list[str] = []

    def lose_first(target: str, reply: Reply) -> Reply | None:
        lost.append(target)
        return None if len(lost) == 1 else reply

    world.server.lie = lose_first
    receipt = write(world.client)
    assert receipt.version == 2
    assert receipt.created is False, "the second attempt met what the first had done"
    assert [entry.version for entry in world.ledger.history("k")] == [2, 1]
    ids = {headers["idempotency-key"] for method, _, headers in world.server.asked if method != "GET"}
    assert len(ids) == 1


def test_each_call_has_an_id_of_its_own_unless_one_is_given(world: World) -> None:
    world.client.put("a", "1")
    world.client.put("b", "1")
    world.client.put("c", "1", request_id="mine")
    ids = [headers["idempotency-key"] for _, _, headers in world.server.asked]
    assert len(set(ids)) == 3
    assert ids[-1] == "mine"


def test_an_error_of_the_node_is_raised_as_its_class_at_once(world: World) -> None:
    world.ledger.put("k", "1")
    with pytest.raises(PreconditionFailed):
        world.client.put("k", "2", if_absent=True)
    assert len(world.server.asked) == 1


def test_what_is_no_node_says_so(world: World) -> None:
    def other(_method: str, _target: str, _headers: Mapping[str, str], _body: bytes) -> Reply:
        return Reply(404, {}, b"<html>")

    from scribe_ledger.errors import SerializationError

    world.server.answer = other
    with pytest.raises(SerializationError, match="not a node's"):
        world.connect(world.server.url, public_key=None).get("k")
    world.server.answer = lambda *_: as_json({"error": {"kind": "not_found", "message": "no", "hint": ""}}, 404)
    assert world.connect(world.server.url, public_key=None).get("k") is None


def test_connections_are_used_again(world: World) -> None:
    world.ledger.put("k", "1")
    client = world.connect(world.server.url)
    for _ in range(5):
        assert client.get("k") == b"1"
    assert world.server.connections == 1


def test_a_connection_that_the_node_closed_is_replaced_without_a_word(world: World) -> None:
    world.ledger.put("k", "1")
    client = world.connect(world.server.url, retries=0)
    assert client.get("k") == b"1"
    world.server.close_connections()
    assert client.get("k") == b"1"
    assert world.server.connections == 2


FORKED = """
import os, sys
from scribe_ledger.client import Client
from scribe_ledger.errors import NetworkError

url, public_key = sys.argv[1:]
client = Client(url, public_key=public_key or None)
assert client.get("a") == b"1"
value = client.open_value("large")
begin = value.read(10)
child = os.fork()
if child == 0:
    try:
        assert [client.get(key) for key in "bab"] == [b"2", b"1", b"2"]
        try:
            value.read()
        except NetworkError as error:
            assert "forked" in str(error), error
        else:
            raise AssertionError("the child took what the parent waits for")
        value.close()
        client.close()
    except BaseException:
        sys.excepthook(*sys.exc_info())
        os._exit(1)
    os._exit(0)
assert os.waitpid(child, 0)[1] == 0
assert begin + value.read() == bytes(8 << 20)
value.close()
assert [client.get(key) for key in "aba"] == [b"1", b"2", b"1"]
"""


@pytest.mark.parametrize("verified", [True, False], ids=["verified", "believed"])
def test_no_connection_is_used_on_both_sides_of_a_fork(tmp_path: Path, verified: bool) -> None:
    with serve(tmp_path / "ledger") as served:
        served.ledger.put_many([("a", b"1"), ("b", b"2")])
        served.ledger.put("large", bytes(8 << 20))
        public_key = served.ledger.public_key if verified else ""
        result = subprocess.run(
            [sys.executable, "-c", FORKED, served.url, public_key],
            check=False,
            capture_output=True,
            text=True,
            timeout=60,
        )
    assert (result.returncode, result.stderr) == (0, "")


# --- a cluster -------------------------------------------------------------------------------------------------


def test_a_cluster_that_asks_for_patience_gets_it_until_the_deadline() -> None:
    clock = Clock()
    trying = attempts(WRITE, "http://a:1", "http://b:1", retries=1, deadline=30.0, clock=clock)
    for _ in range(11):
        trying.lost(Lost("connection refused", sent=False))
        pause = trying.answered(refusal("unavailable", retry_after="1"))
        assert pause is not None and pause >= 1.0
        clock.now += pause
    trying.lost(Lost("connection refused", sent=False))
    clock.now += 30
    with pytest.raises(Unavailable):
        trying.answered(refusal("unavailable", retry_after="1"))


def test_who_wants_no_repetition_gets_none_from_a_cluster_either() -> None:
    trying = attempts(READ, "http://a:1", "http://b:1", retries=0)
    assert trying.answered(refusal("unavailable")) == 0.0
    with pytest.raises(Unavailable):
        trying.answered(refusal("unavailable"))


def test_a_damaged_member_does_not_end_what_the_others_may_still_do() -> None:
    trying = attempts(READ, "http://a:1", "http://b:1")
    assert trying.answered(refusal("unavailable")) == 0.0
    assert trying.answered(refusal("corruption")) is not None
    assert trying.node.host == "a"


class Script:
    """A node that answers what stands in its script, and then what the true node answers."""

    def __init__(self, world: World, *faults: Reply | None) -> None:
        self.faults = list(faults)
        self.server = world.serve(world.ledger)
        self.server.lie = self._next

    def _next(self, _target: str, reply: Reply) -> Reply | None:
        return self.faults.pop(0) if self.faults else reply


def refused(kind: str) -> Reply:
    return as_json({"error": {"kind": kind, "message": f"it is {kind}", "hint": ""}}, 503)


@pytest.mark.parametrize(
    "faults",
    [
        ([refused("unavailable")], [], []),
        ([refused("outcome_unknown")], [], []),
        ([None], [refused("unavailable")], []),
        ([None, None], [refused("consensus")] * 2, [refused("outcome_unknown"), None]),
        ([refused("unavailable")] * 5, [refused("unavailable")] * 5, [None] * 5),
        ([refused("corruption")] * 3, [refused("unavailable")] * 2, [refused("unavailable")]),
    ],
    ids=["election", "in doubt", "killed", "rolling restart", "long election", "diverged member"],
)
def test_a_write_outlives_the_loss_of_leaders(world: World, faults: tuple[list[Reply | None], ...]) -> None:
    nodes = [Script(world, *script) for script in faults]
    client = world.connect(*[node.server.url for node in nodes], deadline=20.0, retries=2)
    receipt = client.put("k", "1", dedupe=False)
    assert receipt.index == 0
    assert world.ledger.size == 1, "it took effect once"
    sent = [headers["idempotency-key"] for node in nodes for _, _, headers in node.server.asked]
    assert len(set(sent)) == 1
    assert client.get("k") == b"1"


def test_one_read_may_be_stale_and_still_sees_ones_own_write(world: World) -> None:
    client = world.connect(world.server.url)
    client.put("k", "1")
    for read in (client.get, client.entry, lambda key, **options: client.get_many([key], **options)):
        read("k", consistency="stale")
        target = world.server.asked[-1][1]
        assert "consistency=stale" in target
        assert "after=0" in target
        read("k")
        assert "consistency" not in world.server.asked[-1][1]
        with pytest.raises(ConfigurationError, match="consistency"):
            read("k", consistency="fresh")


# --- cosigners -------------------------------------------------------------------------------------------------

WITNESSES = [Signer.generate(f"example.org/node/{number}") for number in range(3)]
KEYS = [str(witness.cosigner) for witness in WITNESSES]


def cosigning(world: World, *witnesses: Signer) -> Callable[[str, Reply], Reply]:
    """The node's checkpoints, with the signatures of some members."""

    def sign(target: str, reply: Reply) -> Reply:
        if not target.startswith("/tlog/checkpoint") or reply.status != 200:
            return reply
        head = Checkpoint.parse(reply.body.decode())
        for witness in witnesses:
            head = cosign(head, witness, 1_700_000_000)
        return as_text(head)

    return sign


def test_what_a_quorum_has_cosigned_is_believed(world: World) -> None:
    client = world.connect(world.server.url, cosigners=KEYS, quorum=2)
    world.server.lie = cosigning(world, *WITNESSES[:2])
    for number in range(3):
        world.ledger.put("k", str(number))
        assert client.get("k") == str(number).encode()
    assert client.get_many(["k", "other"]) == [b"2", None]
    asked = len(world.server.asked)
    assert client.get("k") == b"2"
    assert len(world.server.asked) == asked + 1, "a head is held against the cosigners once"
    assert client.prove("k").index == 2
    assert len(list(client.history("k"))) == 3


@pytest.mark.parametrize("count", [0, 1])
def test_what_too_few_have_cosigned_is_refused(world: World, count: int) -> None:
    world.ledger.put("k", "1")
    client = world.connect(world.server.url, cosigners=KEYS, quorum=2)
    world.server.lie = cosigning(world, *WITNESSES[:count])
    for read in (lambda: client.get("k"), lambda: client.prove("k"), client.checkpoint):
        with pytest.raises(VerificationError, match=f"{count} cosigners signed the checkpoint, 2 are required"):
            read()
    world.server.lie = cosigning(world, *WITNESSES)
    assert client.get("k") == b"1"


def test_cosignatures_under_an_older_head_do_not_cover_what_is_new(world: World) -> None:
    world.ledger.put("k", "1")
    old = as_text(cosign(world.ledger.checkpoint(), WITNESSES[0], 1_700_000_000))
    world.ledger.put("k", "2")
    client = world.connect(world.server.url, cosigners=KEYS[:1])
    world.server.lie = lambda target, reply: old if target.startswith("/tlog/checkpoint") else reply
    with pytest.raises(VerificationError, match="cosigned are 1"):
        client.get("k")


@pytest.mark.parametrize(
    ("options", "match"),
    [
        ({"cosigners": KEYS[0]}, "not a list"),
        ({"cosigners": KEYS, "public_key": None}, "verify nothing"),
        ({"cosigners": KEYS, "quorum": 4}, "a quorum of 4 of 3"),
        ({"cosigners": [KEYS[0]] * 3, "quorum": 2}, "a quorum of 2 of 1"),
        ({"quorum": 1}, "of 0 cosigners"),
        ({"cosigners": [str(WITNESSES[0].cosigner).partition("+")[0]]}, "."),
    ],
)
def test_cosigners_that_cannot_be_are_refused(options: dict[str, Any], match: str) -> None:
    public_key = str(Signer.generate("example.org/log").verifier)
    with pytest.raises(ScribeError, match=match):
        make_trust(**{"public_key": public_key, "path": None, **options})
