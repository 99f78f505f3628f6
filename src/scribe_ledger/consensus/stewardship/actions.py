"""What the steward sees and what it asks its owner to do. Values, no behaviour."""

from __future__ import annotations

from typing import TYPE_CHECKING, Literal, NamedTuple, Protocol, TypeAlias

if TYPE_CHECKING:
    from collections.abc import Mapping
    from collections.abc import Set as AbstractSet

    from scribe_ledger.consensus.membership import MemberInfo, Membership


class Progress(Protocol):
    """How far a member is, as the engine of the leader knows it."""

    @property
    def match(self) -> int: ...
    @property
    def active(self) -> bool: ...


class View(NamedTuple):
    """What a leader knows at one tick."""

    me: int
    now: int
    """In ticks."""
    membership: Membership
    progress: Mapping[int, Progress]
    alive: AbstractSet[int]
    """Who was heard within the failure timeout; this node always is."""
    last_index: int
    apply_version: int
    """Of the ledger: the rules that it applies by now."""
    archivists: AbstractSet[int] = frozenset()
    """Who says that it could archive now, this node too."""
    roomy: AbstractSet[int] = frozenset()
    """Who says that its disk has room for writes, this node too."""
    unfit: AbstractSet[int] = frozenset()
    """Whose ledger is another, and who must not lead."""

    def is_alive(self, raft_id: int) -> bool:
        return raft_id == self.me or raft_id in self.alive

    def labelled(self, node_id: int) -> list[int]:
        """The members with that label: two while one replaces the other."""
        members = self.membership.members
        return [each for each in sorted(self.membership.ids) if each in members and members[each].node_id == node_id]

    def successor(self) -> int:
        """The voter that leadership would go to: alive, fit, and the furthest of those; 0: there is none."""
        voters = (each for each in self.membership.voters if each != self.me and each not in self.unfit)
        others = [each for each in voters if self.is_alive(each)]
        return max(others, key=lambda each: (self.match(each), -each), default=0)

    def match(self, raft_id: int) -> int:
        progress = self.progress.get(raft_id)
        return progress.match if progress is not None else 0


Step = tuple[Literal["voter", "learner", "remove"], int]


class Change(NamedTuple):
    """Propose this configuration (``propose_change``); without steps: leave the joint one."""

    steps: tuple[Step, ...]
    infos: tuple[MemberInfo, ...] = ()
    why: str = ""


class Tell(NamedTuple):
    """Propose what is newly known of members (``propose_members``)."""

    infos: tuple[MemberInfo, ...]
    why: str = ""


class HandOver(NamedTuple):
    """Hand leadership to this voter."""

    raft_id: int
    why: str = ""


class RaiseApplyVersion(NamedTuple):
    """All members know newer rules: the ledger may go over to them."""

    version: int
    why: str = ""


Action: TypeAlias = Change | Tell | HandOver | RaiseApplyVersion
