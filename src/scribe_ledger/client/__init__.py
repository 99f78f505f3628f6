"""Clients of a ledger that is served over HTTP: ``Client`` and ``AsyncClient``, which verify what they receive.

From the outside in: ``client`` and ``asynchronous`` are thin shells over ``connection`` and ``streams``, which move
bytes. What to ask is in ``operations`` and ``listing``, how it is written in ``requests`` and ``answers``, what to
believe in ``trust``, whom to ask and for how long in ``nodes``: all of it without I/O, so both clients share it.
"""

from scribe_ledger.client.asynchronous import AsyncClient
from scribe_ledger.client.client import Client

__all__ = ["AsyncClient", "Client"]
