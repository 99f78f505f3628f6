"""A node that lies is found out. Each test tells one lie, and shows first and last that the same path passes without.

What is told is always made of true parts where it can be: answers of another key, of an earlier time, of a log that
was forked with the ledger's own key.
"""

from __future__ import annotations

import base64
from typing import TYPE_CHECKING, Any

import orjson
import pytest
from tests.client.serving import Reply, as_json, as_text

from scribe_ledger.errors import VerificationError
from scribe_ledger.merkle import Signer, sign_checkpoint

if TYPE_CHECKING:
    from collections.abc import Callable

    from tests.client.conftest import World
    from tests.client.serving import Answering


pytestmark = pytest.mark.http


def caught(world: World, call: Callable[[], Any], lie: Callable[[str, Reply], Reply | None], match: str) -> None:
    """The call passes, is refused while the lie is told, and passes again."""
    call()
    world.server.lie = lie
    with pytest.raises(VerificationError, match=match):
        call()
    world.server.lie = None
    call()


def changing(**changes: Any) -> Callable[[str, Reply], Reply]:
    """Puts other fields into answers in JSON."""

    def lie(_target: str, reply: Reply) -> Reply:
        shape = orjson.loads(reply.body)
        for name, change in changes.items():
            shape[name] = change(shape[name]) if callable(change) else change
        return as_json(shape, reply.status)

    return lie


def first_version(target: str) -> str:
    return target.replace("proof=true", "proof=true&version=1")


def instead(target_part: str, other: Answering, change: Callable[[str], str] = lambda target: target) -> Any:
    """Answers some questions from another ledger, or as if another question had been asked."""

    def lie(target: str, reply: Reply) -> Reply:
        return other("GET", change(target), {}, b"") if target_part in target else reply

    return lie


# --- a value ---------------------------------------------------------------------------------------------------


def test_another_value(world: World) -> None:
    world.ledger.put("k", "true")
    lie = changing(value_base64=base64.b64encode(b"fals").decode())
    caught(world, lambda: world.client.get("k"), lie, "SHA-256")


def test_a_value_left_out(world: World) -> None:
    world.ledger.put("k", "true")
    caught(world, lambda: world.client.get("k"), changing(value_base64=None), "leaves out the value")


def test_another_large_value(world: World) -> None:
    world.ledger.put("k", b"x" * 300_000)

    def lie(target: str, reply: Reply) -> Reply:
        return reply if "proof=true" in target else reply._replace(body=b"y" * 300_000)

    caught(world, lambda: world.client.get("k"), lie, "not that of entry 0")


def test_a_large_value_that_is_cut(world: World) -> None:
    world.ledger.put("k", b"x" * 300_000)

    def lie(target: str, reply: Reply) -> Reply:
        return reply if "proof=true" in target else reply._replace(body=b"x" * 299_999)

    caught(world, lambda: world.client.get("k"), lie, "not that of entry 0")


def test_an_entry_of_another_key(world: World) -> None:
    world.ledger.put_many([("k", "1"), ("other", "2")])
    lie = instead("/v1/kv/k", world.answers(world.ledger), lambda target: target.replace("kv/k", "kv/other"))
    caught(world, lambda: world.client.get("k"), lie, "answers for 'other', asked for 'k'")


def test_another_version_than_asked_for(world: World) -> None:
    for value in ("1", "2"):
        world.ledger.put("k", value)
    lie = instead("version=2", world.answers(world.ledger), lambda target: target.replace("version=2", "version=1"))
    caught(world, lambda: world.client.get("k", version=2), lie, "version 1 of 'k', not 2")


def test_a_version_older_than_one_seen(world: World) -> None:
    for value in ("1", "2"):
        world.ledger.put("k", value)
    lie = instead("/v1/kv/k", world.answers(world.ledger), first_version)
    caught(world, lambda: world.client.get("k"), lie, "version 1 of 'k', version 2 was seen")


def test_a_version_older_than_ones_own_write(world: World) -> None:
    world.ledger.put("k", "1")
    world.client.put("k", "2")
    lie = instead("/v1/kv/k", world.answers(world.ledger), first_version)
    world.server.lie = lie
    with pytest.raises(VerificationError, match="version 2 was seen"):
        world.client.get("k")
    world.server.lie = None
    assert world.client.get("k") == b"2"


def test_an_entry_from_after_the_time_asked_for(world: World) -> None:
    for value in ("1", "2"):
        world.ledger.put("k", value)
    lie = instead("as_of=1", world.answers(world.ledger), lambda target: target.replace("as_of=1", "as_of=2"))
    caught(world, lambda: world.client.get("k", as_of=1), lie, "entry 1 for 'k' as of size 1")


def test_an_older_entry_than_seen_for_a_past_size(world: World) -> None:
    for value in ("1", "2"):
        world.ledger.put("k", value)
    world.ledger.put("other", "3")
    lie = instead("as_of=3", world.answers(world.ledger), lambda target: target.replace("as_of=3", "as_of=1"))
    caught(world, lambda: world.client.get("k", as_of=3), lie, "version 2 was seen")


@pytest.mark.parametrize("how", [{}, {"version": 1}, {"as_of": 1}])
def test_that_a_key_is_not_there_which_was_seen(world: World, how: dict[str, int]) -> None:
    world.ledger.put("k", "1")
    gone = as_json({"error": {"kind": "not_found", "message": "there is no key", "hint": ""}}, 404)
    caught(world, lambda: world.client.get("k", **how), lambda _, __: gone, "was seen before")


def test_a_deleted_key_that_is_said_to_be_alive(world: World) -> None:
    world.ledger.put("k", "1")
    world.ledger.delete("k")
    lie = instead("/v1/kv/k", world.answers(world.ledger), first_version)
    caught(world, lambda: world.client.get("k"), lie, "version 2 was seen")


# --- the log ---------------------------------------------------------------------------------------------------


def test_a_head_below_the_remembered_one(world: World) -> None:
    world.ledger.put("k", "1")
    old = world.twin("old")
    world.ledger.put("other", "2")
    lie = instead(
        "/v1/kv/k",
        world.answers(old),
        lambda target: target.replace("since=2", "since=1").replace("after=1", "after=0"),
    )
    caught(world, lambda: world.client.get("k"), lie, "a log of 1 entry, and it had 2 before")


def test_a_checkpoint_below_the_remembered_one(world: World) -> None:
    world.ledger.put("k", "1")
    old = world.twin("old")
    world.ledger.put("other", "2")
    lie = instead("/tlog/", world.answers(old), lambda _: "/tlog/checkpoint")
    caught(world, world.client.checkpoint, lie, "a log of 1 entry, and it had 2 before")


def replayed(old: Answering) -> Any:
    """Each question that a read of the present asks, as a node answers it that stopped at an earlier time."""

    def change(target: str) -> str:
        return target.partition("?")[0] + ("?proof=true" if "/v1/kv" in target else "")

    parts = ("/v1/kv/", "/tlog/checkpoint", "/v1/proof/k", "/v1/proof/history/", "/v1/stats")
    return lambda target, reply: old("GET", change(target), {}, b"") if any(part in target for part in parts) else reply


READS: list[Callable[[Any], Any]] = [
    lambda client: client.get("k"),
    lambda client: client.checkpoint(),
    lambda client: client.prove("k"),
    lambda client: client.prove_history("k"),
    lambda client: list(client.history("k")),
    lambda client: list(client.log()),
]
READ_NAMES = ["get", "checkpoint", "prove", "prove_history", "history", "log"]


@pytest.mark.parametrize("read", READS, ids=READ_NAMES)
def test_an_answer_from_before_the_remembered_head(world: World, read: Callable[[Any], Any]) -> None:
    world.ledger.put("k", "1")
    old = world.twin("old")
    world.ledger.put_many([("a", "2"), ("b", "3")])
    world.client.checkpoint()
    caught(world, lambda: read(world.client), replayed(world.answers(old)), "a log of 1 entry, and it had 3 before")


@pytest.mark.parametrize("known", [True, False], ids=["head known", "no head known"])
@pytest.mark.parametrize("read", READS, ids=READ_NAMES)
def test_an_answer_from_before_ones_own_write(world: World, read: Callable[[Any], Any], known: bool) -> None:
    world.ledger.put("k", "1")
    old = world.twin("old")
    if known:
        world.client.checkpoint()
    world.client.put("a", "2")
    world.client.put("b", "3")
    world.server.lie = replayed(world.answers(old))
    with pytest.raises(VerificationError, match="a log of 1 entry, which lacks the entry 2"):
        read(world.client)
    world.server.lie = None
    read(world.client)


def test_a_checkpoint_of_the_past_is_no_lie(world: World) -> None:
    world.ledger.put_many([("k", "1"), ("a", "2")])
    world.client.put("b", "3")
    assert world.client.checkpoint().size == 3
    assert world.client.checkpoint(at=1).size == 1
    assert world.client.prove("k", at=1).checkpoint.size == 1
    assert world.client.prove_history("k", at=2).checkpoint.size == 2


def test_a_fork_of_the_same_size(world: World) -> None:
    world.ledger.put("k", "1")
    fork = world.twin("fork")
    world.ledger.put("other", "2")
    fork.put("other", "forged")
    caught(
        world, lambda: world.client.get("k"), instead("/v1/", world.answers(fork)), "two different logs of 2 entries"
    )


@pytest.mark.parametrize("call", ["get", "get_many", "checkpoint", "prove", "prove_history"])
def test_a_fork_that_is_longer(world: World, call: str) -> None:
    world.ledger.put("k", "1")
    fork = world.twin("fork")
    for at in range(5):
        world.ledger.put("other", f"{at}")
    for at in range(9):
        fork.put("other", f"forged {at}")
    arguments: dict[str, list[Any]] = {"get_many": [["k"]], "checkpoint": []}
    getattr(world.client, call)(*arguments.get(call, ["k"]))
    world.server.answer, true = world.answers(fork), world.server.answer
    with pytest.raises(VerificationError, match="does not lead to the"):
        getattr(world.client, call)(*arguments.get(call, ["k"]))
    world.server.answer = true
    getattr(world.client, call)(*arguments.get(call, ["k"]))


def test_that_no_consistency_proof_is_given(world: World) -> None:
    world.ledger.put("k", "1")
    world.client.get("k")
    world.ledger.put("other", "2")
    world.ledger.checkpoint()  # until then the node may answer under the one before
    world.server.lie = changing(consistency=None)
    with pytest.raises(VerificationError, match="does not prove that its log extends the one of size 1"):
        world.client.get("k")
    world.server.lie = None
    assert world.client.get("k") == b"1"


def test_a_consistency_proof_of_other_sizes(world: World) -> None:
    world.ledger.put("k", "1")
    world.client.get("k")
    world.ledger.put_many([("a", "2"), ("b", "3")])
    world.ledger.checkpoint()
    world.server.lie = changing(consistency=str(world.ledger.prove_consistency(2)))
    with pytest.raises(VerificationError, match="from 2 to 3, not 1 to 3"):
        world.client.get("k")
    world.server.lie = None
    assert world.client.get("k") == b"1"


def test_a_forged_signature(world: World) -> None:
    world.ledger.put("k", "1")
    forger = Signer.generate("example.org/log")

    def forge(text: str) -> str:
        head, separator, _ = text.partition("\n\n")
        return head + separator + sign_checkpoint(forger, 1, world.ledger.checkpoint().root).text

    caught(world, lambda: world.client.get("k"), changing(proof=forge), "no signature by the key")


def test_a_signature_of_something_else(world: World) -> None:
    world.ledger.put("k", "1")
    world.client.get("k")
    world.ledger.put("other", "2")
    true = world.ledger.checkpoint()  # from now on the node answers under this

    def forge(text: str) -> str:
        root = base64.b64encode(true.root).decode()
        return text.replace(root, base64.b64encode(bytes(32)).decode())

    world.server.lie = changing(proof=forge)
    with pytest.raises(VerificationError, match="is not valid"):
        world.client.get("k")
    world.server.lie = None
    assert world.client.get("k") == b"1"


def test_another_origin(world: World) -> None:
    world.ledger.put("k", "1")
    other = world.open("other", name="example.org/other")
    other.put("k", "1")
    caught(world, lambda: world.client.get("k"), instead("/v1/", world.answers(other)), "no signature by the key")


def test_a_truncated_proof(world: World) -> None:
    world.ledger.put_many([(f"k{at}", "1") for at in range(10)])

    def cut(text: str) -> str:
        head, separator, rest = text.partition("\n\n")
        return head.rpartition("\n")[0] + separator + rest

    caught(world, lambda: world.client.get("k3"), changing(proof=cut), "hashes, not")


@pytest.mark.parametrize("proof", ["", "garbage", 5, None, "c2sp.org/tlog-proof@v1\n"])
def test_no_proof_at_all(world: World, proof: object) -> None:
    world.ledger.put("k", "1")
    caught(world, lambda: world.client.get("k"), changing(proof=proof), "proof")


# --- many at once ----------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("change", "match"),
    [
        (lambda entries: [entries[1], entries[0]], "answers for 'b', asked for 'a'"),
        (lambda entries: entries[:1], "1 entries for 2 keys"),
        (lambda entries: [None, entries[1]], "was seen before"),
        (lambda entries: [{**entries[0], "value_base64": "AAAA"}, entries[1]], "the value"),
        (lambda entries: [{**entries[0], "hashes_base64": ""}, entries[1]], "0 hashes, not 1"),
        (lambda entries: [{**entries[0], "hashes_base64": "AAAA"}, entries[1]], "cut off"),
        (lambda entries: [{**entries[0], "index": 1}, entries[1]], "does not lead to the root"),
        (lambda entries: [{**entries[0], "leaf_base64": entries[1]["leaf_base64"]}, entries[1]], "does not lead"),
    ],
)
def test_many_values(world: World, change: Callable[[Any], Any], match: str) -> None:
    world.ledger.put_many([("a", "1"), ("b", "2")])
    caught(world, lambda: world.client.get_many(["a", "b"]), changing(entries=change), match)


def test_a_listing_with_another_entry(world: World) -> None:
    world.ledger.put_many([("a", "1"), ("b", "2")])
    world.ledger.put("a", "3")
    old = world.ledger.entry("a", version=1)
    assert old is not None

    def lie(target: str, reply: Reply) -> Reply:
        return (
            changing(entries=lambda entries: [old.to_json(), entries[1]])(target, reply)
            if "/v1/kv?" in target
            else reply
        )

    # an older entry may have been the latest when the listing began, but what it was is proven
    caught(world, lambda: list(world.client.scan()), _forging_listing("a"), "not what its leaf hash says")
    world.server.lie = lie
    assert [entry.version for entry in world.client.scan()] == [1, 1]


def _forging_listing(key: str) -> Callable[[str, Reply], Reply]:
    def lie(target: str, reply: Reply) -> Reply:
        def change(entries: Any) -> Any:
            return [{**entry, "size": 9} if entry["key"] == key else entry for entry in entries]

        return changing(entries=change)(target, reply) if "/v1/kv?" in target else reply

    return lie


@pytest.mark.parametrize(
    ("read", "changes"),
    [
        (lambda client: list(client.scan()), {"entries": [{"key": 5}]}),
        (lambda client: list(client.scan()), {"cursor": 7}),
        (lambda client: list(client.log()), {"entries": [{"key": 5}]}),
        (lambda client: client.entry_at(0), {"entries": 5}),
    ],
)
def test_a_listing_that_cannot_be_read(world: World, read: Callable[[Any], Any], changes: dict[str, Any]) -> None:
    world.ledger.put_many([("a", "1"), ("b", "2")])

    def lie(target: str, reply: Reply) -> Reply:
        return changing(**changes)(target, reply) if target.startswith(("/v1/kv?", "/v1/log?")) else reply

    caught(world, lambda: read(world.client), lie, "the node's answer")


@pytest.mark.parametrize("options", [{}, {"prefix": "b"}, {"start": "b"}, {"reverse": True}])
def test_a_listing_of_other_keys(world: World, options: dict[str, Any]) -> None:
    world.ledger.put_many([("a", "1"), ("b", "2"), ("bb", "3")])
    first = world.ledger.entry_at(0)

    def lie(target: str, reply: Reply) -> Reply:
        if "/v1/kv?" not in target:
            return reply
        return changing(entries=lambda entries: [*entries, first.to_json()])(target, reply)

    if options == {"reverse": True}:
        lie = _shuffled
    caught(world, lambda: list(world.client.scan(**options)), lie, "where it cannot stand")


def _shuffled(target: str, reply: Reply) -> Reply:
    return changing(entries=lambda entries: entries[::-1])(target, reply) if "/v1/kv?" in target else reply


def test_a_history_with_a_version_left_out(world: World) -> None:
    for value in ("1", "2", "3"):
        world.ledger.put("k", value)
    true = world.ledger.prove_history("k")

    def lie(target: str, reply: Reply) -> Reply:
        from scribe_ledger.merkle import HistoryProof

        cut = HistoryProof((true.entries[0], true.entries[2]), true.checkpoint)
        return as_text(cut) if "history" in target else reply

    caught(world, lambda: list(world.client.history("k")), lie, "the history breaks after version 3")


def test_a_history_without_its_newest(world: World) -> None:
    for value in ("1", "2", "3"):
        world.ledger.put("k", value)
    old = as_text(world.ledger.prove_history("k", version=2))
    caught(world, lambda: list(world.client.history("k")), lambda _, __: old, "version 3 was seen")


@pytest.mark.parametrize("start", [0, 2, 5, 8])
@pytest.mark.parametrize("what", ["changed", "left out", "from a fork"])
def test_the_log(world: World, start: int, what: str) -> None:
    world.ledger.put_many([(f"k{at}", "1") for at in range(5)])
    fork = world.twin("fork")
    world.ledger.put_many([(f"k{at}", "1") for at in range(5, 13)])
    fork.put_many([(f"k{at}", "2") for at in range(5, 13)])

    def change(entries: Any) -> Any:
        if what == "changed":
            return [{**entry, "timestamp": entry["timestamp"] + 1} for entry in entries]
        return entries[:-2] + entries[-1:]

    def lie(target: str, reply: Reply) -> Reply:
        if not target.startswith("/v1/log"):
            return reply
        if what == "from a fork":
            return world.answers(fork)("GET", target, {}, b"")
        return changing(entries=change)(target, reply)

    assert [entry.index for entry in world.client.log(start, 12)] == list(range(start, 12))
    caught(world, lambda: list(world.client.log(start, 12)), lie, "leaf hash|not 1[01]|does not lead to the")


def test_an_entry_at_another_place(world: World) -> None:
    world.ledger.put_many([("a", "1"), ("b", "2")])
    lie = instead("/v1/log", world.answers(world.ledger), lambda target: target.replace("start=0", "start=1"))
    caught(world, lambda: world.client.entry_at(0), lie, "entry 1, not 0")


# --- receipts --------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("field", "match"),
    [("sha256", "other bytes"), ("leaf_hash", "leaf hash"), ("timestamp", "leaf hash")],
)
def test_a_receipt_of_something_else(world: World, field: str, match: str) -> None:
    def change(found: Any) -> Any:
        return found + 1 if isinstance(found, int) else "00" * 32

    world.client.put("a", "1")
    world.server.lie = changing(**{field: change})
    with pytest.raises(VerificationError, match=match):
        world.client.put("b", "1")
    world.server.lie = None
    world.client.put("c", "1")


def test_a_receipt_inside_of_the_log_that_was_there(world: World) -> None:
    world.ledger.put_many([("a", "1"), ("b", "2")])
    world.client.checkpoint()
    world.server.lie = changing(index=1)
    with pytest.raises(VerificationError, match="the log was longer before"):
        world.client.put("c", "1")
    world.server.lie = None
    world.client.put("d", "1")


def test_a_receipt_before_ones_own_last(world: World) -> None:
    """No head and no leaf hash shows it, since the key was not met before: the client's own receipts do."""
    world.ledger.put("c", "1")
    world.client.checkpoint()
    for key in "ab":
        world.client.put(key, "1")
    world.server.lie = changing(index=1)
    with pytest.raises(VerificationError, match="the log was longer before"):
        world.client.put("c", "2")
    world.server.lie = None
    world.client.put("c", "3")


def unconditional(world: World, body: bytes) -> Callable[[str, Reply], Reply]:
    """A node that writes although the condition does not hold."""

    def lie(target: str, reply: Reply) -> Reply:
        if reply.status != 412:
            return reply
        if "batch" in target:
            return world.answers(world.ledger)("POST", target, {"content-type": "application/json"}, body)
        return world.answers(world.ledger)("PUT", target.partition("?")[0], {}, body)

    return lie


@pytest.mark.parametrize("before", [0, 3])
@pytest.mark.parametrize("known", [True, False], ids=["key known", "key not known"])
@pytest.mark.parametrize(
    ("condition", "match"),
    [
        ({"if_version": 1}, "which was to follow version 1"),
        ({"if_version": 5}, "which was to follow version 5"),
        ({"if_index": 1}, "which was to follow entry 1|leaf hash"),
        ({"if_index": 1000}, "which was to follow entry 1000|leaf hash"),
    ],
)
def test_a_receipt_against_the_condition(
    world: World, before: int, known: bool, condition: dict[str, int], match: str
) -> None:
    for at in range(before):
        world.ledger.put("k", f"{at}")
    if known:
        world.client.get("k")
    world.server.lie = unconditional(world, b"forced")
    with pytest.raises(VerificationError, match=match):
        world.client.put("k", "forced", **condition)
    assert world.ledger.get("k") == b"forced"
    world.server.lie = None
    assert world.client.put("k", "next", if_version=before + 1).version == before + 2
    assert world.client.put("k", "last", if_index=before + 1).version == before + 3


def test_a_receipt_in_a_batch_against_the_condition(world: World) -> None:
    for at in range(3):
        world.ledger.put("k", f"{at}")
    padded = {"note": " no header can hold this"}  # so it goes as a batch of one
    shape = {"operations": [{"op": "put", "key": "k", "value": "forced", "metadata": padded}]}
    world.server.lie = unconditional(world, orjson.dumps(shape))
    with pytest.raises(VerificationError, match="version 4 of 'k', which was to follow version 1"):
        world.client.put("k", "forced", metadata=padded, if_version=1)
    world.server.lie = None
    assert world.client.put("k", "next", metadata=padded, if_version=4).version == 5


def test_a_receipt_of_a_write_done_before_is_held_against_no_condition(world: World) -> None:
    first = world.client.put("k", "1", request_id="once", if_version=0)
    world.ledger.put("k", "2")
    again = world.client.put("k", "1", request_id="once", if_version=0)
    assert (again.index, again.created) == (first.index, False)


def test_a_receipt_of_an_entry_that_is_not_there(world: World) -> None:
    """The leaf hash of a later version cannot be checked at once, but the next proof shows the lie."""
    world.ledger.put("k", "1")
    world.server.lie = changing(leaf_hash="00" * 32)
    world.client.put("k", "2")
    world.server.lie = None
    with pytest.raises(VerificationError, match="contradicts"):
        world.client.get("k")
    assert world.connect(world.server.url).get("k") == b"2"


def test_fewer_receipts_than_operations(world: World) -> None:
    world.server.lie = changing(receipts=lambda receipts: receipts[:1])
    with pytest.raises(VerificationError, match="1 receipts for 2 operations"):
        world.client.put_many([("a", "1"), ("b", "2")])
    world.server.lie = None
    assert len(world.client.put_many([("c", "1"), ("d", "2")])) == 2
