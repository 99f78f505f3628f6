"""The ledger's policies: state that decides what ``apply`` allows, set at creation and changed by config entries."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any, NamedTuple

from scribe_ledger.errors import ConfigurationError, Corruption

if TYPE_CHECKING:
    from collections.abc import Mapping

APPLY_VERSION = 1
"""The rules of ``apply`` that this code knows. A ledger may ask for older ones, never for newer."""
CHOICES = {"overwrite": ("version", "forbid"), "deletes": ("tombstone", "forbid")}


class NewerRules(ConfigurationError):
    """Rules of ``apply`` are asked for that this program does not know. It must stop: skipping them would fork."""


class Policy(NamedTuple):
    """``overwrite``: may a key have a second version? ``deletes``: may a key be deleted?

    ``apply_version`` only rises, and in a cluster only when every voter knows the rules of that version.
    """

    overwrite: str = "version"
    deletes: str = "tombstone"
    apply_version: int = 1

    def changed(self, changes: Mapping[str, Any]) -> Policy:
        """A copy with other policies; unknown names and values are refused."""
        for name, value in changes.items():
            if name == "apply_version":
                self._check_version(value)
                continue
            choices = CHOICES.get(name)
            if choices is None:
                raise ConfigurationError(f"there is no policy {name!r}", hint=f"policies: {', '.join(CHOICES)}")
            if value not in choices:
                raise ConfigurationError(f"the policy {name} cannot be {value!r}", hint=f"one of {', '.join(choices)}")
        return self._replace(**changes)

    def _check_version(self, version: object) -> None:
        if not isinstance(version, int) or isinstance(version, bool) or version < self.apply_version:
            raise ConfigurationError(
                f"apply_version cannot become {version!r}", hint=f"it is {self.apply_version}, and only rises"
            )
        check_known(version)

    def choices(self) -> dict[str, str]:
        """The policies by name."""
        return {name: getattr(self, name) for name in CHOICES}

    def encode(self) -> bytes:
        return json.dumps(self._asdict(), sort_keys=True, separators=(",", ":")).encode()

    @classmethod
    def decode(cls, record: bytes) -> Policy:
        try:
            fields = json.loads(record)
            policies = {name: fields[name] for name in CHOICES}
            return cls(apply_version=int(fields["apply_version"])).changed(policies)
        except (ValueError, KeyError, TypeError, ConfigurationError) as error:
            raise Corruption("the record of the ledger's policies cannot be read") from error


def check_known(apply_version: int) -> None:
    """Raises ``NewerRules`` for a version that this program does not know."""
    if apply_version > APPLY_VERSION:
        raise NewerRules(
            f"this ledger applies by rules of version {apply_version}, this program knows {APPLY_VERSION}",
            hint="use a newer scribe-ledger",
        )
