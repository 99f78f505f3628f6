"""``Gossip``: what every member tells every other now and then, of itself. Nothing is decided by it alone.

It feeds the failure detector, the comparison of roots, the record of members where an address has changed, and the
choice of a leader that can archive and has room.
"""

from __future__ import annotations

from typing import NamedTuple

import orjson

from scribe_ledger.consensus.agreement import Report
from scribe_ledger.consensus.membership import MemberInfo

REPORT = 16
"""The first byte of the frame."""
_KIND = bytes([REPORT])


class Gossip(NamedTuple):
    info: MemberInfo
    report: Report
    applied: int
    """Of Raft's log."""
    installing: bool = False
    """Whether a snapshot is being fetched or installed."""
    archives: bool = False
    """Whether it could archive now, if it led: it has an object store, and that works there."""
    diverged: bool = False
    """Whether it knows that its ledger is another than the majority's."""
    has_room: bool = False
    """Whether its disk has room for the writes that it would take, if it led."""

    def frame(self) -> bytes:
        own = {"info": self.info.to_json(), "applied": self.applied, "installing": self.installing}
        own |= {"archives": self.archives, "diverged": self.diverged, "has_room": self.has_room}
        return _KIND + orjson.dumps(own | self.report.to_json())

    @classmethod
    def decode(cls, frame: bytes | memoryview) -> Gossip:
        """``ValueError`` for what is none."""
        try:
            told = orjson.loads(memoryview(frame)[1:])
            info, report = MemberInfo.from_json(told["info"]), Report.from_json(told)
            flags = [bool(told.get(name)) for name in ("installing", "archives", "diverged", "has_room")]
            return cls(info, report, int(told["applied"]), *flags)
        except (KeyError, TypeError, AttributeError) as error:
            raise ValueError(f"a report lacks something: {error!r}") from error
