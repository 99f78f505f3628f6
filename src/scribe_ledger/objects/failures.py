"""What a remote store's refusal means, told by the one thing that every provider gives: status, code and text.

obstore raises a handful of classes whose text begins with what happened and goes on with a dump of the request and the
answer. Only the beginning is kept, without queries and signatures, so that no message carries a secret; for the same
reason obstore's own exception is not chained.
"""

from __future__ import annotations

import re
from enum import Enum

_STATUS = re.compile(r"non-2xx status code: (\d{3})")
_CODE = re.compile(r"<Code>(\w+)</Code>")
_QUERY = re.compile(r"(https?://[^\s?]*)\?\S*")
_USER_INFO = re.compile(r"(?<=://)[^/@\s]+@")
_BUCKET_IS_MISSING = re.compile(r"NoSuchBucket|ContainerNotFound|specified bucket does not exist", re.IGNORECASE)
_BUSY_CODES = frozenset({"SlowDown", "RequestTimeout", "ConditionalRequestConflict", "OperationAborted"})
_GIVEN_UP = "NoSuchUpload"
"""Said of parts that nobody waits for any more, also after a completion whose answer was lost."""
_BUSY_STATUSES = frozenset({408, 425, 429})
_IS_BEYOND = re.compile(r'Wanted range starting at|"bytes 0--1/0"')
"""What obstore says where a server (Azurite) answers a range behind the end with something else than 416."""
_ROLE_ENDPOINT = "169.254.169.254"
_NOISE = re.compile(r"^(?:Generic \w+ error: )?(?:Error performing \w+ \S+ in \S+ - )?")
"""Which request it was, the caller says; how long it took differs each time, and equal errors are to be equal texts."""
_REASON = re.compile(r'(TimedOut|IncompleteBody|IncompleteMessage)|(?:message|error): "([^"]*)"')
_CREDENTIALS = "check the credentials in [storage.s3] or the environment: they may be wrong, expired, or lack a right"
_SLOW = (
    "8 MiB have to pass within that time: on a slow link raise timeout_secs in [storage.s3], or [storage]"
    " object_store_timeout_secs"
)
_ELSEWHERE = {
    _CREDENTIALS: "check the credentials in the environment: they may be wrong, expired, or lack a right",
    _SLOW: "8 MiB have to pass within that time: on a slow link raise [storage] object_store_timeout_secs",
}
"""What to do where the settings of S3 do not count."""
_CREDENTIALS_CODES = frozenset({"ExpiredToken", "ExpiredTokenException", "InvalidToken", "TokenRefreshRequired"})


class Kind(Enum):
    """What follows for the one who asked."""

    ABSENT = "the object is not there"
    EXISTS = "the object is there, and was not to be replaced"
    BEYOND = "the object ends before the range begins"
    PASSING = "worth another try"
    REFUSED = "another try will end the same"


class Failure(Exception):
    """A request that failed, or found what it did not look for."""

    def __init__(self, kind: Kind, text: str, *, hint: str = "") -> None:
        super().__init__(text)
        self.kind = kind
        self.hint = hint
        self.tries = 1
        """How often it was asked for. What became of the earlier tries is not known, whatever the last one met."""


def judge(error: Exception) -> Failure:
    """The failure behind an exception of obstore."""
    text = str(error)
    status = int(found[1]) if (found := _STATUS.search(text)) else 0
    code = found[1] if (found := _CODE.search(text)) else ""
    kind, hint = _meaning(error, status, code, text)
    return Failure(kind, _shorten(text, status, code), hint=hint)


def _meaning(error: Exception, status: int, code: str, text: str) -> tuple[Kind, str]:
    from obstore import exceptions

    hint = ""
    if code in {*_BUSY_CODES, _GIVEN_UP} or status >= 500 or status in _BUSY_STATUSES:
        kind = Kind.PASSING
    elif _BUCKET_IS_MISSING.search(text):
        kind, hint = Kind.REFUSED, "there is no such bucket: create it, or correct its name"
    elif code == "InvalidBucketName":
        kind, hint = Kind.REFUSED, "correct the name of the bucket: the store does not allow it"
    elif isinstance(error, FileNotFoundError):
        kind = Kind.ABSENT
    elif isinstance(error, (exceptions.AlreadyExistsError, exceptions.PreconditionError)):
        kind = Kind.EXISTS
    elif status == 416 or _IS_BEYOND.search(text):
        kind = Kind.BEYOND
    elif status in {401, 403} or code in _CREDENTIALS_CODES:
        kind, hint = Kind.REFUSED, _CREDENTIALS
    elif status or isinstance(error, (exceptions.PermissionDeniedError, exceptions.UnauthenticatedError)):
        kind = Kind.REFUSED
    else:
        kind, hint = Kind.PASSING, _hint_without_answer(text)  # no answer at all, or one that makes no sense
    return kind, hint


def _hint_without_answer(text: str) -> str:
    if _ROLE_ENDPOINT in text:
        return "no credentials were found, and no role of this machine answered"
    if "TimedOut" in text and "tcp connect" not in text:
        return _SLOW
    if "ConnectionRefused" in text:
        return "check the endpoint, and that the service is up"
    return "check the endpoint: nobody knows its name" if "dns error" in text else ""


def hint_for(failure: Failure, url: str) -> str:
    """What to do about it, where the store has that URL: some settings are for S3 alone."""
    return failure.hint if url.startswith("s3:") else _ELSEWHERE.get(failure.hint, failure.hint)


def _shorten(text: str, status: int, code: str) -> str:
    """The first line up to the answer's body, and the innermost reason that the dump names."""
    if status:
        return f"status {status} {code}".rstrip()
    first = _NOISE.sub("", _USER_INFO.sub("", _QUERY.sub(r"\1", text.partition("\n")[0].strip())))
    reasons = [name or words for name, words in _REASON.findall(text)]
    return f"{first}: {reasons[-1]}" if reasons else first
