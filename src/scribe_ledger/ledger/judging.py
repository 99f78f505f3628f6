"""Judging: decides what each command of a batch does, against the state and against the commands before it.

The order is fixed: request id, precondition, same content, policy. Nothing is written here; the result says, column by
column, which entries the batch appends, and gives every command its answer. A unit that is refused leaves no trace,
whatever its first commands did. A unit whose commands all have request ids is one request: where one of them is known,
it is that unit again, and nothing of it is judged.
"""

from __future__ import annotations

import json
import struct
from collections.abc import Sequence
from itertools import accumulate, pairwise
from typing import TYPE_CHECKING, NamedTuple

from scribe_ledger.errors import (
    Conflict,
    Forbidden,
    NotFound,
    Overloaded,
    PreconditionFailed,
    ScribeError,
    StorageError,
)
from scribe_ledger.ledger import records
from scribe_ledger.ledger.commands import Puts, Singles, columns_of, commands_of
from scribe_ledger.ledger.policy import NewerRules
from scribe_ledger.ledger.records import DELETED, Latest, Spot
from scribe_ledger.merkle.hashing import hash_leaf
from scribe_ledger.merkle.leaf import HEADER
from scribe_ledger.model import MAX_NUMBER, NO_PREVIOUS, Kind, Receipt, show_key

if TYPE_CHECKING:
    from typing import Protocol

    from scribe_ledger.ledger.commands import Columns, Command
    from scribe_ledger.ledger.policy import Policy

    class Index(Protocol):
        """What judging reads of the ledger: the key index and the leaves it points to."""

        def look_up(self, keys: Sequence[bytes], /) -> list[bytes | None]: ...

        def look_up_one(self, key: bytes, /) -> bytes | None: ...

        def spot_of_version(self, key: bytes, version: int) -> Spot: ...

        def superseded_until(self, key: bytes, index: int) -> Spot | None: ...

        def leaf_at(self, spot: Spot) -> bytes: ...

        def is_stored(self, digest: bytes, begun: int) -> bool: ...

    class Standing(Protocol):
        """Where a key's latest entry stands: a ``Spot``, or the ``Entry``."""

        @property
        def index(self) -> int: ...

        @property
        def version(self) -> int: ...

        @property
        def deleted(self) -> bool: ...


Answer = Sequence[int | Receipt] | ScribeError
"""Per command of a unit its place in the batch, ``~place`` where it repeats that place, or the receipt it repeats."""

_RECEIPT_FIELDS = struct.Struct(">4xQQQ16x32s")
"""index, timestamp, version and digest, out of a leaf"""
_KIND_AT, _DIGEST_AT, _DIGEST_END = 2, 44, 76


class Judged(NamedTuple):
    """What a batch appends, by columns, and what each unit is told."""

    commands: Sequence[Command]
    versions: list[int]
    previous: list[int]
    requests: list[bytes] | None
    """Per entry the request ids that its key then remembers, encoded; None if no key remembers any."""
    superseded: list[tuple[bytes, Spot, int]]
    """Key, spot and place (or -1 if it is stored) of versions that are no longer the latest."""
    new_keys: int
    new_live: int
    policy: Policy
    answers: list[Answer]


def judge(
    index: Index, units: Sequence[Sequence[Command]], *, size: int, policy: Policy, obeys_policy: bool = True
) -> Judged:
    """Judges units in order; ``size`` is how many entries the ledger has before them."""
    if len(units) == 1 and len(units[0]) == 1:
        command = units[0][0]
        stored = [index.look_up_one(command.key)]
        if stored[0] is None and command.kind is Kind.PUT and command.condition is None:
            requests = [records.encode_first_request(command.request)] if command.request else None
            return Judged(units[0], [1], [NO_PREVIOUS], requests, [], 1, 1, policy, [(0,)])
        commands = units[0]
    else:
        commands = commands_of(units)
        columns = columns_of(commands)
        stored = index.look_up(columns.keys)
        if commands and _all_fresh(columns, stored):
            return _append_all(units, columns, policy)
    keys = [command.key for command in commands]
    judge = _Judge(index, dict(zip(keys, stored, strict=True)), size, policy, obeys_policy=obeys_policy)
    answers = [judge.judge_unit(unit) for unit in units]
    return judge.result(answers)


def _all_fresh(columns: Columns, stored: list[bytes | None]) -> bool:
    """The bulk path: puts of distinct new keys without conditions have nothing to be judged."""
    count = len(stored)
    return (
        stored.count(None) == count
        and columns.kinds.count(Kind.PUT) == count
        and columns.conditions.count(None) == count
        and len(set(columns.keys)) == count
    )


def _append_all(units: Sequence[Sequence[Command]], columns: Columns, policy: Policy) -> Judged:
    count, ids = len(columns.keys), columns.requests
    requests = [*map(records.encode_first_request, ids)] if any(ids) else None
    answers: list[Answer] = [range(count)]
    if isinstance(units, Singles):
        answers = [range(place, place + 1) for place in range(count)]
    elif len(units) > 1:
        ends = accumulate(map(len, units), initial=0)
        answers = [range(start, end) for start, end in pairwise(ends)]
    return Judged(Puts(columns), [1] * count, [NO_PREVIOUS] * count, requests, [], count, count, policy, answers)


class _Known(NamedTuple):
    """A key's latest version as the batch sees it; ``place`` is its place in the batch, or -1 if it is stored."""

    latest: Latest
    place: int


class _Judge:
    """The general path: one command after the other, with what the batch has appended so far on top of the store."""

    def __init__(
        self, index: Index, stored: dict[bytes, bytes | None], size: int, policy: Policy, *, obeys_policy: bool
    ) -> None:
        self._index = index
        self._stored = stored
        self._size = size
        self._policy = policy
        self._obeys_policy = obeys_policy
        self._known: dict[bytes, _Known] = {}
        self._commands: list[Command] = []
        self._versions: list[int] = []
        self._previous: list[int] = []
        self._requests: list[bytes] = []
        self._superseded: list[tuple[bytes, Spot, int]] = []
        self._new_keys = self._new_live = 0

    def result(self, answers: list[Answer]) -> Judged:
        return Judged(
            self._commands,
            self._versions,
            self._previous,
            self._requests,
            self._superseded,
            self._new_keys,
            self._new_live,
            self._policy,
            answers,
        )

    # --- units -------------------------------------------------------------------------------------------------

    def judge_unit(self, unit: Sequence[Command]) -> Answer:
        mark = self._mark()
        touched: dict[bytes, _Known | None] = {}
        answers: list[int | Receipt] = []
        try:
            if len(unit) > 1 and (repeated := self._repeat_unit(unit)) is not None:
                return repeated
            for command in unit:
                touched.setdefault(command.key, self._known.get(command.key))
                answers.append(self._judge(command))
        except (StorageError, NewerRules):
            raise  # this store's, or this program's, own failure: a refusal must follow from the state alone
        except ScribeError as refusal:
            self._roll_back(mark, touched)
            if len(unit) > 1 and refusal.operation is None:
                refusal.operation = len(answers)
            return refusal
        return answers

    def _mark(self) -> tuple[int, int, int, int, Policy]:
        return len(self._commands), len(self._superseded), self._new_keys, self._new_live, self._policy

    def _roll_back(self, mark: tuple[int, int, int, int, Policy], touched: dict[bytes, _Known | None]) -> None:
        places, superseded, self._new_keys, self._new_live, self._policy = mark
        del self._superseded[superseded:]
        for column in (self._commands, self._versions, self._previous, self._requests):
            del column[places:]
        for key, known in touched.items():
            if known is None:
                self._known.pop(key, None)
            else:
                self._known[key] = known

    # --- commands ----------------------------------------------------------------------------------------------

    def _judge(self, command: Command) -> int | Receipt:
        if command.kind is Kind.CONFIG:
            self._policy = self._policy.changed(json.loads(command.value or b"{}"))
            return self._append(command, 0, NO_PREVIOUS, {})
        known = self._find(command.key)
        if known is None:
            check_condition(command, None)
            if command.kind is Kind.DELETE:
                raise NotFound(f"there is no key {show_key(command.key)} to delete")
            self._check_stored(command)
            return self._append_version(command, 1, NO_PREVIOUS, {})
        if command.request and (earlier := known.latest.requests.get(command.request)) is not None:
            return self._repeat(command, known, earlier)
        spot = known.latest.spot
        check_condition(command, spot)
        if (
            command.dedupe
            and not spot.deleted
            and known.latest.digest_prefix == command.sha256[:8]
            and (same := self._same_content(command, known)) is not None
        ):
            return same
        self._check_policy(command, spot)
        self._check_stored(command)
        self._superseded.append((command.key, spot, known.place))
        return self._append_version(command, spot.version + 1, spot.index, known.latest.requests)

    def _find(self, key: bytes) -> _Known | None:
        known = self._known.get(key)
        if known is None:
            record = self._stored[key]
            if record is None:
                return None
            known = self._known[key] = _Known(records.decode_latest(record), -1)
        return known

    def _repeat_unit(self, unit: Sequence[Command]) -> list[int | Receipt] | None:
        """The first answers to a unit that was accepted before, or None.

        Not every id of it need be known: a command that appended nothing has none, and of many on one key the last are
        remembered. What such a command answered is looked for where its key stood then.
        """
        if not all(command.request for command in unit):
            return None
        remembered = [self._remembered(command) for command in unit]
        if not any(remembered):
            return None
        limits = _limits(
            [
                self._index_of(command.key, version) if version else None
                for command, version in zip(unit, remembered, strict=True)
            ]
        )
        following: dict[bytes, tuple[int, Command]] = {}
        answers: list[int | Receipt] = []
        for place in reversed(range(len(unit))):
            command = unit[place]
            version = remembered[place]
            try:
                if not version:
                    version = self._version_then(command, limits[place], following.get(command.key), most=len(unit))
                answers.append(self._repeat(command, self._known[command.key], version))
            except Conflict as refusal:
                refusal.operation = place
                raise
            following[command.key] = version, command
        return answers[::-1]

    def _remembered(self, command: Command) -> int:
        """The version that came with the command's request id; 0 if that is not known."""
        known = self._find(command.key)
        return 0 if known is None else known.latest.requests.get(command.request, 0)

    def _version_then(self, command: Command, limit: int, following: tuple[int, Command] | None, *, most: int) -> int:
        """The version that a command of a repeated unit stood for: of the same content, and not after ``limit``, or
        after what the next command on its key stood for. ``most`` are looked at."""
        if following is None:
            newest = self._version_until(command.key, limit)
        else:
            newest, then = following
            newest -= not (then.dedupe and _same_command(command, then))
        known = self._known.get(command.key)
        for version in range(newest, max(newest - most, 0), -1):
            if known is not None and self._is_same(command, *self._version(command.key, known, version)):
                return version
        raise Conflict(
            f"the request id of another command of this batch was used before, but not with this one on key"
            f" {show_key(command.key)}",
            hint="use a new request id for every new batch",
        )

    def _version_until(self, key: bytes, limit: int) -> int:
        """A key's newest version at or below an index; 0 if there is none."""
        known = self._find(key)
        place = -1 if known is None else known.place
        while place >= 0:
            if self._size + place <= limit:
                return self._versions[place]
            place = self._previous[place] - self._size
        record = self._stored[key]
        if record is None or limit < 0:
            return 0
        stored: Spot | None = records.latest_spot(record)
        if stored is not None and stored.index > limit:
            stored = self._index.superseded_until(key, limit)
        return 0 if stored is None else stored.version

    def _index_of(self, key: bytes, version: int) -> int:
        place, leaf = self._version(key, self._known[key], version)
        return self._size + place if leaf is None else _receipt_of(leaf).index

    def _repeat(self, command: Command, known: _Known, version: int) -> int | Receipt:
        """A request id that this key has seen: the first receipt again, if it was the same command."""
        place, leaf = self._version(command.key, known, version)
        if not self._is_same(command, place, leaf):
            raise Conflict(
                f"the request id was used for another command on key {show_key(command.key)}, at version {version}",
                hint="use a new request id for every new command",
            )
        return ~place if leaf is None else _receipt_of(leaf)

    def _same_content(self, command: Command, known: _Known) -> int | Receipt | None:
        leaf = self._index.leaf_at(known.latest.spot) if known.place < 0 else None
        if not self._is_same(command, known.place, leaf):
            return None
        return ~known.place if leaf is None else _receipt_of(leaf)

    def _version(self, key: bytes, known: _Known, version: int) -> tuple[int, bytes | None]:
        """Where a version of a key stands: a place in this batch, or its stored leaf."""
        place = known.place
        while place >= 0:
            if self._versions[place] == version:
                return place, None
            place = self._previous[place] - self._size
        record = self._stored[key]
        stored = records.decode_latest(record).spot if record is not None else None
        if stored is None or stored.version != version:
            stored = self._index.spot_of_version(key, version)
        return -1, self._index.leaf_at(stored)

    def _is_same(self, command: Command, place: int, leaf: bytes | None) -> bool:
        if leaf is None:
            return _same_command(self._commands[place], command)
        return (
            leaf[_KIND_AT] == command.kind
            and leaf[_DIGEST_AT:_DIGEST_END] == command.sha256
            and leaf[HEADER.size :] == command.tail
        )

    def _check_policy(self, command: Command, spot: Spot) -> None:
        if command.kind is Kind.DELETE:
            if spot.deleted:
                raise NotFound(f"key {show_key(command.key)} is already deleted")
            if self._policy.deletes == "forbid" and self._obeys_policy:
                raise Forbidden("this ledger forbids deletes", hint="the policy `deletes` is `forbid`")
        elif self._policy.overwrite == "forbid" and self._obeys_policy:
            raise Forbidden(
                f"key {show_key(command.key)} was written before and this ledger forbids a second version",
                hint="the policy `overwrite` is `forbid`: use another key",
            )

    def _check_stored(self, command: Command) -> None:
        """Whether a large value is still there: its object may have been removed while no entry referred to it."""
        if command.in_blob:
            begun = 0 if command.condition is None else command.condition.begun
            if not self._index.is_stored(command.sha256, begun):
                raise Overloaded(
                    f"an unused copy of the value of key {show_key(command.key)} is just being removed",
                    hint="retry after a moment; where the store's answer was lost it takes an hour or so",
                )

    # --- appending ---------------------------------------------------------------------------------------------

    def _append_version(self, command: Command, version: int, previous: int, requests: dict[bytes, int]) -> int:
        known = self._known.get(command.key)
        self._new_keys += known is None
        self._new_live += (command.kind is Kind.PUT) - (known is not None and not known.latest.spot.deleted)
        if command.request:
            requests = {**requests, command.request: version}
        requests = records.remembered(requests, version) if requests else requests
        place = self._append(command, version, previous, requests)
        flags = DELETED if command.kind is Kind.DELETE else 0
        spot = Spot(self._size + place, version, 0, flags, 0, 0)
        self._known[command.key] = _Known(Latest(spot, command.sha256[:8], requests), place)
        return place

    def _append(self, command: Command, version: int, previous: int, requests: dict[bytes, int]) -> int:
        self._commands.append(command)
        self._versions.append(version)
        self._previous.append(previous)
        self._requests.append(records.encode_requests(requests))
        return len(self._commands) - 1


def _same_command(one: Command, other: Command) -> bool:
    return (one.kind, one.sha256, one.tail) == (other.kind, other.sha256, other.tail)


def _limits(indexes: Sequence[int | None]) -> list[int]:
    """The greatest index that each command of a unit can have appended at, where those of some are known.

    Each appends one entry at most, in their order.
    """
    limits: list[int] = []
    for index in indexes:
        limits.append(index if index is not None else limits[-1] + 1 if limits else MAX_NUMBER)
    following: int | None = None
    for place in reversed(range(len(limits))):
        if indexes[place] is not None:
            following = indexes[place]
        elif following is not None:
            limits[place] = min(limits[place], following - 1)
    return limits


def check_condition(command: Command, spot: Standing | None) -> None:
    """Raises ``PreconditionFailed`` unless the key stands as the command's condition says."""
    condition = command.condition
    if condition is None:
        return
    key = show_key(command.key)
    if condition.absent and spot is not None and not spot.deleted:
        raise PreconditionFailed(f"key {key} exists, at version {spot.version}")
    version = spot.version if spot is not None else 0
    again = "read it again and repeat the change on what it is now"
    if condition.version is not None and condition.version != version:
        raise PreconditionFailed(f"key {key} is at version {version}, not {condition.version}", hint=again)
    if condition.index is not None and (spot is None or condition.index != spot.index):
        latest = "was never written" if spot is None else f"has its latest entry at index {spot.index}"
        raise PreconditionFailed(f"key {key} {latest}, not at {condition.index}", hint=again)


def _receipt_of(leaf: bytes) -> Receipt:
    index, timestamp, version, digest = _RECEIPT_FIELDS.unpack_from(leaf)
    return Receipt(index, version, timestamp, digest, hash_leaf(leaf), created=False)
