"""Reading many entries in pages: history, scan and log, each page an operation. No I/O.

Without a ``Trust`` a page is what the node says, held against itself. With one, nothing leaves a page unproven:

- *history* is one history proof, which shows that no version is left out;
- *scan* proves each entry of a page in one more trip. That the listing is complete, nothing can prove;
- *log* rebuilds the tree as it reads, and each page must lead to the signed root. It shows that nothing is left out.
"""

from __future__ import annotations

from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

from scribe_ledger.client import answers, requests
from scribe_ledger.client.arguments import key_bytes, natural, prefix_bytes, required
from scribe_ledger.client.frontier import Frontier, nearest_edge
from scribe_ledger.client.trust import Wanted, as_verification
from scribe_ledger.errors import NotFound, SerializationError, VerificationError
from scribe_ledger.merkle.hashing import hash_leaf
from scribe_ledger.merkle.proof import verify_consistency
from scribe_ledger.model import show_key

if TYPE_CHECKING:
    from collections.abc import Iterator
    from typing import Protocol

    from scribe_ledger.client.arguments import Key
    from scribe_ledger.client.operations import Operation, Operations
    from scribe_ledger.client.trust import Trust
    from scribe_ledger.merkle.checkpoint import Checkpoint
    from scribe_ledger.model import Entry

    class Pages(Protocol):
        """A list that is read page by page."""

        done: bool

        def page(self) -> Operation[list[Entry]]:
            """The next entries; a page may be empty before all is ``done``."""


class History:
    """All versions of a key, newest first."""

    def __init__(
        self, operations: Operations, key: Key, as_of: int | None, *, values: bool, checked: bool | None
    ) -> None:
        self._operations = operations
        self._trust = operations.trust_for(checked)
        self._wanted = Wanted(key_bytes(key), as_of=natural(as_of, "as_of"))
        self._values = values
        self._cursor: str | None = None
        self.done = False

    def page(self) -> Operation[list[Entry]]:
        if self._trust is not None:
            self.done = True
            return (yield from self._proven(self._trust))
        request = requests.under(
            b"/v1/history/",
            self._wanted.key,
            as_of=self._wanted.as_of,
            limit=_page_size(self._values),
            cursor=self._cursor,
            values=True if self._values else None,
        )
        answer = yield request
        if answer.status == 404:
            error = answers.error_of(answer)
            if not isinstance(error, NotFound):
                raise error
            self.done = True
            return []
        shape = answers.json_of(answer)
        self._cursor = answers.cursor_of(shape)
        self.done = self._cursor is None
        found = [_plain(self._operations, each) for each in answers.listed(shape, "entries")]
        for entry in found:
            _check_key(entry, self._wanted.key)
        return found

    def _proven(self, trust: Trust) -> Operation[list[Entry]]:
        seen = trust.stance(self._wanted.key).seen
        try:
            proof = yield from self._operations.prove_history(self._wanted.key, None, self._wanted.as_of, True)
        except NotFound:
            trust.check_absent(self._wanted, seen)
            return []
        return [self._operations.to_entry(entry.leaf, hash_leaf(entry.leaf_bytes), None) for entry in proof.entries]


class Scan:
    """The latest live entries in key order."""

    def __init__(
        self,
        operations: Operations,
        prefix: Key,
        *,
        start: Key | None,
        limit: int | None,
        reverse: bool,
        as_of: int | None,
        values: bool,
        checked: bool | None,
    ) -> None:
        self._operations = operations
        self._trust = operations.trust_for(checked)
        self._prefix = prefix_bytes(prefix)
        self._start = None if start is None else prefix_bytes(start)
        self._left = natural(limit, "limit")
        self._reverse = reverse
        self._as_of = natural(as_of, "as_of")
        self._values = values
        self._cursor: str | None = None
        self._last: bytes | None = None
        self.done = self._left == 0

    def page(self) -> Operation[list[Entry]]:
        most = _page_size(self._values)
        answer = yield requests.get(
            b"/v1/kv",
            prefix=self._prefix or None,
            start=self._start or None,
            reverse=True if self._reverse else None,
            as_of=self._as_of,
            limit=most if self._left is None else min(most, self._left),
            cursor=self._cursor,
            values=True if self._values and self._trust is None else None,
        )
        with _reading(self._trust):
            shape = answers.json_of(answer)
            self._cursor = answers.cursor_of(shape)
            found = [_plain(self._operations, each) for each in answers.listed(shape, "entries")]
        self._check_order(found)
        if self._left is not None:
            self._left -= len(found)
        self.done = self._cursor is None or self._left == 0
        if self._trust is not None and found:
            found = yield from self._proven(self._trust, found)
        return found

    def _proven(self, trust: Trust, found: list[Entry]) -> Operation[list[Entry]]:
        latest = yield from self._operations.proven_many(trust, [entry.key for entry in found])
        proven = []
        for listed, item in zip(found, latest, strict=True):
            if item is None:
                raise VerificationError(f"the node lists {show_key(listed.key)} and does not find it")
            entry = self._operations.to_entry(*item)
            if entry.index != listed.index:  # written again since the listing began
                entry = yield from self._earlier(trust, listed)
            if entry.leaf_hash != listed.leaf_hash or entry.deleted:
                raise VerificationError(f"the node lists entry {listed.index} as what it is not")
            proven.append(entry)
        return proven

    def _earlier(self, trust: Trust, listed: Entry) -> Operation[Entry]:
        item = yield from self._operations.proven(trust, Wanted(listed.key, version=listed.version))
        if item is None:
            raise VerificationError(f"the node lists {show_key(listed.key)} and does not find it")
        return self._operations.to_entry(*item)

    def _check_order(self, found: list[Entry]) -> None:
        """A listing that is out of order, or of other keys, is no listing of these."""
        for entry in found:
            key, last = entry.key, self._last
            ordered = last is None or (key < last if self._reverse else key > last)
            begun = not self._start or (key <= self._start if self._reverse else key >= self._start)
            if not ordered or not begun or not key.startswith(self._prefix):
                raise VerificationError(f"the node lists {show_key(key)} where it cannot stand")
            self._last = key


class Log:
    """Entries in log order, from ``start`` to before ``stop``, or to what is committed when it begins."""

    def __init__(
        self, operations: Operations, start: int, stop: int | None, *, values: bool, checked: bool | None
    ) -> None:
        self._operations = operations
        self._trust = operations.trust_for(checked)
        self._start = required(start, "start")
        self._stop = natural(stop, "stop")
        self._values = values
        self._at = self._start
        self._end: int | None = None
        self._head: Checkpoint | None = None
        self._tree = Frontier()
        self.done = False

    @property
    def head(self) -> Checkpoint | None:
        """The checkpoint that the pages are proven under, once the first was read."""
        return self._head

    def page(self) -> Operation[list[Entry]]:
        if self._end is None:
            self._end = yield from self._begin()
        if self._at >= self._end:
            self.done = True
            return []
        limit = min(_page_size(self._values), self._end - self._at)
        answer = yield requests.get(b"/v1/log", start=self._at, limit=limit, values=True if self._values else None)
        with _reading(self._trust):
            shapes = answers.listed(answers.json_of(answer), "entries")
        if not 0 < len(shapes) <= limit:
            raise VerificationError(f"the node gives {len(shapes)} entries of the log, asked for {limit}")
        with _reading(self._trust):
            found = [self._take(shape) for shape in shapes]
        if self._head is not None:
            yield from self._check_tree(self._head)
        self.done = self._at >= self._end
        return [entry for entry in found if entry.index >= self._start]

    def _begin(self) -> Operation[int]:
        size = yield from self._operations.size()
        if self._trust is not None:
            self._head = yield from self._operations.checkpoint(None, True, least=size)
            size = self._head.size
        end = size if self._stop is None else min(self._stop, size)
        if self._head is not None and self._start < end:
            yield from self._find_edge(self._head)
        return end

    def _find_edge(self, head: Checkpoint) -> Operation[None]:
        """The tree as it was where the reading begins; a little earlier, if that is where it can be had."""
        self._at = nearest_edge(self._start)
        if not self._at:
            return
        proof = yield from self._operations.prove_consistency(self._at, head.size)
        if (proof.old_size, proof.new_size) != (self._at, head.size):
            raise VerificationError(f"the consistency proof is not from {self._at} to {head.size}")
        self._tree = Frontier.of_proof(self._at, head.size, proof.hashes)
        verify_consistency(self._at, head.size, self._tree.root(), head.root, proof.hashes)

    def _take(self, shape: Any) -> Entry:
        entry = _plain(self._operations, shape)
        if entry.index != self._at:
            raise VerificationError(f"the node gives entry {entry.index} of the log, not {self._at}")
        self._tree.append(entry.leaf_hash)
        self._at += 1
        return entry

    def _check_tree(self, head: Checkpoint) -> Operation[None]:
        """What was read so far is how the log of this head begins."""
        root = self._tree.root()
        hashes: tuple[bytes, ...] = ()
        if self._at < head.size:
            proof = yield from self._operations.prove_consistency(self._at, head.size)
            if (proof.old_size, proof.new_size) != (self._at, head.size):
                raise VerificationError(f"the consistency proof is not from {self._at} to {head.size}")
            hashes = proof.hashes
        elif root != head.root:
            raise VerificationError(f"the entries that the node gives do not make up the log of size {head.size}")
        verify_consistency(self._at, head.size, root, head.root, hashes)


def entry_at(operations: Operations, index: int, checked: bool | None) -> Operation[Entry]:
    """The entry at one place of the log."""
    trust = operations.trust_for(checked)
    required(index, "index")
    answer = yield requests.get(b"/v1/log", start=index, limit=1)
    with _reading(trust):
        found = answers.listed(answers.json_of(answer), "entries")
        if not found:
            raise NotFound(f"there is no entry {index}")
        entry = _plain(operations, found[0])
    if entry.index != index:
        raise VerificationError(f"the node answers with entry {entry.index}, not {index}")
    return entry if trust is None else (yield from _proven_at(operations, trust, entry))


def watched(operations: Operations, shape: Any, least: int, prefix: bytes, trust: Trust | None) -> Operation[Entry]:
    """An entry that came live, from ``least`` on."""
    with _reading(trust):
        entry = _plain(operations, shape)
    if entry.index < least or not entry.key.startswith(prefix):
        raise VerificationError(f"the node sends entry {entry.index}, which was not asked for")
    if not prefix and entry.index != least:
        raise VerificationError(f"the node leaves out entry {least}, and goes on with entry {entry.index}")
    return entry if trust is None else (yield from _proven_at(operations, trust, entry))


def _proven_at(operations: Operations, trust: Trust, listed: Entry) -> Operation[Entry]:
    """The same entry, with proof."""
    if listed.key:
        item = yield from operations.proven(trust, Wanted(listed.key, index=listed.index))
        proven = None if item is None else operations.to_entry(*item)
    else:
        proven = yield from _proven_in_log(operations, listed.index)
    if proven is None or proven.leaf_hash != listed.leaf_hash:
        raise VerificationError(f"the node gives entry {listed.index} as what it is not")
    return proven


def _proven_in_log(operations: Operations, index: int) -> Operation[Entry | None]:
    """An entry that has no key is proven by its place in the log."""
    reading = Log(operations, index, index + 1, values=False, checked=True)
    while not reading.done:
        for entry in (yield from reading.page()):
            return entry
    return None


@contextmanager
def _reading(trust: Trust | None) -> Iterator[None]:
    """What is to be proven and cannot even be read is not proven."""
    try:
        yield
    except SerializationError as error:
        if trust is None:
            raise
        raise as_verification(error) from error


def _plain(operations: Operations, shape: Any) -> Entry:
    return operations.to_entry(*operations.plain(shape))


def _check_key(entry: Entry, key: bytes) -> None:
    if entry.key != key:
        raise VerificationError(f"the node answers for {show_key(entry.key)}, asked for {show_key(key)}")


def _page_size(values: bool) -> int:
    return requests.PAGE_VALUES if values else requests.PAGE_ENTRIES
