"""One small ledger that all examples are taken from, so that they fit each other. A test makes it anew and compares.

It has three entries: ``user:alice`` is put, put again, and ``user:bob`` is put.
"""

from __future__ import annotations

import base64
from typing import Any

ORIGIN = "example.org/ledger"
LEDGER_ID = "6ad1e9f0c3b74f5e8d20417c9be5a813"
KEY = "user:alice"
REQUEST_ID = "5f0c9a1e-0000002a"
FIRST_TIMESTAMP = 1795238460000
"""Milliseconds; each entry comes a minute after the one before."""

RECEIPT: dict[str, Any] = {
    "key": KEY,
    "index": 0,
    "version": 1,
    "timestamp": FIRST_TIMESTAMP,
    "sha256": "8ae10dfc9a69f97dcc91e1f51bced3aff442bc57a869e04126bd0ca7cb4af29d",
    "leaf_hash": "877b9c6f0bf3e31adde8f2cf7650dce4a121b756204de98aac3e2a514da68864",
    "created": True,
}

VALUE = "Alice Jones"
VALUE_BASE64 = "QWxpY2UgSm9uZXM="

ENTRY: dict[str, Any] = {
    "key": KEY,
    "kind": "put",
    "index": 1,
    "version": 2,
    "timestamp": FIRST_TIMESTAMP + 60_000,
    "previous": 0,
    "size": 11,
    "sha256": "a129ce3c8c8ea5b1de170e4d7cc3491651fd077f6b0e15530a79572f189498d6",
    "leaf_hash": "1d1578eab8d355b9c8b38696b684f91100fd3c2dc5c47444e28b738af3ed8766",
    "content_type": "text/plain",
    "metadata": {"team": "red"},
}

CHECKPOINT = (
    "example.org/ledger\n3\nA8iok0vAKMhEbwrtjCb7z46gN8X5NBL6YkDL0S4/SJA=\n\n— example.org/ledger "
    "HYeVXd6yUYqo79OVYc9RoV6q71snaUOPikgFszqIsLflXHsSRhKCie8VXPJf9XE0DE1NRrRK1G8DcH7p0B3s3N+7cwY=\n"
)
PUBLIC_KEY = "example.org/ledger+1d87955d+Ab1v+MYTMPiiLbk1KzdRweKFs5oq3fwlJ5+ordihWlV+"

LEAF_BASE64 = (
    "AQEBAAAAAAAAAAABAAABofyN5MAAAAAAAAAAAgAAAAAAAAAAAAAAAAAAAAuhKc48jI6lsd4XDk18w0kWUf0Hf2sOFVMKeVcvGJSY1gAAAAAAAAAA"
    "AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAp1c2VyOmFsaWNlAAp0ZXh0L3BsYWluAAEABHRlYW0AA3JlZA=="
)
HASHES = (
    "877b9c6f0bf3e31adde8f2cf7650dce4a121b756204de98aac3e2a514da68864",
    "3e53cce93f3cf670ec456e814e2cc2a997aed067900ddde7b81b195394bf7cc6",
)
AUDIT_PATH = (
    "h3ucbwvz4xrd6PLPdlDc5KEht1YgTemKrD4qUU2miGQ=",
    "PlPM6T889nDsRW6BTizCqZeu0GeQDd3nuBsZU5S/fMY=",
)
PROOF = "\n".join(["c2sp.org/tlog-proof@v1", f"extra {LEAF_BASE64}", "index 1", *AUDIT_PATH, "", CHECKPOINT])
FIRST_LEAF_BASE64 = (
    "AQEBAAAAAAAAAAAAAAABofyM+mAAAAAAAAAAAf//////////AAAAAAAAAAuK4Q38mmn5fcyR4fUbztOv9EK8V6hp4EEmvQyny0rynQAAAAAAAAAA"
    "AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAp1c2VyOmFsaWNlAAp0ZXh0L3BsYWluAAEABHRlYW0AA3JlZA=="
)
FIRST_AUDIT_PATH = ("HRV46rjTVbnIs4aWtoT5EQD9PC3FxHRE4otzivPth2Y=", AUDIT_PATH[1])
HISTORY = "\n".join(
    [
        "scribe-ledger/history-proof@v1",
        *(f"extra {LEAF_BASE64}", "index 1", *AUDIT_PATH),
        *(f"extra {FIRST_LEAF_BASE64}", "index 0", *FIRST_AUDIT_PATH),
        *("", CHECKPOINT),
    ]
)
CONSISTENCY = "\n".join(["scribe-ledger/consistency-proof@v1", "old 2", "new 3", AUDIT_PATH[1], ""])
LEAF_HEX = base64.b64decode(LEAF_BASE64).hex()
HASHES_BASE64 = base64.b64encode(bytes.fromhex("".join(HASHES))).decode()
