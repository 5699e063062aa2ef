"""The cluster's one authority, the API server's certificate, and the key that signs accounts' tokens."""

from __future__ import annotations

import datetime
import ipaddress
from collections.abc import Iterable
from pathlib import Path

from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import rsa
from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID

NAMES = (
    "localhost",
    "kubernetes",
    "kubernetes.default",
    "kubernetes.default.svc",
    "kubernetes.default.svc.cluster.local",
)


def _key() -> rsa.RSAPrivateKey:
    return rsa.generate_private_key(public_exponent=65537, key_size=2048)


def _pem(key: rsa.RSAPrivateKey) -> bytes:
    return key.private_bytes(
        serialization.Encoding.PEM, serialization.PrivateFormat.TraditionalOpenSSL, serialization.NoEncryption()
    )


def _builder(subject: str, issuer: str, key: rsa.RSAPrivateKey, signer: rsa.RSAPrivateKey) -> x509.CertificateBuilder:
    now = datetime.datetime.now(datetime.UTC)
    return (
        x509.CertificateBuilder()
        .subject_name(x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, subject)]))
        .issuer_name(x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, issuer)]))
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(now - datetime.timedelta(hours=1))
        .not_valid_after(now + datetime.timedelta(days=365))
        .add_extension(x509.SubjectKeyIdentifier.from_public_key(key.public_key()), critical=False)
        .add_extension(x509.AuthorityKeyIdentifier.from_issuer_public_key(signer.public_key()), critical=False)
    )


def _usage(*, authority: bool) -> x509.KeyUsage:
    return x509.KeyUsage(
        digital_signature=True, key_encipherment=not authority, key_cert_sign=authority, crl_sign=authority,
        content_commitment=False, data_encipherment=False, key_agreement=False,
        encipher_only=False, decipher_only=False,
    )  # fmt: skip


def write(folder: Path, addresses: Iterable[str]) -> bytes:
    """Write certificates/{authority,apiserver,aggregator}.crt with keys of the latter two, and accounts.key; gives the
    authority. By the aggregator's the API server is known to those who answer for a part of its API."""
    into = folder / "certificates"
    into.mkdir(mode=0o700)
    signer, key, aggregator = _key(), _key(), _key()
    authority = (
        _builder("sparkyard cluster", "sparkyard cluster", signer, signer)
        .add_extension(x509.BasicConstraints(ca=True, path_length=0), critical=True)
        .add_extension(_usage(authority=True), critical=True)
        .sign(signer, hashes.SHA256())
    )
    names = [x509.DNSName(name) for name in NAMES] + [x509.IPAddress(ipaddress.ip_address(each)) for each in addresses]
    certificate = (
        _builder("kube-apiserver", "sparkyard cluster", key, signer)
        .add_extension(x509.BasicConstraints(ca=False, path_length=None), critical=True)
        .add_extension(_usage(authority=False), critical=True)
        .add_extension(x509.ExtendedKeyUsage([ExtendedKeyUsageOID.SERVER_AUTH]), critical=False)
        .add_extension(x509.SubjectAlternativeName(names), critical=False)
        .sign(signer, hashes.SHA256())
    )
    asks = (
        _builder("aggregator", "sparkyard cluster", aggregator, signer)
        .add_extension(x509.BasicConstraints(ca=False, path_length=None), critical=True)
        .add_extension(_usage(authority=False), critical=True)
        .add_extension(x509.ExtendedKeyUsage([ExtendedKeyUsageOID.CLIENT_AUTH]), critical=False)
        .sign(signer, hashes.SHA256())
    )
    encoded = authority.public_bytes(serialization.Encoding.PEM)
    (into / "authority.crt").write_bytes(encoded)
    (into / "apiserver.crt").write_bytes(certificate.public_bytes(serialization.Encoding.PEM))
    (into / "apiserver.key").write_bytes(_pem(key))
    (into / "aggregator.crt").write_bytes(asks.public_bytes(serialization.Encoding.PEM))
    (into / "aggregator.key").write_bytes(_pem(aggregator))
    (folder / "accounts.key").write_bytes(_pem(_key()))
    return encoded
