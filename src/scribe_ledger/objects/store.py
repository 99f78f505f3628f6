"""The contract of an object store: whole objects under relative paths, which never change once they are there.

``folder.FolderStore`` and ``remote.RemoteStore`` keep it, and one suite tests every backend. The obligations:

- A put is durable when it returns, and an object appears complete or not at all. It is create-only: where the object
  exists nothing changes and the answer is False, and whether the bytes are the same is the caller's question. With
  ``replace`` a whole new object takes its place, in one step.
- What is not there is None, or False, or not in a listing; it is never an error. A store that cannot be asked, after
  all retries, raises ``Unavailable`` (``StorageError`` for a folder) with the object's name. So "missing" is certain.
- Bytes that arrive are all that were asked for and exist, or the call fails: an answer that broke off is never taken
  for an object that ends there. Whether they are the right bytes is the caller's question.
- Paths are those of ``paths`` and nothing else; a listing also shows what others put there. Calls may come from any
  thread, and block.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple, Protocol

from scribe_ledger.errors import InvalidRequest

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path
    from typing import BinaryIO


class ObjectStat(NamedTuple):
    """What the store knows of an object without reading it."""

    size: int
    modified: float
    """Seconds since 1970, by the clock of the machine that holds the store."""


class ListedObject(NamedTuple):
    path: str
    size: int
    modified: float


class ObjectStore(Protocol):
    """One store, or the part of a bucket under one prefix."""

    @property
    def url(self) -> str:
        """Where it is, for people: without secrets."""
        ...

    @property
    def is_local(self) -> bool:
        """True for a folder, where a put of a large value costs no network."""
        ...

    def place(self, path: str) -> str:
        """Where an object is, for messages: a file name, or a URL without secrets."""
        ...

    def put_bytes(self, path: str, content: bytes, *, replace: bool = False) -> bool: ...

    def put_file(self, path: str, source: Path, *, replace: bool = False) -> bool:
        """Stores a finished file of any size in constant memory. The source may be moved away."""
        ...

    def get(self, path: str) -> bytes | None:
        """The whole object, which the caller knows to be small enough."""
        ...

    def get_range(self, path: str, start: int, stop: int) -> bytes | None:
        """The bytes from ``start`` to before ``stop``, in one request; fewer, or none, where the object ends before."""
        ...

    def open(self, path: str) -> BinaryIO | None:
        """The object as a seekable file without a buffer, each read one ranged request."""
        ...

    def stat(self, path: str) -> ObjectStat | None: ...

    def list(self, prefix: str, *, after: str = "") -> Iterator[ListedObject]:
        """All objects under a folder, in order of their paths, a page in memory at a time. It scans.

        The empty prefix stands for the whole store, and only here. With ``after`` it begins behind that path, which
        need not be there.
        """
        ...

    @property
    def late_secs(self) -> float:
        """For so long may a request arrive whose answer never came; 0 where none outlives the process."""
        ...

    def delete(self, path: str) -> int:
        """Removes an object, durably, if there is one; how often that was asked for.

        What became of all tries but the last is not known: one may still arrive, within ``late_secs``, and would remove
        what was put there meanwhile. After an error the same is true of all of them.
        """
        ...

    def check(self) -> None:
        """Raises why the store cannot be used now, without retries and within seconds."""
        ...

    def close(self) -> None: ...


def check_range(start: int, stop: int) -> None:
    """Refuses what is no range. An empty one is allowed."""
    if not 0 <= start <= stop:
        raise InvalidRequest(f"there are no bytes from {start} to before {stop}")
