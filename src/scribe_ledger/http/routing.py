"""Routes as a table: one declaration says where a request goes, what it may hold and how it is documented."""

from __future__ import annotations

import re
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, TypeAlias

from scribe_ledger.errors import InvalidRequest, MethodNotAllowed, NotFound
from scribe_ledger.http.paths import KEYS, RESERVED, normal_path
from scribe_ledger.http.problems import Problem
from scribe_ledger.http.replies import reply

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Iterable, Mapping, Sequence

    from starlette.responses import Response

    from scribe_ledger.http.parameters import Parameter
    from scribe_ledger.http.request import Request

    Handler: TypeAlias = Callable[[Request], Awaitable[Response]]

KEY = "{key}"
UNROUTED = "(none)"
"""What metrics call the route of a request that found none."""
_REST = re.compile(r"\{[a-z]+\}$")


@dataclass(frozen=True)
class Route:
    """One method of one path. A path that ends in ``{key}``, or another name, takes all the rest of the path as it."""

    method: str
    path: str
    handler: Handler
    summary: str
    parameters: Sequence[Parameter] = ()
    headers: Sequence[str] = ()
    """Names of request headers that mean something here; ``openapi`` describes each."""
    body: str = ""
    """Name of the request body's schema, or ``bytes``."""
    answers: Mapping[int, str] = field(default_factory=dict)
    """Status to the name of the answer's schema, or a media type; errors every route may give go without saying."""
    tag: str = "values"


class Router:
    """Finds the route of a request."""

    def __init__(self, routes: Sequence[Route]) -> None:
        self._exact: dict[bytes, dict[str, Route]] = {}
        self._keyed: dict[bytes, dict[str, Route]] = {}
        for route in routes:
            path = _REST.sub("", route.path)
            table = self._exact if path == route.path else self._keyed
            methods = table.setdefault(path.encode(), {})
            methods[route.method] = route
            if route.method == "GET":
                methods.setdefault("HEAD", route)
            methods["OPTIONS"] = _options_of(methods)
        self._prefixes = sorted((prefix for prefix in self._keyed if prefix != b"/"), key=len, reverse=True)

    def find(self, method: str, raw_path: bytes) -> tuple[Route, bytes]:
        """The route, and the rest of the path that is its key, still percent-encoded."""
        path = normal_path(raw_path)
        methods, rest = self._methods(path)
        route = methods.get(method)
        if route is None:
            raise _not_allowed(method, path, methods)
        return route, rest

    def _methods(self, path: bytes) -> tuple[dict[str, Route], bytes]:
        found = self._exact.get(path)
        if found is not None:
            return found, b""
        for prefix in self._prefixes:
            if path.startswith(prefix):
                return self._keyed[prefix], path[len(prefix) :]
        if not path.startswith(b"/"):
            raise NotFound(f"there is no route {_show(path)}", hint="every path begins with a slash; see /docs")
        if _first_segment(path) in RESERVED:
            raise NotFound(
                f"there is no route {_show(path)}", hint=f"a key of this name is at {_key_path(path)}; see /docs"
            )
        return self._keyed[b"/"], path[1:]


def _options_of(methods: Mapping[str, Route]) -> Route:
    """What any path answers to OPTIONS: its methods."""
    allow = (b"allow", _allowed({*methods, "OPTIONS"}))
    parameters = {parameter.name: parameter for route in methods.values() for parameter in route.parameters}

    async def answer(_: Request) -> Response:
        return reply(204, [allow])

    path = next(iter(methods.values())).path
    return Route("OPTIONS", path, answer, "The methods of a path", parameters=tuple(parameters.values()))


def _allowed(methods: Iterable[str]) -> bytes:
    return ", ".join(sorted(methods)).encode()


def _first_segment(path: bytes) -> bytes:
    return path[1:].partition(b"/")[0]


def _not_allowed(method: str, path: bytes, methods: Mapping[str, Any]) -> InvalidRequest | Problem:
    allowed = _allowed(methods)
    hint = f"allowed: {allowed.decode()}"
    if _first_segment(path) in RESERVED and not path.startswith(KEYS):
        hint += f"; a key of this name is at {_key_path(path)}"
    error = MethodNotAllowed(f"{method} is not for {_show(path)}", hint=hint)
    return Problem(error, headers=[(b"allow", allowed)])


def _key_path(path: bytes) -> str:
    return KEYS.decode() + _show(path)[1:]


def _show(path: bytes) -> str:
    text = path.decode("ascii", "backslashreplace")
    return text if len(text) <= 80 else text[:77] + "..."
