"""``Auth``: what members prove themselves with, and the TLS contexts that come of it."""

from __future__ import annotations

import ssl
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

from scribe_ledger.errors import ConfigurationError

if TYPE_CHECKING:
    from scribe_ledger.config.sections import ClusterSettings


class Auth(NamedTuple):
    """A shared secret, or three PEM files, or both. With neither, members speak on one machine only."""

    secret: str = ""
    tls_cert: str = ""
    tls_key: str = ""
    tls_ca: str = ""

    @classmethod
    def of(cls, cluster: ClusterSettings) -> Auth:
        files = [file and str(Path(file).expanduser()) for file in (cluster.tls_cert, cluster.tls_key, cluster.tls_ca)]
        return cls(cluster.secret, *files)

    def __repr__(self) -> str:
        return f"Auth(secret={'set' if self.secret else 'none'}, tls={'on' if self.tls else 'off'})"

    @property
    def tls(self) -> bool:
        return bool(self.tls_cert or self.tls_key or self.tls_ca)

    @property
    def proves(self) -> bool:
        """Whether a stranger can be told from a member."""
        return self.tls or bool(self.secret)

    def server_context(self) -> ssl.SSLContext | None:
        return self._context(ssl.PROTOCOL_TLS_SERVER)

    def client_context(self) -> ssl.SSLContext | None:
        return self._context(ssl.PROTOCOL_TLS_CLIENT)

    def _context(self, protocol: int) -> ssl.SSLContext | None:
        """Both ends show a certificate of the cluster's authority. Which host it names is not asked: members move."""
        if not self.tls:
            return None
        if not (self.tls_cert and self.tls_key and self.tls_ca):
            raise ConfigurationError("cluster.tls_cert, tls_key and tls_ca belong together")
        context = ssl.SSLContext(protocol)
        context.minimum_version = ssl.TLSVersion.TLSv1_3
        context.check_hostname = False
        context.verify_mode = ssl.CERT_REQUIRED
        try:
            context.load_cert_chain(self.tls_cert, self.tls_key)
            context.load_verify_locations(self.tls_ca)
        except (OSError, ValueError) as error:  # an SSLError is an OSError
            raise ConfigurationError(
                f"the cluster's TLS files cannot be used: {error}",
                hint="check cluster.tls_cert, cluster.tls_key and cluster.tls_ca",
            ) from error
        return context
