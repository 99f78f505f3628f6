"""A node on an empty folder whose object store holds its ledger: the folder is rebuilt before anything is served."""

from __future__ import annotations

from time import monotonic
from typing import TYPE_CHECKING

import structlog

from scribe_ledger.archive.recovery import restore_if_needed
from scribe_ledger.errors import Unavailable

if TYPE_CHECKING:
    from scribe_ledger.config import Config
    from scribe_ledger.node.stopping import StopSignals

PROGRESS_SECONDS = 5.0
"""Between two lines of the log that say how far it is."""
log = structlog.get_logger("scribe.node")


class _StopAsked(Exception):
    """A signal came while the folder was being rebuilt. The next start goes on from there."""


def _hint(error: Unavailable) -> str:
    """A new ledger beside the archive of an old one would be a second one, so nothing is begun on a guess."""
    first = f"{error.hint}; " if error.hint else ""
    return f"{first}a node on a folder with a ledger starts without its store, one on an empty folder needs it"


def restored_or_there(config: Config, signals: StopSignals) -> bool:
    """Whether the node may go on: False if it was asked to stop while its folder was being restored."""
    told = monotonic()

    def progress(part: str, done: int, total: int) -> None:
        nonlocal told
        if signals.asked:
            raise _StopAsked
        if monotonic() - told >= PROGRESS_SECONDS:
            told = monotonic()
            log.info("restoring from the object store", part=part, done=done, total=total)

    try:
        restored = restore_if_needed(config, progress=progress)
    except _StopAsked:
        log.info("stopped while restoring: the next start goes on", signal=signals.received)
        return False
    except Unavailable as error:
        raise Unavailable(
            f"{config.data_dir} holds no ledger, and whether its object store does cannot be known: {error.message}",
            hint=_hint(error),
        ) from error
    if restored is not None:
        log.warning(
            "the folder was empty, and is restored from the object store",
            origin=restored.origin,
            entries=restored.size,
            last_timestamp=restored.timestamp,
        )
    return True
