"""One way to load settings in tests: a file in an empty folder, and never the environment of the test run."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol

import pytest

from scribe_ledger.config import Config

if TYPE_CHECKING:
    from collections.abc import Mapping


class Load(Protocol):
    def __call__(
        self, toml: str = "", *, environ: Mapping[str, str] | None = None, overrides: Mapping[str, Any] | None = None
    ) -> Config: ...


@pytest.fixture
def load(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Load:
    """Load ``toml`` as ./config.toml with exactly the given variables and flags."""
    monkeypatch.chdir(tmp_path)

    def load_text(
        toml: str = "", *, environ: Mapping[str, str] | None = None, overrides: Mapping[str, Any] | None = None
    ) -> Config:
        Path("config.toml").write_text(toml, encoding="utf-8")
        return Config.load(environ=environ or {}, overrides=overrides)

    return load_text
