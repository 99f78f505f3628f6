"""What is asked about membership, as bytes and back, and what is refused."""

from __future__ import annotations

import json

import pytest

from scribe_ledger.consensus.formation import messages
from scribe_ledger.consensus.formation.messages import AskPromise, Invite, Join, Leave, Probe, Standing, Welcome
from scribe_ledger.consensus.membership import MemberInfo
from scribe_ledger.errors import SerializationError

pytestmark = pytest.mark.consensus

LARGE = (1 << 63) - 1
KEY = "node-2+aa09cc6e+BDtqJ7zOtqQtYqOo0CpvDXNlMhV3HeJDpjrASKGLWdop"
INFO = MemberInfo(LARGE, 2, "127.0.0.1:9002", "127.0.0.1:8002", KEY, 1, "store")
STANDING = Standing(raft_id=LARGE, node_id=1, address="127.0.0.1:9001", bootstrap=True, promised_to=LARGE)


@pytest.mark.parametrize(
    "message",
    [
        Probe(),
        STANDING,
        AskPromise(candidate=STANDING, named=(1, LARGE), count=3),
        Join(info=INFO, policies={"overwrite": "forbid"}),
        Welcome(
            cluster_id="ab", origin="o", created=1, policies={}, ledger_key="", key_form="", members=(INFO,),
            leader_address="h:1",
        ),
        Invite(cluster_id="ab", node_id=3, address="h:1"),
        Leave(node_id=3),
    ],
)  # fmt: skip
def test_a_message_survives_the_way(message: messages.AnyMessage) -> None:
    assert messages.decode(messages.encode(message)) == message


def test_raft_ids_travel_as_text() -> None:
    sent = json.loads(messages.encode(AskPromise(candidate=STANDING, named=(1, LARGE), count=3))[1:])
    assert sent["candidate"]["raft_id"] == str(LARGE)
    assert sent["named"] == ["1", str(LARGE)]
    assert json.loads(messages.encode(Join(info=INFO))[1:])["info"]["raft_id"] == str(LARGE)


GOOD = {"version": 1, "type": "leave", "node_id": 3}
JOIN = json.loads(messages.encode(Join(info=INFO))[1:])


@pytest.mark.parametrize(
    "text",
    [
        b"",
        b"F",
        b"{}",
        b"F{",
        b"F[]",
        b"F\xff\xfe",
        b"F" + json.dumps({**GOOD, "type": "burn"}).encode(),
        b"F" + json.dumps({**GOOD, "node_id": "3"}).encode(),
        b"F" + json.dumps({**GOOD, "node_id": -3}).encode(),
        b"F" + json.dumps({**GOOD, "more": 1}).encode(),
        b"F" + json.dumps({**JOIN, "info": {**JOIN["info"], "raft_id": str(1 << 63)}}).encode(),
        b"F" + json.dumps({**JOIN, "info": {**JOIN["info"], "raft_address": 5}}).encode(),
        b"F" + json.dumps({**JOIN, "info": {"raft_id": "5"}}).encode(),
        b"F" + json.dumps({**JOIN, "info": None}).encode(),
        b"F" + b" " * messages.MAX_MESSAGE_BYTES + json.dumps(GOOD).encode(),
    ],
)
def test_what_is_no_message_is_refused(text: bytes) -> None:
    with pytest.raises(SerializationError):
        messages.decode(text)


@pytest.mark.parametrize("kind", ["join", "update"])
@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("node_id", 0),
        ("node_id", -5),
        ("node_id", 1 << 63),
        ("node_id", 1 << 70),
        ("apply_version", 0),
        ("apply_version", 1 << 31),
        ("raft_address", "nonsense"),
        ("raft_address", "http://h:1"),
        ("raft_address", "h:99999"),
        ("client_address", ""),
        ("client_address", "h" * 300 + ":1"),
        ("store_id", "s" * 257),
        ("node_key", "garbage"),
        ("node_key", "k" * 600),
    ],
)
def test_what_no_member_could_record_is_no_member(kind: str, name: str, value: object) -> None:
    info = {**JOIN["info"], name: value}
    with pytest.raises(SerializationError):
        messages.decode(b"F" + json.dumps({"version": 1, "type": kind, "info": info}).encode())


def test_a_newer_version_is_refused_by_name() -> None:
    with pytest.raises(SerializationError, match="version 2"):
        messages.decode(b"F" + json.dumps({**GOOD, "version": 2}).encode())


def test_an_answer_of_another_kind_is_refused() -> None:
    assert messages.decode_as(Leave, messages.encode(Leave(node_id=3))).node_id == 3
    with pytest.raises(SerializationError, match="Standing"):
        messages.decode_as(Standing, messages.encode(Leave(node_id=3)))
