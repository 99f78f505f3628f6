"""Query parameters: declared once, parsed strictly by the declaration, documented from it.

A parameter that a route does not declare is refused: a misspelt ``as_of`` must not be answered with the latest value.
"""

from __future__ import annotations

from dataclasses import dataclass
from difflib import get_close_matches
from typing import TYPE_CHECKING, Any, Literal
from urllib.parse import unquote_to_bytes

from scribe_ledger.errors import InvalidRequest

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

_HIGHEST = (1 << 64) - 1
_FLAGS = {b"true": True, b"1": True, b"": True, b"false": False, b"0": False}


@dataclass(frozen=True)
class Parameter:
    """One query parameter."""

    name: str
    kind: Literal["whole", "flag", "bytes", "text", "choice"]
    description: str
    default: Any = None
    least: int = 0
    most: int = _HIGHEST
    choices: tuple[str, ...] = ()
    required: bool = False
    """Says so in the documents; the handler that misses it says what to give."""

    def parse(self, raw: bytes) -> Any:
        match self.kind:
            case "whole":
                return self._whole(raw)
            case "flag":
                if raw.lower() not in _FLAGS:
                    raise self._wrong(raw, "true or false")
                return _FLAGS[raw.lower()]
            case "bytes":
                return raw
            case "text":
                return self._text(raw)
            case "choice":
                text = self._text(raw)
                if text not in self.choices:
                    raise self._wrong(raw, f"one of {', '.join(self.choices)}")
                return text

    def _whole(self, raw: bytes) -> int:
        if not raw.isdigit() or len(raw) > 20 or not self.least <= int(raw) <= self.most:
            raise self._wrong(raw, f"a whole number from {self.least} to {self.most}")
        return int(raw)

    def _text(self, raw: bytes) -> str:
        try:
            return raw.decode()
        except UnicodeDecodeError as error:
            raise self._wrong(raw, "UTF-8 text") from error

    def _wrong(self, raw: bytes, expected: str) -> InvalidRequest:
        shown = raw[:40].decode("ascii", "backslashreplace")
        return InvalidRequest(f"the parameter {self.name} is {shown!r}", hint=f"it takes {expected}")


class Query:
    """The parsed parameters of one request."""

    __slots__ = ("_declared", "_given")

    def __init__(self, query_string: bytes, declared: Iterable[Parameter]) -> None:
        self._declared = {parameter.name: parameter for parameter in declared}
        self._given: Mapping[str, Any] = dict(self._parse(query_string))

    def __getitem__(self, name: str) -> Any:
        return self._given[name] if name in self._given else self._declared[name].default

    def __contains__(self, name: str) -> bool:
        """Whether the request names it."""
        return name in self._given

    def _parse(self, query_string: bytes) -> Iterable[tuple[str, Any]]:
        seen = set()
        for part in filter(None, query_string.split(b"&")):
            raw_name, _, raw = part.replace(b"+", b" ").partition(b"=")
            name = unquote_to_bytes(raw_name).decode("ascii", "backslashreplace")
            parameter = self._declared.get(name)
            if parameter is None:
                near = get_close_matches(name, self._declared, 1)
                known = f"did you mean {near[0]}?" if near else f"known here: {', '.join(self._declared) or 'none'}"
                raise InvalidRequest(f"the parameter {name[:40]!r} is unknown to this route", hint=known)
            if name in seen:
                raise InvalidRequest(f"the parameter {name} is given twice", hint="give it once")
            seen.add(name)
            yield name, parameter.parse(unquote_to_bytes(raw))


VERSION = Parameter("version", "whole", "One version of the key, counted from 1.", least=1)
INDEX = Parameter("index", "whole", "The entry with this index, if it is the key's.")
AS_OF = Parameter("as_of", "whole", "The key as it was when the ledger had this many entries.")
CONSISTENCY = Parameter(
    "consistency",
    "choice",
    "`linearizable` sees every write acknowledged before; `stale` answers from this node alone.",
    default="linearizable",
    choices=("linearizable", "stale"),
)
AFTER = Parameter("after", "whole", "Wait until the entry with this index is applied here; 503 if that takes too long.")
PROOF = Parameter("proof", "flag", "Answer JSON with the entry, its value and a proof.", default=False)
SINCE = Parameter("since", "whole", "With `proof`: also prove that the log extends the one of this size.")
IF_VERSION = Parameter("if_version", "whole", "Write only if the key's latest version is this one; 0: never written.")
DEDUPE = Parameter("dedupe", "flag", "`false` appends even what equals the latest version.", default=True)
READING = (VERSION, INDEX, AS_OF, CONSISTENCY, AFTER)
FROM = Parameter("from", "whole", "Size of the log to begin at.", required=True)
TO = Parameter("to", "whole", "Size of the log to end at; unless told, that of the newest checkpoint.")
MANIFEST_SINCE = Parameter("since", "whole", "A version of the manifest: answer what was added and removed after it.")
AT = Parameter("at", "whole", "Size of the tree to prove under; unless told, the present one.")
PREFIX = Parameter("prefix", "bytes", "Keys that begin with these bytes.", default=b"")
LIMIT = Parameter("limit", "whole", "Entries in one answer.", default=1000, least=1, most=10_000)
CURSOR = Parameter("cursor", "text", "Where the answer before ended, as it said.")
WITH_VALUES = Parameter("values", "flag", "Give each entry its value.", default=False)
START_KEY = Parameter("start", "bytes", "Begin at this key, or at the next one where there is none of this name.")
START_INDEX = Parameter("start", "whole", "Begin at the entry with this index.", default=0)
WATCH_START = Parameter("start", "whole", "Begin at this index; unless told, with what comes next.")
REVERSE = Parameter("reverse", "flag", "Go backwards.", default=False)
