"""What a node says, loudly and before it opens the Raft port, where nothing proves who is a member."""

from __future__ import annotations

from typing import TYPE_CHECKING

from scribe_ledger.config.addresses import is_loopback

if TYPE_CHECKING:
    from scribe_ledger.config import Config


def exposure(config: Config) -> str:
    """Who may join a cluster whose members prove nothing to each other, and what follows; empty where they do."""
    if config.cluster.secret or config.cluster.tls_cert:
        return ""
    if is_loopback(config.listen_host):
        return "members prove nothing to each other: any program on this machine may join; set [cluster] secret"
    return (
        "members prove nothing to each other: ANYONE who reaches port "
        f"{config.raft_port} can join, is given the ledger's KEY in the clear, and can change the ledger; "
        "[network] insecure allows that: set [cluster] secret or TLS on all members"
    )
