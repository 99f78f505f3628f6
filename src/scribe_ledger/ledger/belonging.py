"""``cluster.json``: the mark of a data folder whose ledger is a cluster's, and how such a folder begins empty.

Only the cluster decides what such a ledger holds, and only a node that runs can know whether its own is the cluster's.
So nobody else may write to it, or sign more of it than its node has: the library opens the folder for reading, and
whoever copies it copies the mark. Founding sets the mark on a folder that has a ledger; joining makes a
ledger with the cluster's identity and key, and no entries.
"""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, NamedTuple

from scribe_ledger.errors import ConfigurationError, Conflict, Corruption, Forbidden, SerializationError, counted
from scribe_ledger.ledger import machine
from scribe_ledger.ledger.folder import CLUSTER, KEY, STORE, DataFolder, Identity, write_durably
from scribe_ledger.ledger.rocks import RocksStore
from scribe_ledger.merkle.note import Signer
from scribe_ledger.objects.durable import storage_errors, sync_directory

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from scribe_ledger.ledger.policy import Policy
    from scribe_ledger.ledger.store import Store

FORMAT = 1
RAFT_LOG = "raft"
"""Of a member's node; only a folder with the mark has it."""


class Belonging(NamedTuple):
    """Which cluster, and as whom."""

    ledger_id: str
    raft_id: int
    founded: bool = False
    """Whether this node made the cluster: then its first record of the members is its own to write."""
    rescuing: bool = False
    """Whether it is being made a ledger that stands alone: then no node is a member with it any more."""
    awaits: int = 0
    """How many voters there must have been before its founder is ready; 0: they were there, or it needs no others."""


def read_belonging(path: Path) -> Belonging | None:
    """Of a data folder; None if its ledger is no cluster's."""
    file = path / CLUSTER
    with storage_errors("read", file):
        if not file.exists():
            _check_never_marked(path)
            return None
        text = file.read_text()
    try:
        fields = json.loads(text)
        form = int(fields["format"])
        if form <= FORMAT:
            return Belonging(
                str(fields["ledger_id"]),
                int(fields["raft_id"]),
                bool(fields.get("founded", False)),
                bool(fields.get("rescuing", False)),
                int(fields.get("awaits", 0)),
            )
    except (ValueError, KeyError, TypeError) as error:
        raise Corruption(f"{file} cannot be read: {error}") from error
    raise ConfigurationError(
        f"{file} has format {form}, this program reads up to {FORMAT}", hint="use a newer scribe-ledger"
    )


def _check_never_marked(path: Path) -> None:
    if (path / RAFT_LOG).exists():
        raise Corruption(
            f"{path} is the folder of a cluster's member ({RAFT_LOG}), and its {CLUSTER} is missing",
            hint="bring that file back, or start the node on an empty folder: it joins as a new member",
        )


def write_belonging(path: Path, belonging: Belonging) -> None:
    """Marks a data folder, durably."""
    # The id is text: it has up to 64 bits, and readers of JSON keep 53.
    fields = {"format": FORMAT, **belonging._asdict(), "raft_id": str(belonging.raft_id)}
    with storage_errors("write", path / CLUSTER):
        write_durably(path / CLUSTER, (json.dumps(fields, indent=2) + "\n").encode())


def remove_belonging(path: Path) -> None:
    """Takes the mark off, durably: the ledger is its own again. Only for who knows that the cluster is no more."""
    with storage_errors("remove", path / CLUSTER):
        (path / CLUSTER).unlink(missing_ok=True)
        sync_directory(path)


def written_by_cluster(belonging: Belonging) -> Forbidden:
    """What a member's folder answers to whoever wants to write to it alone."""
    return Forbidden(
        f"this folder belongs to member {belonging.raft_id} of the cluster of ledger {belonging.ledger_id}",
        hint="write through the cluster: `scribe put` or the client, with the address of a node",
    )


def signed_by_cluster(belonging: Belonging, size: int, root: bytes, signed: int) -> Forbidden:
    """What it answers to whoever wants a checkpoint beyond ``signed``, the size of the newest that its node signed."""
    return Forbidden(
        f"this folder belongs to member {belonging.raft_id} of the cluster of ledger {belonging.ledger_id}, and nothing"
        f" new is signed in it while its node is stopped; not signed: {counted(size)}, root {root.hex()}",
        hint=f"ask a node of the cluster; the newest that was signed here has {counted(signed)} (--at {signed})",
    )


def create_member_folder(
    path: Path,
    *,
    ledger_id: str,
    origin: str,
    created: int,
    epoch: int,
    policy: Policy,
    private_key_text: str,
    raft_id: int,
    open_store: Callable[[Path], Store] = RocksStore,
) -> None:
    """An empty ledger with a cluster's identity and key, marked as a member's. Repeated, it does nothing more.

    ``policy`` is what the ledger was created with, or has now: the entries that are taken next change it.
    """
    try:
        signer = Signer.parse(private_key_text.strip())
    except SerializationError as error:
        raise ConfigurationError(f"what was given as the ledger's key is none: {error.message}") from error
    if signer.name != origin:
        raise ConfigurationError(f"the key is that of {signer.name!r}, and the cluster's ledger is {origin!r}")
    folder = DataFolder(path, create=True)
    try:
        if folder.exists:
            _check_same(folder, ledger_id)
            return
        write_belonging(path, Belonging(ledger_id, raft_id))
        _create_store(path / STORE, policy, open_store)
        with storage_errors("write", path / KEY):
            write_durably(path / KEY, signer.private_text().encode() + b"\n", secret=True)
        folder.create_head(signer)
        folder.save_identity(Identity(ledger_id, origin, created, epoch))
    finally:
        folder.close()


def _check_same(folder: DataFolder, ledger_id: str) -> None:
    found = folder.load_identity()
    if found.ledger_id != ledger_id or read_belonging(folder.path) is None:
        raise Conflict(
            f"{folder.path} holds the ledger {found.ledger_id}, and is not that of a member of the cluster of"
            f" {ledger_id}",
            hint="a node that joins brings an empty folder",
        )


def _create_store(path: Path, policy: Policy, open_store: Callable[[Path], Store]) -> None:
    store = open_store(path)
    try:
        machine.create(store, policy)
    finally:
        store.close()
