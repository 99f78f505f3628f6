"""Logging of a node: text or JSON, to the console, a file or both, never in the way of a request or a commit.

A log call makes a small dictionary and appends it to a bounded queue (``writer``); one thread renders (``lines``) and
writes (``sinks``). What comes too fast is dropped, counted, and said. ``setup`` puts it together and leads structlog
and the standard library's loggers, uvicorn's among them, into it. Keys appear as parts of paths; values, request
bodies, headers and secrets never do.
"""

from __future__ import annotations

from scribe_ledger.node.logging.access import AccessLog
from scribe_ledger.node.logging.setup import Logs, start_logging
from scribe_ledger.node.logging.sinks import RotatingFile
from scribe_ledger.node.logging.writer import LogWriter

__all__ = ["AccessLog", "LogWriter", "Logs", "RotatingFile", "start_logging"]
