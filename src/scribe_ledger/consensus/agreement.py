"""``Agreement``: whether members of one ledger have the same ledger. Pure: reports in, a verdict out.

Members tell each other what they have (``Extent``). Whoever holds the larger ledger compares, since it knows its own
root at every smaller size; what a report says of a larger size waits until this node has grown to it. Digests of the
manifest are compared at equal versions, of which the last few are remembered.

Two members that contradict this node at two sizes might contradict each other too. So a node asks, in its own reports,
what the others have at a size where it was contradicted, and they answer in theirs.

- Contradicted by a majority of the voters, with one voice: this node must not serve, and never does again in this
  process. Nothing is repaired: which disk is wrong, and why, is for an operator to find out. What was found can be kept
  (``Divergence``), and a later start asks the others about that place first.
- Contradicted by fewer: they are named as diverged, for as long as they are members. Where no majority is known to
  have what this node has either (``backed``), nobody knows whose ledger is right: that is said, and nobody stops.

All that is kept is bounded by the number of members.
"""

from __future__ import annotations

from collections import OrderedDict
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, NamedTuple

from scribe_ledger.consensus.statemachine import Extent
from scribe_ledger.errors import ConsensusError, ScribeError

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Mapping

    from scribe_ledger.consensus.membership import Membership

ENTRIES, MANIFEST = "entries", "manifest"
MANIFESTS_REMEMBERED = 64
QUESTIONS = 8
"""Sizes asked about at once, and answered at once."""


class Point(NamedTuple):
    """A place of the ledger that members can compare: a size of the log, or a version of the manifest."""

    kind: str
    at: int

    def __str__(self) -> str:
        return f"the first {self.at} entries" if self.kind == ENTRIES else f"version {self.at} of the archive's list"


class Divergence(NamedTuple):
    """That a majority of the voters had, with one voice, something else than this node."""

    point: Point
    here: bytes | None
    """What this node has there; None if it does not know any more."""
    theirs: bytes
    nodes: str
    """Labels of the voters that said so; for people."""

    @property
    def error(self) -> ConsensusError:
        here = self.here.hex() if self.here is not None else "another"
        return ConsensusError(
            f"this node has diverged: of {self.point} it has {here}, and a majority of the voters (nodes {self.nodes}) "
            f"has {self.theirs.hex()}",
            hint="it does not serve any more; stop it, keep its folder for examination, run `scribe fsck`, and "
            "replace it",
        )

    def to_json(self) -> dict[str, Any]:
        here = self.here.hex() if self.here is not None else None
        return {
            "of": self.point.kind,
            "at": self.point.at,
            "here": here,
            "majority": self.theirs.hex(),
            "by": self.nodes,
        }

    @classmethod
    def from_json(cls, fields: Mapping[str, Any]) -> Divergence:
        """``ValueError`` for what is none."""
        try:
            point, here = Point(str(fields["of"]), _whole(fields["at"])), fields["here"]
            if point.kind not in (ENTRIES, MANIFEST):
                raise ValueError(f"{point.kind!r:.40} is nothing that members compare")
            theirs = bytes.fromhex(fields["majority"])
            return cls(point, None if here is None else bytes.fromhex(here), theirs, str(fields["by"]))
        except (KeyError, TypeError) as error:
            raise ValueError(f"a divergence lacks what makes it one: {error!r}") from error


class Report(NamedTuple):
    """What a member tells the others every now and then."""

    extent: Extent
    asks: tuple[int, ...] = ()
    """Sizes whose roots it wants to know."""
    roots: tuple[tuple[int, bytes], ...] = ()
    """Answers: sizes and roots."""

    def to_json(self) -> dict[str, Any]:
        size, root, version, digest = self.extent
        return {
            "size": size,
            "root": root.hex(),
            "manifest_version": version,
            "manifest_digest": digest.hex(),
            "asks": [*self.asks],
            "roots": [[at, each.hex()] for at, each in self.roots],
        }

    @classmethod
    def from_json(cls, fields: Mapping[str, Any]) -> Report:
        """``ValueError`` for what is no report: it comes from another machine."""
        try:
            extent = Extent(
                _whole(fields["size"]),
                bytes.fromhex(fields["root"]),
                _whole(fields["manifest_version"]),
                bytes.fromhex(fields["manifest_digest"]),
            )
            asks = tuple(_whole(at) for at in fields.get("asks", ())[:QUESTIONS])
            roots = tuple((_whole(at), bytes.fromhex(root)) for at, root in fields.get("roots", ())[:QUESTIONS])
        except (KeyError, TypeError) as error:
            raise ValueError(f"a report lacks what makes it one: {error!r}") from error
        return cls(extent, asks, roots)


class Verdict(NamedTuple):
    trouble: ScribeError | None
    """Why this node must not serve."""
    diverged: tuple[int, ...]
    """Raft ids of members whose ledger is another."""


@dataclass
class _Member:
    """What one member has said."""

    waiting: dict[str, tuple[int, bytes]] = field(default_factory=dict)
    """By kind: the lowest place that this node has not reached yet, and what the member has there."""
    agrees: dict[str, int] = field(default_factory=dict)
    """By kind: the highest place at which it had what this node has."""
    differs: dict[str, int] = field(default_factory=dict)
    """By kind: the lowest place at which it had something else."""
    contradicts: dict[Point, bytes] = field(default_factory=dict)
    """What it has where this node has something else. The first is what others are asked about."""


class Agreement:
    """One node's view. The same thread calls everything."""

    def __init__(self, doubted: Point | None = None) -> None:
        """``doubted`` is a place where this node differed in an earlier life: the others are asked about it."""
        self.found: Divergence | None = None
        """What a majority contradicts this node in."""
        self._doubted = doubted
        self._members: dict[int, _Member] = {}
        self._manifests: OrderedDict[int, bytes] = OrderedDict()
        self._heard: list[tuple[int, Point, bytes]] = []
        self._asked: OrderedDict[int, None] = OrderedDict()
        self._trouble: ScribeError | None = None

    def note(self, raft_id: int, report: Report | Extent) -> None:
        """Takes a report; what it means is found by the next ``verdict``."""
        if isinstance(report, Extent):
            report = Report(report)
        size, root, version, digest = report.extent
        said = [(Point(ENTRIES, size), root), (Point(MANIFEST, version), digest)]
        said += [(Point(ENTRIES, at), each) for at, each in report.roots[:QUESTIONS]]
        self._heard = [each for each in self._heard if each[0] != raft_id]  # only the newest of each member
        self._heard += [(raft_id, point, value) for point, value in said]
        for at in report.asks[:QUESTIONS]:
            self._asked[at] = None
            self._asked.move_to_end(at)
        while len(self._asked) > QUESTIONS:
            self._asked.popitem(last=False)

    def report(self, extent: Extent, root_at: Callable[[int], bytes]) -> Report:
        """What this node tells the others: what it has, what it was asked, and what it wants to know."""
        answered = [at for at in self._asked if at <= extent.size]
        roots = tuple((at, root_at(at)) for at in answered)
        for at in answered:
            del self._asked[at]
        return Report(extent, self._questions(), roots)

    def verdict(self, membership: Membership, extent: Extent, root_at: Callable[[int], bytes]) -> Verdict:
        """Compares what was heard with what this node has now. ``extent`` and ``root_at`` are its own."""
        self._remember(extent)
        heard, self._heard = self._heard, []
        self._members = {raft_id: said for raft_id, said in self._members.items() if raft_id in membership.ids}
        for raft_id, point, value in heard:
            if raft_id in membership.ids:
                self._compare(raft_id, point, value, extent, root_at)
        for raft_id, member in self._members.items():
            for kind, (at, value) in list(member.waiting.items()):
                if at <= _reached(extent, kind):
                    del member.waiting[kind]
                    self._compare(raft_id, Point(kind, at), value, extent, root_at)
        if self._trouble is None:
            self._trouble = self._judge(membership, extent, root_at)
        diverged = sorted(raft_id for raft_id, member in self._members.items() if member.contradicts)
        return Verdict(self._trouble, tuple(diverged))

    def backed(self, membership: Membership) -> bool:
        """Whether a majority of the voters, with this node, was compared and has nothing else.

        Where another voter differs, only those count that are as far as the place where it does: who is behind that
        agrees with both.
        """
        heard = [self._members[voter] for voter in membership.voters if voter in self._members]
        floor = {ENTRIES: 0}
        for member in heard:
            for kind, at in member.differs.items():
                floor[kind] = min(at, floor.get(kind) or at)
        alike = [member.agrees for member in heard if not member.contradicts]
        same = sum(all(agrees.get(kind, -1) >= at for kind, at in floor.items()) for agrees in alike)
        return self._trouble is None and same + 1 >= membership.quorum

    def alike(self, membership: Membership, point: Point) -> int:
        """How many other voters have what this node has there or beyond, and contradict it nowhere."""
        heard = [self._members[voter] for voter in membership.voters if voter in self._members]
        return sum(member.agrees.get(point.kind, -1) >= point.at for member in heard if not member.contradicts)

    # --- comparing ---------------------------------------------------------------------------------------------

    def _remember(self, extent: Extent) -> None:
        self._manifests[extent.manifest_version] = extent.manifest_digest
        while len(self._manifests) > MANIFESTS_REMEMBERED:
            self._manifests.popitem(last=False)

    def _own(self, point: Point, root_at: Callable[[int], bytes]) -> bytes | None:
        """What this node has there; None if it does not know any more."""
        return root_at(point.at) if point.kind == ENTRIES else self._manifests.get(point.at)

    def _compare(
        self, raft_id: int, point: Point, value: bytes, extent: Extent, root_at: Callable[[int], bytes]
    ) -> None:
        member = self._members.setdefault(raft_id, _Member())
        if point.at > _reached(extent, point.kind):
            # The lowest, not the newest: a node that is behind would never reach a place that moves on.
            if point.at < member.waiting.get(point.kind, (point.at + 1, b""))[0]:
                member.waiting[point.kind] = (point.at, value)
            return
        own = self._own(point, root_at)
        if own is None or own == value:
            if own is not None and (point.at or not _reached(extent, point.kind)):  # nothing is alike everywhere
                member.agrees[point.kind] = max(point.at, member.agrees.get(point.kind, 0))
            return
        member.differs[point.kind] = min(point.at, member.differs.get(point.kind, point.at))
        member.contradicts.setdefault(point, value)
        while len(member.contradicts) > QUESTIONS + 1:  # the first stays, and then the newest
            del member.contradicts[list(member.contradicts)[1]]

    def _questions(self) -> tuple[int, ...]:
        """Where it was contradicted, and where others agree: who differs there too is told from who is ahead.

        About the place of an earlier life always: else who is behind the others, while nobody leads, is never compared.
        """
        doubted = [self._doubted.at] if self._doubted is not None and self._doubted.kind == ENTRIES else []
        members = self._members.values()
        firsts = [next(iter(member.contradicts)) for member in members if member.contradicts]
        places = {point.at for point in firsts if point.kind == ENTRIES}
        if places:
            alike = {member.agrees[ENTRIES] for member in members if ENTRIES in member.agrees}
            asked = [*doubted, *sorted(places), *sorted(alike - places)]
            return tuple(dict.fromkeys(asked))[:QUESTIONS]
        return tuple(doubted)

    def _judge(self, membership: Membership, extent: Extent, root_at: Callable[[int], bytes]) -> ScribeError | None:
        voices: dict[tuple[Point, bytes], set[int]] = {}
        for raft_id in membership.voters:
            member = self._members.get(raft_id)
            for said in member.contradicts.items() if member is not None else ():
                voices.setdefault(said, set()).add(raft_id)
        for (point, value), voters in voices.items():
            if len(voters) >= membership.quorum:
                self.found = Divergence(point, self._own(point, root_at), value, _labels(membership, voters))
                return self.found.error
        return None


def _reached(extent: Extent, kind: str) -> int:
    return extent.size if kind == ENTRIES else extent.manifest_version


def _labels(membership: Membership, voters: Iterable[int]) -> str:
    known = membership.members
    return ", ".join(sorted(str(known[each].node_id if each in known else each) for each in voters))


def _whole(number: object) -> int:
    if type(number) is not int or not 0 <= number < 1 << 64:
        raise ValueError(f"{number!r:.40} is no size")
    return number
