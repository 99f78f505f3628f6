"""``scribe.json``: whose store this is. The first ledger that uses a store writes it, and nobody ever changes it.

The store id is random, so that two stores with the same ledger can be told apart: a copy of a bucket, or the second
of two that were both made at first use. Whether a ledger may use the store it found, the ledger decides.

Nothing else says what this object says, so it has the digest of its own fields, and one bit that is another is
Corruption. One that was written before there was a digest must have the known fields and no other; it stays as it is.
"""

from __future__ import annotations

import re
from dataclasses import asdict, dataclass, field
from hashlib import sha256
from typing import TYPE_CHECKING, Any

import orjson

from scribe_ledger.errors import ConfigurationError, Corruption, Unavailable
from scribe_ledger.objects.paths import IDENTITY
from scribe_ledger.objects.rereading import twice

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from scribe_ledger.objects.store import ObjectStore

FORMAT = 1
_STORE_ID_BYTES = 16
_DIGEST = "sha256"
_ID = re.compile("[0-9a-f]{32}")


@dataclass(frozen=True, kw_only=True, slots=True)
class StoreIdentity:
    """What ``scribe.json`` says."""

    format: int = FORMAT
    ledger_id: str
    store_id: str
    """128 random bits in hex."""
    origin: str
    vkey: str
    """The verifier key of checkpoints at the time; after a recovery the epochs tell the later ones."""
    created: int
    """Milliseconds since 1970."""
    policies: dict[str, str] = field(default_factory=dict)
    """The ledger's policies at the time: those that it was created with stand in no entry."""


def read_identity(store: ObjectStore) -> StoreIdentity | None:
    """Whose store it is; None if nobody has used it yet. Altered content is read once more: a network may err."""
    return twice(lambda: _read(store))


def claim(
    store: ObjectStore,
    *,
    ledger_id: str,
    origin: str,
    vkey: str,
    created: int,
    policies: Mapping[str, str],
    randbytes: Callable[[int], bytes],
) -> StoreIdentity:
    """Make the store this ledger's, unless it is somebody's: the answer is what the store says from now on.

    Compare it: of two that claim at once one is answered with the other's identity.
    """
    found = read_identity(store)
    if found is not None:
        return found
    ours = StoreIdentity(
        ledger_id=ledger_id,
        store_id=randbytes(_STORE_ID_BYTES).hex(),
        origin=origin,
        vkey=vkey,
        created=created,
        policies=dict(policies),
    )
    if store.put_bytes(IDENTITY, encode_identity(ours)):
        return ours
    found = read_identity(store)
    if found is None:
        raise Unavailable(f"{store.place(IDENTITY)} was there and is gone: somebody removes what is being claimed")
    return found


def check_is(store: ObjectStore, store_id: str) -> None:
    """Raises ``Unavailable`` unless the store is that one, where there is one at all.

    For when an object is missing: is it lost, or elsewhere?
    """
    if not store_id:
        return
    try:
        found = read_identity(store)
    except ConfigurationError as error:  # a later program's
        raise outage(store, store_id, error) from error
    if found is None or found.store_id != store_id:
        raise not_that_store(store, store_id)


def outage(store: ObjectStore, store_id: str, error: ConfigurationError) -> Unavailable:
    """What a wrong store is to whoever asks something of a node that runs: no request is wrong because of it.

    The node found the right one, or none, when it started; so another one was mounted there since.
    """
    return not_that_store(store, store_id) if store_id else Unavailable(error.message, hint=error.hint)


def not_that_store(store: ObjectStore, store_id: str) -> Unavailable:
    return Unavailable(
        f"{store.url} is not the object store that this ledger's objects are in, {store_id}",
        hint="mount it again, if it is not; or name it: --object-store, or [storage] object_store",
    )


def encode_identity(identity: StoreIdentity) -> bytes:
    """The object's content: its fields, and their digest."""
    fields = asdict(identity)
    return orjson.dumps(fields | {_DIGEST: _digest_of(fields)}, option=orjson.OPT_INDENT_2)


def _digest_of(fields: dict[str, Any]) -> str:
    """Over their JSON with sorted names and no white space (RFC 8785), the digest itself left out."""
    rest = {name: value for name, value in fields.items() if name != _DIGEST}
    return sha256(orjson.dumps(rest, option=orjson.OPT_SORT_KEYS)).hexdigest()


def _read(store: ObjectStore) -> StoreIdentity | None:
    content = store.get(IDENTITY)
    return None if content is None else _decode(content, store.place(IDENTITY))


def _decode(content: bytes, place: str) -> StoreIdentity:
    try:
        fields = orjson.loads(content)
        if not isinstance(fields, dict):
            raise TypeError("it is no JSON object")
        has_digest = _DIGEST in fields
        if has_digest and fields[_DIGEST] != _digest_of(fields):
            raise ValueError("its content does not have its digest")
        version = _number(fields, "format")
        if version <= FORMAT:
            return _identity_of(fields, has_digest=has_digest)
    except (ValueError, TypeError) as cause:  # those of orjson among them
        raise Corruption(
            f"{place} does not say whose store it is: {cause}", hint="restore the object from a copy of the store"
        ) from cause
    raise ConfigurationError(
        f"{place} has format {version}", hint="a later version of Scribe Ledger wrote it: use that version"
    )


def _identity_of(fields: dict[str, Any], *, has_digest: bool) -> StoreIdentity:
    unknown = fields.keys() - StoreIdentity.__dataclass_fields__.keys()
    if unknown and not has_digest:  # it may be the altered name of one that is missing
        raise ValueError(f"it has the unknown field {min(unknown)!r}, and no digest")
    return StoreIdentity(
        format=_number(fields, "format", least=FORMAT),
        ledger_id=_id(fields, "ledger_id"),
        store_id=_id(fields, "store_id"),
        origin=_text(fields, "origin"),
        vkey=_text(fields, "vkey"),
        created=_number(fields, "created"),
        policies=_policies(fields),
    )


def _value(fields: dict[str, Any], name: str) -> Any:
    if name not in fields:
        raise ValueError(f"{name} is missing")
    return fields[name]


def _text(fields: dict[str, Any], name: str) -> str:
    value = _value(fields, name)
    if not isinstance(value, str) or not value:
        raise ValueError(f"{name} is no text")
    return value


def _id(fields: dict[str, Any], name: str) -> str:
    value = _text(fields, name)
    if not _ID.fullmatch(value):
        raise ValueError(f"{name} is not 32 hex digits")
    return value


def _number(fields: dict[str, Any], name: str, least: int = 0) -> int:
    value = _value(fields, name)
    if type(value) is not int or value < least:  # True is an int too
        raise ValueError(f"{name} is no number, or too small")
    return value


def _policies(fields: dict[str, Any]) -> dict[str, str]:
    policies = _value(fields, "policies")
    if not isinstance(policies, dict) or not all(isinstance(value, str) for value in policies.values()):
        raise ValueError("policies are not names with their values")
    return policies
