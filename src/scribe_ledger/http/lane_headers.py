"""The request headers that the lane knows; a request with any other goes to the application."""

from __future__ import annotations

REQUEST_ID, IDEMPOTENCY_KEY, IF_NONE_MATCH, CONTENT_TYPE, CONTENT_LENGTH = range(1, 6)
CONNECTION, HOST, IGNORED = range(6, 9)
ORDINARY = {
    name: meaning
    for known, meaning in {
        b"X-Request-Id": REQUEST_ID,
        b"Idempotency-Key": IDEMPOTENCY_KEY,
        b"If-None-Match": IF_NONE_MATCH,
        b"Content-Type": CONTENT_TYPE,
        b"Content-Length": CONTENT_LENGTH,
        b"Connection": CONNECTION,
        b"Host": HOST,
        b"User-Agent": IGNORED,
        b"Accept": IGNORED,
        b"Accept-Encoding": IGNORED,
        b"Accept-Language": IGNORED,
    }.items()
    for name in (known, known.lower())
}
"""As clients usually spell them; any other spelling is looked for in lower case."""
