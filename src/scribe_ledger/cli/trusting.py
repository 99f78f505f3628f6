"""Which ledger a reader over a URL expects, and where it remembers what it has seen of it."""

from __future__ import annotations

import os
from hashlib import sha256
from pathlib import Path

from scribe_ledger.errors import InvalidRequest, SerializationError

NOWHERE = "-"
"""As a trust file: what is seen is remembered for one command only."""


def public_key_of(given: str) -> str:
    """A verifier key as it is, or out of a file that holds nothing else."""
    from scribe_ledger.merkle.note import Verifier

    try:
        return str(Verifier.parse(given.strip()))
    except SerializationError as error:
        if not Path(given).is_file():
            raise SerializationError(f"{error.message}, and there is no such file", hint=error.hint) from error
    try:
        text = Path(given).read_text(encoding="utf-8")
    except UnicodeDecodeError as error:
        raise SerializationError(f"{Path(given).name} is not a public key: it is not a text") from error
    return str(Verifier.parse(text.strip()))


def trust_file(given: str | None, public_key: str | None) -> Path | None:
    """Where the last checkpoint of this ledger is remembered; None for nowhere."""
    if public_key is None:
        if given not in (None, NOWHERE):
            raise InvalidRequest(
                "a trust file remembers nothing without the ledger's public key", hint="give --public-key too"
            )
        return None
    if given == NOWHERE:
        return None
    return default_trust_file(public_key) if given is None else Path(given)


def default_trust_file(public_key: str) -> Path:
    """One file for each key, where the XDG directories have the state of programs."""
    state = os.environ.get("XDG_STATE_HOME") or "~/.local/state"
    name = sha256(public_key.encode()).hexdigest()[:32]
    return Path(state).expanduser() / "scribe-ledger" / f"{name}.trust"
