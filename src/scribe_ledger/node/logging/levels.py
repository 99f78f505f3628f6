"""The levels by the names that settings use, and structlog's logger with ``trace`` below ``debug``."""

from __future__ import annotations

import logging
from typing import Any, ClassVar

import structlog

LEVELS = {"trace": 5, "debug": logging.DEBUG, "info": logging.INFO, "warn": logging.WARNING, "error": logging.ERROR}
"""``trace`` has the number that uvicorn gives it."""
LEAST_LEVEL_WRITTEN_AT_ONCE = LEVELS["warn"]


def level_name(number: int) -> str:
    """The name of the highest level that is not above ``number``, for records of the standard library."""
    return next((name for name, least in reversed(LEVELS.items()) if number >= least), "trace")


class LeveledLogger(structlog.BoundLoggerBase):
    """What ``structlog.get_logger()`` gives. Fields are keyword arguments; the event is a constant text."""

    least: ClassVar[int] = LEVELS["info"]

    def trace(self, event: str, **fields: Any) -> None:
        self._log("trace", event, fields)

    def debug(self, event: str, **fields: Any) -> None:
        self._log("debug", event, fields)

    def info(self, event: str, **fields: Any) -> None:
        self._log("info", event, fields)

    def warning(self, event: str, **fields: Any) -> None:
        self._log("warn", event, fields)

    warn = warning

    def error(self, event: str, **fields: Any) -> None:
        self._log("error", event, fields)

    def exception(self, event: str, **fields: Any) -> None:
        """An error with the exception that is being handled."""
        self._log("error", event, {"exc_info": True, **fields})

    def _log(self, level: str, event: str, fields: dict[str, Any]) -> None:
        if LEVELS[level] >= self.least:
            self._proxy_to_logger(level, event, **fields)


def logger_of_level(level: str) -> type[LeveledLogger]:
    """The logger's class that passes on what is at ``level`` or above."""
    return type("LeveledLogger", (LeveledLogger,), {"least": LEVELS[level]})
