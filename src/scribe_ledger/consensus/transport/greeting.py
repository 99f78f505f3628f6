"""The handshake over a connection, from either end. What the frames mean is in ``handshake``."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING

from scribe_ledger.config.addresses import join_address
from scribe_ledger.consensus.transport import handshake
from scribe_ledger.consensus.transport.contract import Caller, Purpose, Reason, Refused
from scribe_ledger.consensus.transport.frames import encode_frame, encode_frames
from scribe_ledger.consensus.transport.handshake import Challenge, Hello, Proofs

if TYPE_CHECKING:
    from collections.abc import Callable

    from scribe_ledger.consensus.transport.auth import Auth
    from scribe_ledger.consensus.transport.connection import Connection
    from scribe_ledger.consensus.transport.contract import Me


async def greet(connection: Connection, me: Me, auth: Auth, *, expect: int, purpose: Purpose) -> Caller:
    """As the one who dialled. ``Refused`` has what the other end said, or what was wrong with it."""
    hello = Hello(me, expect, purpose, os.urandom(handshake.NONCE_BYTES), bool(auth.secret)).encode()
    connection.write(encode_frames((hello,)))
    body = await connection.read()
    handshake.expect_kind(body, handshake.CHALLENGE, 1)
    challenge = Challenge.decode(body)
    handshake.check_acquaintance(me, challenge.me, expected=expect, found=challenge.me.raft_id)
    handshake.check_secret_wanted(bool(auth.secret), challenge.has_secret)
    proofs = Proofs(auth.secret, hello, bytes(body))
    connection.write(encode_frame(handshake.PROOF, proofs.of_dialler()))
    body = await connection.read()
    handshake.expect_kind(body, handshake.WELCOME, 1 + handshake.MAC_BYTES)
    refusal = bytes(body[1 + handshake.MAC_BYTES :])
    handshake.check_proof(body, proofs.of_answerer(refusal))
    if refusal:
        raise Refused(refusal.decode(errors="replace"), reason=Reason.UNADMITTED, proven=True)
    return _acquainted(connection, challenge.me, proofs, purpose)


async def answer(
    connection: Connection,
    me: Me,
    auth: Auth,
    admits: Callable[[Caller], str],
    check: Callable[[Caller], object],
) -> Caller:
    """As the one who was dialled. ``Refused`` is not passed on here, but for what the owner does not want.

    ``check`` raises what the transport itself does not want of who has proven itself.
    """
    said = bytes(await connection.read())
    hello = Hello.decode(said)
    handshake.check_acquaintance(me, hello.me, expected=hello.expect, found=me.raft_id)
    handshake.check_secret_wanted(bool(auth.secret), hello.has_secret)
    version = handshake.agreed_version(hello.oldest, hello.newest)
    challenge = Challenge(me, version, os.urandom(handshake.NONCE_BYTES), bool(auth.secret)).encode()
    connection.write(encode_frames((challenge,)))
    proofs = Proofs(auth.secret, said, challenge)
    body = await connection.read()
    handshake.expect_kind(body, handshake.PROOF, 1 + handshake.MAC_BYTES)
    handshake.check_proof(body, proofs.of_dialler())
    caller = _acquainted(connection, hello.me, proofs, hello.purpose)
    check(caller)
    refusal = _refusal_of(caller, admits).encode()[: handshake.MAX_REASON_BYTES]
    connection.write(encode_frame(handshake.WELCOME, proofs.of_answerer(refusal) + refusal))
    if refusal:
        raise Refused(refusal.decode(errors="replace"), reason=Reason.UNADMITTED, proven=True)
    return caller


def check_shielded(connection: Connection, auth: Auth, *, insecure: bool) -> None:
    """Where nobody proves anything, only this machine is spoken with."""
    if not (auth.proves or insecure or connection.loopback):
        raise Refused(
            f"{connection.host} is another machine, and members here prove nothing to each other",
            hint="set cluster.secret, or the three cluster.tls_* files, on all members",
            reason=Reason.INSECURE,
        )


def _refusal_of(caller: Caller, admits: Callable[[Caller], str]) -> str:
    if caller.purpose is Purpose.PEER and not caller.cluster_id:
        return "a node that belongs to no cluster may ask, and not take part"
    return admits(caller)


def _acquainted(connection: Connection, theirs: Me, proofs: Proofs, purpose: Purpose) -> Caller:
    connection.trust()
    peer = connection.transport.get_extra_info("peername")
    return Caller(
        theirs.raft_id,
        theirs.cluster_id,
        theirs.node_id,
        join_address(peer[0], peer[1]) if peer else connection.host,
        proofs.channel_key(),
        connection.encrypted,
        connection.loopback,
        purpose,
        theirs.run,
    )
