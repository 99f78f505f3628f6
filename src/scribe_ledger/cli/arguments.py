"""Types of arguments: bytes as the shell passed them, and ``name=value`` pairs. Limits are the ledger's to check."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING, Any

import click

if TYPE_CHECKING:
    BytesType = click.ParamType[bytes]
    PairType = click.ParamType[tuple[str, str]]
    TextType = click.ParamType[str]
else:  # generic only since click 8.2
    BytesType = PairType = TextType = click.ParamType


class Bytes(BytesType):
    """An argument as bytes, also where it is not valid UTF-8."""

    name = "bytes"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> bytes:
        return value if isinstance(value, bytes) else os.fsencode(value)


class Key(Bytes):
    """A key that a ledger could hold; refused here, before a ledger is opened or created."""

    name = "key"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> bytes:
        from scribe_ledger.ledger.commands import key_bytes

        return key_bytes(super().convert(value, param, ctx))


class Pair(PairType):
    """``name=value``."""

    name = "name=value"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> tuple[str, str]:
        if isinstance(value, tuple):
            return value
        name, separator, text = str(value).partition("=")
        if not separator:
            self.fail(f"{value!r} is not name=value", param, ctx)
        return name, text


class RequestId(TextType):
    """What can be sent to a node. A folder takes no other, so that a retry may go either way."""

    name = "id"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> str:
        from scribe_ledger.client.arguments import request_id_text

        return request_id_text(value)


BYTES, KEY, PAIR, REQUEST_ID = Bytes(), Key(), Pair(), RequestId()
NATURAL, VERSION = click.IntRange(0, (1 << 64) - 1), click.IntRange(1, (1 << 64) - 1)
