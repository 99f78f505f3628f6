"""What comes from outside: every message is judged before the engine sees it, and none makes it panic by its form."""

from __future__ import annotations

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scribe_raft import Node, RaftPanic, StepError, describe

import wire
from cluster import Cluster, voters


def follower() -> Node:
    return Node(1, conf_state=voters(1, 2, 3), hard_state=(3, 0, 0), entries=[(1, 2, 0, b"", b"")])


WELL_FORMED = {
    "append": wire.message(wire.APPEND, term=3, index=1, log_term=2, entries=(wire.entry(2, 3, b"x"),), commit=1),
    "heartbeat": wire.message(wire.HEARTBEAT, term=3, commit=1, context=b"read"),
    "vote": wire.message(wire.VOTE, term=4, index=1, log_term=2),
    "pre-vote": wire.message(wire.PRE_VOTE, term=4, index=1, log_term=2),
    "snapshot": wire.message(wire.SNAPSHOT, term=3, snapshot=wire.snapshot(9, 3, [1, 2, 3], b"data")),
    "read": wire.message(wire.READ_INDEX, entries=(wire.octets(4, b"context"),)),
    "response": wire.message(wire.APPEND_RESPONSE, term=3, index=1),
    "change": wire.message(wire.APPEND, term=3, entries=(wire.entry(1, 3, b"", 2),)),
}

HUGE = 1 << 63
MALFORMED = {
    "no bytes": b"",
    "noise": b"\xff" * 20,
    "cut off": WELL_FORMED["append"][:-1],
    "a group": b"\x0b\x0c",
    "groups in groups": b"\x9b\x01" * 1_000_000,
    "a group in an entry": wire.message(wire.APPEND, term=3, entries=(wire.entry(1, 3) + b"\x9b\x01",)),
    "a length without end": b"\x3a\xff\xff\xff\xff\xff\xff\xff\xff\xff\x01",
    "a number without end": b"\x20" + b"\xff" * 11,
    "an unknown field": WELL_FORMED["append"] + wire.number(17, 1),
    "an unknown field of an entry": wire.message(wire.APPEND, term=3, entries=(wire.entry(1, 3) + b"\x38\x01",)),
    "a field of number 0": WELL_FORMED["append"] + b"\x00\x01",
    "field 4 as bytes": wire.octets(4, b"term"),
    "an unknown type": wire.message(99, term=3),
    "an unknown entry type": wire.message(wire.APPEND, term=3, entries=(wire.entry(1, 3, b"", 9),)),
    "no sender": wire.message(wire.HEARTBEAT, sender=0, term=3),
    "no term": wire.message(wire.HEARTBEAT),
    "a vote without term": wire.message(wire.VOTE, index=9, log_term=9),
    "a read with a term": wire.message(wire.READ_INDEX, term=9, entries=(wire.octets(4, b"context"),)),
    "a huge term": wire.message(wire.HEARTBEAT, term=HUGE),
    "a huge index": wire.message(wire.APPEND_RESPONSE, term=3, index=HUGE),
    "a huge hint": wire.message(wire.APPEND_RESPONSE, term=3, reject=1, reject_hint=HUGE),
    "entries after one of no term": wire.message(wire.APPEND, term=3, index=1),
    "a gap before the entries": wire.message(wire.APPEND, term=3, index=1, log_term=2, entries=(wire.entry(3, 3),)),
    "a gap in the entries": wire.message(wire.APPEND, term=3, entries=(wire.entry(1, 3), wire.entry(3, 3))),
    "terms that fall": wire.message(wire.APPEND, term=3, entries=(wire.entry(1, 3), wire.entry(2, 2))),
    "a term below the one before": wire.message(wire.APPEND, term=3, index=1, log_term=2, entries=(wire.entry(2, 1),)),
    "an entry above the term": wire.message(wire.APPEND, term=3, entries=(wire.entry(1, 4),)),
    "an entry of nothing": wire.message(wire.APPEND, term=3, entries=(b"",)),
    "a change that is none": wire.message(wire.APPEND, term=3, entries=(wire.entry(1, 3, b"\xff\xff", 2),)),
    "entries in a vote": wire.message(wire.VOTE, term=4, entries=(wire.entry(1, 3),)),
    "a read without context": wire.message(wire.READ_INDEX),
    "a read with an empty context": wire.message(wire.READ_INDEX, entries=(wire.entry(1, 1),)),
    "a read with a long context": wire.message(wire.READ_INDEX, entries=(wire.octets(4, bytes(1025)),)),
    "an answer to two reads": wire.message(
        wire.READ_INDEX_RESPONSE, term=3, entries=(wire.octets(4, b"one."), wire.octets(4, b"two."))
    ),
    "no snapshot": wire.message(wire.SNAPSHOT, term=3),
    "a snapshot of nothing": wire.message(wire.SNAPSHOT, term=3, snapshot=wire.snapshot(0, 0, [1])),
    "a snapshot without voters": wire.message(wire.SNAPSHOT, term=3, snapshot=wire.snapshot(9, 3, [])),
    "a snapshot of one voter twice": wire.message(wire.SNAPSHOT, term=3, snapshot=wire.snapshot(9, 3, [1, 1])),
    "a snapshot of very many voters": wire.message(
        wire.SNAPSHOT, term=3, snapshot=wire.snapshot(9, 3, list(range(1, 2000)))
    ),
    "a snapshot above the term": wire.message(wire.SNAPSHOT, term=3, snapshot=wire.snapshot(9, 4, [1])),
}

REFUSED = {
    "for another node": wire.message(wire.HEARTBEAT, to=2, sender=3, term=3),
    "from the node itself": wire.message(wire.HEARTBEAT, sender=1, term=3),
    "a local message": wire.message(wire.HUP),
    "a forwarded proposal": wire.message(wire.PROPOSE, entries=(wire.octets(4, b"data"),)),
    "a forwarded transfer": wire.message(wire.TRANSFER, sender=3, term=3),
    "an answer of a stranger": wire.message(wire.APPEND_RESPONSE, sender=9, term=3),
}


@pytest.mark.parametrize("name", WELL_FORMED)
def test_good_messages_are_taken_from_any_buffer(name: str) -> None:
    for data in (WELL_FORMED[name], bytearray(WELL_FORMED[name]), memoryview(WELL_FORMED[name])):
        node = follower()
        node.step(data, sender=2)
        assert node.poisoned is None


@pytest.mark.parametrize("name", MALFORMED)
def test_malformed_messages_are_a_value_error(name: str) -> None:
    node = follower()
    before = node.status()
    with pytest.raises(ValueError, match="malformed message"):
        node.step(MALFORMED[name])
    with pytest.raises(ValueError, match="malformed message"):
        describe(MALFORMED[name])
    assert node.status() == before
    assert not node.has_ready()


@pytest.mark.parametrize("name", REFUSED)
def test_messages_that_are_not_for_this_node_are_refused(name: str) -> None:
    node = follower()
    before = node.status()
    with pytest.raises(StepError):
        node.step(REFUSED[name])
    assert node.status() == before
    assert not node.has_ready()


def test_the_sender_is_the_one_that_was_authenticated() -> None:
    node = follower()
    with pytest.raises(StepError, match="a message from node 2, delivered by node 3"):
        node.step(WELL_FORMED["append"], sender=3)
    node.step(WELL_FORMED["append"], sender=2)


def test_too_long_is_refused_before_it_is_read() -> None:
    node = Node(1, conf_state=voters(1, 2), max_size_per_msg=1000, max_message_bytes=3000)
    entry = wire.entry(1, 1, bytes(2900))
    node.step(wire.message(wire.APPEND, term=1, entries=(entry,)))
    with pytest.raises(ValueError, match="at most 3000 are taken"):
        node.step(wire.message(wire.APPEND, term=1, entries=(wire.entry(1, 1, bytes(3000)),)))


def test_the_longest_entry_fits_a_message() -> None:
    cluster = Cluster(1, 2, max_size_per_msg=1000, max_message_bytes=1 << 16)
    cluster.campaign(1)
    cluster.propose(1, bytes((1 << 16) - 1024))
    assert len(cluster.states()[2][0]) == (1 << 16) - 1024


def test_a_batch_goes_on_after_a_bad_message() -> None:
    node = follower()
    batch = [MALFORMED["noise"], WELL_FORMED["append"], REFUSED["a local message"], WELL_FORMED["heartbeat"]]
    assert node.step_many(batch, sender=2) == 2
    assert node.commit_index == 1
    assert node.status()["last_index"] == 2


def test_a_message_is_told_in_words() -> None:
    told = describe(WELL_FORMED["append"])
    assert told["type"] == "MsgAppend"
    assert (told["from"], told["to"], told["term"], told["index"]) == (2, 1, 3, 1)
    assert told["entries"] == [(2, 3, 0, b"x", b"")]
    assert told["snapshot"] is None
    assert describe(WELL_FORMED["snapshot"])["snapshot"] == (9, 3, voters(1, 2, 3), b"data")


@pytest.mark.parametrize("wrong", ["text", 7, None])
def test_only_buffers_are_taken(wrong: object) -> None:
    with pytest.raises(TypeError):
        follower().step(wrong)  # type: ignore[arg-type]


@given(st.binary(max_size=200))
@settings(max_examples=500, deadline=None)
def test_noise_never_reaches_the_engine(data: bytes) -> None:
    node = follower()
    with pytest.raises((ValueError, StepError)):
        node.step(data)


INVARIANTS = ("to_commit", "conflict with committed", "is out of range")
"""What a message can say that is well formed and cannot be true, so that this node or its peer has lost something."""


@given(st.sampled_from(sorted(WELL_FORMED)), st.data())
@settings(max_examples=1500, deadline=None)
def test_a_good_message_with_changed_bytes_does_not_break_a_node(name: str, data: st.DataObject) -> None:
    changed = bytearray(WELL_FORMED[name])
    for _ in range(data.draw(st.integers(1, 3))):
        changed[data.draw(st.integers(0, len(changed) - 1))] = data.draw(st.integers(0, 255))
    for node in (follower(), leader()):
        try:
            node.step(changed)
            settle(node)
        except (ValueError, StepError):
            assert node.poisoned is None
        except RaftPanic as broken:
            assert any(reason in str(broken) for reason in INVARIANTS), str(broken)


def leader() -> Node:
    node = Node(1, conf_state=voters(1, 2), pre_vote=False)
    node.campaign()
    settle(node)
    node.step(wire.message(wire.VOTE_RESPONSE, term=1))
    settle(node)
    assert node.is_leader
    return node


def settle(node: Node) -> None:
    while (ready := node.ready()) is not None:
        node.advance(ready)
        node.advance_apply()
