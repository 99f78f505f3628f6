"""``LocalTarget``: the ledger in a folder, as commands use it."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, ClassVar, Self

from scribe_ledger.cli.output import shown, warn
from scribe_ledger.errors import ScribeError
from scribe_ledger.ledger.folder import CLUSTER
from scribe_ledger.ledger.served import ServedLedger

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from scribe_ledger.archive.settings import ArchiveSettings
    from scribe_ledger.model import Entry
    from scribe_ledger.objects.store import ObjectStore


class LocalTarget(ServedLedger):
    """Everything is at hand, or fetched from the archive when it is asked for."""

    import_bytes: ClassVar = 8 << 20
    _opened_store: ObjectStore | None = None
    """A store that was opened for this ledger, and is closed with it."""

    @classmethod
    def open_at(cls, data: Path, object_store: str | None, *, create: bool, name: str) -> Self:
        """With the object store that was typed, or that the settings name."""
        from scribe_ledger.cli.stores import store_of_folder

        warn_of_mark(data)
        store = store_of_folder(data, object_store)
        try:
            ledger = cls.open(data, create=create, name=name, object_store=store)
        except BaseException:
            if not isinstance(store, str):
                store.close()
            raise
        ledger._opened_store = None if isinstance(store, str) else store
        return ledger

    def close(self) -> None:
        super().close()
        if self._opened_store is not None:
            self._opened_store.close()

    def log_with_values(self, start: int = 0, stop: int | None = None) -> Iterator[Entry]:
        return self.log(start, stop)

    def scan_with_values(self) -> Iterator[Entry]:
        return self.scan()

    def show_manifest(self, since: int | None = None) -> dict[str, Any]:
        manifest = self.manifest
        shape: dict[str, Any] = {"version": manifest.version, "archived_size": manifest.archived_size}
        if since is None:
            return shape | {"segments": [segment.to_json() for segment in manifest.segments]}
        added, removed = self.manifest_difference(since)
        return shape | {"added": [segment.to_json() for segment in added], "removed": removed}

    def archive_now(self) -> dict[str, Any]:
        """By the settings of a node on the same folder, as far as there are any; nobody else has it open."""
        from scribe_ledger.archive.archiver import Archiver
        from scribe_ledger.http.archiving import archive_json

        if self.failure is not None:
            raise self.failure.again()  # such as a ledger that was restored to be read
        return archive_json(Archiver(self, self._archive_settings()).run_once(everything=True))

    def _archive_settings(self) -> ArchiveSettings:
        from scribe_ledger.archive.settings import ArchiveSettings
        from scribe_ledger.cli.stores import settings_of_folder

        config = settings_of_folder(self.path)
        return ArchiveSettings() if config is None else ArchiveSettings.of(config)


def warn_of_mark(data: Path) -> None:
    """A member's folder can be read while its node is stopped, also one whose ledger is known to be wrong."""
    if not (data / CLUSTER).exists():
        return
    from scribe_ledger.consensus.formation.identity import read_mark

    try:
        mark = read_mark(data)
    except ScribeError as error:  # the ledger can be read all the same
        warn(shown(error.message))
        return
    if mark is not None:
        warn(shown(f"{data}: {mark.error.message}"))
