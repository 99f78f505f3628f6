"""Authorities and certificates for tests of TLS, written as the files that a node reads."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, NamedTuple

from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat
from cryptography.x509.oid import NameOID

from scribe_ledger.consensus.transport import Auth

if TYPE_CHECKING:
    from pathlib import Path

NOW = datetime.now(UTC)


class Authority(NamedTuple):
    """Signs certificates of members."""

    folder: Path
    name: x509.Name
    key: ec.EllipticCurvePrivateKey

    @classmethod
    def make(cls, folder: Path) -> Authority:
        folder.mkdir()
        made = cls(folder, _name(folder.name), ec.generate_private_key(ec.SECP256R1()))
        certificate = made._builder(made.name, made.key, NOW + timedelta(days=1))
        certificate = certificate.add_extension(x509.BasicConstraints(ca=True, path_length=None), critical=True)
        (folder / "ca.pem").write_bytes(certificate.sign(made.key, hashes.SHA256()).public_bytes(Encoding.PEM))
        return made

    def member(self, name: str, *, expired: bool = False, secret: str = "") -> Auth:
        key = ec.generate_private_key(ec.SECP256R1())
        until = NOW - timedelta(hours=1) if expired else NOW + timedelta(days=1)
        certificate = self._builder(_name(name), key, until).sign(self.key, hashes.SHA256())
        cert_file, key_file = self.folder / f"{name}.pem", self.folder / f"{name}.key"
        cert_file.write_bytes(certificate.public_bytes(Encoding.PEM))
        key_file.write_bytes(key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption()))
        return Auth(secret, str(cert_file), str(key_file), str(self.folder / "ca.pem"))

    def _builder(self, subject: x509.Name, key: ec.EllipticCurvePrivateKey, until: datetime) -> x509.CertificateBuilder:
        return (
            x509.CertificateBuilder()
            .subject_name(subject)
            .issuer_name(self.name)
            .public_key(key.public_key())
            .serial_number(x509.random_serial_number())
            .not_valid_before(NOW - timedelta(days=1))
            .not_valid_after(until)
        )


def _name(text: str) -> x509.Name:
    return x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, text)])
