"""``Beside``: a second thread for work that releases the interpreter's lock, such as hashing a chunk.

A large value is hashed twice, whole and chunk by chunk. Both at once take half the time where there are two
processors. The thread starts with the first call and ends with ``close``.
"""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from typing import TYPE_CHECKING, ParamSpec

if TYPE_CHECKING:
    from collections.abc import Callable
    from concurrent.futures import Future

_P = ParamSpec("_P")

WORTH_CHUNKS = 4
"""For fewer chunks a thread costs more than it saves."""


class Beside:
    """Belongs to one owner, who waits for each call before the next."""

    def __init__(self) -> None:
        self._thread: ThreadPoolExecutor | None = None

    def start(self, function: Callable[_P, object], /, *args: _P.args, **kwargs: _P.kwargs) -> Future[object]:
        if self._thread is None:
            self._thread = ThreadPoolExecutor(1, thread_name_prefix="scribe-beside")
        return self._thread.submit(function, *args, **kwargs)

    def close(self) -> None:
        """Ends the thread. Calling it twice is allowed."""
        if self._thread is not None:
            self._thread.shutdown(wait=False)
            self._thread = None
