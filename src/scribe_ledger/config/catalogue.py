"""The settings as a flat table: dotted key, environment name, kind, default, and what a good value looks like.

Derived from ``sections`` once, on import. Environment names are made from keys, never keys from names: splitting
``SCRIBE_STORAGE_S3_ACCESS_KEY_ID`` on ``_`` could not tell sections from words.
"""

from __future__ import annotations

import json
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Literal, get_args, get_origin

from pydantic import BaseModel
from pydantic_core import PydanticUndefined

from scribe_ledger.config.sections import MAX_INTEGER, Settings

if TYPE_CHECKING:
    from collections.abc import Iterator

    from pydantic.fields import FieldInfo

Kind = Literal["bool", "int", "float", "text", "texts", "floats"]

_KINDS: dict[Any, Kind] = {bool: "bool", int: "int", float: "float", str: "text"}
_LISTS: dict[Any, Kind] = {float: "floats", str: "texts"}
NOUNS: dict[Kind, str] = {
    "bool": "true or false",
    "int": "a whole number",
    "float": "a number",
    "text": "text",
    "texts": "a list of texts",
    "floats": "a list of numbers",
}


@dataclass(frozen=True)
class Setting:
    """One key that can be set."""

    key: str
    kind: Kind
    default: Any
    required: bool
    meaning: str
    choices: tuple[str, ...] = ()
    least: int | None = None
    most: int | None = None

    @property
    def section(self) -> str:
        return self.key.rpartition(".")[0]

    @property
    def name(self) -> str:
        return self.key.rpartition(".")[2]

    @property
    def environment(self) -> str:
        return environment_name(self.key)

    @property
    def expects(self) -> str:
        """A good value in words, to follow "Give" or "must be"."""
        if self.choices:
            return "one of " + ", ".join(self.choices)
        noun = NOUNS[self.kind]
        if self.least is None and self.most is None:
            return noun
        if self.most in {None, MAX_INTEGER}:
            return f"{noun}, {self.least} or more"
        return self.bounds

    @property
    def bounds(self) -> str:
        """The same with the upper bound, also where that is only what the machine can count to."""
        return f"{NOUNS[self.kind]} from {self.least} to {self.most}"


def environment_name(key: str) -> str:
    """``SCRIBE_<SECTION>_<KEY>`` of a dotted key."""
    return "SCRIBE_" + key.upper().replace(".", "_")


def as_toml(value: Any) -> str:
    """A value as one would write it in the file."""
    if isinstance(value, str):
        return json.dumps(value, ensure_ascii=False)
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, (list, tuple)):
        return "[" + ", ".join(as_toml(item) for item in value) + "]"
    if isinstance(value, dict):
        return "{…}"
    return str(value)


def _section_model(field: FieldInfo) -> type[BaseModel] | None:
    candidates = get_args(field.annotation) or (field.annotation,)
    return next((each for each in candidates if isinstance(each, type) and issubclass(each, BaseModel)), None)


def _kind(annotation: Any) -> Kind:
    if get_origin(annotation) is tuple:
        item = get_args(annotation)[0]
        return _LISTS[get_args(item)[0] if get_args(item) else item]
    return _KINDS[annotation]


def _setting(key: str, field: FieldInfo) -> Setting:
    choices = get_args(field.annotation) if get_origin(field.annotation) is Literal else ()
    limits = {name: getattr(mark, name) for mark in field.metadata for name in ("ge", "le") if hasattr(mark, name)}
    return Setting(
        key=key,
        kind="text" if choices else _kind(field.annotation),
        default=None if field.default is PydanticUndefined else field.default,
        required=field.is_required(),
        meaning=field.description or "",
        choices=choices,
        least=limits.get("ge"),
        most=limits.get("le"),
    )


def _walk(model: type[BaseModel], prefix: str) -> Iterator[tuple[str, type[BaseModel] | Setting]]:
    # Plain keys before nested tables, as TOML wants them written.
    tables = {}
    for name, field in model.model_fields.items():
        nested = _section_model(field)
        if nested is None:
            yield prefix + name, _setting(prefix + name, field)
        else:
            tables[prefix + name] = nested
    for key, nested in tables.items():
        yield key, nested
        yield from _walk(nested, f"{key}.")


_ALL = tuple(_walk(Settings, ""))
SETTINGS: dict[str, Setting] = {key: item for key, item in _ALL if isinstance(item, Setting)}
"""Every setting by its dotted key, in the order of the reference page."""
SECTIONS: dict[str, type[BaseModel]] = {key: item for key, item in _ALL if not isinstance(item, Setting)}
"""Every table by its dotted name."""
ENVIRONMENT: dict[str, str] = {item.environment: key for key, item in SETTINGS.items()}
"""Environment name to key."""
OTHER_VARIABLES = frozenset({"SCRIBE_URL", "SCRIBE_DATA", "SCRIBE_PUBLIC_KEY", "SCRIBE_TRUST"})
"""Variables of the ``scribe`` command that are not settings of a node."""
FLAGS: dict[str, str] = {
    "node.id": "--node-id",
    "node.data_dir": "--data-dir",
    "network.client_port": "--port",
    "logging.level": "--log-level",
}
"""The flags of ``scribe-node`` that set a key."""
