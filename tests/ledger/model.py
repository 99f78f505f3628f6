"""What a ledger must do, in plain Python: a list of entries and the rules, nothing else. Tests compare with it."""

from __future__ import annotations

import json
from dataclasses import dataclass, field
from hashlib import sha256
from typing import TYPE_CHECKING, Any

from scribe_ledger.ledger import commands
from scribe_ledger.merkle import EMPTY_ROOT, Leaf, hash_leaf, root_of
from scribe_ledger.model import Kind

if TYPE_CHECKING:
    from collections.abc import Sequence

    from scribe_ledger.ledger.commands import Command

REMEMBERED = 16


@dataclass(frozen=True)
class Op:
    """One operation as a caller asks for it."""

    kind: Kind
    key: bytes = b""
    value: bytes = b""
    content_type: str = ""
    metadata: dict[str, str] = field(default_factory=dict)
    if_absent: bool = False
    if_index: int | None = None
    if_version: int | None = None
    request: str = ""
    dedupe: bool = True
    policies: dict[str, str] = field(default_factory=dict)

    def command(self) -> Command:
        if self.kind is Kind.CONFIG:
            return commands.configure(self.policies)
        request_id = self.request or None
        if self.kind is Kind.DELETE:
            return commands.delete(
                self.key,
                metadata=self.metadata,
                if_index=self.if_index,
                if_version=self.if_version,
                request_id=request_id,
            )
        return commands.put(
            self.key,
            self.value,
            content_type=self.content_type,
            metadata=self.metadata,
            if_absent=self.if_absent,
            if_index=self.if_index,
            if_version=self.if_version,
            request_id=request_id,
            dedupe=self.dedupe,
        )


def put(key: bytes, value: bytes = b"", **options: Any) -> Op:
    return Op(Kind.PUT, key, value, **options)


def delete(key: bytes, **options: Any) -> Op:
    return Op(Kind.DELETE, key, **options)


def configure(**policies: str) -> Op:
    return Op(Kind.CONFIG, policies=policies)


@dataclass(frozen=True)
class Item:
    """One entry of the model's log."""

    index: int
    op: Op
    version: int
    previous: int | None
    timestamp: int

    @property
    def value(self) -> bytes:
        if self.op.kind is Kind.CONFIG:
            return json.dumps(self.op.policies, sort_keys=True, separators=(",", ":")).encode()
        return self.op.value

    @property
    def deleted(self) -> bool:
        return self.op.kind is Kind.DELETE

    def content(self) -> tuple[object, ...]:
        return content(self.op)

    def leaf(self) -> Leaf:
        system = self.op.kind is Kind.CONFIG
        return Leaf(
            kind=self.op.kind,
            index=self.index,
            timestamp=self.timestamp,
            version=self.version,
            previous=self.previous,
            size=len(self.value),
            sha256=bytes(32) if self.deleted else sha256(self.value).digest(),
            chunk_root=bytes(32),
            key=self.op.key,
            content_type="application/json" if system else self.op.content_type,
            metadata=dict(self.op.metadata),
        )


def content(op: Op) -> tuple[object, ...]:
    return op.kind, op.value, op.content_type, tuple(sorted(op.metadata.items()))


class Refused(Exception):
    """Carries the kind of error that the ledger must raise."""

    @property
    def kind(self) -> str:
        return str(self.args[0])


class Model:
    """The log, the rules of writing, and reads as of any size."""

    def __init__(self, **policies: str) -> None:
        self.items: list[Item] = []
        self.policies = {"overwrite": "version", "deletes": "tombstone", **policies}
        self._hashes: list[bytes] = []

    # --- writing -----------------------------------------------------------------------------------------------

    def write(self, unit: Sequence[Op], timestamp: int) -> list[tuple[int, bool]]:
        """Index and ``created`` of each operation; ``Refused``, and nothing has changed, if one of them is refused."""
        size, policies = len(self.items), dict(self.policies)
        timestamp = max([timestamp, *(item.timestamp for item in self.items[-1:])])
        repeated = self._repeated(unit)
        if repeated is not None:
            return [(item.index, False) for item in repeated]
        try:
            return [self._write(op, timestamp) for op in unit]
        except Refused:
            del self.items[size:]
            self.policies = policies
            raise

    def _write(self, op: Op, timestamp: int) -> tuple[int, bool]:
        if op.kind is Kind.CONFIG:
            self.policies |= op.policies
            return self._append(op, 0, None, timestamp)
        versions = self.history(op.key)
        latest = versions[0] if versions else None
        known = self._remembered(op)
        if known is not None:
            if known.content() != content(op):
                raise Refused("conflict")
            return known.index, False
        self._check_condition(op, latest)
        if latest is None or latest.deleted:
            if op.kind is Kind.DELETE:
                raise Refused("not_found")
        elif op.kind is Kind.PUT and op.dedupe and latest.content() == content(op):
            return latest.index, False
        if latest is not None:
            forbidden = "deletes" if op.kind is Kind.DELETE else "overwrite"
            if self.policies[forbidden] == "forbid":
                raise Refused("forbidden")
        return self._append(op, latest.version + 1 if latest else 1, latest.index if latest else None, timestamp)

    def _remembered(self, op: Op) -> Item | None:
        versions = self.history(op.key)[:REMEMBERED] if op.request else []
        return next((item for item in versions if item.op.request == op.request), None)

    def _repeated(self, unit: Sequence[Op]) -> list[Item] | None:
        """What the operations of a unit stood for, if all have request ids and one of these is known."""
        known = [self._remembered(op) for op in unit]
        if len(unit) == 1 or not all(op.request for op in unit) or not any(known):
            return None
        items: list[Item] = []
        following: dict[bytes, tuple[Item, Op]] = {}
        for place in reversed(range(len(unit))):
            op, item = unit[place], known[place]
            if item is None:
                newest = self._newest(op, self._limit(known, place), following.get(op.key))
                items_then = [found for found in self.history(op.key) if newest - len(unit) < found.version <= newest]
                item = next((found for found in items_then if found.content() == content(op)), None)
            if item is None or item.content() != content(op):
                raise Refused("conflict")
            following[op.key] = item, op
            items.append(item)
        return items[::-1]

    def _newest(self, op: Op, limit: int, following: tuple[Item, Op] | None) -> int:
        """The greatest version that the operation can have stood for."""
        if following is None:
            return max([item.version for item in self.history(op.key, limit + 1)], default=0)
        item, then = following
        may_repeat = then.kind is Kind.PUT and then.dedupe and content(then) == content(op)
        return item.version if may_repeat else item.version - 1

    @staticmethod
    def _limit(known: Sequence[Item | None], place: int) -> int:
        """The greatest index that the operation can have appended at."""
        before = [item.index + place - other for other, item in enumerate(known) if item is not None and other < place]
        after = [item.index - 1 for other, item in enumerate(known) if item is not None and other > place]
        return min(before[-1:] + after[:1])

    @staticmethod
    def _check_condition(op: Op, latest: Item | None) -> None:
        if op.if_absent and latest is not None and not latest.deleted:
            raise Refused("precondition")
        if op.if_version is not None and op.if_version != (latest.version if latest else 0):
            raise Refused("precondition")
        if op.if_index is not None and op.if_index != (latest.index if latest else None):
            raise Refused("precondition")

    def _append(self, op: Op, version: int, previous: int | None, timestamp: int) -> tuple[int, bool]:
        self.items.append(Item(len(self.items), op, version, previous, timestamp))
        return len(self.items) - 1, True

    # --- reading -----------------------------------------------------------------------------------------------

    @property
    def size(self) -> int:
        return len(self.items)

    def history(self, key: bytes, size: int | None = None) -> list[Item]:
        return [item for item in self.items[:size] if item.op.key == key and key][::-1]

    def latest(self, key: bytes, size: int | None = None) -> Item | None:
        return next(iter(self.history(key, size)), None)

    def version(self, key: bytes, version: int, size: int | None = None) -> Item | None:
        return next((item for item in self.history(key, size) if item.version == version), None)

    def get(self, key: bytes, size: int | None = None) -> bytes | None:
        latest = self.latest(key, size)
        return None if latest is None or latest.deleted else latest.value

    def keys(self, size: int | None = None) -> list[bytes]:
        return sorted({item.op.key for item in self.items[:size] if item.op.key})

    def live(self, size: int | None = None) -> list[Item]:
        """The latest entries of all keys that have a value, in key order."""
        found = [self.latest(key, size) for key in self.keys(size)]
        return [item for item in found if item is not None and not item.deleted]

    def scan(
        self, size: int | None = None, *, prefix: bytes, start: bytes | None, limit: int | None, reverse: bool
    ) -> list[Item]:
        found = [item for item in self.live(size) if item.op.key.startswith(prefix)]
        if start:
            found = [item for item in found if (item.op.key <= start if reverse else item.op.key >= start)]
        return (found[::-1] if reverse else found)[:limit]

    def hashes(self) -> list[bytes]:
        del self._hashes[len(self.items) :]
        self._hashes += [item.leaf().hash() for item in self.items[len(self._hashes) :]]
        return self._hashes

    def root(self, size: int | None = None) -> bytes:
        return root_of(self.hashes()[:size]) if self.items[:size] else EMPTY_ROOT

    def cut(self, size: int) -> None:
        """Forgets what came later, as a crash does with what was not synced."""
        del self.items[size:]
        self._hashes.clear()
        self.policies = {"overwrite": "version", "deletes": "tombstone"}
        for item in self.items:
            self.policies |= item.op.policies


def leaf_hash(item: Item) -> bytes:
    return hash_leaf(item.leaf().encode())
