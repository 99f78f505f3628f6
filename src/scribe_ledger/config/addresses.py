"""Reading and writing ``host`` and ``host:port``, IPv6 included. Pure text: nothing is resolved or opened."""

from __future__ import annotations

import ipaddress
import re

from scribe_ledger.config.problems import UnsuitableError

_NAME = re.compile(r"[A-Za-z0-9_]([A-Za-z0-9_.-]{0,252}[A-Za-z0-9_.])?")
_DIGITS = re.compile(r"[0-9]{1,9}")


def split_address(text: str) -> tuple[str, int | None]:
    """``host`` or ``host:port`` as (host, port or None). IPv6 with a port needs brackets, which are taken off."""
    if "://" in text:
        raise UnsuitableError("is a URL, not an address", "Write host or host:port alone, such as 10.0.0.5:8001")
    if text.startswith("["):
        host, bracket, rest = text[1:].partition("]")
        if not bracket or (rest and not rest.startswith(":")) or not _is_ip(host, version=6):
            raise UnsuitableError("is not a bracketed IPv6 address", "Write it as [::1] or [::1]:8001")
        return host, _port(rest[1:]) if rest else None
    if _is_ip(text, version=6):
        return text, None
    host, colon, port = text.partition(":")
    if not (_is_ip(host, version=4) or (_NAME.fullmatch(host) and not _looks_like_ip(host))):
        raise UnsuitableError("is not a host name or IP address", "Write host or host:port, such as 127.0.0.1:8001")
    return host, _port(port) if colon else None


def join_address(host: str, port: int) -> str:
    """``host:port``, with brackets around IPv6."""
    return f"[{host}]:{port}" if ":" in host else f"{host}:{port}"


def is_loopback(host: str) -> bool:
    """Whether only this machine can reach ``host``. Names other than ``localhost`` count as reachable."""
    if host.lower() == "localhost":
        return True
    try:
        address = ipaddress.ip_address(host)
    except ValueError:
        return False
    if isinstance(address, ipaddress.IPv6Address) and address.ipv4_mapped is not None:
        return address.ipv4_mapped.is_loopback
    return address.is_loopback


def _port(text: str) -> int:
    if not _DIGITS.fullmatch(text) or not 1 <= int(text) <= 65535:
        raise UnsuitableError(f"has the impossible port {text or '(empty)'}", "Choose a port from 1 to 65535")
    return int(text)


def _is_ip(text: str, *, version: int) -> bool:
    try:
        return ipaddress.ip_address(text).version == version
    except ValueError:
        return False


def _looks_like_ip(host: str) -> bool:
    # 10.0.0.300 would pass as a host name and then fail much later, in a resolver.
    return all(part.isdigit() for part in host.split("."))
