"""``start_logging``: sinks by the settings, and all roads to the one writer: structlog, ``logging``, warnings."""

from __future__ import annotations

import logging
import os
import sys
import time
from typing import TYPE_CHECKING, Any, NoReturn

import structlog

from scribe_ledger.errors import ConfigurationError
from scribe_ledger.node.logging.access import AccessLog
from scribe_ledger.node.logging.levels import LEVELS, level_name, logger_of_level
from scribe_ledger.node.logging.lines import render_json, render_text
from scribe_ledger.node.logging.sinks import Console, RotatingFile
from scribe_ledger.node.logging.writer import LogWriter, Output

if TYPE_CHECKING:
    from collections.abc import Iterator, MutableMapping

    from scribe_ledger.config import LoggingSettings
    from scribe_ledger.node.logging.lines import Event

STANDARD_ERROR = 2


class Logs:
    """The running log of a process."""

    def __init__(self, writer: LogWriter, access: AccessLog | None) -> None:
        self.writer = writer
        self.access = access
        """None where requests are not logged."""

    def close(self) -> None:
        self.writer.close()


def start_logging(settings: LoggingSettings) -> Logs:
    """Logs by the settings from now on, in this whole process. ``ConfigurationError`` if the file cannot be opened."""
    writer = LogWriter([*_outputs(settings)])
    structlog.configure(
        processors=[structlog.contextvars.merge_contextvars, _complete, _Handover(writer)],
        wrapper_class=logger_of_level(settings.level),
        logger_factory=_Named,
        cache_logger_on_first_use=False,
    )
    _lead_standard_loggers(writer, settings.level)
    wanted = settings.access and LEVELS[settings.level] <= LEVELS["info"]
    return Logs(writer, AccessLog(writer) if wanted else None)


def _outputs(settings: LoggingSettings) -> Iterator[Output]:
    if settings.output in {"file", "both"}:
        try:
            file = RotatingFile(settings.file, rotate_bytes=settings.rotate_bytes, keep=settings.rotate_keep)
        except OSError as error:
            raise ConfigurationError(
                f"the log file {settings.file} cannot be opened: {error.strerror}", hint="[logging] file names it"
            ) from error
        yield Output(file, render_text if settings.format == "text" else render_json)
    if settings.output in {"console", "both"}:
        text = settings.format == "text" or (settings.format == "auto" and os.isatty(STANDARD_ERROR))
        yield Output(Console(STANDARD_ERROR), render_text if text else render_json)


# --- structlog -------------------------------------------------------------------------------------------------


class _Named:
    """What structlog wraps: nothing but the name that ``get_logger`` was given."""

    def __init__(self, name: str = "scribe") -> None:
        self.name = name


def _complete(logger: _Named, level: str, event: MutableMapping[str, Any]) -> Event:
    error = event.pop("exc_info", None)
    if error is True:
        error = sys.exc_info()[1]
    if isinstance(error, BaseException):
        event["exception"] = error
    return {"timestamp": time.time(), "level": level, "logger": logger.name, "event": event.pop("event"), **event}


class _Handover:
    """The last processor. No logger of structlog's writes anything."""

    def __init__(self, writer: LogWriter) -> None:
        self._put = writer.put

    def __call__(self, _logger: Any, _level: str, event: MutableMapping[str, Any]) -> NoReturn:
        self._put(dict(event))
        raise structlog.DropEvent


# --- the standard library --------------------------------------------------------------------------------------


class _Forward(logging.Handler):
    def __init__(self, writer: LogWriter) -> None:
        super().__init__()
        self._put = writer.put

    def emit(self, record: logging.LogRecord) -> None:
        event = {
            "timestamp": record.created,
            "level": level_name(record.levelno),
            "logger": record.name,
            "event": record.getMessage().strip(),
            **structlog.contextvars.get_contextvars(),
        }
        if record.exc_info and record.exc_info[1] is not None:
            event["exception"] = record.exc_info[1]
        self._put(event)


def _lead_standard_loggers(writer: LogWriter, level: str) -> None:
    root = logging.getLogger()
    root.handlers = [_Forward(writer)]
    root.setLevel(LEVELS[level])
    logging.captureWarnings(True)
    # What uvicorn tells of its start and end, the node tells itself.
    usual = logging.WARNING if LEVELS[level] == LEVELS["info"] else LEVELS[level]
    for name in ("uvicorn", "uvicorn.error", "uvicorn.asgi"):
        logger = logging.getLogger(name)
        logger.handlers, logger.propagate = [], True
        logger.setLevel(usual)
