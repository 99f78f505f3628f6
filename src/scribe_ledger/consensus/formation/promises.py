"""``Promises``: what keeps two nodes from founding two clusters. Sans-IO, but for the identity that keeps them.

A node promises one other, or itself, that it founds nothing beside it; durably, before anybody hears of it. A founder
needs the promises of most of its list of seeds (with ``--bootstrap``: of all that answer), itself included. Two such
majorities share a node, and that one has promised one of them only.

A candidate gives up by promising somebody better. From then on no promise that it was given counts, for which each
candidacy has a number; so who had promised it is free as soon as it has seen that. An answer that was asked for before
the last promise shows nothing: ``mark`` tells.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from scribe_ledger.consensus.formation.identity import Promise
from scribe_ledger.consensus.formation.messages import Promised, Stage, Standing

if TYPE_CHECKING:
    from collections.abc import Iterable

    from scribe_ledger.consensus.formation.identity import NodeIdentity
    from scribe_ledger.consensus.formation.messages import AskPromise


class Promises:
    def __init__(self, identity: NodeIdentity, *, node_id: int, address: str, bootstrap: bool, entries: int) -> None:
        self._identity = identity
        self._node_id = node_id
        self._address = address
        self._bootstrap = bootstrap
        self._entries = entries
        self.stage: Stage = "looking"
        self.mark = 0
        """Counts the promises given."""
        self._candidacy = 0

    @property
    def standing(self) -> Standing:
        identity = self._identity
        return Standing(
            raft_id=identity.raft_id,
            node_id=self._node_id,
            address=self._address,
            cluster_id=identity.cluster_id,
            stage="member" if identity.cluster_id else self.stage,
            leader_address=self._address if identity.cluster_id else "",
            bootstrap=self._bootstrap,
            entries=self._entries,
            promised_to=identity.promised_to.raft_id if identity.promised_to else 0,
        )

    @property
    def to_another(self) -> Promise | None:
        promise = self._identity.promised_to
        return promise if promise is not None and promise.raft_id != self._identity.raft_id else None

    def may_stand(self) -> bool:
        """Whether it may be a candidate: it has promised nobody else, and has seen no cluster."""
        return self.stage in ("looking", "candidate") and self.to_another is None

    def consider(self, ask: AskPromise, *, named: frozenset[int], count: int) -> Promised:
        """The answer to a candidate; a promise is durable before it is given. The rest are this node's seeds."""
        reason = self._objection(ask, named, count)
        if not reason:
            self._give(Promise(ask.candidate.raft_id, ask.candidate.address))
        return Promised(granted=not reason, reason=reason, standing=self.standing)

    def release(self, standings: Iterable[Standing], mark: int) -> bool:
        """Whether the one that was promised has given up, as answers show that were asked for at ``mark``."""
        promise = self.to_another
        given_up = (
            each.raft_id == promise.raft_id
            and not each.cluster_id
            and each.stage in ("looking", "joining")
            and each.promised_to != each.raft_id
            for each in standings
            if promise is not None
        )
        if mark != self.mark or not any(given_up):
            return False
        self._identity.promise(None)
        return True

    def stand(self) -> int:
        """Becomes a candidate, promised to itself; the number of this candidacy."""
        assert self.may_stand(), "who has promised another is no candidate"
        if self._identity.promised_to is None:
            self._identity.promise(Promise(self._identity.raft_id, self._address))
        self.stage = "candidate"
        self._candidacy += 1
        return self._candidacy

    def decide(self, candidacy: int, *, enough: bool) -> bool:
        """Whether it founds now, which nothing can take back; else it is no candidate any more."""
        if candidacy != self._candidacy or self.stage != "candidate":
            return False  # it gave up meanwhile
        self.stage = "founding" if enough else "looking"
        return enough

    def is_best(self, others: Iterable[Standing]) -> bool:
        """Whether this node comes before all of these."""
        return all(_rank(self.standing) < _rank(each) for each in others)

    def _objection(self, ask: AskPromise, named: frozenset[int], count: int) -> str:
        candidate, own = ask.candidate, self.standing
        if own.stage not in ("looking", "candidate"):
            return {"founding": "it founds a cluster itself", "joining": "it joins a cluster"}.get(
                own.stage, "it belongs to a cluster"
            )
        if not candidate.bootstrap and (ask.count != count or len(named | set(ask.named)) > count):
            return f"its list of seeds names {count} nodes, of which it has seen {len(named)}; the lists must agree"
        if not candidate.bootstrap and candidate.raft_id not in named:
            return "it has not met this node yet"
        if own.promised_to not in (0, own.raft_id, candidate.raft_id):
            return "it has promised another"
        return "" if _rank(candidate) < _rank(own) else f"it comes first, as node {own.node_id}"

    def _give(self, promise: Promise) -> None:
        self.mark += 1
        if self.stage == "candidate":
            self.stage = "looking"
            self._candidacy += 1
        if self._identity.promised_to != promise:
            self._identity.promise(promise)


def _rank(standing: Standing) -> tuple[bool, bool, int, int]:
    """Who founds: a ledger with a history before an empty one, an operator's word before none, the lowest label."""
    return not standing.entries, not standing.bootstrap, standing.node_id, standing.raft_id
