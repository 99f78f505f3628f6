"""What a client does, call by call, without doing any I/O: each operation is a generator that yields requests, is sent
the answers, and returns the result. Both clients run the same operations, so both know and refuse the same things.

An operation checks what it reads if it has a ``Trust``. Without one it believes the node.
"""

from __future__ import annotations

import binascii
from collections.abc import Callable, Generator, Iterable
from hashlib import sha256
from typing import TYPE_CHECKING, Any, NamedTuple, TypeAlias, TypeVar

from scribe_ledger import verify
from scribe_ledger.client import answers, requests
from scribe_ledger.client.arguments import key_bytes, natural, request_id_text, required, value_bytes
from scribe_ledger.client.messages import Answer, Request, Upload
from scribe_ledger.client.settings import check_consistency
from scribe_ledger.client.trust import Sent, Stance, Trust, Wanted, as_verification, check_digest
from scribe_ledger.errors import InvalidRequest, NotFound, SerializationError, TooLarge, VerificationError, counted
from scribe_ledger.merkle.checkpoint import Checkpoint
from scribe_ledger.merkle.chunks import chunk_digests, chunk_root
from scribe_ledger.merkle.hashing import ZERO_HASH, hash_leaf
from scribe_ledger.merkle.leaf import Leaf, decode_leaf, entry_of
from scribe_ledger.merkle.proof import verify_inclusion
from scribe_ledger.merkle.prooftext import ConsistencyProof, HistoryProof, Proof
from scribe_ledger.model import Entry, Kind, Receipt

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from scribe_ledger.client.arguments import Key, Value
    from scribe_ledger.client.batch import Collected

_T = TypeVar("_T")

Operation: TypeAlias = Generator[Request, Answer, _T]
HASH_BYTES = 32


class Found(NamedTuple):
    """What a node gave: the entry, and its value unless that is a large one."""

    leaf: Leaf
    leaf_hash: bytes
    value: bytes | None


class Operations:
    """All calls of a client, made for one ledger."""

    def __init__(
        self,
        trust: Trust | None,
        *,
        consistency: str | None,
        several_nodes: bool,
        fetch: Callable[[bytes, int], bytes],
    ) -> None:
        """``fetch(key, index)`` gets a value that an ``Entry`` is asked for later."""
        self.trust = trust
        self._consistency = consistency
        self._several_nodes = several_nodes
        self._fetch = fetch
        self._after: int | None = None

    def trust_for(self, wanted: bool | None) -> Trust | None:
        """Whether to check: always where a public key is known, unless the caller says otherwise."""
        if wanted and self.trust is None:
            raise InvalidRequest("nothing can be verified without the ledger's public key", hint="give public_key=")
        return None if wanted is False else self.trust

    # --- writing -----------------------------------------------------------------------------------------------

    def put(
        self, key: Key, value: Value, request_id: str | bytes | None, options: Mapping[str, Any]
    ) -> Operation[Receipt]:
        name, data = key_bytes(key), value_bytes(value)
        tail = requests.put_tail(name, **options)
        identity = request_id_text(request_id)
        sent = _sent_put(name, data, tail)
        if not requests.fits_headers(tail):
            return (yield from self._batch([requests.put_operation(name, data, tail)], [sent], identity))[0]
        stance = self._stance(name)
        answer = yield requests.put(name, data, tail, identity)
        return self._receipts([sent], [answers.json_of(answer)], stance)[0]

    def put_stream(
        self, key: Key, reader: Any, request_id: str | bytes | None, options: Mapping[str, Any]
    ) -> Operation[Receipt]:
        name = key_bytes(key)
        tail = requests.put_tail(name, **options)
        if not requests.fits_headers(tail):
            raise InvalidRequest(
                "metadata that begins or ends with spaces cannot be streamed", hint="use put, or strip it"
            )
        upload = Upload(reader, chunked=self.trust is not None)
        stance = self._stance(name)
        answer = yield requests.put(name, upload, tail, request_id_text(request_id))
        shape = answers.json_of(answer)
        sent = Sent(Kind.PUT, name, tail["tail"], upload.size, upload.sha256(), upload.chunk_root, **_conditions(tail))
        return self._receipts([sent], [shape], stance)[0]

    def delete(self, key: Key, request_id: str | bytes | None, options: Mapping[str, Any]) -> Operation[Receipt]:
        name = key_bytes(key)
        tail = requests.delete_tail(name, **options)
        identity = request_id_text(request_id)
        sent = _sent_delete(name, tail)
        if not requests.fits_headers(tail):
            return (yield from self._batch([requests.delete_operation(name, tail)], [sent], identity))[0]
        stance = self._stance(name)
        answer = yield requests.delete(name, tail, identity)
        return self._receipts([sent], [answers.json_of(answer)], stance)[0]

    def put_many(self, pairs: Iterable[tuple[Key, Value]], request_id: str | bytes | None) -> Operation[list[Receipt]]:
        rows = requests.checked_pairs(pairs)
        operations = [requests.put_operation(name, data) for name, data in rows]
        plain = [_sent_put(name, data, requests.put_tail(name)) for name, data in rows]
        return (yield from self._batch(operations, plain, request_id_text(request_id)))

    def write(self, batch: Collected, request_id: str | bytes | None) -> Operation[list[Receipt]]:
        """A batch that was collected."""
        operations, sent = [], []
        for name, data, tail in batch.commands:
            if data is None:
                operations.append(requests.delete_operation(name, tail))
                sent.append(_sent_delete(name, tail))
            else:
                operations.append(requests.put_operation(name, data, tail))
                sent.append(_sent_put(name, data, tail))
        return (yield from self._batch(operations, sent, request_id_text(request_id)))

    def _batch(
        self, operations: Sequence[Mapping[str, Any]], sent: Sequence[Sent], identity: str
    ) -> Operation[list[Receipt]]:
        if not operations:
            return []
        stance = self._stance(b"")
        shape = answers.json_of((yield requests.batch(operations, identity)))
        return self._receipts(sent, answers.listed(shape, "receipts"), stance)

    def _receipts(self, sent: Sequence[Sent], shapes: Sequence[dict[str, Any]], stance: Stance) -> list[Receipt]:
        receipts = [answers.receipt_of(shape) for shape in shapes]
        if self.trust is not None:
            self.trust.check_receipts(sent, receipts, stance)
            return receipts
        if len(receipts) != len(sent):
            raise SerializationError(f"the node gives {len(receipts)} receipts for {len(sent)} operations")
        for command, receipt in zip(sent, receipts, strict=True):
            check_digest(command, receipt)
        newest = max(receipt.index for receipt in receipts)
        self._after = newest if self._after is None else max(self._after, newest)
        return receipts

    # --- reading -----------------------------------------------------------------------------------------------

    def get(
        self, key: Key, version: int | None, as_of: int | None, checked: bool | None, consistency: str | None = None
    ) -> Operation[bytes | None]:
        trust = self.trust_for(checked)
        check_consistency(consistency)
        if trust is not None:
            found = yield from self.proven(trust, _wanted(key, version, as_of), consistency)
            return None if found is None else (yield from self._value_of(found))
        name = key_bytes(key)
        parameters = {"version": natural(version, "version", least=1), "as_of": natural(as_of, "as_of")}
        answer = yield requests.value(name, **parameters, **self._reading(consistency=consistency))
        if answer.status == 200:
            return answer.body
        _raise_unless_missing(answer)
        return None

    def get_many(
        self, keys: Iterable[Key], checked: bool | None, consistency: str | None = None
    ) -> Operation[list[bytes | None]]:
        if isinstance(keys, str | bytes | bytearray | memoryview) or not hasattr(keys, "__iter__"):
            raise InvalidRequest(f"the keys are {type(keys).__name__}", hint='several keys, such as ["a", "b"]')
        names = [key_bytes(key) for key in keys]
        if not names:
            return []
        trust = self.trust_for(checked)
        check_consistency(consistency)
        found = yield from self._many(names, trust, consistency)
        values: list[bytes | None] = []
        for item in found:
            if item is None or item.value is not None:
                values.append(None if item is None else item.value)
            else:
                values.append((yield from self._value_of(item)))
        return values

    def _many(
        self, names: Sequence[bytes], trust: Trust | None, consistency: str | None
    ) -> Operation[list[Found | None]]:
        """By halves where the node says that these are too many keys, or too much, for one answer."""
        try:
            if trust is not None:
                return (yield from self.proven_many(trust, names, consistency))
            answer = yield requests.values(names, proof=False, since=None, **self._reading(consistency=consistency))
            shapes = _as_many(answers.json_of(answer), names)
            return [None if shape is None else self.plain(shape) for shape in shapes]
        except TooLarge:
            if len(names) == 1:
                raise
        middle = len(names) // 2
        first = yield from self._many(names[:middle], trust, consistency)
        return first + (yield from self._many(names[middle:], trust, consistency))

    def entry(
        self, key: Key, version: int | None, as_of: int | None, checked: bool | None, consistency: str | None = None
    ) -> Operation[Entry | None]:
        trust = self.trust_for(checked)
        wanted = _wanted(key, version, as_of)
        check_consistency(consistency)
        if trust is not None:
            found = yield from self.proven(trust, wanted, consistency)
            return None if found is None else self.to_entry(*found)
        reading = self._reading(consistency=consistency)
        answer = yield requests.value(wanted.key, proof=True, version=version, as_of=as_of, **reading)
        shape = _shape_with_proof(answer)
        if shape is None:
            return None
        return self.to_entry(*self.plain(shape["entry"] | {"value_base64": shape.get("value_base64")}))

    def _value_of(self, found: Found) -> Operation[bytes | None]:
        """None for a delete. A large value takes a trip of its own."""
        if found.leaf.kind is Kind.DELETE or found.value is not None:
            return found.value
        return (yield from self.value(found.leaf))

    def value(self, entry: Entry | Leaf) -> Operation[bytes]:
        """The value of an entry, checked against the digest that the entry has."""
        if entry.kind is Kind.DELETE:
            return b""
        return answers.check_value(entry, (yield from self.fetch(entry.key, entry.index)))

    def fetch(self, key: bytes, index: int) -> Operation[bytes]:
        """What the node has as the value of an entry. That of a system entry, which has no key, is in the log alone."""
        if key:
            return answers.bytes_of((yield requests.value(key, index=index, **self._reading())))
        shape = answers.json_of((yield requests.get(b"/v1/log", start=index, limit=1, values=True)))
        found = answers.listed(shape, "entries")
        value = answers.value_of(found[0]) if found and isinstance(found[0], dict) else None
        if value is None:
            raise SerializationError(f"the node gives no value of entry {index}")
        return value

    def to_entry(self, leaf: Leaf, leaf_hash: bytes, value: bytes | None) -> Entry:
        """An entry whose value is at hand, or fetched when it is first asked for."""
        key, index = leaf.key, leaf.index
        fetch = self._fetch

        def load() -> bytes:
            if value is not None or leaf.kind is Kind.DELETE:
                return value or b""
            return answers.check_value(leaf, fetch(key, index))

        return entry_of(leaf, leaf_hash, load)

    def plain(self, shape: Any) -> Found:
        """An entry that nothing proves; it agrees with itself at least."""
        leaf, leaf_hash = answers.leaf_of(shape)
        value = answers.value_of(shape)
        if value is not None:
            answers.check_value(leaf, value)
        return Found(leaf, leaf_hash, value)

    # --- reading with proof ------------------------------------------------------------------------------------

    def proven(self, trust: Trust, wanted: Wanted, consistency: str | None = None) -> Operation[Found | None]:
        """One entry with its value, proven; None where the node says that there is none."""
        stance = trust.stance(wanted.key)
        answer = yield requests.value(
            wanted.key,
            proof=True,
            version=wanted.version,
            as_of=wanted.as_of,
            index=wanted.index,
            since=stance.since,
            **self._reading(stance, consistency),
        )
        try:
            shape = _shape_with_proof(answer)
            if shape is None:
                trust.check_absent(wanted, stance.seen)
                return None
            proof = Proof.parse(answers.text_field(shape, "proof"))
            value = answers.value_of(shape)
            linked = shape.get("consistency")
        except SerializationError as error:
            raise as_verification(error) from error
        head = yield from self._follow(trust, proof.checkpoint.text, linked, stance)
        leaf, leaf_hash = _included(proof.index, proof.leaf_bytes, proof.hashes, head)
        trust.check_entry(leaf, leaf_hash, wanted, stance.seen)
        _check_given(leaf, value)
        return Found(leaf, leaf_hash, value)

    def proven_many(
        self, trust: Trust, names: Sequence[bytes], consistency: str | None = None
    ) -> Operation[list[Found | None]]:
        stance = trust.stance()
        seen = [trust.seen(name) for name in names]
        answer = yield requests.values(names, proof=True, since=stance.since, **self._reading(stance, consistency))
        try:
            shape = answers.json_of(answer)
            items = _as_many(shape, names)
            text, linked = answers.text_field(shape, "checkpoint"), shape.get("consistency")
        except SerializationError as error:
            raise as_verification(error) from error
        head = yield from self._follow(trust, text, linked, stance)
        found: list[Found | None] = []
        for name, known, item in zip(names, seen, items, strict=True):
            if item is None:
                trust.check_absent(Wanted(name), known)
                found.append(None)
                continue
            try:
                index, leaf_bytes, hashes = _inclusion_of(item)
                value = answers.value_of(item)
            except SerializationError as error:
                raise as_verification(error) from error
            leaf, leaf_hash = _included(index, leaf_bytes, hashes, head)
            trust.check_entry(leaf, leaf_hash, Wanted(name), known)
            _check_given(leaf, value)
            found.append(Found(leaf, leaf_hash, value))
        return found

    def _follow(self, trust: Trust, text: str, consistency: Any, stance: Stance) -> Operation[Checkpoint]:
        if consistency is not None and not isinstance(consistency, str):
            raise VerificationError("the consistency proof in the answer is not a text")
        head, gap = trust.follow(text, consistency, stance)
        while gap is not None:
            gap = trust.close(gap, (yield from self._consistency_text(gap.old.size, gap.new.size)))
        yield from self._have_cosigned(trust, head)
        return head

    def _have_cosigned(self, trust: Trust, head: Checkpoint) -> Operation[None]:
        """Shows that a head that is linked to what is known is part of a log that a quorum has cosigned."""
        if trust.needs_cosigned(head):
            reading = {"after": head.size - 1 if head.size else None}
            text = answers.text_of((yield requests.get(b"/tlog/checkpoint", **reading)))
            cosigned = trust.cosigned(text, head)
            yield from self.join(trust, cosigned)
            trust.have_cosigned(cosigned)

    def _link(self, trust: Trust, text: str, at: int | None, stance: Stance) -> Operation[Checkpoint]:
        """The head that was asked for, of one size or of the present, becomes part of what is known."""
        head = trust.signed(text)
        if at is None:
            trust.check_fresh(head, stance)
        elif head.size != at:
            raise VerificationError(f"the node answers with a head of {counted(head.size)}, not {at}")
        yield from self.join(trust, head)
        yield from self._have_cosigned(trust, head)
        return head

    def join(self, trust: Trust, head: Checkpoint) -> Operation[None]:
        """A head that is good by itself becomes part of what is known, by as many proofs as it takes."""
        gap = trust.link(head)
        while gap is not None:
            gap = trust.close(gap, (yield from self._consistency_text(gap.old.size, gap.new.size)))

    def _consistency_text(self, old: int, new: int) -> Operation[str]:
        """Between two signed heads, so that there must be a node that has them."""
        reading = {"after": new - 1 if new else None, "consistency": self._consistency}
        request = requests.get(b"/v1/proof/consistency", **{"from": old, "to": new}, **reading)
        return answers.text_of((yield request))

    # --- proofs ------------------------------------------------------------------------------------------------

    def checkpoint(self, at: int | None, checked: bool | None, *, least: int = 0) -> Operation[Checkpoint]:
        """The head of the log, which covers what is known of it, and ``least`` entries."""
        trust = self.trust_for(checked)
        natural(at, "at")
        stance = self._stance(b"") if trust is None else trust.stance()
        if least and (stance.after is None or stance.after < least - 1):
            stance = stance._replace(after=least - 1)
        reading = {"after": stance.after, "consistency": self._consistency}
        text = answers.text_of((yield requests.get(b"/tlog/checkpoint", at=at, **reading)))
        if trust is None:
            return Checkpoint.parse(text)
        return (yield from self._link(trust, text, at, stance))

    def prove(self, key: Key, version: int | None, at: int | None, checked: bool | None) -> Operation[Proof]:
        trust = self.trust_for(checked)
        wanted = Wanted(key_bytes(key), natural(version, "version", least=1), natural(at, "at"))
        stance = self._stance(wanted.key)
        request = requests.under(b"/v1/proof/", wanted.key, version=version, at=at, **self._reading(stance))
        proof = Proof.parse(answers.text_of((yield request)))
        if trust is not None:
            head = yield from self._link(trust, proof.checkpoint.text, at, stance)
            leaf, leaf_hash = _included(proof.index, proof.leaf_bytes, proof.hashes, head)
            trust.check_entry(leaf, leaf_hash, wanted, stance.seen)
        return proof

    def prove_history(
        self, key: Key, version: int | None, at: int | None, checked: bool | None
    ) -> Operation[HistoryProof]:
        trust = self.trust_for(checked)
        wanted = Wanted(key_bytes(key), natural(version, "version", least=1), natural(at, "at"))
        stance = self._stance(wanted.key)
        request = requests.under(b"/v1/proof/history/", wanted.key, version=version, at=at, **self._reading(stance))
        proof = HistoryProof.parse(answers.text_of((yield request)))
        if trust is not None:
            yield from self._link(trust, proof.checkpoint.text, at, stance)
            leaves = verify.history(proof, public_key=trust.public_key, key=wanted.key)
            trust.check_entry(leaves[0], hash_leaf(proof.entries[0].leaf_bytes), wanted, stance.seen)
        return proof

    def prove_consistency(self, old_size: int, new_size: int | None) -> Operation[ConsistencyProof]:
        required(old_size, "old_size")
        natural(new_size, "new_size")
        # a size that nobody signed is the caller's own: no node is made to wait for it
        reading = self._reading(self._stance(b""))
        request = requests.get(b"/v1/proof/consistency", **{"from": old_size, "to": new_size}, **reading)
        return ConsistencyProof.parse(answers.text_of((yield request)))

    # --- the rest ----------------------------------------------------------------------------------------------

    def json(self, request: Request, *accepted: int) -> Operation[dict[str, Any]]:
        return answers.json_of((yield request), *accepted)

    def public_key(self) -> Operation[str]:
        if self.trust is not None:
            return self.trust.public_key
        return answers.text_field(answers.json_of((yield requests.get(b"/v1/key"))), "vkey")

    def size(self) -> Operation[int]:
        """How many entries the node says there are."""
        return answers.number_field(answers.json_of((yield requests.get(b"/v1/stats"))), "entries")

    # --- parameters --------------------------------------------------------------------------------------------

    def _stance(self, key: bytes) -> Stance:
        return Stance(None, None, self._after) if self.trust is None else self.trust.stance(key)

    def _reading(self, stance: Stance | None = None, consistency: str | None = None) -> dict[str, Any]:
        """What a read says: how fresh it must be. One node of which nothing is proven needs not be told."""
        wanted = consistency or self._consistency
        if stance is None:
            if not self._several_nodes and wanted is None:
                return {}
            stance = self._stance(b"")
        return {"after": stance.after, "consistency": wanted}


# --- helpers -----------------------------------------------------------------------------------------------------


def _wanted(key: Key, version: int | None, as_of: int | None) -> Wanted:
    return Wanted(key_bytes(key), natural(version, "version", least=1), natural(as_of, "as_of"))


def _sent_put(key: bytes, data: bytes, tail: Mapping[str, Any]) -> Sent:
    digest = sha256(data).digest()
    return Sent(
        Kind.PUT,
        key,
        tail["tail"],
        len(data),
        digest,
        lambda: chunk_root(chunk_digests(data)),
        **_conditions(tail),
    )


def _sent_delete(key: bytes, tail: Mapping[str, Any]) -> Sent:
    return Sent(Kind.DELETE, key, tail["tail"], 0, ZERO_HASH, lambda: ZERO_HASH, **_conditions(tail))


def _conditions(tail: Mapping[str, Any]) -> dict[str, int | None]:
    """What a receipt can be held against; ``if_absent`` leaves no mark on an entry."""
    return {"if_index": tail["if_index"], "if_version": tail["if_version"]}


def _raise_unless_missing(answer: Answer) -> None:
    error = answers.error_of(answer)
    if not isinstance(error, NotFound):
        raise error


def _shape_with_proof(answer: Answer) -> dict[str, Any] | None:
    """The JSON of an entry with its proof, of a delete's too; None where there is no such entry."""
    shape = answers.object_of(answer.body) if answer.status in (200, 404) else None
    if shape is not None and isinstance(shape.get("entry"), dict):
        return shape
    _raise_unless_missing(answer)
    return None


def _as_many(shape: dict[str, Any], names: Sequence[bytes]) -> list[dict[str, Any] | None]:
    found = answers.listed(shape, "entries")
    if len(found) != len(names) or not all(item is None or isinstance(item, dict) for item in found):
        raise SerializationError(f"the node answers with {len(found)} entries for {len(names)} keys")
    return found


def _inclusion_of(item: dict[str, Any]) -> tuple[int, bytes, list[bytes]]:
    try:
        leaf_bytes = binascii.a2b_base64(item["leaf_base64"])
        joined = binascii.a2b_base64(item["hashes_base64"])
        index = item["index"]
    except (KeyError, ValueError, TypeError) as error:
        raise SerializationError("a proof in the node's answer is malformed") from error
    if type(index) is not int or len(joined) % HASH_BYTES:
        raise SerializationError("a proof in the node's answer is cut off")
    return index, leaf_bytes, [joined[at : at + HASH_BYTES] for at in range(0, len(joined), HASH_BYTES)]


def _included(index: int, leaf_bytes: bytes, hashes: Sequence[bytes], head: Checkpoint) -> tuple[Leaf, bytes]:
    """The leaf, which stands in the log of this head, and its hash."""
    leaf_hash = hash_leaf(leaf_bytes)
    verify_inclusion(index, head.size, leaf_hash, head.root, hashes)
    try:
        leaf = decode_leaf(leaf_bytes)
    except SerializationError as error:
        raise VerificationError(f"the leaf in the proof is malformed: {error.message}") from error
    if leaf.index != index:
        raise VerificationError(f"the proof is for entry {index}, its leaf says {leaf.index}")
    return leaf, leaf_hash


def _check_given(leaf: Leaf, value: bytes | None) -> None:
    """The value that came with a proof. Only a large one may be left out, and a delete has none."""
    if value is not None:
        verify.matches(leaf, value)
    elif leaf.kind is not Kind.DELETE and leaf.chunk_root == ZERO_HASH:
        raise VerificationError(f"the node leaves out the value of entry {leaf.index}, which is not a large one")
