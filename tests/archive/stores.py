"""A folder as an object store that notes what is asked of it, and may be told to be down."""

from __future__ import annotations

from typing import TYPE_CHECKING, BinaryIO

from scribe_ledger.errors import Unavailable
from scribe_ledger.objects.folder import FolderStore

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence
    from pathlib import Path

    from scribe_ledger.objects.store import ListedObject, ObjectStat

WRITES = {"put", "delete"}


class NotingStore(FolderStore):
    """``asked`` has the kind and path of each request since it was last cleared."""

    def __init__(self, root: Path) -> None:
        super().__init__(root)
        self.asked: list[tuple[str, str]] = []
        self.down = False

    @property
    def written(self) -> list[str]:
        return [path for kind, path in self.asked if kind in WRITES]

    def put_file(self, path: str, source: Path, *, replace: bool = False) -> bool:
        self._note("put", path)
        return super().put_file(path, source, replace=replace)

    def put_bytes(self, path: str, content: bytes, *, replace: bool = False) -> bool:
        self._note("put", path)
        return super().put_bytes(path, content, replace=replace)

    def put_many(self, objects: Sequence[tuple[str, bytes]]) -> list[str]:
        for path, _ in objects:
            self._note("put", path)
        return super().put_many(objects)

    def open(self, path: str) -> BinaryIO | None:
        self._note("get", path)
        return super().open(path)

    def stat(self, path: str) -> ObjectStat | None:
        self._note("stat", path)
        return super().stat(path)

    def list(self, prefix: str, *, after: str = "") -> Iterator[ListedObject]:
        self._note("list", prefix)
        return super().list(prefix, after=after)

    def delete(self, path: str) -> int:
        self._note("delete", path)
        return super().delete(path)

    def _note(self, kind: str, path: str) -> None:
        if self.down:
            raise Unavailable(f"the store is down: cannot {kind} {path}")
        self.asked.append((kind, path))
