"""Hiding secrets wherever a setting's value is shown: in ``scribe config show`` and in error messages."""

from __future__ import annotations

import re
from typing import Any

MASK = "********"
_WHOLE = frozenset({"secret", "secret_access_key", "cluster_secret"})
_USER_INFO = re.compile(r"(?<=//)[^/?#]*@")
_QUERY_VALUE = re.compile(r"([?&][^=&#]+=)[^&#]+")


def mask(key: str, value: Any) -> tuple[Any, bool]:
    """What may be shown of ``value``, and whether anything was hidden."""
    name = key.rpartition(".")[2]
    if value in ("", None):
        return value, False
    if name in _WHOLE:
        return MASK, True
    if name == "access_key_id":
        text = str(value)
        # A few letters tell two keys apart; of a short key they would tell too much.
        return (text[:4] if len(text) >= 10 else "") + MASK, True
    if isinstance(value, str) and "//" in value:
        shown = _QUERY_VALUE.sub(rf"\g<1>{MASK}", _USER_INFO.sub(f"{MASK}@", value))
        return shown, shown != value
    return value, False
