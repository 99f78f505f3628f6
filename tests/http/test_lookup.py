"""Many keys in one trip: one moment whatever is written meanwhile, cached or not, with proofs that hold."""

from __future__ import annotations

import base64
import json
import threading
from typing import TYPE_CHECKING, Any

import pytest
from tests.http.asking import Answer, ask, get, put
from tests.http.serving import Served, serve

from scribe_ledger import verify
from scribe_ledger.http import lookup
from scribe_ledger.merkle.checkpoint import Checkpoint
from scribe_ledger.merkle.prooftext import Proof

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from scribe_ledger.merkle.leaf import Leaf

pytestmark = pytest.mark.http


@pytest.fixture
def served(tmp_path: Path) -> Iterator[Served]:
    with serve(tmp_path / "data") as running:
        put(running, "/zero")
        yield running


def send(served: Served, document: Any, query: str = "") -> Answer:
    body = document if isinstance(document, bytes) else json.dumps(document).encode()
    return ask(served, "POST", f"/v1/get{query}", body)


def look_up(served: Served, *keys: Any, **fields: Any) -> Any:
    answer = send(served, {"keys": keys, **fields})
    assert answer.status == 200, answer.body
    return answer.json


def value_of(entry: dict[str, Any] | None) -> bytes | None:
    return None if entry is None else base64.b64decode(entry["value_base64"])


def proven(served: Served, answer: Any, place: int) -> Leaf:
    """The leaf of one entry, checked as anybody could check it."""
    entry = answer["entries"][place]
    leaf, hashes = (base64.b64decode(entry[name]) for name in ("leaf_base64", "hashes_base64"))
    path = tuple(hashes[at : at + 32] for at in range(0, len(hashes), 32))
    proof = Proof(entry["index"], leaf, path, Checkpoint.parse(answer["checkpoint"]))
    value = entry.get("value_base64")
    return verify.inclusion(
        proof,
        None if value is None else base64.b64decode(value),
        public_key=served.ledger.public_key,
        version=entry["version"],
    )


# --- values ----------------------------------------------------------------------------------------------------


@pytest.fixture
def filled(served: Served) -> Served:
    ledger = served.ledger
    ledger.put("a", "1", content_type="text/plain", metadata={"team": "red"})
    ledger.put(b"\xff\x00", b"\x00\xff")
    ledger.put('"quoted"\n', "q")
    ledger.put("empty", "")
    ledger.put("large", b"x" * 300_000)
    ledger.put("medium", b"y" * 5000)
    ledger.put("gone", "v")
    ledger.delete("gone")
    for version in range(3):
        ledger.put("again", f"{version}")
    return served


KEYS: list[Any] = [
    *(
        "again",
        "a",
        {"key_base64": "/wA="},
        '"quoted"\n',
        "empty",
        "large",
        "medium",
        "gone",
        "never",
        {"key": "a"},
        "a",
    )
]


@pytest.mark.parametrize("keys", [KEYS, [key for key in KEYS if key not in ("large", "gone", "never")]])
def test_each_key_has_its_entry_and_value_cached_or_not(filled: Served, keys: list[Any]) -> None:
    first = look_up(filled, *keys)
    metrics = filled.service.metrics
    hits = metrics.cache_hits
    assert look_up(filled, *keys) == first
    assert (metrics.cache_hits > hits) == (len(keys) < len(KEYS))
    assert set(first) == {"entries", "size"} and first["size"] == filled.ledger.size
    for key, found in zip(keys, first["entries"], strict=True):
        name = key if isinstance(key, str) else key.get("key") or base64.b64decode(key["key_base64"])
        entry = filled.ledger.entry(name)
        if entry is None or entry.deleted:
            assert found is None
        else:
            value = None if name == "large" else base64.b64encode(entry.value).decode()
            assert found == {**entry.to_json(), "value_base64": value}


def test_what_a_plain_get_has_cached_is_the_same_here(filled: Served) -> None:
    before = look_up(filled, "a", "again", "medium")
    for path in ("/a", "/again", "/medium"):
        get(filled, path)
    assert look_up(filled, "a", "again", "medium") == before


def test_no_keys_are_no_entries(served: Served) -> None:
    assert look_up(served) == {"entries": [], "size": 1}
    proof = look_up(served, proof=True)
    assert (proof["entries"], proof["size"], proof["consistency"]) == ([], 1, None)


def test_what_is_written_is_seen_by_the_next_look(served: Served) -> None:
    for turn in range(20):
        put(served, "/k", b"%d" % turn)
        assert value_of(look_up(served, "k", "zero")["entries"][0]) == b"%d" % turn
        assert value_of(look_up(served, "k")["entries"][0]) == b"%d" % turn  # out of the cache
        assert value_of(look_up(served, "k", "zero", proof=True)["entries"][0]) == b"%d" % turn


@pytest.mark.parametrize("proof", [False, True])
@pytest.mark.parametrize("count", [4, lookup.AT_ONCE_KEYS + 10])
@pytest.mark.no_cover
def test_all_keys_are_of_one_moment_while_a_writer_runs(served: Served, count: int, proof: bool) -> None:
    keys = [f"k{number}" for number in range(count)]
    stop = threading.Event()
    written = [0]

    def write() -> None:  # every key has the same value at every moment
        while not stop.is_set():
            served.ledger.put_many([(key, b"%d" % written[0]) for key in keys])
            written[0] += 1

    served.ledger.put_many([(key, b"first") for key in keys])
    writer = threading.Thread(target=write)
    writer.start()
    try:
        for _ in range(40):
            begun = written[0]
            answer = look_up(served, *keys, proof=proof)
            values = {value_of(entry) for entry in answer["entries"]}
            assert len(values) == 1, values
            (value,) = values
            assert value is not None
            assert begun == 0 or int(value) >= begun - 1, "an acknowledged write was not seen"
            assert all(entry["index"] < answer["size"] for entry in answer["entries"])
            assert answer["size"] == 1 + count * (answer["entries"][0]["version"])
    finally:
        stop.set()
        writer.join()


@pytest.mark.parametrize("call", [1, 4])
def test_a_commit_between_two_looks_at_the_cache_is_noticed(
    served: Served, monkeypatch: pytest.MonkeyPatch, call: int
) -> None:
    """The first call is of who finds everything cached, the fourth of who finds that something is not."""
    keys = ["a", "b"] if call == 1 else ["a", "b", "never"]
    served.ledger.put_many([("a", "1"), ("b", "1")])
    look_up(served, "a", "b")
    calls = iter(range(1, 100))
    hit = served.service.answers.hit

    def hit_and_commit(key: object) -> Answer | None:
        found = hit(key)
        if next(calls) == call:
            served.ledger.put_many([("a", "2"), ("b", "2")])
            assert served.service.latest(b"b") is not None  # another reader has it cached again
        return found  # type: ignore[return-value]

    monkeypatch.setattr(served.service.answers, "hit", hit_and_commit)
    answer = look_up(served, *keys)
    values = {value_of(entry) for entry in answer["entries"][:2]}
    assert (values, answer["size"]) in [({b"1"}, 3), ({b"2"}, 5)]
    assert next(calls) > call


# --- proofs ----------------------------------------------------------------------------------------------------


def test_proofs_hold_and_name_what_was_asked_for(filled: Served) -> None:
    answer = look_up(filled, *KEYS, proof=True)
    assert set(answer) == {"entries", "size", "checkpoint", "consistency"}
    assert answer["consistency"] is None
    checkpoint = verify.checkpoint(answer["checkpoint"], public_key=filled.ledger.public_key)
    assert checkpoint.size == answer["size"] == filled.ledger.size
    for place, key in enumerate(KEYS):
        if key == "never":
            assert answer["entries"][place] is None
            continue
        leaf = proven(filled, answer, place)
        entry = filled.ledger.entry(leaf.key)
        assert entry is not None
        shape = answer["entries"][place]
        assert {name: shape[name] for name in entry.to_json()} == entry.to_json()
        assert leaf.index == entry.index


def test_a_deleted_key_is_its_tombstone_with_a_proof(filled: Served) -> None:
    answer = look_up(filled, "gone", "large", proof=True)
    tombstone, large = answer["entries"]
    assert tombstone["kind"] == "delete" and "value_base64" not in tombstone
    assert proven(filled, answer, 0).key == b"gone"
    assert large["value_base64"] is None
    verify.matches(proven(filled, answer, 1), b"x" * 300_000)


@pytest.mark.parametrize("since", [1, 2, 200])
def test_since_proves_that_the_log_extends_what_is_known(served: Served, since: int) -> None:
    served.ledger.put_many([(f"k{number}", "v") for number in range(300)])
    answer = look_up(served, "k7", proof=True, since=since)
    old = served.ledger.checkpoint(since)
    verify.consistency(answer["consistency"], old, answer["checkpoint"], public_key=served.ledger.public_key)


def test_since_0_needs_no_proof_and_since_the_future_is_refused(served: Served) -> None:
    assert look_up(served, "zero", proof=True, since=0)["consistency"] is None
    assert look_up(served, "zero", proof=True, since=None)["consistency"] is None
    assert look_up(served, "zero", proof=True, since=1)["consistency"] is not None
    answer = send(served, {"keys": ["zero"], "proof": True, "since": 2})
    assert (answer.status, answer.error["kind"]) == (400, "invalid")


def test_proofs_while_a_writer_runs_all_hold(served: Served) -> None:
    stop = threading.Event()

    def write() -> None:
        while not stop.is_set():
            served.ledger.put_many([("a", f"{served.ledger.size}"), ("b", f"{served.ledger.size}")])

    served.ledger.put_many([("a", "0"), ("b", "0")])
    writer = threading.Thread(target=write)
    writer.start()
    known = served.ledger.checkpoint()
    try:
        for _ in range(30):
            answer = look_up(served, "a", "b", proof=True, since=known.size)
            assert [proven(served, answer, place).key for place in range(2)] == [b"a", b"b"]
            public_key = served.ledger.public_key
            verify.consistency(answer["consistency"], known, answer["checkpoint"], public_key=public_key)
            known = Checkpoint.parse(answer["checkpoint"])
    finally:
        stop.set()
        writer.join()


# --- waiting ---------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("proof", [False, True])
def test_after_waits_for_an_entry(tmp_path: Path, proof: bool) -> None:
    with serve(tmp_path, settings={"api.read_timeout_secs": 1}) as served:
        put(served, "/k")
        document = {"keys": ["later"], "proof": proof}
        late = send(served, document, "?after=1")
        assert (late.status, late.error["kind"]) == (503, "unavailable")
        timer = threading.Timer(0.1, served.ledger.put, ("later", "v"))
        timer.start()
        answer = send(served, document, "?after=1").json
        timer.join()
        assert value_of(answer["entries"][0]) == b"v"
        assert answer["size"] == 2


# --- refusals and limits ---------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "document",
    [
        *({}, {"keys": None}, {"keys": "a"}, {"keys": {"a": 1}}, {"keys": ["a"], "values": True}, [], None, b"", b"{"),
        *({"keys": ["a"], "proof": wrong} for wrong in (None, 1, "true")),
        *({"keys": ["a"], "proof": True, "since": wrong} for wrong in (-1, 1.5, "1", True, 1 << 64)),
        {"keys": ["a"], "since": 0},
    ],
    ids=repr,
)
def test_a_body_that_asks_for_nothing_sensible_is_refused(served: Served, document: Any) -> None:
    answer = send(served, document)
    assert (answer.status, answer.error["kind"]) == (400, "invalid")


@pytest.mark.parametrize(
    "key",
    [
        *("", None, 1, [], {}, {"key": ""}, {"key": 1}, {"key_base64": "?"}, {"key_base64": None}, {"key_base64": ""}),
        *({"key": "a", "key_base64": "YQ=="}, {"key": "a", "version": 1}, {"name": "a"}),
    ],
    ids=repr,
)
def test_a_key_that_is_none_is_refused_with_its_place(served: Served, key: Any) -> None:
    answer = send(served, {"keys": ["a", key, ""]})
    assert (answer.status, answer.error["kind"]) == (400, "invalid")
    assert answer.error["message"].startswith("keys[1]: ")


def test_a_key_too_long_is_refused_with_its_place(served: Served) -> None:
    assert look_up(served, "k" * 4096, "é" * 2048)["entries"] == [None, None]
    for key in ("k" * 4097, "é" * 2049, {"key": "k" * 4097}):
        answer = send(served, {"keys": ["a", key]})
        assert (answer.status, answer.error["kind"]) == (413, "too_large")
        assert answer.error["message"].startswith("keys[1]: ")


def test_there_is_a_limit_of_keys(tmp_path: Path) -> None:
    with serve(tmp_path, settings={"api.max_batch_size": 3}) as served:
        assert look_up(served, "a", "b", "c")["entries"] == [None] * 3
        answer = send(served, {"keys": ["a", "b", "c", "d"]})
        assert (answer.status, answer.error["kind"]) == (413, "too_large")
        answer = send(served, b" " * (6 << 20))
        assert (answer.status, answer.error["hint"]) == (413, "send less, or raise [api] max_batch_bytes")


@pytest.mark.parametrize("proof", [False, True])
def test_there_is_a_limit_to_the_answer_cached_or_not(
    served: Served, monkeypatch: pytest.MonkeyPatch, proof: bool
) -> None:
    monkeypatch.setattr(lookup, "MAX_ANSWER_BYTES", 20_000)
    put(served, "/medium", b"x" * 5000)
    for _ in range(2):  # the first fills the cache
        assert len(look_up(served, "medium", "medium", proof=proof)["entries"]) == 2
        answer = send(served, {"keys": ["medium"] * 3, "proof": proof})
        assert (answer.status, answer.error["kind"]) == (413, "too_large")


@pytest.mark.no_cover
def test_as_many_keys_as_are_allowed_are_answered(served: Served) -> None:
    served.ledger.put_many([(f"k{number}", f"{number}") for number in range(10_000)])
    for _ in range(2):
        entries = look_up(served, *(f"k{number}" for number in range(10_000)))["entries"]
        assert [value_of(entry) for entry in entries] == [b"%d" % number for number in range(10_000)]
