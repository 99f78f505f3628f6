"""Watches the system calls that durability rests on, in the order in which they are made."""

from __future__ import annotations

import errno
import os
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol

import pytest

if TYPE_CHECKING:
    from collections.abc import Callable


class RecordSystemCalls(Protocol):
    def __call__(self, root: Path, *, fail_at: str = "") -> list[str]: ...


@pytest.fixture
def record_system_calls(monkeypatch: pytest.MonkeyPatch) -> RecordSystemCalls:
    """Starts a list that each call from here on is added to: see ``_record``."""
    return lambda root, *, fail_at="": _record(monkeypatch, root, fail_at)


def _record(monkeypatch: pytest.MonkeyPatch, root: Path, fail_at: str) -> list[str]:
    """The list that each call is added to, as ``sync a/b``, ``mkdir a``, ``link a/b/c`` or ``replace a/b/c``.

    Paths are relative to ``root``, and a temporary file is ``*``. ``fail_at`` is a call that fails with EIO.
    """
    calls: list[str] = []

    def note(call: str, path: Path) -> None:
        name = str(path.relative_to(root)) if path.is_relative_to(root) else str(path)
        calls.append(f"{call} {Path(name).parent / '*' if name.endswith('.partial') and '/' in name else name}")
        if calls[-1] == fail_at:
            raise OSError(errno.EIO, os.strerror(errno.EIO))

    def watch(name: str, call: str, path_of: Callable[..., Path]) -> None:
        function = getattr(os, name)

        def watched(*args: Any, **kwargs: Any) -> Any:
            note(call, path_of(*args))
            return function(*args, **kwargs)

        monkeypatch.setattr(os, name, watched)

    watch("fsync", "sync", lambda descriptor: Path(f"/proc/self/fd/{descriptor}").readlink())
    watch("mkdir", "mkdir", lambda path, *_: Path(path))
    watch("link", "link", lambda _, target: Path(target))
    watch("replace", "replace", lambda _, target: Path(target))
    return calls
