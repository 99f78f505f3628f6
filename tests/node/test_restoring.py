"""A node that restores its folder first: it says how far it is, and a signal ends it."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest

from scribe_ledger.config import Config
from scribe_ledger.errors import Unavailable
from scribe_ledger.node import restoring
from scribe_ledger.node.restoring import restored_or_there
from scribe_ledger.node.stopping import StopSignals

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

pytestmark = pytest.mark.http


def restore_in(steps: int, during: Callable[[int], None]) -> Callable[..., None]:
    """A restore of so many steps, of which the test hears."""

    def restore_if_needed(_: Config, *, progress: Callable[[str, int, int], None]) -> None:
        for step in range(steps):
            during(step)
            progress("entries", step, steps)

    return restore_if_needed


def test_a_signal_ends_it_between_two_steps(monkeypatch: pytest.MonkeyPatch) -> None:
    signals = StopSignals()
    done: list[int] = []

    def during(step: int) -> None:
        done.append(step)
        if step == 2:
            signals.received = "SIGTERM"

    monkeypatch.setattr(restoring, "restore_if_needed", restore_in(5, during))
    assert restored_or_there(Config(), signals) is False
    assert done == [0, 1, 2]


def test_it_says_now_and_then_how_far_it_is(monkeypatch: pytest.MonkeyPatch) -> None:
    said: list[Any] = []

    class Log:
        def info(self, event: str, **fields: Any) -> None:
            said.append((event, fields["done"], fields["total"]))

    now = [0.0]

    def during(_: int) -> None:
        now[0] += 2.0

    monkeypatch.setattr(restoring, "log", Log())
    monkeypatch.setattr(restoring, "monotonic", lambda: now[0])
    monkeypatch.setattr(restoring, "restore_if_needed", restore_in(6, during))
    assert restored_or_there(Config(), StopSignals()) is True
    assert said == [
        ("restoring from the object store", 2, 6),
        ("restoring from the object store", 5, 6),
    ]


def test_an_empty_folder_is_not_begun_while_its_store_cannot_be_asked(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(_: Config, *, progress: Callable[[str, int, int], None]) -> None:
        raise Unavailable("cannot read s3://b/scribe.json", hint="check the endpoint")

    monkeypatch.setattr(restoring, "restore_if_needed", refuse)
    with pytest.raises(Unavailable, match=r"holds no ledger.*cannot be known: cannot read s3://b") as refusal:
        restored_or_there(Config.load(None, environ={}, overrides={"node.data_dir": str(tmp_path)}), StopSignals())
    assert refusal.value.hint.startswith("check the endpoint; ")
    assert "empty folder needs it" in refusal.value.hint
