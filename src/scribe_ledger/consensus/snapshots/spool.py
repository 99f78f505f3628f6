"""The file of an incremental snapshot: the pieces of ``StateMachine.export``, each behind its length as a u32."""

from __future__ import annotations

import struct
from typing import TYPE_CHECKING

from scribe_ledger.errors import VerificationError
from scribe_ledger.objects.durable import storage_errors

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

LENGTH = struct.Struct(">I")
MAX_PIECE_BYTES = 256 << 20
"""Far above any piece: what a length may be before it is believed."""


def read_spool(path: Path) -> Iterator[bytes]:
    """Of a file that is what its giver wrote: ``VerificationError`` for what is no run of pieces."""
    with storage_errors("read", path), path.open("rb") as file:
        while head := file.read(LENGTH.size):
            length = LENGTH.unpack(head)[0] if len(head) == LENGTH.size else MAX_PIECE_BYTES + 1
            piece = file.read(length) if length <= MAX_PIECE_BYTES else b""
            if len(piece) != length:
                raise VerificationError(f"{path} is no run of pieces")
            yield piece
