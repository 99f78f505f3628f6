"""Where values come from: a TOML file, the environment, flags. Each becomes a layer; later layers win.

A layer maps dotted keys to values together with the place they were written at, so that every message and
``scribe config show`` can name it. This module judges names, not values: unknown names, tables that are not tables,
texts in the environment that do not read as the setting's kind, and contradictions within one layer.
"""

from __future__ import annotations

import re
import tomllib
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from scribe_ledger.config.addresses import split_address
from scribe_ledger.config.catalogue import (
    ENVIRONMENT,
    FLAGS,
    NOUNS,
    OTHER_VARIABLES,
    SECTIONS,
    SETTINGS,
    Kind,
    as_toml,
)
from scribe_ledger.config.masking import mask
from scribe_ledger.config.old_spellings import OLD_ENVIRONMENT, OLD_KEYS, OldSpelling
from scribe_ledger.config.problems import Problem, UnsuitableError, nearest

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping
    from pathlib import Path

ENVIRONMENT_LAYER = "environment"
FLAG_LAYER = "flags"


@dataclass(frozen=True)
class Origin:
    """Where one value was written, and under which name."""

    layer: str
    spelled: str
    key: str

    @property
    def source(self) -> str:
        """Short, for ``scribe config show``."""
        if self.layer in {ENVIRONMENT_LAYER, FLAG_LAYER}:
            return self.spelled
        return self.layer if self.spelled == self.key else f"{self.layer} ({self.spelled})"

    def place(self, value: Any = None) -> str:
        """Long, for messages: ``config.toml: network.client_port = 70000``."""
        shown = "" if value is None else f" = {as_toml(mask(self.key, value)[0])}"
        now = "" if self.spelled == self.key else f" ({self.key})"
        return f"{self.layer}: {self.spelled}{shown}{now}"


@dataclass(frozen=True)
class Given:
    """A value and where it was written."""

    value: Any
    origin: Origin


@dataclass
class Layer:
    """What one source says, under present names."""

    given: dict[str, Given] = field(default_factory=dict)
    tables: dict[str, str] = field(default_factory=dict)
    """Tables that are present, with their file. An empty [storage.s3] still asks for a bucket."""
    problems: list[Problem] = field(default_factory=list)
    warnings: list[str] = field(default_factory=list)
    readable: bool = True
    """False where the source as a whole could not be read."""

    def settle(self, old: list[tuple[OldSpelling, Given]]) -> Layer:
        """Put old spellings under their new names and the port of ``listen_addr`` into ``client_port``."""
        for spelling, given in old:
            self._translate(spelling, given)
        self._split_listen_address()
        return self

    def _translate(self, spelling: OldSpelling, given: Given) -> None:
        try:
            meant = spelling.translate(given.value)
        except UnsuitableError as error:
            self.problems.append(
                Problem(given.origin.place(given.value), error.what, error.remedy, spelling.successors)
            )
            return
        self.warnings.append(spelling.warning(f"{given.origin.layer}: {given.origin.spelled}", meant))
        for key, value in meant.items():
            self._imply(key, Given(value, Origin(given.origin.layer, given.origin.spelled, key)))

    def _split_listen_address(self) -> None:
        given = self.given.get("network.listen_addr")
        if given is None or not isinstance(given.value, str):
            return
        try:
            host, port = split_address(given.value)
        except UnsuitableError:
            return  # the validation of the value says it better
        if port is not None:
            # Split here, not after merging, so that a later layer's --port wins over an earlier layer's host:port.
            self.given["network.listen_addr"] = Given(host, given.origin)
            origin = Origin(given.origin.layer, given.origin.spelled, "network.client_port")
            self._imply("network.client_port", Given(port, origin), shown=given.value)

    def _imply(self, key: str, implied: Given, *, shown: Any = None) -> None:
        standing = self.given.setdefault(key, implied)
        if standing.value == implied.value or type(standing.value) is not type(implied.value):
            return  # values of different kinds: the wrong one is reported by itself
        places = (
            implied.origin.place(implied.value if shown is None else shown),
            standing.origin.place(standing.value),
        )
        remedy = f"Keep only {standing.origin.spelled}, or make them equal"
        self.problems.append(Problem(" and ".join(places), "disagree", remedy, (key,)))


# --- the three sources -----------------------------------------------------------------------------------------


def read_file(path: Path) -> Layer:
    """The layer of a TOML file. A file that cannot be read is a problem, not an exception."""
    layer, label = Layer(), str(path)
    try:
        document = tomllib.loads(path.read_text(encoding="utf-8-sig"))
    except OSError as error:
        layer.problems.append(
            Problem(f"{label}:", f"cannot be read: {error.strerror}", "Check the path given with -c/--config")
        )
    except UnicodeDecodeError:
        layer.problems.append(Problem(f"{label}:", "is not UTF-8 text", "Save it as UTF-8"))
    except ValueError as error:  # TOMLDecodeError, or a number with too many digits
        layer.problems.append(_syntax_problem(label, error))
    else:
        old: list[tuple[OldSpelling, Given]] = []
        _read_table(layer, old, label, document, "")
        return layer.settle(old)
    layer.readable = False
    return layer


def read_environment(environ: Mapping[str, str]) -> Layer:
    """The layer of the ``SCRIBE_*`` variables."""
    layer = Layer()
    old: list[tuple[OldSpelling, Given]] = []
    for name in sorted(environ):
        if not name.startswith("SCRIBE_") or name in OTHER_VARIABLES:
            continue
        key, spelling = ENVIRONMENT.get(name), OLD_ENVIRONMENT.get(name)
        if key is not None:
            _take_text(layer, Origin(ENVIRONMENT_LAYER, name, key), environ[name])
        elif spelling is not None:
            origin = Origin(ENVIRONMENT_LAYER, name, spelling.successors[0] if spelling.successors else spelling.key)
            try:
                old.append((spelling, Given(parse_text(environ[name], spelling.kind), origin)))
            except UnsuitableError as error:
                layer.problems.append(
                    Problem(origin.place(environ[name]), error.what, error.remedy, spelling.successors)
                )
        else:
            layer.problems.append(_unknown_variable(name))
    return layer.settle(old)


def read_overrides(overrides: Mapping[str, Any]) -> Layer:
    """The layer of flags: dotted keys to values. None means that the flag was not given; text is parsed."""
    layer = Layer()
    for key, value in overrides.items():
        if value is None:
            continue
        if key not in SETTINGS:
            layer.problems.append(_unknown_key(FLAG_LAYER, key, value))
            continue
        origin = Origin(FLAG_LAYER, FLAGS.get(key, key), key)
        if isinstance(value, str):
            _take_text(layer, origin, value)
        else:
            layer.given[key] = Given(value, origin)
    return layer.settle([])


def _take_text(layer: Layer, origin: Origin, text: str) -> None:
    setting = SETTINGS[origin.key]
    try:
        layer.given[origin.key] = Given(parse_text(text, setting.kind), origin)
    except UnsuitableError as error:
        layer.problems.append(Problem(origin.place(text), error.what, f"Give {setting.expects}", (origin.key,)))


def _read_table(
    layer: Layer, old: list[tuple[OldSpelling, Given]], label: str, table: Mapping[str, Any], prefix: str
) -> None:
    for name, value in table.items():
        key = prefix + name
        if key in SECTIONS:
            if isinstance(value, dict):
                layer.tables[key] = label
                _read_table(layer, old, label, value, f"{key}.")
            else:
                place = Origin(label, key, key).place(value)
                layer.problems.append(Problem(place, "is not a table", f"Write its keys below a line [{key}]", (key,)))
        elif key in SETTINGS:
            layer.given[key] = Given(value, Origin(label, key, key))
        elif key in OLD_KEYS:
            successors = OLD_KEYS[key].successors
            old.append((OLD_KEYS[key], Given(value, Origin(label, key, successors[0] if successors else key))))
        else:
            layer.problems.append(_unknown_key(label, key, value))


# --- texts to values -------------------------------------------------------------------------------------------

_TRUE = frozenset({"true", "yes", "on", "1"})
_FALSE = frozenset({"false", "no", "off", "0"})


def parse_text(text: str, kind: Kind) -> Any:
    """A variable's text as a value of ``kind``; lists are comma-separated. Raises UnsuitableError."""
    stripped = text.strip()
    match kind:
        case "text":
            return text
        case "texts":
            return [item.strip() for item in text.split(",")] if stripped else []
        case "floats":
            return [parse_text(item, "float") for item in text.split(",")] if stripped else []
        case "bool" if stripped.lower() in _TRUE | _FALSE:
            return stripped.lower() in _TRUE
        case "int" if re.fullmatch(r"[+-]?[0-9]{1,30}", stripped):
            return int(stripped)
        case "float" if re.fullmatch(r"[+-]?([0-9]+\.?[0-9]*|\.[0-9]+)([eE][+-]?[0-9]{1,3})?", stripped):
            return float(stripped)
    raise UnsuitableError(f"does not read as {NOUNS[kind]}", f"Give {NOUNS[kind]}")


# --- unknown names ---------------------------------------------------------------------------------------------

_KUBERNETES = re.compile(r"SCRIBE_(\w+_)?(SERVICE_(HOST|PORT(_\w+)?)|PORT(_\d+_(TCP|UDP|SCTP)(_[A-Z]+)?)?)")


def _syntax_problem(label: str, error: ValueError) -> Problem:
    what, _, position = str(error).rpartition(" (at ")
    return Problem(
        f"{label}: {position.rstrip(')')}:" if what else f"{label}:",
        f"is not TOML: {what or error}",
        "Mend that line; text needs quotes, and each table and key may stand only once",
    )


def _unknown_variable(name: str) -> Problem:
    place = f"{ENVIRONMENT_LAYER}: {name}"
    # A Service called "scribe" makes Kubernetes put such names into every pod of the namespace.
    from_kubernetes = _KUBERNETES.fullmatch(name) is not None
    guess = nearest(name, [*ENVIRONMENT, *OTHER_VARIABLES], cutoff=0.85 if from_kubernetes else 0.6)
    if guess:
        remedy = f"Did you mean {guess}?"
    elif from_kubernetes:
        remedy = "Kubernetes makes such names for a Service called scribe: set enableServiceLinks: false in the pod"
    else:
        remedy = "Unset it; `scribe config show` lists all settings"
    return Problem(place, "is not a setting", remedy)


def _unknown_key(label: str, key: str, value: Any) -> Problem:
    section, _, name = key.rpartition(".")
    place = f"{label}: [{key}]" if isinstance(value, dict) else f"{label}: {key}"
    if isinstance(value, dict):
        guess = nearest(key, list(SECTIONS))
        known = ", ".join(f"[{each}]" for each in SECTIONS)
        remedy = f"Did you mean [{guess}]?" if guess else f"The tables are {known}"
        return Problem(place, "is not a table of settings", remedy)
    guess = next(_guesses(section, name), None)
    if guess:
        remedy = f"Did you mean {guess}?"
    elif section in SECTIONS:
        known = ", ".join(setting.name for setting in SETTINGS.values() if setting.section == section)
        remedy = f"Remove it; the keys of [{section}] are {known}"
    else:
        remedy = "Remove it, or put it into its table; `scribe config show` lists all settings"
    return Problem(place, "is not a setting", remedy)


def _guesses(section: str, name: str) -> Iterator[str]:
    """The likeliest first: misspelt in its own table, right but in the wrong table, misspelt anywhere."""
    own = [setting.name for setting in SETTINGS.values() if setting.section == section]
    close = nearest(name, own, cutoff=0.75)
    if close:
        yield f"{section}.{close}"
    yield from (setting.key for setting in SETTINGS.values() if setting.name == name)
    wide = nearest(name, own)
    if wide:
        yield f"{section}.{wide}"
    whole = nearest(f"{section}.{name}" if section else name, list(SETTINGS), cutoff=0.75)
    if whole:
        yield whole
    elsewhere = nearest(name, [setting.name for setting in SETTINGS.values()], cutoff=0.75)
    yield from (setting.key for setting in SETTINGS.values() if elsewhere and setting.name == elsewhere)
