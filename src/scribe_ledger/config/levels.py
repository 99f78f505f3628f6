"""The levels of the log, apart from the table of settings: a command line names them without building the table."""

from __future__ import annotations

from typing import Literal, TypeAlias, get_args

LogLevel: TypeAlias = Literal["trace", "debug", "info", "warn", "error"]
LOG_LEVELS: tuple[str, ...] = get_args(LogLevel)
"""From the most to the least that is logged."""
