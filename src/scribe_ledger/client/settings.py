"""What a client is made with, checked; both clients take the same."""

from __future__ import annotations

from typing import TYPE_CHECKING

from scribe_ledger.client.trust import Trust
from scribe_ledger.client.trust_file import TrustFile
from scribe_ledger.errors import ConfigurationError

if TYPE_CHECKING:
    import os

CONSISTENCIES = (None, "linearizable", "stale")


def make_trust(public_key: str | None, path: str | os.PathLike[str] | None) -> tuple[Trust | None, TrustFile | None]:
    """The memory of a client that verifies, and where it is kept. None for one that does not."""
    if public_key is None:
        if path is not None:
            raise ConfigurationError(
                "a trust file without the ledger's public key remembers nothing", hint="give public_key= too"
            )
        return None, None
    if not isinstance(public_key, str):
        raise ConfigurationError(f"the public key is {type(public_key).__name__}", hint="its text: name+id+base64")
    if path is None:
        return Trust(public_key), None
    file = TrustFile(path, public_key)
    return Trust(public_key, remembered=file.load()), file


def check_settings(consistency: str | None, **numbers: float) -> None:
    if consistency not in CONSISTENCIES:
        raise ConfigurationError(f"the consistency {consistency!r} is unknown", hint="linearizable or stale")
    for name, number in numbers.items():
        if not isinstance(number, int | float) or isinstance(number, bool) or not number >= 0:
            raise ConfigurationError(f"{name} is {number!r}", hint="a number that is not negative")
