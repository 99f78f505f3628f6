"""Files that a command writes: complete under their name, or not there."""

from __future__ import annotations

import os
import stat
import sys
from contextlib import contextmanager
from pathlib import Path
from typing import IO, TYPE_CHECKING, cast

import click

if TYPE_CHECKING:
    from collections.abc import Iterator


def size_of(file: IO[bytes]) -> int | None:
    """The size of a file that has one; a pipe has none."""
    try:
        status = os.fstat(file.fileno())
    except (OSError, AttributeError):  # not a file of the system, as in tests
        return None
    return status.st_size if stat.S_ISREG(status.st_mode) else None


@contextmanager
def writing(path: str) -> Iterator[IO[bytes]]:
    """A binary file to write to, which takes its name when the block ends well; ``-`` is standard output.

    What stands under the name is replaced then, in one step. A device or pipe is written to as it is.
    """
    if path == "-":
        sys.stdout.flush()
        yield sys.stdout.buffer
        return
    target = Path(os.path.realpath(path))  # a link stays, what it points to is replaced
    if target.exists() and not stat.S_ISREG(target.stat().st_mode):
        with _opened(target, "wb", path) as device:
            yield device
        return
    partial = target.with_name(f".{target.name[:100]}.{os.urandom(4).hex()}.partial")
    opened = _opened(partial, "xb", path)
    try:
        with opened:
            yield opened
            opened.flush()
            os.fsync(opened.fileno())
        partial.replace(target)
    except BaseException:
        partial.unlink(missing_ok=True)
        raise


def _opened(file: Path, mode: str, path: str) -> IO[bytes]:
    try:
        return cast("IO[bytes]", file.open(mode))
    except (FileNotFoundError, NotADirectoryError, IsADirectoryError, PermissionError) as error:
        # Bad usage, as is the name of a file to read that cannot be read.
        raise click.ClickException(f"{(error.strerror or str(error)).lower()}: {path}") from error
    except OSError as error:
        error.filename = path  # the name that somebody typed
        raise
