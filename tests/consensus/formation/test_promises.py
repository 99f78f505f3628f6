"""That two nodes never both found, whatever is delayed, lost or asked again: by example, and over random orders."""

from __future__ import annotations

from functools import partial
from random import Random
from typing import TYPE_CHECKING, NamedTuple

import pytest
from tests.consensus.formation.fabric import MemoryIdentity

from scribe_ledger.consensus.formation.messages import AskPromise, Promised, Standing
from scribe_ledger.consensus.formation.promises import Promises

if TYPE_CHECKING:
    from collections.abc import Callable

pytestmark = pytest.mark.consensus

IDS = (101, 102, 103, 104, 105)


def node(label: int, identity: MemoryIdentity | None = None, **more: bool | int) -> Promises:
    fields = {"bootstrap": False, "entries": 0, **more}
    return Promises(
        identity or MemoryIdentity(100 + label),
        node_id=label,
        address=f"127.0.0.1:{9000 + label}",
        bootstrap=bool(fields["bootstrap"]),
        entries=int(fields["entries"]),
    )


def ask(asked: Promises, candidate: Promises, count: int = 3) -> Promised:
    ids = IDS[:count]
    return asked.consider(
        AskPromise(candidate=candidate.standing, named=ids, count=count), named=frozenset(ids), count=count
    )


def test_one_is_promised_and_nobody_else() -> None:
    one, two, three = node(1), node(2), node(3)
    two.stand()
    assert ask(three, two).granted
    assert ask(three, two).granted
    one.stand()
    assert "promised another" in ask(three, one).reason


def test_a_promise_is_kept_before_it_is_given() -> None:
    identity = MemoryIdentity(103)
    one = node(1)
    one.stand()
    assert ask(node(3, identity), one).granted
    assert identity.promised_to is not None and identity.promised_to.raft_id == 101
    again = node(3, identity)
    two = node(2)
    two.stand()
    assert not ask(again, two).granted


def test_a_candidate_that_gives_up_can_no_longer_found() -> None:
    one, two = node(1), node(2)
    candidacy = two.stand()
    one.stand()
    assert ask(two, one).granted
    assert not two.decide(candidacy, enough=True)
    assert two.stage == "looking"


def test_who_has_decided_promises_nothing() -> None:
    one, two = node(1), node(2)
    assert two.decide(two.stand(), enough=True)
    one.stand()
    assert "founds a cluster itself" in ask(two, one).reason


@pytest.mark.parametrize(
    ("better", "worse"),
    [
        (node(1), node(2)),
        (node(3, bootstrap=True), node(1)),
        (node(1, bootstrap=True), node(2, bootstrap=True)),
        (node(3, bootstrap=True, entries=5), node(1, bootstrap=True)),
    ],
    ids=["label", "bootstrap", "both bootstrap", "history"],
)
def test_who_comes_first(better: Promises, worse: Promises) -> None:
    assert better.is_best([worse.standing]) and not worse.is_best([better.standing])
    assert not ask(better, worse).granted
    assert ask(worse, better).granted


def test_a_promise_is_released_only_by_the_one_it_was_given_to() -> None:
    one, two, three = node(1), node(2), node(3)
    two.stand()
    ask(three, two)
    assert not three.release([one.standing, two.standing], three.mark)  # it is a candidate still
    one.stand()
    ask(two, one)
    assert not three.release([one.standing], three.mark)
    assert three.release([one.standing, two.standing], three.mark)
    assert ask(three, one).granted


def test_an_answer_from_before_the_last_promise_releases_nothing() -> None:
    two, three = node(2), node(3)
    mark, stale = three.mark, two.standing
    two.stand()
    ask(three, two)
    assert not three.release([stale], mark)
    assert three.release([stale], three.mark)  # what it would have been


@pytest.mark.parametrize("count", [3, 4])
def test_lists_that_disagree_give_no_promise(count: int) -> None:
    two, three = node(2), node(3)
    two.stand()
    request = AskPromise(candidate=two.standing, named=(102, 103), count=3)
    answer = three.consider(request, named=frozenset({102, 103, 104, 105}), count=count)
    assert "lists must agree" in answer.reason


def test_who_was_not_met_is_not_promised() -> None:
    two, three = node(2), node(3)
    two.stand()
    request = AskPromise(candidate=two.standing, named=(102, 103), count=3)
    assert "not met" in three.consider(request, named=frozenset({103}), count=3).reason


# --- random orders ---------------------------------------------------------------------------------------------


class InFlight(NamedTuple):
    target: int
    deliver: Callable[[Promises], object]
    start: int | None = None
    """An answer reaches only the start of a node that asked for it."""


class Model:
    """Nodes and what is on the way between them. Every node stands whenever it may, to be as harsh as possible."""

    def __init__(self, seed: int) -> None:
        self.random = Random(seed)
        self.count = self.random.choice([3, 4, 5])
        self.identities = [MemoryIdentity(each) for each in IDS[: self.count]]
        self.nodes = [node(each + 1, identity) for each, identity in enumerate(self.identities)]
        self.starts = [0] * self.count
        self.granted: dict[tuple[int, int, int], set[int]] = {}
        self.on_the_way: list[InFlight] = []
        self.founders: set[int] = set()

    def step(self) -> None:
        kind = self.random.choice(["stand", "probe", "deliver", "deliver", "deliver", "deliver", "restart"])
        number = self.random.randrange(self.count)
        if kind == "deliver" and self.on_the_way:
            self._deliver()
        elif kind == "restart" and self.random.random() < 0.1 and number not in self.founders:
            self.nodes[number] = node(number + 1, self.identities[number])
            self.starts[number] += 1
        elif kind == "stand" and self.nodes[number].may_stand():
            self._stand(number)
        elif kind == "probe":
            self._probe(number, self.random.randrange(self.count))

    def _deliver(self) -> None:
        at = self.random.randrange(len(self.on_the_way))
        message = self.on_the_way[at]
        if self.random.random() < 0.9 or message.start is not None:
            self.on_the_way.pop(at)  # else it comes once more, much later
        if message.start in (None, self.starts[message.target]):
            message.deliver(self.nodes[message.target])

    def _stand(self, number: int) -> None:
        candidacy = self.nodes[number].stand()
        key = (number, self.starts[number], candidacy)
        self.granted[key] = {number}
        request = AskPromise(candidate=self.nodes[number].standing, named=IDS[: self.count], count=self.count)
        others = (each for each in range(self.count) if each != number)
        self.on_the_way += [InFlight(each, partial(self._asked, each, key, request)) for each in others]

    def _asked(self, other: int, key: tuple[int, int, int], request: AskPromise, asked: Promises) -> None:
        answer = asked.consider(request, named=frozenset(IDS[: self.count]), count=self.count)
        if answer.granted:
            self.on_the_way.append(InFlight(key[0], lambda asking: self._answered(asking, other, key), key[1]))

    def _answered(self, candidate: Promises, other: int, key: tuple[int, int, int]) -> None:
        self.granted[key].add(other)
        enough = len(self.granted[key]) > self.count // 2
        if enough and candidate.decide(key[2], enough=True):
            self.founders.add(key[0])

    def _probe(self, number: int, other: int) -> None:
        mark, start = self.nodes[number].mark, self.starts[number]

        def probed(asked: Promises) -> None:
            standing: Standing = asked.standing
            self.on_the_way.append(InFlight(number, lambda asking: asking.release([standing], mark), start))

        self.on_the_way.append(InFlight(other, probed))


@pytest.mark.parametrize("block", range(10))
def test_two_never_found_in_any_order(block: int) -> None:
    founded = 0
    for seed in range(block * 20, block * 20 + 20):
        model = Model(seed)
        for _ in range(300):
            model.step()
            assert len(model.founders) <= 1, f"seed {seed}"
        founded += len(model.founders)
    assert founded > 5
