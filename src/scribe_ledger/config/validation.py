"""Turning merged values into ``Settings``, or into problems in our own words.

Pydantic finds all wrong values of one pass; the wrong ones are then left out, so that the rules between settings can
be checked on the rest. That is how one error can hold everything.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from pydantic import ValidationError

from scribe_ledger.config.catalogue import NOUNS, SECTIONS, SETTINGS, Setting, as_toml
from scribe_ledger.config.checks import Disagreement, disagreements
from scribe_ledger.config.layers import ENVIRONMENT_LAYER, Given, Layer
from scribe_ledger.config.masking import mask
from scribe_ledger.config.problems import Problem, UnsuitableError, nearest
from scribe_ledger.config.sections import Settings

if TYPE_CHECKING:
    from collections.abc import Sequence

    from pydantic_core import ErrorDetails

_BUCKET = "storage.s3.bucket"


class Merged:
    """What all layers say together: the value of each key that was set; later layers win."""

    def __init__(self, layers: Sequence[Layer] = ()) -> None:
        self.given: dict[str, Given] = {}
        self.tables: dict[str, str] = {}
        for layer in layers:
            self.given.update(layer.given)
            self.tables.update(layer.tables)

    def document(self, *, without: frozenset[str] = frozenset()) -> dict[str, Any]:
        """Nested tables, as the models read them."""
        document: dict[str, Any] = {}
        for table in self.tables:
            _descend(document, table)
        for key, given in self.given.items():
            if key not in without:
                section, _, name = key.rpartition(".")
                _descend(document, section)[name] = given.value
        return document

    def place(self, key: str, settings: Settings) -> str:
        """Where ``key`` (or a whole table) was set, with its value."""
        if key in SECTIONS:
            return f"{self.layer_of(key)}: [{key}]"
        if key in self.given:
            return self.given[key].origin.place(self.given[key].value)
        value = value_of(settings, key)
        origin = "default" if value == SETTINGS[key].default else "given"
        return f"{origin}: {key} = {as_toml(mask(key, value)[0])}"

    def layer_of(self, table: str) -> str:
        """The layers that mention ``table``."""
        layers = [self.tables[table]] if table in self.tables else []
        layers += [given.origin.layer for key, given in self.given.items() if key.startswith(f"{table}.")]
        return ", ".join(dict.fromkeys(layers)) or "given"


def judge(merged: Merged, doubtful: frozenset[str] = frozenset()) -> list[Problem]:
    """Everything that is wrong with the merged values. Of ``doubtful`` keys it is known already that they are."""
    problems: list[Problem] = []
    wrong = set(doubtful)
    try:
        settings = Settings.model_validate(merged.document())
    except ValidationError as error:
        for details in error.errors(include_url=False):
            key = ".".join(part for part in details["loc"] if isinstance(part, str))
            wrong.add(key)
            problems.append(_value_problem(key, details, merged))
        rest = merged.document(without=frozenset(wrong))
        if _BUCKET in wrong:
            _descend(rest, "storage.s3")["bucket"] = "stands-in-for-the-wrong-one"
        settings = Settings.model_validate(rest)
    # A wrong value was replaced by its default, which must not be blamed for what the right one would not have done.
    sound = (found for found in disagreements(settings) if wrong.isdisjoint(found.keys))
    return problems + [explain(found, settings, merged) for found in sound]


def explain(found: Disagreement, settings: Settings, merged: Merged) -> Problem:
    """Name each setting of a disagreement with its value and its place."""
    places = ", ".join(merged.place(key, settings) for key in found.keys)
    return Problem(places, found.what, found.remedy, found.keys)


def value_of(settings: Settings, key: str) -> Any:
    """The value at a dotted key; None inside a table that is absent."""
    value: Any = settings
    for name in key.split("."):
        value = getattr(value, name, None)
    return value


def _descend(document: dict[str, Any], table: str) -> dict[str, Any]:
    for name in table.split("."):
        document = document.setdefault(name, {})
    return document


def _value_problem(key: str, details: ErrorDetails, merged: Merged) -> Problem:
    setting = SETTINGS[key]
    if details["type"] == "missing":
        remedy = f'Add {setting.name} = "…" below [{setting.section}], or set {setting.environment}'
        return Problem(f"{merged.layer_of(setting.section)}: {key}", "is missing", remedy, (key,))
    origin, value = merged.given[key].origin, details["input"]
    index = next((part for part in details["loc"] if isinstance(part, int)), None)
    place = origin.place(value) if index is None else f"{origin.place()}, item {index + 1}, {as_toml(value)},"
    what, remedy = _judgement(setting, details)
    if index is not None and remedy.endswith(setting.expects):
        remedy = f"Every item must be {NOUNS['text' if setting.kind == 'texts' else 'float']}"
    if isinstance(value, str) and setting.kind not in {"text", "texts"} and origin.layer != ENVIRONMENT_LAYER:
        remedy += ", without quotes"
    return Problem(place, what, remedy, (key,))


def _judgement(setting: Setting, details: ErrorDetails) -> tuple[str, str]:
    cause = details.get("ctx", {}).get("error")
    if isinstance(cause, UnsuitableError):
        return cause.what, cause.remedy
    match details["type"]:
        case "greater_than_equal":
            what = "is too small"
        case "less_than_equal":
            return "is too large", f"Give {setting.bounds}"
        case "literal_error":
            guess = nearest(str(details["input"]), setting.choices)
            meant = f"Did you mean {guess}? " if guess else ""
            return "is not one of the choices", f"{meant}Choose {' or '.join(setting.choices)}"
        case _:
            what = "is of the wrong type"
    return what, f"Give {setting.expects}"
