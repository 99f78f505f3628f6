"""Who may join, why not, and how the ledger's key gets there."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest

from scribe_ledger.consensus.formation.admission import LedgerFacts, give_key, judge, take_key
from scribe_ledger.consensus.formation.messages import Join, Welcome
from scribe_ledger.consensus.membership import MemberInfo, Membership
from scribe_ledger.consensus.stewardship.actions import View
from scribe_ledger.consensus.transport.contract import Caller
from scribe_ledger.errors import ConfigurationError, Conflict, Forbidden, ScribeError, VerificationError
from scribe_ledger.merkle.note import Signer

pytestmark = pytest.mark.consensus

CLUSTER, KEY = "ab" * 16, Signer.generate("example.org/ledger")
FACTS = LedgerFacts(CLUSTER, "example.org/ledger", 1, 0, {"overwrite": "version"}, KEY, 2, "store-1")
FRESH = MemberInfo(77, 4, "10.0.0.4:9001", "10.0.0.4:8001", "", 2, "store-1")


def member(raft_id: int) -> MemberInfo:
    return replace(FRESH, raft_id=raft_id, node_id=raft_id, raft_address=f"10.0.0.{raft_id}:9001")


def view(*, dead: set[int] = frozenset()) -> View:  # type: ignore[assignment]
    members = Membership(5, 1, (1, 2, 3), members={each: member(each) for each in (1, 2, 3)}, removed=(66,))
    return View(1, 0, members, {}, {2, 3} - dead, 100, 2)


def judged(info: MemberInfo = FRESH, *, dead: set[int] = frozenset(), **more: Any) -> int:  # type: ignore[assignment]
    replace_wiped = more.pop("replace_wiped", False)
    given_up = more.pop("given_up", 0)
    return judge(
        Join(info=info, **more),
        view(dead=dead),
        FACTS,
        replace_wiped=replace_wiped,
        given_up=lambda raft_id: raft_id == given_up,
    )


def test_a_new_node_joins() -> None:
    assert judged() == 0
    assert judged(policies={"overwrite": "version"}) == 0


def test_who_is_a_member_already_is_told_the_same_again() -> None:
    assert judged(member(3)) == 0
    assert judged(member(3), cluster_id=CLUSTER, entries=5) == 0


@pytest.mark.parametrize(
    ("info", "more", "kind", "words"),
    [
        (FRESH, {"cluster_id": "cd" * 16}, Forbidden, "belongs to cluster cdcd"),
        (FRESH, {"entries": 7}, Forbidden, "7 entries"),
        (replace(FRESH, raft_id=66), {}, Forbidden, "not belong to this cluster any more"),
        (replace(FRESH, apply_version=1), {}, ConfigurationError, "version 1"),
        (replace(FRESH, store_id=""), {}, ConfigurationError, "no shared object store"),
        (replace(FRESH, store_id="store-2"), {}, ConfigurationError, "store-2"),
        (FRESH, {"policies": {"overwrite": "forbid"}}, ConfigurationError, "overwrite"),
        (replace(FRESH, node_id=3), {}, Conflict, "that answers"),
        (replace(FRESH, node_id=3), {"replace_wiped": True}, Conflict, "that answers"),
        (replace(FRESH, node_id=3), {"dead": {3}}, Conflict, "scribe cluster replace 3"),
        (replace(FRESH, node_id=3), {"dead": {3}, "given_up": 2}, Conflict, "scribe cluster replace 3"),
    ],
)
def test_who_may_not_join_is_told_why(
    info: MemberInfo, more: dict[str, Any], kind: type[ScribeError], words: str
) -> None:
    with pytest.raises(kind) as refused:
        judged(info, **more)
    assert words in str(refused.value)


def test_a_store_that_the_ledger_is_about_to_adopt_is_asked_for_again() -> None:
    facts = FACTS._replace(store_id="", shares_store=True)
    for info in (FRESH, replace(FRESH, store_id="")):
        with pytest.raises(Conflict, match="not adopted its object store yet"):
            judge(Join(info=info), view(), facts, replace_wiped=False, given_up=lambda _: False)
    with pytest.raises(ConfigurationError, match="no shared object store"):
        judge(
            Join(info=FRESH), view(), facts._replace(shares_store=False), replace_wiped=False, given_up=lambda _: False
        )


def test_who_looked_before_the_store_was_adopted_is_asked_again_for_a_moment() -> None:
    join = Join(info=replace(FRESH, store_id=""), shares_store=True)
    named = (
        f"the object store that the settings of node {FRESH.node_id} name is not in use yet, and this ledger uses the"
    )
    with pytest.raises(Conflict, match=f"{named} object store {FACTS.store_id} since a moment ago"):
        judge(join, view(), FACTS._replace(store_is_new=True), replace_wiped=False, given_up=lambda _: False)
    with pytest.raises(ConfigurationError, match=f"{named} object store {FACTS.store_id}"):
        judge(join, view(), FACTS, replace_wiped=False, given_up=lambda _: False)
    other = join.model_copy(update={"info": replace(FRESH, store_id="store-2")})
    with pytest.raises(ConfigurationError, match="store-2"):
        judge(other, view(), FACTS._replace(store_is_new=True), replace_wiped=False, given_up=lambda _: False)


def test_a_store_of_its_own_does_not_fit_a_cluster_without_one() -> None:
    join = Join(info=replace(FRESH, store_id=""), shares_store=True)
    with pytest.raises(ConfigurationError, match="this cluster has none"):
        judge(join, view(), FACTS._replace(store_id=""), replace_wiped=False, given_up=lambda _: False)


@pytest.mark.parametrize("word", [{"replace_wiped": True}, {"given_up": 3}])
def test_a_wiped_node_takes_the_place_of_its_old_self(word: dict[str, Any]) -> None:
    assert judged(replace(FRESH, node_id=3), dead={3}, **word) == 3


# --- the ledger's key ------------------------------------------------------------------------------------------


def caller(*, channel_key: bytes | None = None, encrypted: bool = False, loopback: bool = False) -> Caller:
    return Caller(FRESH.raft_id, "", 4, "10.0.0.4:5555", channel_key, encrypted, loopback)


def welcome(form: str, key: str) -> Welcome:
    fields: dict[str, Any] = {"cluster_id": CLUSTER, "origin": "o", "created": 1, "policies": {}, "members": ()}
    return Welcome(**fields, ledger_key=str(KEY.verifier), key_form=form, key=key, leader_address="")  # type: ignore[arg-type]


def test_the_key_travels_sealed_where_there_is_a_secret() -> None:
    there = caller(channel_key=b"k" * 32)
    form, text = give_key(FACTS, Join(info=FRESH), there, insecure=False)
    assert form == "sealed"
    assert KEY.private_text() not in text
    taken = take_key(welcome(form, text), FRESH.raft_id, there)
    assert taken is not None and taken.private_text() == KEY.private_text()


@pytest.mark.parametrize("other", ["connection", "node", "bits"])
def test_a_sealed_key_opens_nowhere_else(other: str) -> None:
    form, text = give_key(FACTS, Join(info=FRESH), caller(channel_key=b"k" * 32), insecure=False)
    channel_key = b"x" * 32 if other == "connection" else b"k" * 32
    raft_id = FRESH.raft_id + (other == "node")
    changed = ("B" if text[40] != "B" else "C") if other == "bits" else text[40]
    with pytest.raises(VerificationError, match="unsealed"):
        take_key(welcome(form, text[:40] + changed + text[41:]), raft_id, caller(channel_key=channel_key))


@pytest.mark.parametrize(
    ("there", "insecure"),
    [(caller(encrypted=True), False), (caller(loopback=True), False), (caller(), True)],
    ids=["TLS", "loopback", "insecure"],
)
def test_the_key_travels_as_it_is_where_that_is_allowed(there: Caller, insecure: bool) -> None:
    form, text = give_key(FACTS, Join(info=FRESH), there, insecure=insecure)
    assert (form, text) == ("clear", KEY.private_text())
    assert take_key(welcome(form, text), FRESH.raft_id, there) is not None


def test_the_key_does_not_travel_in_the_clear() -> None:
    with pytest.raises(Forbidden) as refused:
        give_key(FACTS, Join(info=FRESH), caller(), insecure=False)
    assert "ledger.key" in refused.value.hint


def test_who_has_the_key_is_sent_none() -> None:
    assert give_key(FACTS, Join(info=FRESH, ledger_key=str(KEY.verifier)), caller(), insecure=False) == ("", "")
    assert take_key(welcome("", ""), FRESH.raft_id, caller()) is None
    with pytest.raises(Forbidden, match=r"ledger\.key"):
        give_key(FACTS, Join(info=FRESH, ledger_key="other"), caller(loopback=True), insecure=False)


def test_a_key_that_is_not_the_ledgers_is_not_taken() -> None:
    other = Signer.generate(KEY.name).private_text()
    for text in (other, "nonsense"):
        with pytest.raises(VerificationError):
            take_key(welcome("clear", text), FRESH.raft_id, caller())
