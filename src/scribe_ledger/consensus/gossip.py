"""``Gossip``: what every member tells every other now and then, of itself. Nothing is decided by it alone.

It feeds the failure detector, the comparison of roots, the record of members where an address has changed, and the
choice of a leader that can archive.
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

    def frame(self) -> bytes:
        own = {"info": self.info.to_json(), "applied": self.applied, "installing": self.installing}
        own["archives"] = self.archives
        return _KIND + orjson.dumps(own | self.report.to_json())

    @classmethod
    def decode(cls, frame: bytes | memoryview) -> Gossip:
        """``ValueError`` for what is none."""
        try:
            told = orjson.loads(memoryview(frame)[1:])
            info, report = MemberInfo.from_json(told["info"]), Report.from_json(told)
            flags = bool(told.get("installing")), bool(told.get("archives"))
            return cls(info, report, int(told["applied"]), *flags)
        except (KeyError, TypeError, AttributeError) as error:
            raise ValueError(f"a report lacks something: {error!r}") from error
