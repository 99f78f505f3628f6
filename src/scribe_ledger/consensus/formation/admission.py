"""Whether a node may join, judged by the leader, and how it gets the ledger's key.

A ``Conflict`` may pass, so who joins goes on asking; any other refusal is final, until somebody changes something.
"""

from __future__ import annotations

import base64
import binascii
import secrets
from typing import TYPE_CHECKING, Literal, NamedTuple

from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.ciphers.aead import ChaCha20Poly1305
from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.kdf.hkdf import HKDF

from scribe_ledger.consensus.stewardship.wishes import removed
from scribe_ledger.errors import ConfigurationError, Conflict, Forbidden, SerializationError, VerificationError
from scribe_ledger.merkle.note import Signer

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from scribe_ledger.consensus.formation.messages import Join, Welcome
    from scribe_ledger.consensus.stewardship.actions import View
    from scribe_ledger.consensus.transport.contract import Caller

_NONCE_BYTES = 12
_KEY_BYTES = 32
_PURPOSE = b"scribe-ledger: the ledger's key for a new member"
KeyForm = Literal["", "clear", "sealed"]


class LedgerFacts(NamedTuple):
    """What a cluster's ledger is, and what a node must know of it to be a member."""

    cluster_id: str
    """Also the ledger's id."""
    origin: str
    created: int
    epoch: int
    policies: Mapping[str, str]
    key: Signer
    apply_version: int
    store_id: str = ""
    """Of the object store that the ledger has adopted; empty: none yet."""
    shares_store: bool = False
    """Whether it is to adopt one: the settings name it. Then it does so before anybody is taken in."""
    store_is_new: bool = False
    """Whether it was adopted a moment ago: who asks may have looked at it before."""


def judge(join: Join, view: View, facts: LedgerFacts, *, replace_wiped: bool, given_up: Callable[[int], bool]) -> int:
    """The Raft id whose place it takes, 0 for none; or the reason why it may not join, raised.

    ``given_up``: whether an operator said that this member will not return.
    """
    _judge_past(join, view, facts)
    _judge_fit(join, facts)
    if join.info.raft_id in view.membership.ids:
        return 0  # it asks again
    return _judge_label(join, view, replace_wiped=replace_wiped, given_up=given_up)


def _judge_past(join: Join, view: View, facts: LedgerFacts) -> None:
    if join.cluster_id not in ("", facts.cluster_id):
        raise Forbidden(
            f"node {join.info.node_id} belongs to cluster {join.cluster_id}, and this is {facts.cluster_id}",
            hint="name the members of its own cluster in its seeds, or give it an empty folder",
        )
    if join.entries and not join.cluster_id:
        raise Forbidden(
            f"node {join.info.node_id} has a ledger of its own, with {join.entries} entries, and cannot join another",
            hint="give it an empty folder; to keep its history, found the cluster with it (--bootstrap)",
        )
    if join.info.raft_id in view.membership.removed:
        raise removed(join.info.raft_id)


def _judge_fit(join: Join, facts: LedgerFacts) -> None:
    info = join.info
    if info.apply_version < facts.apply_version:
        raise ConfigurationError(
            f"node {info.node_id} knows the rules up to version {info.apply_version}, "
            f"and this ledger follows version {facts.apply_version}",
            hint="upgrade that node",
        )
    if facts.shares_store and not facts.store_id:
        raise Conflict("this ledger has not adopted its object store yet", hint="it is asked again until it has")
    if facts.store_is_new and not info.store_id:
        raise Conflict(
            f"{_found(join)}, and this ledger uses {_store(facts.store_id)} since a moment ago",
            hint="it is asked again",
        )
    if join.shares_store and not facts.store_id:
        raise ConfigurationError(
            f"the settings of node {info.node_id} name an object store, and this cluster has none",
            hint="all members of a cluster need the same [storage] object_store",
        )
    if info.store_id != facts.store_id:
        raise ConfigurationError(
            f"{_found(join)}, and this ledger uses {_store(facts.store_id)}",
            hint="all members of a cluster need the same [storage] object_store",
        )
    for name, wanted in sorted(join.policies.items()):
        if facts.policies.get(name) != wanted:
            raise ConfigurationError(
                f"node {info.node_id} asks for {name} = {wanted!r}, and this ledger has {facts.policies.get(name)!r}",
                hint=f"policies are the ledger's: set [ledger] {name} as it is there, or leave it out",
            )


def _judge_label(join: Join, view: View, *, replace_wiped: bool, given_up: Callable[[int], bool]) -> int:
    node_id = join.info.node_id
    others = view.labelled(node_id)
    if not others:
        return 0
    if len(others) > 1:
        raise Conflict(f"node {node_id} is being replaced already", hint="give this node another [node] id")
    address = view.membership.members[others[0]].raft_address
    if view.is_alive(others[0]):
        raise Conflict(
            f"node {node_id} is a member that answers, at {address}", hint="give each node its own [node] id"
        )
    if not (replace_wiped or given_up(others[0])):
        raise Conflict(
            f"node {node_id} is a member that does not answer, at {address}",
            hint=f"if its folder is lost, say so: `scribe cluster replace {node_id}`",
        )
    return others[0]


def _found(join: Join) -> str:
    """An id is in a store that somebody has used, so one that is named and new gives none either."""
    node_id, store_id = join.info.node_id, join.info.store_id
    if join.shares_store and not store_id:
        return f"the object store that the settings of node {node_id} name is not in use yet"
    return f"node {node_id} finds {_store(store_id)}"


def _store(store_id: str) -> str:
    return f"the object store {store_id}" if store_id else "no shared object store"


# --- the ledger's key ------------------------------------------------------------------------------------------


def give_key(facts: LedgerFacts, join: Join, caller: Caller, *, insecure: bool) -> tuple[KeyForm, str]:
    """The private key in the form in which it may travel to this caller."""
    if join.ledger_key:
        if join.ledger_key != str(facts.key.verifier):
            raise Forbidden(
                f"the ledger.key of node {join.info.node_id} is not this ledger's",
                hint="copy the file from a member, or remove it",
            )
        return "", ""
    text = facts.key.private_text()
    if caller.channel_key is not None:
        return "sealed", _seal(text, caller.channel_key, _context(facts.cluster_id, join.info.raft_id))
    if caller.encrypted or caller.loopback or insecure:
        return "clear", text
    raise Forbidden(
        f"the ledger's key is not sent to node {join.info.node_id} in the clear",
        hint="set [cluster] secret or TLS on all nodes, or copy ledger.key from a member into its folder",
    )


def take_key(welcome: Welcome, raft_id: int, caller: Caller) -> Signer | None:
    """The key that came; None if it did not travel. ``VerificationError`` if it is not the ledger's."""
    if welcome.key_form == "":
        return None
    text = welcome.key
    if welcome.key_form == "sealed":
        if caller.channel_key is None:
            raise VerificationError("the ledger's key came sealed on a connection without a secret")
        text = _open(text, caller.channel_key, _context(welcome.cluster_id, raft_id))
    try:
        signer = Signer.parse(text)
    except SerializationError as error:
        raise VerificationError("what came as the ledger's key is none") from error
    if str(signer.verifier) != welcome.ledger_key:
        raise VerificationError("the key that came is not the ledger's")
    return signer


def _seal(text: str, channel_key: bytes, context: bytes) -> str:
    nonce = secrets.token_bytes(_NONCE_BYTES)
    return base64.b64encode(nonce + _cipher(channel_key).encrypt(nonce, text.encode(), context)).decode()


def _open(text: str, channel_key: bytes, context: bytes) -> str:
    try:
        sealed = base64.b64decode(text, validate=True)
        return _cipher(channel_key).decrypt(sealed[:_NONCE_BYTES], sealed[_NONCE_BYTES:], context).decode()
    except (InvalidTag, binascii.Error, ValueError) as error:
        raise VerificationError("the ledger's key cannot be unsealed: it was sealed on another connection") from error


def _cipher(channel_key: bytes) -> ChaCha20Poly1305:
    return ChaCha20Poly1305(HKDF(SHA256(), _KEY_BYTES, salt=None, info=_PURPOSE).derive(channel_key))


def _context(cluster_id: str, raft_id: int) -> bytes:
    return f"{cluster_id} {raft_id}".encode()
