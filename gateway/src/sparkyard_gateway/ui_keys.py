"""Who may connect to a driver's Spark UI where all drivers share one loopback interface: this gateway, and nobody else.

On one machine every user's code reaches every port of 127.0.0.1, and a Spark UI asks nobody who they are. Its access
lists don't help: without a filter of one's own in Spark's class path there is no user to look up in them. But it can
serve TLS and ask for a client's certificate (`spark.ssl.ui.needClientAuth`), and only the gateway has one that it
trusts.

Words:
    authority   a key made from the service's token, which every gateway beside this one has too; never written down.
                There are two, so that no driver's certificate passes for a gateway's
    client      what the gateway shows to a Spark UI; its key lives in this process
    server      what a Spark UI shows to the gateway: for one session, so that a port that has just changed hands
                is found out; its key is the driver's, and so its user's to read
"""

import datetime
import hashlib
import hmac
import os
import secrets
import ssl
from pathlib import Path

from cryptography import x509
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.serialization import (
    BestAvailableEncryption,
    Encoding,
    NoEncryption,
    PrivateFormat,
    pkcs12,
)
from cryptography.x509.oid import ExtendedKeyUsageOID

# A clock that jumps must not lock anybody out; a session's end is what ends a certificate's use.
_FROM, _UNTIL = datetime.datetime(2000, 1, 1), datetime.datetime(2100, 1, 1)  # noqa: DTZ001 - a certificate's are UTC
_ORDER = 0xFFFFFFFF00000000FFFFFFFFFFFFFFFFBCE6FAADA7179E84F3B9CAC2FC632551
"""Of the curve P-256: private keys are the numbers below it."""


def server_name(number: int) -> str:
    """What the certificate of a session's Spark UI says."""
    return f"spark-ui-of-{number}"


def batch_server_name(attempt: int) -> str:
    """Likewise that of an attempt at a batch, whose numbers are others."""
    return f"spark-ui-of-attempt-{attempt}"


def history_name(pod: str) -> str:
    """Likewise that of a pod that shows the history of what has ended."""
    return f"history-in-{pod}"


class Authority:
    """Makes certificates of one kind."""

    def __init__(self, secret: str, purpose: x509.ObjectIdentifier, name: str) -> None:
        digest = hmac.digest(secret.encode(), f"sparkyard-gateway/{name}".encode(), hashlib.sha512)
        self._key = ec.derive_private_key(int.from_bytes(digest, "big") % (_ORDER - 1) + 1, ec.SECP256R1())
        self._purpose = purpose
        self._name = name
        own = self._builder(name, self._key).add_extension(x509.BasicConstraints(ca=True, path_length=0), True)
        self.certificate = own.sign(self._key, SHA256())

    def make(self, name: str) -> tuple[ec.EllipticCurvePrivateKey, x509.Certificate]:
        """A new key and its certificate."""
        key = ec.generate_private_key(ec.SECP256R1())
        builder = (
            self._builder(name, key)
            .add_extension(x509.BasicConstraints(ca=False, path_length=None), True)
            .add_extension(x509.ExtendedKeyUsage([self._purpose]), False)
            .add_extension(x509.SubjectAlternativeName([x509.DNSName(name)]), False)
        )
        return key, builder.sign(self._key, SHA256())

    def _builder(self, name: str, key: ec.EllipticCurvePrivateKey) -> x509.CertificateBuilder:
        return (
            x509.CertificateBuilder()
            .subject_name(_named(name))
            .issuer_name(_named(self._name))
            .public_key(key.public_key())
            .serial_number(x509.random_serial_number())
            .not_valid_before(_FROM)
            .not_valid_after(_UNTIL)
        )


class UiKeys:
    """Certificates for Spark UIs and for who asks them."""

    def __init__(self, secret: str) -> None:
        secret = secret or secrets.token_hex(32)
        self._servers = Authority(secret, ExtendedKeyUsageOID.SERVER_AUTH, "spark-uis")
        self._clients = Authority(secret, ExtendedKeyUsageOID.CLIENT_AUTH, "spark-ui-clients")

    def context(self) -> ssl.SSLContext:
        """For connections to Spark UIs: shows our certificate, and wants one that this authority made."""
        context = ssl.create_default_context(cadata=self._servers.certificate.public_bytes(Encoding.PEM).decode())
        key, certificate = self._clients.make("gateway")
        # The standard library reads it from a file alone, so it gets one that is in no folder.
        descriptor = os.memfd_create("client")
        try:
            os.write(descriptor, key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption()))
            os.write(descriptor, certificate.public_bytes(Encoding.PEM))
            context.load_cert_chain(f"/proc/self/fd/{descriptor}")
        finally:
            os.close(descriptor)
        return context

    def pem(self, name: str) -> tuple[bytes, bytes]:
        """For a server that is no JVM: key and certificate of whatever has this name, and whom it shall let in."""
        key, certificate = self._servers.make(name)
        own = key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption())
        return own + certificate.public_bytes(Encoding.PEM), self._clients.certificate.public_bytes(Encoding.PEM)

    def equip(self, folder: Path, number: int) -> tuple[dict[str, str], tuple[Path, ...]]:
        """Write what a driver's Spark UI needs into its folder; returns its settings, and the files."""
        return self.equip_as(folder, server_name(number))

    def equip_as(self, folder: Path, name: str) -> tuple[dict[str, str], tuple[Path, ...]]:
        """Likewise for whatever has this name."""
        password = secrets.token_hex(16)
        sealed = BestAvailableEncryption(password.encode())
        key, certificate = self._servers.make(name)
        own, trusted = folder / "ui-key.p12", folder / "ui-clients.p12"
        _write_private(own, pkcs12.serialize_key_and_certificates(b"ui", key, certificate, None, sealed))
        client = pkcs12.PKCS12Certificate(self._clients.certificate, b"gateway")
        _write_private(trusted, pkcs12.serialize_java_truststore([client], sealed))
        settings = {
            "enabled": "true",
            "port": "0",
            "protocol": "TLSv1.3",
            "keyStore": str(own),
            "keyStoreType": "PKCS12",
            "keyStorePassword": password,
            "needClientAuth": "true",
            "trustStore": str(trusted),
            "trustStoreType": "PKCS12",
            "trustStorePassword": password,
        }
        return {f"spark.ssl.ui.{key}": value for key, value in settings.items()}, (own, trusted)


def _named(name: str) -> x509.Name:
    return x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, name)])


def _write_private(path: Path, content: bytes) -> None:
    descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_NOFOLLOW, 0o600)
    with os.fdopen(descriptor, "wb") as file:
        file.write(content)
