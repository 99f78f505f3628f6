"""Every error a user can meet, sorted by what the caller does next.

Each error carries ``kind`` (a stable word for programs), ``message`` (what happened, naming the key, file or
setting) and ``hint`` (what to do, or empty). ``KINDS`` is the one table from kind to HTTP status and exit code.
"""

from __future__ import annotations

from typing import ClassVar, NamedTuple, Self


class ScribeError(Exception):
    """The root of all errors that Scribe Ledger raises on purpose."""

    kind: ClassVar[str] = "internal"
    operation: int | None = None
    """Which operation of an atomic batch was refused, and the others with it."""

    def __init__(self, message: str, *, hint: str = "") -> None:
        super().__init__(message)
        self.message = message
        self.hint = hint

    def again(self) -> Self:
        """The same for another caller. One object that is raised again and again keeps the frames of every time."""
        again = type(self)(self.message, hint=self.hint)
        again.__cause__ = self.__cause__
        again.operation = self.operation
        return again

    def __str__(self) -> str:
        return f"{self.message} ({self.hint})" if self.hint else self.message


OPEN_AGAIN = "then open the ledger again"
"""How hints end where a failure is over only with the ledger's next opening."""


def counted(number: int, one: str = "entry", many: str = "entries", *, mark: str = "") -> str:
    """A number with its noun: ``1 entry``, ``12000 entries``. ``mark`` is what stands between thousands.

    Messages have none, so that a number is found in them as it stands elsewhere.
    """
    return f"{number:{mark}} {one if number == 1 else many}"


# --- fix the request -------------------------------------------------------------------------------------------


class InvalidRequest(ScribeError):
    """The request itself is wrong: an empty key, a negative limit, a value that is not bytes."""

    kind = "invalid"


class TooLarge(InvalidRequest):
    """A key, value, metadata or batch is over its limit."""

    kind = "too_large"


class RangeNotSatisfiable(InvalidRequest):
    """The byte range asked for lies outside the value."""

    kind = "range"


class MethodNotAllowed(InvalidRequest):
    """The route exists, the method does not."""

    kind = "method"


class SerializationError(InvalidRequest):
    """Bytes or text that were given to be read are not in the format they claim."""

    kind = "serialization"


class ConfigurationError(ScribeError):
    """A setting is unknown, impossible, or disagrees with what the ledger was created with."""

    kind = "configuration"


class Unauthorized(ScribeError):
    """No valid credentials were given."""

    kind = "unauthorized"


class Forbidden(ScribeError):
    """The ledger's policy, or the caller's rights, do not allow this."""

    kind = "forbidden"


# --- the answer is no ------------------------------------------------------------------------------------------


class NotFound(ScribeError):
    """There is no such key, version, entry or object."""

    kind = "not_found"


class PreconditionFailed(ScribeError):
    """The key is not in the state that the request named."""

    kind = "precondition"


class Conflict(ScribeError):
    """The request contradicts an earlier one, such as a request id that was used for another command."""

    kind = "conflict"


class VerificationError(ScribeError):
    """A proof, checkpoint, signature or value does not hold. The message names what failed."""

    kind = "verification"


# --- retry later -----------------------------------------------------------------------------------------------


class Unavailable(ScribeError):
    """Certainly not accepted; the same request may succeed later or elsewhere."""

    kind = "unavailable"


class Overloaded(Unavailable):
    """A bounded queue is full; retry after a pause."""

    kind = "overloaded"


class RateLimited(Unavailable):
    """This caller has asked too often."""

    kind = "rate_limited"


class OutcomeUnknown(Unavailable):
    """Proposed but not answered: a retry with the same request id settles it."""

    kind = "outcome_unknown"


class NetworkError(Unavailable):
    """A peer, a node or an object store could not be reached."""

    kind = "network"


class ConsensusError(Unavailable):
    """The cluster has no leader, or this node may not act in it."""

    kind = "consensus"


# --- stop and call the operator --------------------------------------------------------------------------------


class StorageError(ScribeError):
    """The disk, the engine or a file failed; nothing was acknowledged."""

    kind = "storage"


class LedgerLocked(StorageError):
    """Another process has this ledger open."""

    kind = "locked"


class LedgerClosed(StorageError):
    """This ledger object was closed."""

    kind = "closed"


class Corruption(StorageError):
    """Stored bytes are not what was written. The message names the place."""

    kind = "corruption"


class Disposition(NamedTuple):
    """What a kind means at the edges."""

    http_status: int
    exit_code: int


KINDS: dict[str, Disposition] = {
    "internal": Disposition(503, 3),
    "invalid": Disposition(400, 2),
    "too_large": Disposition(413, 2),
    "range": Disposition(416, 2),
    "method": Disposition(405, 2),
    "serialization": Disposition(400, 2),
    "configuration": Disposition(400, 3),
    "unauthorized": Disposition(401, 3),
    "forbidden": Disposition(403, 1),
    "not_found": Disposition(404, 1),
    "precondition": Disposition(412, 1),
    "conflict": Disposition(409, 1),
    "verification": Disposition(400, 1),
    "unavailable": Disposition(503, 3),
    "overloaded": Disposition(503, 3),
    "rate_limited": Disposition(429, 3),
    "outcome_unknown": Disposition(503, 3),
    "network": Disposition(503, 3),
    "consensus": Disposition(503, 3),
    "storage": Disposition(503, 3),
    "locked": Disposition(503, 3),
    "closed": Disposition(503, 3),
    "corruption": Disposition(503, 3),
}
