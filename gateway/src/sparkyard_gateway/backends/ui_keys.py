"""Keys by which a web UI of Spark's tells the gateway from everybody else on the machine.

A port on the loopback address is open to every user of the machine, and Spark's UIs ask nobody who they are. Spark can
demand a client's certificate, though: the gateway has one, made at its start and kept in its memory, and each UI
is told to accept no other. The other way round each UI has a key of its own, which the gateway was given beforehand, so
that nobody else who happens to listen is taken for it.
"""

import datetime
import os
import secrets
import ssl
from dataclasses import dataclass, field
from pathlib import Path
from tempfile import TemporaryDirectory

from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.serialization import (
    BestAvailableEncryption,
    Encoding,
    NoEncryption,
    PrivateFormat,
    pkcs12,
)
from cryptography.x509.oid import NameOID

GOOD_FOR = datetime.timedelta(days=365)
CLOCKS_DIFFER = datetime.timedelta(days=1)


@dataclass(frozen=True, slots=True)
class _Pair:
    key: ec.EllipticCurvePrivateKey = field(repr=False)
    certificate: x509.Certificate


class UiKeys:
    """The gateway's own key; makes those of UIs."""

    def __init__(self) -> None:
        self._gateway = _pair("sparkyard gateway")

    def for_ui(self, folder: Path) -> tuple[dict[str, str], ssl.SSLContext]:
        """Write a UI's stores into `folder`; returns the settings below ``spark.ssl.<ui>.`` and how to call it."""
        ui, password = _pair("sparkyard ui"), secrets.token_urlsafe(24)
        sealed = BestAvailableEncryption(password.encode())
        known = pkcs12.PKCS12Certificate(self._gateway.certificate, b"gateway")
        stores = {
            "key.p12": pkcs12.serialize_key_and_certificates(b"ui", ui.key, ui.certificate, None, sealed),
            "trust.p12": pkcs12.serialize_java_truststore([known], sealed),
        }
        for name, content in stores.items():
            with os.fdopen(os.open(folder / name, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "wb") as file:
                file.write(content)
        conf = {
            "enabled": "true",
            "protocol": "TLSv1.3",
            "port": "0",
            "keyStore": str(folder / "key.p12"),
            "keyStoreType": "PKCS12",
            "keyStorePassword": password,
            "keyPassword": password,
            "trustStore": str(folder / "trust.p12"),
            "trustStoreType": "PKCS12",
            "trustStorePassword": password,
            "needClientAuth": "true",
        }
        return conf, self._context(ui.certificate)

    def _context(self, certificate: x509.Certificate) -> ssl.SSLContext:
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
        context.minimum_version = ssl.TLSVersion.TLSv1_3
        # One certificate is right, whatever name it has.
        context.check_hostname = False
        context.verify_flags |= ssl.VERIFY_X509_PARTIAL_CHAIN
        context.load_verify_locations(cadata=certificate.public_bytes(Encoding.PEM).decode())
        with TemporaryDirectory() as folder:
            # The interface takes files alone.
            own = Path(folder) / "own.pem"
            own.touch(0o600)
            own.write_bytes(
                self._gateway.key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption())
                + self._gateway.certificate.public_bytes(Encoding.PEM)
            )
            context.load_cert_chain(own)
        return context


def _pair(name: str) -> _Pair:
    key = ec.generate_private_key(ec.SECP256R1())
    called = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, name)])
    now = datetime.datetime.now(datetime.UTC)
    certificate = (
        x509.CertificateBuilder()
        .subject_name(called)
        .issuer_name(called)
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(now - CLOCKS_DIFFER)
        .not_valid_after(now + GOOD_FOR)
        .sign(key, hashes.SHA256())
    )
    return _Pair(key, certificate)
