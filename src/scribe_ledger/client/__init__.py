"""Clients of a ledger that is served over HTTP: ``Client`` and ``AsyncClient``, which verify what they receive.

From the outside in: ``client`` and ``asynchronous`` are thin shells over ``connection`` and ``streams``, which move
bytes. What to ask is in ``operations`` and ``listing``, how it is written in ``requests`` and ``answers``, what to
believe in ``trust``, whom to ask and for how long in ``nodes``: all of it without I/O, so both clients share it.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from scribe_ledger.client.client import Client

if TYPE_CHECKING:
    from scribe_ledger.client.asynchronous import AsyncClient

__all__ = ["AsyncClient", "Client"]


def __getattr__(name: str) -> object:
    """``AsyncClient`` brings asyncio with it, so it is loaded when it is first asked for."""
    if name != "AsyncClient":
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    from scribe_ledger.client.asynchronous import AsyncClient

    return AsyncClient
