"""Proofs over the wire: what leaves a node can be checked with its public key alone, at once after a write."""

from __future__ import annotations

import base64
import threading
from typing import TYPE_CHECKING

import orjson
import pytest
from tests.http.asking import ask, get, put
from tests.http.serving import Served, serve

from scribe_ledger import verify
from scribe_ledger.errors import VerificationError
from scribe_ledger.http.checkpoints import CHECKPOINT_SECONDS, Checkpoints
from scribe_ledger.http.proofs import PIECE_VERSIONS
from scribe_ledger.ledger import commands
from scribe_ledger.merkle import Checkpoint, ConsistencyProof, HistoryProof, Proof

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

pytestmark = pytest.mark.http

LARGE = bytes(range(256)) * 2048


@pytest.fixture(scope="module")
def served(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Served]:
    with serve(tmp_path_factory.mktemp("proofs") / "data") as running:
        for number in range(300):
            running.ledger.put(f"old/{number}", b"old")
        yield running


# --- a value and its proof in one trip -------------------------------------------------------------------------


@pytest.mark.parametrize("path", ["/one-trip", "/v1/kv/one-trip"])
def test_one_trip_has_entry_value_and_a_proof_that_holds(served: Served, path: str) -> None:
    put(served, path, b"v1", content_type="text/plain", x_scribe_meta_team="red")
    answer = get(served, f"{path}?proof=true")
    assert answer.status == 200
    assert answer.headers["content-type"] == "application/json"
    assert answer.headers["cache-control"] == "no-store"
    document = answer.json
    assert set(document) == {"entry", "value_base64", "proof"}
    assert base64.b64decode(document["value_base64"]) == b"v1"
    assert document["entry"]["metadata"] == {"team": "red"}
    leaf = verify.inclusion(document["proof"], b"v1", public_key=served.ledger.public_key, key="one-trip")
    assert leaf.hash().hex() == document["entry"]["leaf_hash"]


@pytest.mark.parametrize(
    ("key", "value", "headers"),
    [
        ("plain", b"v", {}),
        ("quote%22back%5Cslash", b"v", {}),
        ("line%0Abreak%00", b"v", {}),
        ("bytes%FF%FE", b"v", {}),
        ("%C3%BCml%C3%A4ut", b"v", {}),
        ("typed", b"v", {"content_type": "text/x"}),
        ("described", b"v", {"x_scribe_meta_a": "ä"}),
        ("empty", b"", {}),
    ],
)
def test_one_trip_says_of_the_entry_what_the_library_says(
    served: Served, key: str, value: bytes, headers: dict[str, str]
) -> None:
    for content in (value, value + b"2"):
        sent = {name: text.encode().decode("latin-1") for name, text in headers.items()}
        receipt = put(served, f"/v1/kv/says/{key}", content, **sent).json
        document = get(served, f"/v1/kv/says/{key}?proof=true").json
        entry = served.ledger.entry_at(receipt["index"])
        assert document["entry"] == orjson.loads(orjson.dumps(entry.to_json()))
        assert base64.b64decode(document["value_base64"]) == content
        verify.inclusion(document["proof"], content, public_key=served.ledger.public_key, key=entry.key)


def test_one_trip_gives_the_same_document_at_once_and_in_a_thread(served: Served) -> None:
    receipt = put(served, "/same", b"v").json
    at_once = get(served, "/same?proof=true&since=100")
    by_index = get(served, f"/same?proof=true&since=100&index={receipt['index']}")
    assert at_once.body == by_index.body


@pytest.mark.parametrize("query", ["proof=true", "proof=true&since=100", "proof=true&since=0"])
@pytest.mark.parametrize("path", ["/both-ways", "/v1/kv/both-ways", "/both%2Dways", "/v1/kv/a/%FF%2F%3F"])
def test_one_trip_is_the_same_through_the_lane_and_the_application(served: Served, path: str, query: str) -> None:
    put(served, path, b"v")
    get(served, "/tlog/checkpoint")
    lane, application = get(served, f"{path}?{query}"), get(served, f"{path}?{query}", x_unknown="to the application")
    assert lane.body == application.body
    varying = {"date", "x-request-id"}
    assert [header for header in lane.headers.items() if header[0] not in varying] == [
        header for header in application.headers.items() if header[0] not in varying
    ]
    assert get(served, f"{path}?{query}", x_request_id="mine").headers["x-request-id"] == "mine"


@pytest.mark.parametrize("query", ["proof=true&since=", "proof=true&since=9999999999999999999", "proof=true&"])
def test_what_is_nearly_plain_is_answered_as_the_application_does(served: Served, query: str) -> None:
    put(served, "/nearly", b"v")
    get(served, "/tlog/checkpoint")
    lane, application = get(served, f"/nearly?{query}"), get(served, f"/nearly?{query}", x_unknown="1")
    assert lane.status == application.status == (200 if query.endswith("&") else 400)


def test_one_trip_gives_earlier_versions_too(served: Served) -> None:
    for value in (b"1", b"2", b"3"):
        put(served, "/versions", value)
    size = served.ledger.size
    for query, value in (("version=1", b"1"), (f"as_of={size - 1}", b"2"), (f"as_of={size}", b"3")):
        document = get(served, f"/versions?proof=true&{query}").json
        verify.inclusion(document["proof"], value, public_key=served.ledger.public_key, key="versions")


def test_a_large_value_is_null_and_its_entry_proven(served: Served) -> None:
    put(served, "/large", LARGE)
    document = get(served, "/large?proof=true").json
    assert document["value_base64"] is None
    assert document["entry"]["chunk_root"]
    verify.inclusion(document["proof"], LARGE, public_key=served.ledger.public_key, key="large")


def test_a_deleted_key_is_404_with_the_proof_of_its_delete(served: Served) -> None:
    put(served, "/gone", b"v")
    index = ask(served, "DELETE", "/gone").json["index"]
    answer = get(served, "/gone?proof=true&since=10")
    assert answer.status == 404
    assert answer.error["kind"] == "not_found"
    assert answer.headers["x-scribe-index"] == str(index)
    document = answer.json
    assert document["entry"]["kind"] == "delete"
    assert document["value_base64"] is None
    leaf = verify.inclusion(document["proof"], public_key=served.ledger.public_key, key="gone")
    assert leaf.index == index
    assert ConsistencyProof.parse(document["consistency"]).old_size == 10


def test_a_key_that_never_was_is_a_plain_404(served: Served) -> None:
    answer = get(served, "/never?proof=true")
    assert answer.status == 404
    assert set(answer.json) == {"error"}
    assert answer.error["kind"] == "not_found"


def test_since_adds_the_proof_that_the_log_was_only_extended(served: Served) -> None:
    put(served, "/since", b"1")
    old = Checkpoint.parse(Proof.parse(get(served, "/since?proof=true").json["proof"]).checkpoint.text)
    put(served, "/since", b"2")
    document = get(served, f"/since?proof=true&since={old.size}").json
    new = Proof.parse(document["proof"]).checkpoint
    assert new.size > old.size
    verify.consistency(document["consistency"], old, new, public_key=served.ledger.public_key)


def test_since_zero_has_nothing_to_be_consistent_with(served: Served) -> None:
    put(served, "/since-zero")
    assert get(served, "/since-zero?proof=true&since=0").json["consistency"] is None


@pytest.mark.parametrize(
    "query", ["proof=perhaps", "proof=true&since=x", "proof=true&since=99999999", "since=1", "proof=false&since=1"]
)
def test_a_wrong_parameter_is_refused(served: Served, query: str) -> None:
    put(served, "/wrong-parameter")
    answer = get(served, f"/wrong-parameter?{query}")
    assert answer.status == 400
    assert answer.error["kind"] == "invalid"


def test_proof_false_is_a_plain_read(served: Served) -> None:
    put(served, "/plain", b"as it is")
    assert get(served, "/plain?proof=false").body == b"as it is"


# --- while others write ----------------------------------------------------------------------------------------


def test_a_proof_right_after_the_answer_to_a_put_succeeds_while_others_write(served: Served) -> None:
    stop, failures = threading.Event(), list[str]()

    def write_and_prove(name: str) -> None:
        number = 0
        while not stop.is_set() or number < 20:
            value = str(number).encode()
            index = put(served, f"/busy/{name}", value).json["index"]
            document = get(served, f"/busy/{name}?proof=true").json
            leaf = verify.inclusion(document["proof"], value, public_key=served.ledger.public_key)
            if leaf.index != index:
                failures.append(f"{name}: entry {leaf.index}, not {index}")
            number += 1
            if number >= 20:
                stop.set()

    threads = [threading.Thread(target=write_and_prove, args=(name,)) for name in "abc"]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert failures == []


def test_heads_never_go_back_from_one_answer_to_the_next(served: Served) -> None:
    put(served, "/heads", b"0")
    sizes = []
    for number in range(1, 20):
        put(served, "/heads", str(number).encode())
        sizes.append(Proof.parse(get(served, "/heads?proof=true").json["proof"]).checkpoint.size)
        sizes.append(Checkpoint.parse(get(served, "/tlog/checkpoint").text).size)
        sizes.append(Checkpoint.parse(get(served, "/verify/heads").json["checkpoint"]).size)
        sizes.append(Proof.parse(get(served, "/v1/proof/old/1").text).checkpoint.size)
    assert sizes == sorted(sizes)
    assert sizes[-1] > sizes[0]


def test_a_checkpoint_is_signed_again_only_when_it_must_be(tmp_path: Path) -> None:
    now = [0.0]
    with serve(tmp_path / "data") as served:
        ledger = served.ledger
        ledger.put("a", b"1")
        checkpoints = Checkpoints(ledger, clock=lambda: now[0])
        assert checkpoints.at_hand() is None
        first = checkpoints.covering(1)
        assert first.size == 1
        now[0] += 10 * CHECKPOINT_SECONDS
        assert checkpoints.at_hand() is first  # the log has not grown
        ledger.put("b", b"1")
        assert checkpoints.at_hand() is None  # too old now
        second = checkpoints.covering()
        assert second.size == 2
        ledger.put("c", b"1")
        assert checkpoints.at_hand(2) is checkpoints.covering(2) is second  # still young
        assert checkpoints.at_hand(3) is None  # does not cover it
        assert checkpoints.covering(3).size == 3
        assert ledger.published.size == 3


# --- /verify ---------------------------------------------------------------------------------------------------


def test_verify_is_true_at_once_after_the_answer_to_a_put(served: Served) -> None:
    index = put(served, "/v1/kv/verify-me", b"v").json["index"]
    answer = get(served, "/verify/verify-me")
    assert answer.status == 200
    document = answer.json
    assert set(document) == {"key", "verified", "proof", "checkpoint", "error"}
    assert (document["key"], document["verified"], document["error"]) == ("verify-me", True, None)
    proof = document["proof"]
    assert set(proof) == {"root_hash", "siblings", "index", "tree_size", "leaf"}
    assert proof["index"] == index
    checkpoint = Checkpoint.parse(document["checkpoint"])
    assert (checkpoint.size, checkpoint.root.hex()) == (proof["tree_size"], proof["root_hash"])
    rebuilt = Proof(
        proof["index"],
        bytes.fromhex(proof["leaf"]),
        tuple(bytes.fromhex(sibling) for sibling in proof["siblings"]),
        checkpoint,
    )
    verify.inclusion(rebuilt, b"v", public_key=served.ledger.public_key, key="verify-me")


def test_verify_takes_a_version_and_any_key(served: Served) -> None:
    put(served, "/v1/kv/verify/%FF", b"1")
    put(served, "/v1/kv/verify/%FF", b"2")
    document = get(served, "/verify/verify/%FF?version=1").json
    assert base64.b64decode(document["key_base64"]) == b"verify/\xff"
    assert document["verified"] is True
    assert bytes.fromhex(document["proof"]["leaf"])[28 - 8 : 28] == (1).to_bytes(8, "big")


def test_verify_of_a_large_value_is_true(served: Served) -> None:
    put(served, "/v1/kv/verify-large", LARGE)
    assert get(served, "/verify/verify-large").json["verified"] is True


@pytest.mark.parametrize("query", ["", "?version=7"])
def test_verify_of_what_is_not_there_keeps_the_shape(served: Served, query: str) -> None:
    put(served, "/v1/kv/verify-deleted", b"v")
    ask(served, "DELETE", "/v1/kv/verify-deleted")
    for key in ("verify-nothing", "verify-deleted"):
        answer = get(served, f"/verify/{key}{query}")
        assert answer.status == 404
        assert answer.error["kind"] == "not_found"
        document = answer.json
        assert set(document) == {"key", "verified", "proof", "checkpoint", "error"}
        assert (document["key"], document["verified"], document["proof"]) == (key, False, None)


def test_verify_says_no_when_the_proof_does_not_hold(served: Served, monkeypatch: pytest.MonkeyPatch) -> None:
    put(served, "/v1/kv/verify-forged", b"v")
    forged = served.ledger.prove("old/1")
    monkeypatch.setattr(served.ledger, "prove", lambda *_, **__: forged)
    answer = get(served, "/verify/verify-forged")
    assert answer.status == 503
    assert answer.error["kind"] == "corruption"
    assert answer.json["verified"] is False


def test_verify_of_no_key_is_refused(served: Served) -> None:
    answer = get(served, "/verify/")
    assert answer.status == 400
    assert answer.error["kind"] == "invalid"


# --- texts -----------------------------------------------------------------------------------------------------


def test_a_proof_as_text_stands_alone(served: Served) -> None:
    put(served, "/text", b"1")
    put(served, "/text", b"2")
    answer = get(served, "/v1/proof/text")
    assert answer.headers["content-type"] == "text/plain; charset=utf-8"
    assert str(Proof.parse(answer.text)) == answer.text
    verify.inclusion(answer.text, b"2", public_key=served.ledger.public_key, key="text")
    verify.inclusion(
        get(served, "/v1/proof/text?version=1").text, b"1", public_key=served.ledger.public_key, key="text"
    )


def test_a_delete_is_proven_as_one(served: Served) -> None:
    put(served, "/text-deleted", b"1")
    ask(served, "DELETE", "/text-deleted")
    leaf = verify.inclusion(get(served, "/v1/proof/text-deleted").text, public_key=served.ledger.public_key)
    assert leaf.kind.name == "DELETE"


def test_a_proof_can_be_had_under_an_earlier_size(served: Served) -> None:
    assert Proof.parse(get(served, "/v1/proof/old/3?at=200").text).checkpoint.size == 200
    assert get(served, "/v1/proof/old/250?at=200").status == 404
    answer = get(served, "/v1/proof/old/3?at=99999999")
    assert (answer.status, answer.error["kind"]) == (400, "invalid")


def test_after_waits_for_an_entry_and_covers_it(served: Served) -> None:
    index = put(served, "/after").json["index"]
    proof = Proof.parse(get(served, f"/v1/proof/old/1?after={index}").text)
    assert proof.checkpoint.size > index
    document = get(served, f"/old/1?proof=true&after={index}").json
    assert Proof.parse(document["proof"]).checkpoint.size > index


def test_a_history_is_proven_without_a_gap(served: Served) -> None:
    for number in range(3):
        put(served, "/history-of", str(number).encode())
    ask(served, "DELETE", "/history-of")
    answer = get(served, "/v1/proof/history/history-of")
    assert str(HistoryProof.parse(answer.text)) == answer.text
    leaves = verify.history(answer.text, public_key=served.ledger.public_key, key="history-of")
    assert [leaf.version for leaf in leaves] == [4, 3, 2, 1]
    part = verify.history(
        get(served, "/v1/proof/history/history-of?version=2").text, public_key=served.ledger.public_key
    )
    assert [leaf.version for leaf in part] == [2, 1]


def test_a_long_history_is_sent_in_pieces(served: Served) -> None:
    count = 3 * PIECE_VERSIONS + 5
    served.ledger.write([commands.put("long", str(number)) for number in range(count)])
    answer = get(served, "/v1/proof/history/long")
    assert answer.headers["transfer-encoding"] == "chunked"
    leaves = verify.history(answer.text, public_key=served.ledger.public_key, key="long")
    assert len(leaves) == count


def test_a_slash_tells_a_history_proof_from_the_proof_of_a_key(served: Served) -> None:
    put(served, "/history/x", b"of the key history/x")
    put(served, "/x", b"of the key x")
    verify.inclusion(get(served, "/v1/proof/history%2Fx").text, public_key=served.ledger.public_key, key="history/x")
    verify.history(get(served, "/v1/proof/history/x").text, public_key=served.ledger.public_key, key="x")
    put(served, "/history", b"of the key history")
    verify.inclusion(get(served, "/v1/proof/history").text, public_key=served.ledger.public_key, key="history")


def test_consistency_is_proven_between_any_two_sizes(served: Served) -> None:
    key = served.ledger.public_key
    answer = get(served, "/v1/proof/consistency?from=100&to=250")
    assert str(ConsistencyProof.parse(answer.text)) == answer.text
    verify.consistency(answer.text, served.ledger.checkpoint(100), served.ledger.checkpoint(250), public_key=key)
    newest = get(served, "/v1/proof/consistency?from=100").text
    size = ConsistencyProof.parse(newest).new_size
    verify.consistency(newest, served.ledger.checkpoint(100), served.ledger.checkpoint(size), public_key=key)
    with pytest.raises(VerificationError):
        verify.consistency(answer.text, served.ledger.checkpoint(99), served.ledger.checkpoint(250), public_key=key)


def test_a_size_to_come_is_told_by_the_name_it_was_given(served: Served) -> None:
    error = get(served, "/v1/proof/consistency?from=3&to=99999").error
    assert error["message"] == f"to is 99999, and the ledger has {served.ledger.size} entries"


@pytest.mark.parametrize("query", ["", "?to=5", "?from=5&to=4", "?from=1&to=99999999", "?from=99999999", "?from=-1"])
def test_sizes_that_the_log_never_had_are_refused(served: Served, query: str) -> None:
    answer = get(served, f"/v1/proof/consistency{query}")
    assert (answer.status, answer.error["kind"]) == (400, "invalid")


@pytest.mark.parametrize("path", ["/v1/proof/nothing", "/v1/proof/history/nothing", "/v1/proof/nothing?at=3"])
def test_what_is_not_there_has_no_proof(served: Served, path: str) -> None:
    answer = get(served, path)
    assert (answer.status, answer.error["kind"]) == (404, "not_found")


@pytest.mark.parametrize("path", ["/v1/proof/", "/v1/proof/history/", "/v1/proof/" + "k" * 5000])
def test_what_cannot_be_a_key_is_refused(served: Served, path: str) -> None:
    answer = get(served, path)
    assert answer.status in {400, 413}
    assert answer.error["kind"] in {"invalid", "too_large"}


@pytest.mark.parametrize(
    "path",
    [
        "/old/1?proof=true",
        "/verify/old/1",
        "/v1/proof/old/1",
        "/v1/proof/history/old/1",
        "/v1/proof/consistency?from=1&to=9",
    ],
)
def test_head_says_what_get_says_without_the_body(served: Served, path: str) -> None:
    head, whole = ask(served, "HEAD", path), get(served, path)
    assert (head.status, head.body) == (200, b"")
    assert head.headers["content-type"] == whole.headers["content-type"]
    assert head.headers["content-length"] == whole.headers["content-length"]
