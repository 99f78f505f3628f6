"""A folder as an object store whose listings lack what a test hides. What is asked for by its name is there."""

from __future__ import annotations

from typing import TYPE_CHECKING

from scribe_ledger.objects.folder import FolderStore

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from scribe_ledger.objects.store import ListedObject


class HidingStore(FolderStore):
    """No listing shows paths that begin with those in ``hidden``."""

    def __init__(self, root: Path) -> None:
        super().__init__(root)
        self.hidden: tuple[str, ...] = ()
        self.times: int | None = None
        self.asked = 0
        """How many requests there were, but for those that write."""

    def hide(self, *paths: str, times: int | None = None) -> None:
        """``times`` listings lack what begins so, or all of them."""
        self.hidden, self.times = paths, times

    def list(self, prefix: str, *, after: str = "") -> Iterator[ListedObject]:
        self.asked += 1
        found = list(super().list(prefix, after=after))
        shown = [each for each in found if not each.path.startswith(self.hidden)]
        if self.times == 0 or len(shown) == len(found):
            return iter(found)
        self.times = None if self.times is None else self.times - 1
        return iter(shown)

    def get(self, path: str) -> bytes | None:
        self.asked += 1
        return super().get(path)
