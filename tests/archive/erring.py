"""A store behind a network that errs: of each object one answer is wrong, and the others are right."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, BinaryIO, Literal, cast

from scribe_ledger.objects.remote_file import RemoteFile

if TYPE_CHECKING:
    from collections.abc import Collection, Iterator

    from scribe_ledger.objects.store import ListedObject, ObjectStat, ObjectStore

Fault = Literal["", "altered", "missing", "unseen"]
"""``missing``: where its bytes are asked for; ``unseen``: where it is asked whether it is there."""


class ErringStore:
    """Reads as from a remote store; what is not said here the store behind it does."""

    is_local = False

    def __init__(self, behind: ObjectStore) -> None:
        self._behind = behind
        self.fault: Fault = ""
        self.under: tuple[str, ...] = ("",)
        """The folders in which answers are wrong."""
        self.after = 0
        """So many answers of each object are right before."""
        self.always: Collection[str] = ()
        """Objects of which every answer is wrong."""
        self.unlisted: Collection[str] = ()
        """Objects that no listing has."""
        self.reads: list[str] = []
        """The path of every request for bytes."""
        self._seen: list[str] = []

    def err(self, fault: Fault, *under: str, after: int = 0, always: Collection[str] = ()) -> None:
        """From here on, with no answer given yet."""
        self.fault, self.under, self.after, self.always = fault, under or ("",), after, always
        self.reads.clear()
        self._seen.clear()

    def get(self, path: str) -> bytes | None:
        return self._answer(path, self._behind.get(path))

    def get_range(self, path: str, start: int, stop: int) -> bytes | None:
        return self._answer(path, self._behind.get_range(path, start, stop))

    def open(self, path: str) -> BinaryIO | None:
        found = self.stat(path)
        return None if found is None else cast("BinaryIO", RemoteFile(cast("ObjectStore", self), path, found.size))

    def stat(self, path: str) -> ObjectStat | None:
        self._seen.append(path)
        unseen = self.fault == "unseen" and path.startswith(self.under) and self._seen.count(path) == self.after + 1
        return None if unseen else self._behind.stat(path)

    def list(self, prefix: str, *, after: str = "") -> Iterator[ListedObject]:
        return (each for each in self._behind.list(prefix, after=after) if each.path not in self.unlisted)

    def __getattr__(self, name: str) -> Any:
        return getattr(self._behind, name)

    def _answer(self, path: str, content: bytes | None) -> bytes | None:
        self.reads.append(path)
        if not content or not self._errs(path):
            return content
        return None if self.fault == "missing" else content[:-1] + bytes([content[-1] ^ 1])

    def _errs(self, path: str) -> bool:
        if self.always:
            return path in self.always
        return (
            self.fault in ("altered", "missing")
            and path.startswith(self.under)
            and self.reads.count(path) == self.after + 1
        )
