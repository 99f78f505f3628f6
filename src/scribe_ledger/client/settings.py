"""What a client is made with, checked; both clients take the same."""

from __future__ import annotations

from typing import TYPE_CHECKING

from scribe_ledger.client.trust import Trust
from scribe_ledger.client.trust_file import TrustFile
from scribe_ledger.errors import ConfigurationError
from scribe_ledger.merkle.note import COSIGNATURE_V1, Verifier

if TYPE_CHECKING:
    import os
    from collections.abc import Sequence

CONSISTENCIES = (None, "linearizable", "stale")


def make_trust(
    public_key: str | None,
    path: str | os.PathLike[str] | None,
    cosigners: Sequence[str] = (),
    quorum: int | None = None,
) -> tuple[Trust | None, TrustFile | None]:
    """The memory of a client that verifies, and where it is kept. None for one that does not."""
    _check_cosigners(public_key, cosigners, quorum)
    if public_key is None:
        if path is not None:
            raise ConfigurationError(
                "a trust file without the ledger's public key remembers nothing", hint="give public_key= too"
            )
        return None, None
    if not isinstance(public_key, str):
        raise ConfigurationError(f"the public key is {type(public_key).__name__}", hint="its text: name+id+base64")
    if path is None:
        return Trust(public_key, cosigners=cosigners, quorum=quorum), None
    file = TrustFile(path, public_key)
    return Trust(public_key, remembered=file.load(), cosigners=cosigners, quorum=quorum), file


def _check_cosigners(public_key: str | None, cosigners: Sequence[str], quorum: int | None) -> None:
    if isinstance(cosigners, str) or not all(isinstance(cosigner, str) for cosigner in cosigners):
        raise ConfigurationError("the cosigners are not a list of keys", hint="their texts: name+id+base64")
    for cosigner in cosigners:
        if Verifier.parse(cosigner).algorithm != COSIGNATURE_V1:
            raise ConfigurationError(f"the key {cosigner} is not for cosignatures", hint="take those of /v1/key")
    if cosigners and public_key is None:
        raise ConfigurationError(
            "cosigners without the ledger's public key verify nothing", hint="give public_key= too"
        )
    if quorum is not None and not (type(quorum) is int and 1 <= quorum <= len(set(cosigners))):
        raise ConfigurationError(
            f"a quorum of {quorum!r} of {len(set(cosigners))} cosigners", hint="from 1 to as many as there are"
        )


def check_settings(consistency: str | None, **numbers: float) -> None:
    check_consistency(consistency)
    for name, number in numbers.items():
        if not isinstance(number, int | float) or isinstance(number, bool) or not number >= 0:
            raise ConfigurationError(f"{name} is {number!r}", hint="a number that is not negative")


def check_consistency(consistency: str | None) -> None:
    if consistency not in CONSISTENCIES:
        raise ConfigurationError(f"the consistency {consistency!r} is unknown", hint="linearizable or stale")
