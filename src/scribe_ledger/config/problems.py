"""What can be wrong with settings, and the one error that says all of it at once.

Owns the wording frame: every problem names its place (file, variable or flag), its key and a remedy. It does not
find problems; ``layers``, ``sections`` and ``checks`` do.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

from scribe_ledger.errors import ConfigurationError

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence


class ConfigurationWarning(UserWarning):
    """A setting that works but should be written differently, such as a spelling of the original project."""


class UnsuitableError(ValueError):
    """Raised where one value is judged: what is wrong with it, and what to write instead."""

    def __init__(self, what: str, remedy: str) -> None:
        super().__init__(f"{what}. {remedy}")
        self.what = what
        self.remedy = remedy


class Problem(NamedTuple):
    """One thing that is wrong, in words that stand alone."""

    place: str
    """Where it was written: ``config.toml: network.client_port = 70000``."""
    what: str
    remedy: str
    keys: tuple[str, ...] = ()
    """The settings concerned, by their present dotted names."""

    def __str__(self) -> str:
        return f"{self.place} {self.what}. {self.remedy}"

    def to_json(self) -> dict[str, object]:
        return {"place": self.place, "what": self.what, "remedy": self.remedy, "keys": list(self.keys)}


class SettingsError(ConfigurationError):
    """All that is wrong with the settings. ``problems`` holds the same list for programs.

    ``warnings`` are what should be written differently besides: whoever mends the one can mend the other.
    """

    def __init__(self, problems: Iterable[Problem], warnings: Sequence[str] = ()) -> None:
        self.warnings = tuple(warnings)
        # Two layers can lead to the same finding; it is said once.
        self.problems = tuple(dict.fromkeys(problems))
        count = len(self.problems)
        title = "1 problem in the settings" if count == 1 else f"{count} problems in the settings"
        super().__init__("\n".join([f"{title}:", *(f"  - {problem}" for problem in self.problems)]))


def nearest(name: str, known: Sequence[str], *, cutoff: float = 0.6) -> str | None:
    """The known name that was most likely meant, or None."""
    from difflib import get_close_matches

    matches = get_close_matches(name, known, n=1, cutoff=cutoff)
    return matches[0] if matches else None
