"""``Gossip``: what every member tells every other now and then, of itself. Nothing is decided by it alone.

It feeds the failure detector, the comparison of roots, and the record of members where an address has changed.
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

    def frame(self) -> bytes:
        own = {"info": self.info.to_json(), "applied": self.applied, "installing": self.installing}
        return _KIND + orjson.dumps(own | self.report.to_json())

    @classmethod
    def decode(cls, frame: bytes | memoryview) -> Gossip:
        """``ValueError`` for what is none."""
        try:
            told = orjson.loads(memoryview(frame)[1:])
            info, report = MemberInfo.from_json(told["info"]), Report.from_json(told)
            return cls(info, report, int(told["applied"]), bool(told.get("installing")))
        except (KeyError, TypeError, AttributeError) as error:
            raise ValueError(f"a report lacks something: {error!r}") from error
