"""Between nodes: connections, frames, proof that the other end belongs here. See docs/reference/raft-protocol.md."""

from scribe_ledger.consensus.transport.auth import Auth
from scribe_ledger.consensus.transport.contract import (
    Caller,
    Handler,
    Limits,
    Me,
    Purpose,
    Reason,
    Refusal,
    Refused,
)
from scribe_ledger.consensus.transport.transport import Transport

__all__ = ["Auth", "Caller", "Handler", "Limits", "Me", "Purpose", "Reason", "Refusal", "Refused", "Transport"]
