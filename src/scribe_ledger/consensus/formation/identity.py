"""``NodeIdentity``: who this node is, as its folder says. Made with the folder, and lost with it.

::

    node.json   format version, Raft id, session, cluster id, promise, mark; replaced in one durable step
    node.key    the private key under which this node cosigns checkpoints, mode 0600

Invariants: a Raft id never changes and never returns in another folder; a session is used by one start only; what a
setter was given is durable when it returns. Writing blocks: a loop calls it for small files at the start only. The mark
is lost with the folder too: it is about the ledger beside it.
"""

from __future__ import annotations

import contextlib
import fcntl
import json
import os
import secrets
from typing import TYPE_CHECKING, Any, NamedTuple, Self

from scribe_ledger.consensus.agreement import Divergence
from scribe_ledger.errors import ConfigurationError, Conflict, Corruption, LedgerLocked, SerializationError
from scribe_ledger.merkle.note import Signer
from scribe_ledger.objects.durable import make_root, storage_errors, sync_directory, write_all

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

FORMAT, FORMAT_WITHOUT_MARK = 2, 1
"""A folder without a mark stays readable for programs that know of none; those would forget one."""
IDENTITY, KEY = "node.json", "node.key"
MEMBER_PARTS = ("cluster.json", "raft")
"""What a folder has only once its node belonged to a cluster."""
RAFT_ID_BITS = 63
_SECRET_MODE = 0o600


class Promise(NamedTuple):
    """That this node founds nothing, and that only this one may count on it."""

    raft_id: int
    address: str = ""
    """Where it was; for people."""


class NodeIdentity:
    """Holding one means that no other process is this node."""

    def __init__(self, folder: Path, fields: dict[str, Any], key: Signer, lock: int) -> None:
        self._folder = folder
        self._lock = lock
        self.key = key
        self.raft_id = int(fields["raft_id"])
        self.session = int(fields["session"])
        """How often a node was started on this folder, this start included."""
        self.cluster_id = str(fields["cluster_id"])
        """Of the cluster that it belongs to; empty: none yet."""
        promised = fields["promised_to"]
        self.promised_to = Promise(int(promised["raft_id"]), str(promised["address"])) if promised else None
        self.mark = Divergence.from_json(fields["diverged"]) if fields["diverged"] else None
        """That a majority of the cluster's voters has another ledger than this folder."""

    @classmethod
    def load_or_create(cls, folder: Path, *, randbits: Callable[[int], int] = secrets.randbits) -> Self:
        """Who the node of this folder is. Each call counts as a start."""
        with storage_errors("open the identity of the node in", folder):
            make_root(folder)
            lock = _lock(folder)
            try:
                fields = _read(folder) if (folder / IDENTITY).exists() else _fresh(folder, randbits)
                fields["session"] += 1
                _write(folder, fields)
                key = _load_key(folder, fields)
            except BaseException:
                os.close(lock)
                raise
        return cls(folder, fields, key, lock)

    def promise(self, promise: Promise | None) -> None:
        """Promises, or releases a promise. Durable on return."""
        self._save(self.cluster_id, promise, self.mark)
        self.promised_to = promise

    def save_member(self, cluster_id: str) -> None:
        """From now on it belongs to that cluster; any promise is kept by that. Durable on return."""
        if not cluster_id:
            raise ConfigurationError("a cluster without an id cannot be belonged to")
        if self.cluster_id not in ("", cluster_id):
            raise Conflict(f"this node belongs to cluster {self.cluster_id}, not to {cluster_id}")
        self._save(cluster_id, None, self.mark)
        self.cluster_id, self.promised_to = cluster_id, None

    def save_mark(self, mark: Divergence | None) -> None:
        """Marks the folder, or wipes the mark out. Durable on return."""
        self._save(self.cluster_id, self.promised_to, mark)
        self.mark = mark

    def close(self) -> None:
        if self._lock >= 0:
            os.close(self._lock)
            self._lock = -1

    def _save(self, cluster_id: str, promise: Promise | None, mark: Divergence | None) -> None:
        promised = {"raft_id": str(promise.raft_id), "address": promise.address} if promise else None
        fields = {
            "raft_id": self.raft_id,
            "session": self.session,
            "cluster_id": cluster_id,
            "promised_to": promised,
            "diverged": None if mark is None else mark.to_json(),
        }
        with storage_errors("write", self._folder / IDENTITY):
            _write(self._folder, fields)

    def __repr__(self) -> str:
        return f"<NodeIdentity {self.raft_id:016x} session {self.session} of {self.cluster_id or 'no cluster'}>"


def read_mark(folder: Path) -> Divergence | None:
    """The mark of a folder, whether a node runs on it or not."""
    with storage_errors("read the identity of the node in", folder):
        told = _read(folder)["diverged"] if (folder / IDENTITY).exists() else None
    return Divergence.from_json(told) if told else None


def _fresh(folder: Path, randbits: Callable[[int], int]) -> dict[str, Any]:
    left = [name for name in MEMBER_PARTS if (folder / name).exists()]
    if left:
        raise Corruption(
            f"{folder} is the folder of a cluster's member ({', '.join(left)}), and its {IDENTITY} is missing",
            hint="restore that file, or start the node on an empty folder: it joins as a new member",
        )
    raft_id = 0
    while raft_id == 0:  # 0 is nobody's
        raft_id = randbits(RAFT_ID_BITS)
    return {"raft_id": raft_id, "session": 0, "cluster_id": "", "promised_to": None, "diverged": None}


def _read(folder: Path) -> dict[str, Any]:
    path = folder / IDENTITY
    try:
        fields = json.loads(path.read_text())
        form = int(fields["format"])
        if form > FORMAT:
            raise ConfigurationError(
                f"{path} has format {form}, this program reads up to {FORMAT}", hint="use a newer scribe-ledger"
            )
        promised = fields["promised_to"]
        if promised is not None:
            promised = {"raft_id": str(int(promised["raft_id"])), "address": str(promised["address"])}
        read = {
            "raft_id": int(fields["raft_id"]),
            "session": int(fields["session"]),
            "cluster_id": str(fields["cluster_id"]),
            "promised_to": promised,
            "diverged": Divergence.from_json(fields["diverged"]).to_json() if "diverged" in fields else None,
        }
    except (ValueError, KeyError, TypeError) as error:
        raise Corruption(f"{path} cannot be read: {error}") from error
    if not 0 < read["raft_id"] < 1 << RAFT_ID_BITS or read["session"] < 1:
        raise Corruption(f"{path} names an impossible Raft id or session")
    return read


def _write(folder: Path, fields: dict[str, Any]) -> None:
    told = {"format": FORMAT, **fields, "raft_id": str(fields["raft_id"])}
    if told["diverged"] is None:
        told["format"] = FORMAT_WITHOUT_MARK
        del told["diverged"]
    text = json.dumps(told, indent=2)
    _write_durably(folder / IDENTITY, text.encode() + b"\n", 0o644)


def _load_key(folder: Path, fields: dict[str, Any]) -> Signer:
    path, name = folder / KEY, f"scribe-ledger/node/{fields['raft_id']:016x}"
    if not path.exists():
        if fields["cluster_id"]:
            raise Corruption(
                f"{path} is missing", hint="restore that file, or start the node on an empty folder: it joins anew"
            )
        _write_durably(path, Signer.generate(name).private_text().encode() + b"\n", _SECRET_MODE)
    try:
        key = Signer.parse(path.read_text().strip())
    except (SerializationError, UnicodeDecodeError) as error:
        raise Corruption(f"{path} does not hold a node's key: {error}") from error
    if key.name != name:
        raise Corruption(f"{path} is the key of {key.name}, and {IDENTITY} says {name}")
    return key


@contextlib.contextmanager
def kept_from_nodes(folder: Path) -> Iterator[None]:
    """No node is, or becomes, that of this folder meanwhile. ``LedgerLocked`` if one is."""
    with storage_errors("lock", folder):
        lock = _lock(folder)
    try:
        yield
    finally:
        os.close(lock)


def _lock(folder: Path) -> int:
    """The folder itself is locked: its files are replaced, and the ledger's own lock is not held yet."""
    lock = os.open(folder, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError as error:
        os.close(lock)
        raise LedgerLocked(f"another process is the node of {folder}", hint="stop it first") from error
    return lock


def _write_durably(path: Path, content: bytes, mode: int) -> None:
    fresh = path.with_name(path.name + ".new")
    descriptor = os.open(fresh, os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_CLOEXEC, mode)
    try:
        os.fchmod(descriptor, mode)  # whatever the umask, and a file that was there before
        write_all(descriptor, content)
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
    fresh.rename(path)
    sync_directory(path.parent)
