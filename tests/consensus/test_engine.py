"""The consensus engine: who does not have it is told what to install, and who stands alone never loads it."""

from __future__ import annotations

import subprocess
import sys

import pytest

from scribe_ledger.consensus.engine import require_engine
from scribe_ledger.errors import ConfigurationError

pytestmark = pytest.mark.consensus


def test_an_engine_that_is_installed_is_enough() -> None:
    require_engine()


def test_a_missing_engine_names_what_to_install(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "scribe_raft", None)
    with pytest.raises(ConfigurationError) as raised:
        require_engine()
    assert 'pip install "scribe-ledger[cluster]"' in raised.value.hint
    assert "pip install ./raft" in raised.value.hint
    assert isinstance(raised.value.__cause__, ImportError)


def test_who_stands_alone_loads_neither_engine_nor_discovery() -> None:
    probe = "import sys, scribe_ledger, scribe_ledger.cli.main, scribe_ledger.cli.node; print(*sys.modules)"
    loaded = subprocess.run(
        [sys.executable, "-c", probe], check=True, capture_output=True, text=True, timeout=60
    ).stdout
    assert not {"scribe_raft", "zeroconf"} & set(loaded.split())
