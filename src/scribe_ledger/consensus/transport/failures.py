"""Errors that travel: ``(kind, message, hint)`` as JSON, raised as the same class at the other end."""

from __future__ import annotations

from typing import TYPE_CHECKING

import orjson

from scribe_ledger import errors
from scribe_ledger.errors import OutcomeUnknown, ScribeError

if TYPE_CHECKING:
    from collections.abc import Mapping

_TEXT_BYTES = 4096


def _by_kind() -> Mapping[str, type[ScribeError]]:
    classes = (each for each in vars(errors).values() if isinstance(each, type) and issubclass(each, ScribeError))
    return {each.kind: each for each in classes}


_CLASSES = _by_kind()


def encode_failure(error: ScribeError) -> bytes:
    fields = {"kind": error.kind, "message": error.message[:_TEXT_BYTES], "hint": error.hint[:_TEXT_BYTES]}
    return orjson.dumps(fields)


def decode_failure(body: bytes | memoryview) -> ScribeError:
    """A kind of a newer version says nothing about what happened over there, so that is what is raised."""
    try:
        fields = orjson.loads(body)
        kind, message, hint = (str(fields[name]) for name in ("kind", "message", "hint"))
    except (ValueError, KeyError, TypeError):
        return OutcomeUnknown("the other node failed, and its reason cannot be read")
    known = _CLASSES.get(kind)
    return (
        known(message, hint=hint) if known else OutcomeUnknown(f"{message} (of a kind unknown here: {kind})", hint=hint)
    )
