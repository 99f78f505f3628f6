"""The file that remembers the last checkpoint from one run to the next.

It is replaced as a whole and synced, so a crash leaves the old one or the new one. It never goes back, and it never
changes to another log: what another process has written meanwhile stays until a proof has joined it to what is to be
saved. Two heads of one size with different roots are an error. A file that is damaged, or for another key, is refused;
deleting it is a decision that its owner makes. Getting the proof is the client's.
"""

from __future__ import annotations

import contextlib
import fcntl
import os
import tempfile
from pathlib import Path
from typing import TYPE_CHECKING

from scribe_ledger import verify
from scribe_ledger.errors import ConfigurationError, SerializationError, StorageError, VerificationError
from scribe_ledger.merkle.note import Verifier

if TYPE_CHECKING:
    from collections.abc import Iterator

    from scribe_ledger.merkle.checkpoint import Checkpoint

HEADER = "scribe-ledger/trust@v1"
SAVE_SECONDS = 1.0
"""A head that moves all the time is written this often, and when the client is closed."""
SAVE_ATTEMPTS = 8
"""How many heads of other processes one saving joins; beyond that it is left to the next."""


class TrustFile:
    """One file for one ledger's key."""

    def __init__(self, path: str | os.PathLike[str], public_key: str) -> None:
        self.path = Path(path)
        self._public_key = str(Verifier.parse(public_key.strip()))
        self._saved: Checkpoint | None = None
        self._saved_at = float("-inf")

    def load(self) -> Checkpoint | None:
        """The remembered head; None where there is no file yet. What is saved from now on must extend it."""
        self._saved = self._read()
        return self._saved

    def due(self, head: Checkpoint | None, now: float) -> bool:
        return head is not None and head is not self._saved and now - self._saved_at >= SAVE_SECONDS

    def save(self, head: Checkpoint | None, now: float) -> Checkpoint | None:
        """Makes the head durable, unless a newer one is there already.

        A head that another process left there is given back, and stays. Once it is ``joined``, ``save`` again.
        """
        if head is None or head is self._saved:
            return None
        self._saved_at = now
        try:
            self.path.parent.mkdir(parents=True, exist_ok=True)
            with self._locked():
                there = self._read()
                if there is not None and there.size == head.size:
                    self._check_same(there, head)
                elif there is not None and not self._is_joined(there):
                    return there
                elif there is None or there.size < head.size:
                    self._replace(head)
        except OSError as error:
            raise StorageError(f"cannot write {self.path}: {error.strerror}") from error
        self._saved = head
        return None

    def joined(self, there: Checkpoint) -> None:
        """A consistency proof joins what is there and all that is to be saved."""
        self._saved = there

    def busy(self) -> StorageError:
        return StorageError(
            f"other processes keep writing {self.path}",
            hint="what they wrote stays; give processes that are many a file each",
        )

    def _is_joined(self, there: Checkpoint) -> bool:
        saved = self._saved
        return saved is not None and (there.size, there.root) == (saved.size, saved.root)

    def _check_same(self, there: Checkpoint, head: Checkpoint) -> None:
        if there.root != head.root:
            raise VerificationError(
                f"{self.path} holds another log of {head.size} entries with the same signature",
                hint="the log was forked; keep both checkpoints, they are the evidence",
            )

    def _read(self) -> Checkpoint | None:
        try:
            text = self.path.read_text(encoding="utf-8")
        except FileNotFoundError:
            return None
        except OSError as error:
            raise StorageError(f"cannot read {self.path}: {error.strerror}") from error
        except UnicodeDecodeError as error:
            raise self._damaged("it is not text") from error
        header, _, rest = text.partition("\n")
        if header != HEADER:
            raise self._damaged(f"its first line is {header[:40]!r}, not {HEADER!r}")
        public_key, _, checkpoint = rest.partition("\n\n")
        if public_key != self._public_key:
            raise ConfigurationError(
                f"{self.path} remembers the ledger of another key: {public_key[:80]}",
                hint="name another file; one file is for one ledger",
            )
        try:
            return verify.checkpoint(checkpoint, public_key=public_key)
        except VerificationError as error:
            raise self._damaged(error.message) from error

    @contextlib.contextmanager
    def _locked(self) -> Iterator[None]:
        """One process at a time, by a file beside it that stays."""
        lock = os.open(f"{self.path}.lock", os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
        try:
            fcntl.flock(lock, fcntl.LOCK_EX)
            yield
        finally:
            os.close(lock)

    def _replace(self, head: Checkpoint) -> None:
        descriptor, name = tempfile.mkstemp(prefix=f".{self.path.name}.", dir=self.path.parent)
        try:
            with os.fdopen(descriptor, "w", encoding="utf-8") as file:
                file.write(f"{HEADER}\n{self._public_key}\n\n{head.text}")
                file.flush()
                os.fsync(file.fileno())
            Path(name).replace(self.path)
        except BaseException:
            Path(name).unlink(missing_ok=True)
            raise
        folder = os.open(self.path.parent, os.O_RDONLY | os.O_DIRECTORY)
        try:
            os.fsync(folder)
        finally:
            os.close(folder)

    def _damaged(self, why: str) -> SerializationError:
        return SerializationError(
            f"{self.path} does not remember a checkpoint: {why}",
            hint="a newer version may have written it; deleting it makes the client forget what it has seen",
        )
