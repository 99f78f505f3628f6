"""Which errors a route can answer with, and what each status says."""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

from scribe_ledger.errors import KINDS

if TYPE_CHECKING:
    from scribe_ledger.http.routing import Route


class ErrorAnswer(NamedTuple):
    """One status: the name of its description, what it means, an example's words and its own headers."""

    name: str
    meaning: str
    kind: str
    message: str
    hint: str = ""
    headers: tuple[str, ...] = ()


ERRORS: dict[int, ErrorAnswer] = {
    400: ErrorAnswer(
        "BadRequest",
        "The request is wrong in itself; the hint says how. Nothing was changed.",
        "invalid",
        "the parameter 'as_off' is unknown to this route",
        "did you mean as_of?",
    ),
    401: ErrorAnswer(
        "Unauthorized", "Reserved for access control, which there is not yet.", "unauthorized", "no credentials"
    ),
    403: ErrorAnswer(
        "Forbidden",
        "The ledger's policy does not allow this write, or the request comes from a web page of another site.",
        "forbidden",
        "the request comes from a page of another site",
        "call the node from your own server",
    ),
    404: ErrorAnswer("NotFound", "There is no such thing.", "not_found", "there is no key 'user:nobody'"),
    405: ErrorAnswer(
        "MethodNotAllowed",
        "The path is a route, for other methods.",
        "method",
        "POST is not for /health",
        "allowed: GET, HEAD, OPTIONS; a key of this name is at /v1/kv/health",
        ("Allow",),
    ),
    409: ErrorAnswer(
        "Conflict",
        "It contradicts an earlier request, such as an `Idempotency-Key` that was used for another command; or this "
        "node, as it is set up, does not do such a thing.",
        "conflict",
        "the request id of this write was used for another command on key 'user:alice'",
        "use a fresh request id for each command",
    ),
    412: ErrorAnswer(
        "PreconditionFailed",
        "The key is not as the request's conditions say. Nothing was changed.",
        "precondition",
        "key 'user:alice' is at version 2, not 1",
        "read it again and repeat the change on what it is now",
    ),
    413: ErrorAnswer(
        "TooLarge",
        "A key, value, metadata, batch or body is over its limit.",
        "too_large",
        "the key has 5000 bytes",
        "a key has at most 4096 bytes",
    ),
    416: ErrorAnswer(
        "RangeNotSatisfiable",
        "The value has none of these bytes; `Content-Range` says how many it has.",
        "range",
        "the value has 11 bytes",
        "ask for bytes that it has",
        ("Content-Range",),
    ),
    429: ErrorAnswer(
        "RateLimited",
        "Reserved for limits by caller, which there are not yet.",
        "rate_limited",
        "too many requests",
        "",
        ("Retry-After",),
    ),
    503: ErrorAnswer(
        "Unavailable",
        "Not now. The kind says what follows: `unavailable`, `overloaded`: nothing was written, try again after "
        "`Retry-After`; `outcome_unknown`: try again with the same `Idempotency-Key`; `storage`, `corruption`: an "
        "operator must look.",
        "overloaded",
        "10000 commands wait to be written already",
        "retry after a pause",
    ),
}
"""Every status that an error can have."""

_ANYWHERE = frozenset({400, 403, 503})
"""An unknown parameter, a page of another site, a node that is stopping: those any route can meet."""


def errors_of(route: Route) -> list[int]:
    """Statuses that this route can answer with an error."""
    takes_key = route.path.endswith("}")
    writes = (bool(route.body) and route.tag == "values" and route.body != "ManyKeys") or route.method == "DELETE"
    found = set(_ANYWHERE)
    if (takes_key and route.method != "PUT") or (writes and route.method == "POST"):
        found.add(404)
    if writes:
        found |= {409, 412}
    if "If-Match" in route.headers:
        found.add(412)
    if takes_key or route.body:
        found.add(413)
    return sorted(found | {status for status, answer in route.answers.items() if answer == "Error"})


def kinds_of(status: int) -> list[str]:
    """The kinds of error that have this status."""
    return [kind for kind, disposition in KINDS.items() if disposition.http_status == status]
