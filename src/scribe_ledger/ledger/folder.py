"""The data folder of a ledger: its layout, its lock, its identity, its key and its head.

::

    ledger.json   format version, ledger id, origin; written last when a ledger is created
    lock          held while a process has the ledger open; names that process
    ledger.key    the private key that signs checkpoints, mode 0600
    head          the last checkpoints that left, in two slots; see ``Head``
    store/        the hot store
    objects/      large values, and what is archived, where no other object store is configured
    spool/        large values on their way in
    restoring.json  only while the folder is being rebuilt from an object store: it is no ledger yet
    cluster.json  the ledger is a cluster's; see ``belonging``. Other parts of such a folder are the node's

A folder that was restored has no key: it is read, and takes no writes, until a promotion gives it a key of its own.
"""

from __future__ import annotations

import fcntl
import json
import os
import secrets
import sys
import threading
import time
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

from scribe_ledger.errors import (
    ConfigurationError,
    Corruption,
    InvalidRequest,
    LedgerClosed,
    LedgerLocked,
    SerializationError,
    StorageError,
    VerificationError,
)
from scribe_ledger.merkle.checkpoint import Checkpoint, sign_checkpoint
from scribe_ledger.merkle.handover import base_origin
from scribe_ledger.merkle.hashing import EMPTY_ROOT
from scribe_ledger.merkle.note import Signer, Verifier
from scribe_ledger.objects.durable import make_root, storage_errors, sync_directory

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

FORMAT = 1
IDENTITY, LOCK, KEY, HEAD, STORE, OBJECTS, SPOOL, RESTORING, CLUSTER = (
    "ledger.json",
    "lock",
    "ledger.key",
    "head",
    "store",
    "objects",
    "spool",
    "restoring.json",
    "cluster.json",
)
UPLOADS = "uploads"
"""In the spool: which large values this folder has uploaded."""
_OF_THE_NODE = {"node.json", "node.key", "raft", "incoming", "snapshots", "node.head"}
"""What a member of a cluster keeps beside its ledger, and has before it."""
_FILES = {IDENTITY, KEY, HEAD, RESTORING, CLUSTER, "node.json", "node.key", "node.head"}
_PARTS = {LOCK, STORE, OBJECTS, SPOOL, "lost+found"} | _OF_THE_NODE | _FILES | {f"{name}.new" for name in _FILES}
_OPTIONAL = {"epoch", "read_only", "public_key"}
"""Fields of ``ledger.json`` that stand there only if they say something."""
MAX_NAME_BYTES = 255
SECRET_MODE = 0o600
_NAME_HINT = "a name has neither spaces nor +, such as example.org/log"
_COPY_HINT = "restore this folder from a copy"


class Identity(NamedTuple):
    """Who this ledger is. It changes only with a promotion, which begins an epoch under a new origin and key."""

    ledger_id: str
    origin: str
    created: int
    epoch: int = 0
    """How often the ledger was promoted after its key was lost."""
    read_only: bool = False
    """Restored from an object store: there is no key to sign with."""
    public_key: str = ""
    """The verifier key, where there is no private key to take it from."""

    @property
    def base_name(self) -> str:
        """The origin without what epochs add to it: the name that was given at creation."""
        return base_origin(self.origin, self.epoch)


def check_name(name: str) -> None:
    """Whether a ledger may have that name, before anything is made for it."""
    if not isinstance(name, str) or len(name.encode(errors="replace")) > MAX_NAME_BYTES:
        raise ConfigurationError(
            f"{name!r:.80} cannot be a ledger's name", hint=f"it is a text of at most {MAX_NAME_BYTES} bytes"
        )
    if name:
        try:
            Verifier(name, bytes(32))
        except InvalidRequest as error:
            raise ConfigurationError(f"{name!r} cannot be a ledger's name: {error.message}", hint=_NAME_HINT) from error


class DataFolder:
    """An open data folder. Holding one means holding its lock."""

    def __init__(self, path: Path, *, create: bool, restoring: bool = False) -> None:
        """``restoring`` opens a folder that is being rebuilt, which nobody else may take for a ledger."""
        self.path = path
        self.restoring = restoring
        with storage_errors("open the ledger in", path):
            if os.path.lexists(path) and not path.is_dir():
                raise StorageError(f"{path} is not a folder", hint="name an empty folder, or a new one")
            if not restoring:
                _check_not_restoring(path)
            if not (path / IDENTITY).exists():
                _check_may_create(path, create=create)
            make_root(path)
            self._lock = _acquire_lock(path)
            if not restoring:
                _check_not_restoring(path)
            self.exists = (path / IDENTITY).exists()  # only now: another process may have created it meanwhile

    def create_identity(
        self, name: str, *, clock: Callable[[], int], randbytes: Callable[[int], bytes] = secrets.token_bytes
    ) -> Identity:
        """The identity of a new ledger; nothing is written yet."""
        ledger_id = randbytes(16).hex()
        return Identity(ledger_id, name or f"scribe-ledger/{ledger_id}", clock())

    def load_identity(self) -> Identity:
        with storage_errors("read", self.path / IDENTITY):
            text = (self.path / IDENTITY).read_text()
        try:
            fields = json.loads(text)
            form = int(fields["format"])
            if form <= FORMAT:
                return Identity(
                    str(fields["ledger_id"]),
                    str(fields["origin"]),
                    int(fields["created"]),
                    int(fields.get("epoch", 0)),
                    bool(fields.get("read_only", False)),
                    str(fields.get("public_key", "")),
                )
        except (ValueError, KeyError, TypeError) as error:
            raise Corruption(f"{self.path / IDENTITY} cannot be read: {error}", hint=_COPY_HINT) from error
        raise ConfigurationError(
            f"{self.path} has format {form}, this program reads up to {FORMAT}", hint="use a newer scribe-ledger"
        )

    def save_identity(self, identity: Identity) -> None:
        """The last step of creation: from here on the folder is a ledger."""
        told = {name: value for name, value in identity._asdict().items() if name not in _OPTIONAL or value}
        text = json.dumps({"format": FORMAT, **told}, indent=2) + "\n"
        with storage_errors("write", self.path / IDENTITY):
            write_durably(self.path / IDENTITY, text.encode())
        self.exists = True

    def create_key(self, origin: str) -> Signer:
        """A new ledger key, or the one of a creation that was cut short."""
        if (self.path / KEY).exists():
            signer = self.load_key()
            if signer.name == origin:
                return signer
        try:
            signer = Signer.generate(origin)
        except InvalidRequest as error:
            raise ConfigurationError(f"{origin!r} cannot be a ledger's name: {error.message}") from error
        with storage_errors("write", self.path / KEY):
            write_durably(self.path / KEY, signer.private_text().encode() + b"\n", secret=True)
        return signer

    def create_head(self, signer: Signer) -> None:
        """The head of an empty ledger. From the first, then, one slot can be read whatever is cut short."""
        self.write_head(sign_checkpoint(signer, 0, EMPTY_ROOT))

    def write_head(self, *checkpoints: Checkpoint) -> None:
        """A head with one or two checkpoints: of two keys, each finds its own."""
        with storage_errors("write", self.path / HEAD):
            write_durably(self.path / HEAD, b"".join(map(Head.slot, checkpoints)))

    def verifier_of(self, identity: Identity) -> Verifier:
        """The key that checks a restored ledger's checkpoints."""
        try:
            verifier = Verifier.parse(identity.public_key)
        except SerializationError as error:
            raise Corruption(f"{self.path / IDENTITY} holds no public key: {error.message}") from error
        if verifier.name != identity.origin:
            raise Corruption(f"{self.path / IDENTITY} has the key of {verifier.name!r}, and says {identity.origin!r}")
        return verifier

    def load_key_of(self, identity: Identity) -> Signer:
        """The ledger's key, which bears its origin as its name."""
        signer = self.load_key()
        if signer.name != identity.origin:
            raise Corruption(
                f"{self.path / KEY} is the key of {signer.name!r}, and {IDENTITY} says {identity.origin!r}",
                hint="restore both from a copy of the folder",
            )
        return signer

    def load_key(self) -> Signer:
        if not (self.path / KEY).exists():
            raise Corruption(
                f"{self.path / KEY} is missing",
                hint=f"{_COPY_HINT}; a ledger whose key is lost goes on with `scribe restore --promote`",
            )
        with storage_errors("read", self.path / KEY):
            text = (self.path / KEY).read_text().strip()
        try:
            return Signer.parse(text)
        except SerializationError as error:
            raise Corruption(
                f"{self.path / KEY} does not hold a ledger key: {error.message}", hint=_COPY_HINT
            ) from error

    def close(self) -> None:
        if self._lock >= 0:
            os.close(self._lock)
            self._lock = -1


class Head:
    """The newest checkpoint that ever left this ledger, kept so that it can never open shorter than what it signed.

    The file has two slots, written in turn and in place, so that recording costs one synced write and a torn one
    leaves the other. A slot holds a checkpoint padded with zeros.
    """

    SLOT_BYTES = 2048

    def __init__(self, path: Path, verifier: Verifier) -> None:
        self.verifier = verifier
        self._path = path
        self._lock = threading.Lock()
        with storage_errors("open", path):
            if not path.exists():
                raise _lost_head(f"{path} is missing")
            self._file = os.open(path, os.O_RDWR | os.O_DSYNC | os.O_CLOEXEC)
            content = os.pread(self._file, 2 * self.SLOT_BYTES, 0)
        slots = [self._read(content[: self.SLOT_BYTES], verifier), self._read(content[self.SLOT_BYTES :], verifier)]
        signed = [slot for slot in slots if slot is not None]
        if not signed:
            os.close(self._file)
            raise _lost_head(f"{path} holds no checkpoint by this ledger's key")
        self.checkpoint = max(signed, key=lambda slot: slot.size)
        self._next = 1 if slots[0] == self.checkpoint else 0

    def record(self, checkpoint: Checkpoint) -> None:
        """Durable on return. Sizes only grow: an older checkpoint is already covered."""
        with self._lock:
            if self._file < 0:
                raise LedgerClosed("the ledger is closed")
            if checkpoint.size <= self.checkpoint.size:
                return
            slot = self.slot(checkpoint)
            with storage_errors("write", self._path):
                written = os.pwrite(self._file, slot, self._next * self.SLOT_BYTES)
            if written != len(slot):
                raise StorageError(f"the disk took only {written} bytes of {self._path}")
            self.checkpoint = checkpoint
            self._next ^= 1

    def close(self) -> None:
        with self._lock:  # the number of a closed file may soon be another file's
            if self._file >= 0:
                os.close(self._file)
                self._file = -1

    def leave_to_parent(self) -> None:
        """In a forked child: closed, and free of a lock that another thread may have held."""
        self._lock = threading.Lock()
        self.close()

    @classmethod
    def slot(cls, checkpoint: Checkpoint) -> bytes:
        return checkpoint.text.encode().ljust(cls.SLOT_BYTES, b"\0")

    @staticmethod
    def _read(slot: bytes, verifier: Verifier) -> Checkpoint | None:
        """None for a torn slot. The signature is what tells: a slot may be torn between two that can be read."""
        try:
            checkpoint = Checkpoint.parse(slot.rstrip(b"\0").decode())
            checkpoint.verify(verifier)
        except (VerificationError, UnicodeDecodeError):
            return None
        return checkpoint


def _lost_head(what: str) -> Corruption:
    return Corruption(
        what, hint="it is what shows that this folder is not an old copy: restore it with the folder it belongs to"
    )


def write_durably(path: Path, content: bytes, *, secret: bool = False) -> None:
    """Replaces a small file in one step that survives power loss. A secret is for its owner alone, always."""
    fresh = path.with_name(path.name + ".new")
    flags = os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_CLOEXEC
    descriptor = os.open(fresh, flags, SECRET_MODE if secret else 0o644)
    with os.fdopen(descriptor, "wb") as file:
        if secret:
            os.fchmod(descriptor, SECRET_MODE)  # whatever the umask, and a file that was there before
        file.write(content)
        file.flush()
        os.fsync(file.fileno())
    fresh.rename(path)
    sync_directory(path.parent)


def system_clock() -> int:
    """Milliseconds since 1970."""
    return time.time_ns() // 1_000_000


def _check_not_restoring(path: Path) -> None:
    if (path / RESTORING).exists():
        raise StorageError(
            f"{path} is being restored from an object store, and is no ledger yet",
            hint="call the same `scribe restore` again: it goes on where it was cut short",
        )


def _check_may_create(path: Path, *, create: bool) -> None:
    if not create:
        raise StorageError(f"there is no ledger in {path}", hint="a first write creates one")
    with storage_errors("look into", path):
        foreign = sorted(child.name for child in path.iterdir() if child.name not in _PARTS) if path.is_dir() else []
    if foreign:
        raise StorageError(
            f"{path} holds other files ({', '.join(foreign[:3])}) and no ledger",
            hint="name an empty folder, or a new one",
        )


def _acquire_lock(path: Path) -> int:
    descriptor = os.open(path / LOCK, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o644)
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError as error:
        holder = os.read(descriptor, 200).decode(errors="replace").strip()
        os.close(descriptor)
        raise LedgerLocked(
            f"the ledger in {path} is open in {holder or 'another process'}",
            hint="close it there, or copy the folder with `Ledger.snapshot` in that process",
        ) from error
    os.ftruncate(descriptor, 0)
    os.pwrite(descriptor, f"process {os.getpid()} ({_program()})\n".encode(), 0)
    return descriptor


def _program() -> str:
    return Path(sys.argv[0]).name or "python"


def folder_sizes(path: Path) -> Iterator[tuple[str, int]]:
    """Bytes of each part of the folder, for statistics."""
    for child in sorted(path.iterdir()):
        if child.is_dir():
            yield child.name, sum(file.stat().st_size for file in child.rglob("*") if file.is_file())
        else:
            yield child.name, child.stat().st_size
