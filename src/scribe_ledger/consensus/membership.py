"""``Membership``: who belongs to the cluster, as every member's ledger records it. Values and their text, no rules."""

from __future__ import annotations

from dataclasses import asdict, dataclass, field, replace
from typing import TYPE_CHECKING, Any

import orjson

from scribe_ledger.errors import Corruption

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

FORMAT = 1
REMOVED_REMEMBERED = 1000
"""Of Raft ids that must not come back."""

Conf = tuple[list[int], list[int], list[int], list[int], bool]
"""As the engine has it: voters, learners, outgoing voters, next learners, auto leave."""


@dataclass(frozen=True)
class MemberInfo:
    """What the others know of one member."""

    raft_id: int
    node_id: int
    raft_address: str
    client_address: str
    node_key: str = ""
    """The verifier key under which it cosigns."""
    apply_version: int = 1
    """The newest rules of ``apply`` that it knows."""
    store_id: str = ""
    """Of the object store that it reads; empty where it has none of its own account."""
    given_up: bool = False
    """Whether an operator said that its folder is lost: the next node with its label may take its place. It says the
    contrary itself if it comes back."""

    @classmethod
    def from_json(cls, fields: Mapping[str, Any]) -> MemberInfo:
        known = {name: fields[name] for name in cls.__dataclass_fields__ if name in fields}
        return cls(**{**known, "raft_id": int(fields["raft_id"])})

    def to_json(self) -> dict[str, Any]:
        """A Raft id is text: it has 64 bits, and readers of JSON keep 53."""
        return {**asdict(self), "raft_id": str(self.raft_id)}


@dataclass(frozen=True)
class Membership:
    """The configuration at a position, and what is known of each member."""

    index: int
    """Position of the change that made it, or of the snapshot that brought it."""
    term: int
    """Of the entry at that position."""
    voters: tuple[int, ...] = ()
    learners: tuple[int, ...] = ()
    outgoing: tuple[int, ...] = ()
    learners_next: tuple[int, ...] = ()
    auto_leave: bool = False
    members: Mapping[int, MemberInfo] = field(default_factory=dict)
    removed: tuple[int, ...] = ()

    @property
    def conf(self) -> Conf:
        return (
            list(self.voters),
            list(self.learners),
            list(self.outgoing),
            list(self.learners_next),
            self.auto_leave,
        )

    @property
    def ids(self) -> frozenset[int]:
        """Everybody who is sent the log."""
        return frozenset((*self.voters, *self.learners, *self.outgoing, *self.learners_next))

    @property
    def quorum(self) -> int:
        return len(self.voters) // 2 + 1

    def with_conf(self, conf: Conf, *, index: int, term: int) -> Membership:
        """After a change of the configuration. Who is in no list any more is removed for good."""
        voters, learners, outgoing, learners_next, auto_leave = conf
        changed = replace(
            self,
            index=index,
            term=term,
            voters=tuple(sorted(voters)),
            learners=tuple(sorted(learners)),
            outgoing=tuple(sorted(outgoing)),
            learners_next=tuple(sorted(learners_next)),
            auto_leave=auto_leave,
        )
        gone = sorted(self.ids - changed.ids)
        members = {raft_id: info for raft_id, info in self.members.items() if raft_id not in gone}
        return replace(changed, members=members, removed=(*self.removed, *gone)[-REMOVED_REMEMBERED:])

    def with_members(self, infos: Iterable[MemberInfo], *, index: int, term: int) -> Membership:
        """With more, or newer, knowledge of members."""
        members = {**self.members, **{info.raft_id: info for info in infos}}
        return replace(self, index=index, term=term, members=members)

    def encode(self) -> bytes:
        fields = {
            "format": FORMAT,
            "index": self.index,
            "term": self.term,
            "voters": [*map(str, self.voters)],
            "learners": [*map(str, self.learners)],
            "outgoing": [*map(str, self.outgoing)],
            "learners_next": [*map(str, self.learners_next)],
            "auto_leave": self.auto_leave,
            "members": [self.members[raft_id].to_json() for raft_id in sorted(self.members)],
            "removed": [*map(str, self.removed)],
        }
        return orjson.dumps(fields)

    @classmethod
    def decode(cls, record: bytes) -> Membership:
        try:
            fields = orjson.loads(record)
            if fields["format"] != FORMAT:
                raise Corruption(f"the record of the members has format {fields['format']}")
            infos = [MemberInfo.from_json(each) for each in fields["members"]]
            return cls(
                fields["index"],
                fields["term"],
                tuple(map(int, fields["voters"])),
                tuple(map(int, fields["learners"])),
                tuple(map(int, fields["outgoing"])),
                tuple(map(int, fields["learners_next"])),
                fields["auto_leave"],
                {info.raft_id: info for info in infos},
                tuple(map(int, fields["removed"])),
            )
        except (ValueError, KeyError, TypeError) as error:
            raise Corruption("the record of the members cannot be read") from error
