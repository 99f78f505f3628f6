"""``Client``: a ledger that is served over HTTP, with the methods, answers and errors of ``Ledger``.

A thin shell: it sends what ``operations`` and ``listing`` ask for, and waits. It may be shared between threads. After
a fork no connection is shared; but where other threads were in a call, the child makes a client of its own.
"""

from __future__ import annotations

import contextlib
import io
import random
import threading
import time
from typing import IO, TYPE_CHECKING, Any, BinaryIO, Self, TypeVar, Unpack

from scribe_ledger.client import answers, requests
from scribe_ledger.client.arguments import natural, prefix_bytes, request_id_text
from scribe_ledger.client.batch import Batch
from scribe_ledger.client.connection import Pool
from scribe_ledger.client.listing import History, Log, Scan, entry_at, watched
from scribe_ledger.client.nodes import Attempts, Broken, Lost, Nodes, Patience
from scribe_ledger.client.operations import Operation, Operations
from scribe_ledger.client.settings import check_settings, make_trust
from scribe_ledger.client.trust_file import SAVE_ATTEMPTS
from scribe_ledger.client.values import buffered
from scribe_ledger.client.watching import Watch
from scribe_ledger.errors import LedgerClosed, StorageError, Unavailable

if TYPE_CHECKING:
    import os
    import ssl
    from collections.abc import Iterable, Iterator, Sequence

    from scribe_ledger.client.arguments import DeleteOptions, Key, PutOptions, Value
    from scribe_ledger.client.batch import Collected
    from scribe_ledger.client.connection import Stream
    from scribe_ledger.client.listing import Pages
    from scribe_ledger.client.messages import Answer, Request
    from scribe_ledger.client.trust import Trust
    from scribe_ledger.client.trust_file import TrustFile
    from scribe_ledger.merkle.checkpoint import Checkpoint
    from scribe_ledger.merkle.prooftext import ConsistencyProof, HistoryProof, Proof
    from scribe_ledger.model import Entry, Receipt

_T = TypeVar("_T")


class Client:
    """One ledger behind the URLs of one or more nodes. Close it when done, or use ``with``."""

    def __init__(
        self,
        urls: str | Sequence[str],
        *,
        public_key: str | None = None,
        trust: str | os.PathLike[str] | None = None,
        cosigners: Sequence[str] = (),
        quorum: int | None = None,
        timeout: float = 15.0,
        deadline: float = 60.0,
        retries: int = 8,
        connect_timeout: float = 5.0,
        pool_size: int = 16,
        consistency: str | None = None,
        tls: ssl.SSLContext | None = None,
    ) -> None:
        """Makes the client; nothing is sent yet.

        ``public_key`` is the ledger's, and makes every read verified; without it nothing is. ``trust`` is a small file
        that remembers the last checkpoint from one run to the next. ``cosigners`` are keys of a cluster's members, of
        which ``quorum`` (all, unless it is given) must have signed what is read too. ``timeout`` is for one answer,
        ``deadline`` for a call with all its ``retries``, in seconds. ``consistency="stale"`` reads from whichever node
        answers, here for all reads and at some methods for one.
        """
        check_settings(
            consistency,
            timeout=timeout,
            deadline=deadline,
            retries=retries,
            connect_timeout=connect_timeout,
            pool_size=pool_size,
        )
        self._nodes = Nodes(urls)
        self._patience = Patience(timeout, deadline, retries)
        self._pool = Pool(most_idle=pool_size, connect_timeout=connect_timeout, tls=tls)
        self._trust, self._file = make_trust(public_key, trust, cosigners, quorum)
        self._saving = threading.Lock()
        self._closed = False
        self._operations = Operations(
            self._trust,
            consistency=consistency,
            several_nodes=len(self._nodes) > 1,
            fetch=self._fetch,
        )

    # --- writing -----------------------------------------------------------------------------------------------

    def put(
        self, key: Key, value: Value, *, request_id: str | bytes | None = None, **options: Unpack[PutOptions]
    ) -> Receipt:
        """Stores a value, as a new version if the key has one, and returns when it is durable.

        Options are those of ``Ledger.put``. It is repeated until it is answered, and takes effect once: every write
        carries a request id, fresh unless ``request_id`` is given.
        """
        return self._run(self._operations.put(key, value, request_id, options))

    def put_stream(
        self,
        key: Key,
        reader: BinaryIO | Iterable[bytes],
        *,
        request_id: str | bytes | None = None,
        **options: Unpack[PutOptions],
    ) -> Receipt:
        """``put`` for a value of any size, in constant memory. Only what comes from a file can be sent again."""
        return self._run(self._operations.put_stream(key, reader, request_id, options))

    def put_many(
        self, pairs: Iterable[tuple[Key, Value]], *, request_id: str | bytes | None = None
    ) -> Sequence[Receipt]:
        """Puts many pairs in one atomic batch: consecutive indexes, all or nothing."""
        return self._run(self._operations.put_many(pairs, request_id))

    def delete(self, key: Key, *, request_id: str | bytes | None = None, **options: Unpack[DeleteOptions]) -> Receipt:
        """Appends a tombstone: the key is gone for ``get``, its versions stay. ``NotFound`` where there is no value."""
        return self._run(self._operations.delete(key, request_id, options))

    def batch(self, *, request_id: str | bytes | None = None) -> Batch:
        """Collects puts and deletes, and writes them as one atomic batch when the ``with`` block ends well."""

        def write(collected: Collected) -> Sequence[Receipt]:
            return self._run(self._operations.write(collected, request_id))

        return Batch(write)

    # --- reading -----------------------------------------------------------------------------------------------

    def get(
        self,
        key: Key,
        *,
        version: int | None = None,
        as_of: int | None = None,
        verify: bool | None = None,
        consistency: str | None = None,
    ) -> bytes | None:
        """The value of a key: its latest, one version, or as of a tree size. None if absent or deleted.

        Verified where the public key is known; ``verify=False`` believes the node, ``verify=True`` without a key is
        an error. The same goes for all reads.
        """
        return self._run(self._operations.get(key, version, as_of, verify, consistency))

    def get_many(
        self, keys: Iterable[Key], *, verify: bool | None = None, consistency: str | None = None
    ) -> list[bytes | None]:
        """The latest values of many keys, all as of the same moment, in one trip; in several, each of a moment of its
        own, where they are too much for one answer of the node.
        """
        return self._run(self._operations.get_many(keys, verify, consistency))

    def entry(
        self,
        key: Key,
        *,
        version: int | None = None,
        as_of: int | None = None,
        verify: bool | None = None,
        consistency: str | None = None,
    ) -> Entry | None:
        """All about a key's latest entry (a delete too), one version, or as of a tree size. None if there is none."""
        return self._run(self._operations.entry(key, version, as_of, verify, consistency))

    def entry_at(self, index: int, *, verify: bool | None = None) -> Entry:
        """The entry at one place of the log."""
        return self._run(entry_at(self._operations, index, verify))

    def open_value(
        self, key: Key, *, version: int | None = None, as_of: int | None = None, verify: bool | None = None
    ) -> IO[bytes] | None:
        """The value as a binary file, in constant memory. None if absent or deleted.

        It is checked as it is read: the last piece comes only when the whole was right.
        """
        found = self.entry(key, version=version, as_of=as_of, verify=verify)
        if found is None or found.deleted:
            return None
        if not any(found.chunk_root):
            return io.BytesIO(found.value)
        return buffered(found, self._open_value)

    def history(
        self, key: Key, *, as_of: int | None = None, values: bool = False, verify: bool | None = None
    ) -> Iterator[Entry]:
        """All versions of a key, newest first, deletes included. Verified, none can be left out.

        Here and in ``scan`` and ``log``, ``values=True`` has the values come along.
        """
        return self._pages(History(self._operations, key, as_of, values=values, checked=verify))

    def scan(
        self,
        prefix: Key = b"",
        *,
        start: Key | None = None,
        limit: int | None = None,
        reverse: bool = False,
        as_of: int | None = None,
        values: bool = False,
        verify: bool | None = None,
    ) -> Iterator[Entry]:
        """The latest live entries in key order, from ``start`` (included) on. What is left out, nothing can show."""
        return self._pages(
            Scan(
                self._operations,
                prefix,
                start=start,
                limit=limit,
                reverse=reverse,
                as_of=as_of,
                values=values,
                checked=verify,
            )
        )

    def log(
        self, start: int = 0, stop: int | None = None, *, values: bool = False, verify: bool | None = None
    ) -> Iterator[Entry]:
        """Entries in log order, from ``start`` to before ``stop``, or to what is committed now."""
        return self._pages(Log(self._operations, start, stop, values=values, checked=verify))

    def watch(
        self, prefix: Key = b"", *, start: int | None = None, values: bool = False, verify: bool | None = None
    ) -> Iterator[Entry]:
        """Entries as they are committed, from ``start`` or from now on, without end; it goes on after a break.

        Close the iterator to end it. Each waits on a connection of its own.
        """
        name, trust = prefix_bytes(prefix), self._operations.trust_for(verify)
        natural(start, "start")
        return self._watch(Watch(name, self.size if start is None else start, values=values and trust is None), trust)

    # --- proving -----------------------------------------------------------------------------------------------

    def checkpoint(self, at: int | None = None, *, verify: bool | None = None) -> Checkpoint:
        """The signed head of the log: size, root, origin; or what it was at an earlier size."""
        return self._run(self._operations.checkpoint(at, verify))

    def prove(
        self, key: Key, version: int | None = None, at: int | None = None, *, verify: bool | None = None
    ) -> Proof:
        """A self-contained proof that the key's entry is in the log, at the size ``at`` or the present one."""
        return self._run(self._operations.prove(key, version, at, verify))

    def prove_history(
        self, key: Key, version: int | None = None, at: int | None = None, *, verify: bool | None = None
    ) -> HistoryProof:
        """A proof of all of a key's versions, from one back to the first."""
        return self._run(self._operations.prove_history(key, version, at, verify))

    def prove_consistency(self, old_size: int, new_size: int | None = None) -> ConsistencyProof:
        """A proof that the log at ``new_size`` begins with all of the log at ``old_size``."""
        return self._run(self._operations.prove_consistency(old_size, new_size))

    @property
    def trusted(self) -> Checkpoint | None:
        """The largest checkpoint that was verified; None before the first, or without a public key."""
        return None if self._trust is None else self._trust.head

    # --- looking after -----------------------------------------------------------------------------------------

    @property
    def public_key(self) -> str:
        """The ledger's verifier key: the one this client was given, else what the node says."""
        return self._run(self._operations.public_key())

    @property
    def origin(self) -> str:
        """The ledger's name in its checkpoints."""
        return self.public_key.partition("+")[0]

    @property
    def size(self) -> int:
        """How many entries are committed."""
        return self._run(self._operations.size())

    def stats(self) -> dict[str, Any]:
        """Counts and sizes, for people and metrics."""
        return self._run(self._operations.json(requests.get(b"/v1/stats")))

    def health(self) -> dict[str, Any]:
        """How the node is that answers. A node in trouble answers too."""
        return self._run(self._operations.json(requests.ask_node(b"/health"), 503))

    def metrics(self) -> dict[str, Any]:
        """The figures of the node that answers."""
        return self._run(self._operations.json(requests.ask_node(b"/metrics")))

    def cluster_status(self) -> dict[str, Any]:
        return self._run(self._operations.json(requests.ask_node(b"/cluster/status")))

    def cluster_members(self) -> list[dict[str, Any]]:
        return answers.listed(self._run(self._operations.json(requests.get(b"/cluster/members"))), "members")

    def cluster_leader(self) -> dict[str, Any]:
        return self._run(self._operations.json(requests.get(b"/cluster/leader")))

    def cluster_join(self, node_id: int, address: str) -> dict[str, Any]:
        return self._order(b"/cluster/join", {"node_id": node_id, "address": address})

    def cluster_leave(self, node_id: int) -> dict[str, Any]:
        return self._order(b"/cluster/leave", {"node_id": node_id})

    def cluster_transfer(self, node_id: int) -> dict[str, Any]:
        """Hands leadership to another node."""
        return self._order(b"/cluster/transfer", {"node_id": node_id})

    def cluster_replace(self, node_id: int, raft_id: str | None = None) -> dict[str, Any]:
        """Gives the place of a node whose folder was lost to the one that waits under its label."""
        return self._order(b"/cluster/replace", {"node_id": node_id, "raft_id": raft_id})

    def cluster_metrics(self) -> dict[str, Any]:
        """Raft's figures at the node that answers."""
        return self._run(self._operations.json(requests.ask_node(b"/cluster/metrics")))

    def cluster_snapshot(self) -> dict[str, Any]:
        """Has the node that answers make a snapshot, and waits for it."""
        return self._run(self._operations.json(requests.snapshot(request_id_text(None))))

    def cluster_snapshots(self) -> list[dict[str, Any]]:
        """The snapshots that the node keeps, newest first."""
        shape = self._run(self._operations.json(requests.ask_node(b"/cluster/snapshots")))
        return answers.listed(shape, "snapshots")

    def manifest(self, since: int | None = None) -> dict[str, Any]:
        """The segments in the archive; with ``since``, what was added and removed after that version."""
        request = requests.get(b"/v1/manifest", since=natural(since, "since"))
        return self._run(self._operations.json(request))

    def archive(self) -> dict[str, Any]:
        """Seals and uploads what is pending, and waits for it as long as that takes."""
        return self._run(self._operations.json(requests.archive(request_id_text(None))))

    def close(self) -> None:
        """Saves what it remembers and closes its connections. Idempotent."""
        if self._closed:
            return
        try:
            if self._file is not None and self._trust is not None:
                with self._saving:
                    self._keep(self._file, self._trust)
        finally:
            self._closed = True
            self._pool.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def __repr__(self) -> str:
        return f"<Client of {', '.join(node.url for node in self._nodes.all)}>"

    # --- helpers -----------------------------------------------------------------------------------------------

    def _run(self, operation: Operation[_T]) -> _T:
        """Does what an operation asks for, until it has its result."""
        if self._closed:
            raise LedgerClosed("the client is closed")
        result = self._drive(operation)
        if self._file is not None and self._trust is not None:
            self._save(self._file, self._trust)
        return result

    def _drive(self, operation: Operation[_T]) -> _T:
        try:
            request = next(operation)
            while True:
                request = operation.send(self._exchange(request))
        except StopIteration as stop:
            result: _T = stop.value
            return result

    def _exchange(self, request: Request) -> Answer:
        attempts = self._attempts(request)
        while True:
            try:
                answer = self._pool.send(attempts.node, request, attempts.timeout)
            except Lost as loss:
                pause: float | None = attempts.lost(loss)
            else:
                pause = attempts.answered(answer)
                if pause is None:
                    return answer
            time.sleep(pause or 0.0)

    def _open(self, request: Request) -> Stream:
        """An answer to be read in pieces; its errors are raised."""
        attempts = self._attempts(request)
        while True:
            try:
                stream = self._pool.open(attempts.node, request, attempts.timeout)
            except Lost as loss:
                time.sleep(attempts.lost(loss))
                continue
            if stream.status == 200:
                return stream
            answer = stream.read_whole()
            pause = attempts.answered(answer)
            if pause is None:
                raise answers.error_of(answer)
            time.sleep(pause)

    def _attempts(self, request: Request) -> Attempts:
        if self._closed:
            raise LedgerClosed("the client is closed")
        return Attempts(self._nodes, request, self._patience, clock=time.monotonic, random=random.random)

    def _pages(self, pages: Pages) -> Iterator[Entry]:
        while not pages.done:
            yield from self._run(pages.page())

    def _watch(self, watch: Watch, trust: Trust | None) -> Iterator[Entry]:
        while True:
            with self._open(watch.request()) as stream:
                try:
                    for piece in stream:
                        for shape in watch.entries(piece):
                            entry = self._run(watched(self._operations, shape, watch.least, watch.prefix, trust))
                            watch.seen(entry)
                            yield entry
                except Broken:
                    pass  # it goes on where it was, with another connection
            time.sleep(watch.ended())

    def _fetch(self, key: bytes, index: int) -> bytes:
        return self._run(self._operations.fetch(key, index))

    def _open_value(self, entry: Entry) -> Stream:
        return self._open(requests.value(entry.key, index=entry.index))

    def _order(self, path: bytes, content: dict[str, Any] | None) -> dict[str, Any]:
        return self._run(self._operations.json(requests.post(path, content, request_id_text(None))))

    def _save(self, file: TrustFile, trust: Trust) -> None:
        if file.due(trust.head, time.monotonic()) and self._saving.acquire(blocking=False):
            try:
                # the call itself went well; `close` tries again, and raises
                with contextlib.suppress(StorageError, Unavailable):
                    self._keep(file, trust)
            finally:
                self._saving.release()

    def _keep(self, file: TrustFile, trust: Trust) -> None:
        """Saves what is remembered, joined to what other processes have saved."""
        for _ in range(SAVE_ATTEMPTS):
            there = file.save(trust.head, time.monotonic())
            if there is None:
                return
            self._drive(self._operations.join(trust, there))
            file.joined(there)
        raise file.busy()
